// SPDX-License-Identifier: Apache-2.0
//
// The loops of the row kernels, included once per ISA: by ref/row_ref.c as they are, by x86/row_avx2.c under the target
// attribute of AVX2, where the compiler makes 8-wide code of them. A sum over a row may be reordered (lanes), but always in
// the same way for the same length. The includer defines to_half.

#include <math.h>

#include "exp_float.h"
#include "row_kernels.h"

static void rms_norm(const float *x, const float *weight, float eps, float *y, int32_t d) {
    float sum = 0;
    {
#pragma clang fp reassociate(on) contract(fast)
        for (int32_t i = 0; i < d; i++) sum += x[i] * x[i];
    }
    const float inverse = 1.0f / sqrtf(sum / (float)d + eps);
#pragma clang loop vectorize(assume_safety)
    for (int32_t i = 0; i < d; i++) y[i] = x[i] * inverse * weight[i];
}

static void swiglu(const float *gate, const float *up, float *out, int64_t count) {
#pragma clang loop vectorize(assume_safety)
    for (int64_t i = 0; i < count; i++) out[i] = gate[i] / (1.0f + moe_exp(-gate[i])) * up[i];
}

static void add(float *restrict y, const float *restrict x, int64_t count) {
    for (int64_t i = 0; i < count; i++) y[i] += x[i];
}

static void scale(float *restrict y, const float *restrict x, float scale, int64_t count) {
    for (int64_t i = 0; i < count; i++) y[i] = x[i] * scale;
}

static void add_scaled(float *restrict y, const float *restrict x, float scale, int64_t count) {
    for (int64_t i = 0; i < count; i++) y[i] += x[i] * scale;
}

static void rope(float *restrict x, const float *restrict cos, const float *restrict sin, int32_t heads, int32_t head_dim,
                 int32_t half, bool neox) {
    for (int32_t head = 0; head < heads; head++, x += head_dim) {
        if (neox) {
#pragma clang loop vectorize(assume_safety)
            for (int32_t i = 0; i < half; i++) {
                const float a = x[i], b = x[i + half];
                x[i] = a * cos[i] - b * sin[i];
                x[i + half] = b * cos[i] + a * sin[i];
            }
        } else {
#pragma clang loop vectorize(assume_safety)
            for (int32_t i = 0; i < half; i++) {
                const float a = x[2 * i], b = x[2 * i + 1];
                x[2 * i] = a * cos[i] - b * sin[i];
                x[2 * i + 1] = b * cos[i] + a * sin[i];
            }
        }
    }
}

/// The largest of x[n], n > 0. Sixteen running maxima, so that they fit vector registers.
static inline float largest(const float *x, int32_t n) {
    float lanes[16];
    for (int32_t j = 0; j < 16; j++) lanes[j] = x[0];
    int32_t i = 0;
    for (; i + 16 <= n; i += 16) {
        for (int32_t j = 0; j < 16; j++) lanes[j] = x[i + j] > lanes[j] ? x[i + j] : lanes[j];
    }
    for (; i < n; i++) lanes[0] = x[i] > lanes[0] ? x[i] : lanes[0];
    for (int32_t j = 1; j < 16; j++) lanes[0] = lanes[j] > lanes[0] ? lanes[j] : lanes[0];
    return lanes[0];
}

static void softmax(float *x, int32_t n) {
    if (n < 1) return;
    const float top = largest(x, n);
    for (int32_t i = 0; i < n; i++) x[i] = moe_exp(x[i] - top);
    float sum = 0;
    {
#pragma clang fp reassociate(on)
        for (int32_t i = 0; i < n; i++) sum += x[i];
    }
    for (int32_t i = 0; i < n; i++) x[i] /= sum;
}
