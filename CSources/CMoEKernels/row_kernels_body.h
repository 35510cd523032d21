// SPDX-License-Identifier: Apache-2.0
//
// The loops of the row kernels, included once per ISA: by ref/row_ref.c as they are, by x86/row_avx2.c under the target
// attribute of AVX2, where the compiler makes 8-wide code of them. A sum over a row may be reordered (lanes), but always in
// the same way for the same length. The includer defines to_half.

#include <math.h>

#include "exp_float.h"
#include "half.h"
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

/// Up to 32 values as int8, -127...127, times a scale that is the largest magnitude / 127 rounded to half precision; the integers
/// are those nearest to x / scale. The scale is NaN where a value is not finite or the scale would not be.
static inline void bytes_of_block(const float *x, int8_t *q, uint16_t *scale, int32_t count) {
    uint32_t largest = 0;
    for (int32_t i = 0; i < count; i++) {
        const uint32_t magnitude = moe_bits_from_float(x[i]) & 0x7fffffff;
        largest = magnitude > largest ? magnitude : largest;
    }
    const uint16_t half = moe_half_from_float(moe_float_from_bits(largest) / 127.0f);
    const bool finite = half < 0x7c00;
    *scale = finite ? half : 0x7e00;
    const float inverse = finite && half != 0 ? 1.0f / moe_float_from_half(half) : 0;
    for (int32_t i = 0; i < count; i++) {
        // Adding 1.5 * 2^23 rounds to a whole number, ties to even, held in the low bits. The clamp is for scales that half
        // precision rounded down: by 2^-11, or more where they are subnormal.
        float value = finite ? x[i] * inverse : 0;
        value = value > 127 ? 127 : value < -127 ? -127 : value;
        const float shifted = value + 0x1.8p+23f;
        q[i] = (int8_t)(moe_bits_from_float(shifted) & 0xff);
    }
}

static void to_bytes(const float *x, int8_t *q, uint16_t *scales, int32_t count) {
    int32_t i = 0;
    for (; i + 32 <= count; i += 32) bytes_of_block(x + i, q + i, scales++, 32);
    if (i < count) bytes_of_block(x + i, q + i, scales, count - i);
}
