// SPDX-License-Identifier: Apache-2.0
//
// The row kernels of one ISA: what row_ops.c and attention.c compute a row with. Each is complete in ref/ and
// overridden in x86/ and arm/. The loops are written once, in row_kernels_body.h.
#ifndef MOE_ROW_KERNELS_H
#define MOE_ROW_KERNELS_H

#include "CMoEKernels.h"

typedef struct moe_row_kernels {
    /// y[d] = x[d] / sqrt(mean(x^2) + eps) * weight[d]; y may be x.
    void (*rms_norm)(const float *x, const float *weight, float eps, float *y, int32_t d);
    /// out[i] = silu(gate[i]) * up[i]; out may be either.
    void (*swiglu)(const float *gate, const float *up, float *out, int64_t count);
    /// y[i] += x[i]
    void (*add)(float *y, const float *x, int64_t count);
    /// y[i] = x[i] * scale
    void (*scale)(float *y, const float *x, float scale, int64_t count);
    /// y[i] += x[i] * scale
    void (*add_scaled)(float *y, const float *x, float scale, int64_t count);
    /// Rotates one row, x[heads, head_dim], by cos, sin[half]; pairs (i, i + half) if neox, else (2i, 2i + 1).
    void (*rope)(float *x, const float *cos, const float *sin, int32_t heads, int32_t head_dim, int32_t half, bool neox);
    /// x[n] in place.
    void (*softmax)(float *x, int32_t n);
    /// float32 to IEEE half, to nearest even.
    void (*to_half)(const float *x, uint16_t *y, int64_t count);
    /// float32 to int8 in blocks of 32, the last of what is left, with the scales as IEEE half: row_kernels_body.h says how.
    void (*to_bytes)(const float *x, int8_t *q, uint16_t *scales, int32_t count);
} moe_row_kernels;

extern const moe_row_kernels moe_row_kernels_ref;
extern const moe_row_kernels moe_row_kernels_avx2;
extern const moe_row_kernels moe_row_kernels_neon;

/// The best that this CPU has, or what moe_kernels_limit allows.
const moe_row_kernels *moe_row_kernels_best(void);

#endif
