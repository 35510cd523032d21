// SPDX-License-Identifier: Apache-2.0
//
// The BLAS in use: two functions, whatever library and whatever integers. See blas_table.c.
#ifndef MOE_BLAS_TABLE_H
#define MOE_BLAS_TABLE_H

#include "CMoEKernels.h"

/// Looks the library up and sets it to one thread. Cheap after the first call; call before a parallel region.
void moe_blas_prepare(void);
/// y[m, n] = x[m, k] * w[n, k]^T on the calling thread, m, n > 0. One row goes to sgemv.
void moe_blas_product(int32_t m, int32_t n, int32_t k, const float *x, int64_t ldx, const float *w, int64_t ldw, float *y,
                      int64_t ldy);

#endif
