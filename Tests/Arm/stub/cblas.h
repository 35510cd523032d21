// SPDX-License-Identifier: Apache-2.0
//
// The part of CBLAS that CMoEKernels links, so that no BLAS of the emulated CPU is needed.
#ifndef MOE_STUB_CBLAS_H
#define MOE_STUB_CBLAS_H

/// c[m, n] = alpha * op(a) op(b) + beta * c. order 101: rows first; ta, tb 111: as it is, 112: transposed.
void cblas_sgemm(int order, int ta, int tb, int m, int n, int k, float alpha, const float *a, int lda, const float *b, int ldb,
                 float beta, float *c, int ldc);

#endif
