// SPDX-License-Identifier: Apache-2.0
//
// Row kernels in portable C.

#include "../half.h"
#include "../row_kernels_body.h"

static void to_half(const float *x, uint16_t *y, int64_t count) {
    for (int64_t i = 0; i < count; i++) y[i] = moe_half_from_float(x[i]);
}

const moe_row_kernels moe_row_kernels_ref = {rms_norm, swiglu, add, scale, add_scaled, rope, softmax, to_half,
                                             to_bytes};
