// SPDX-License-Identifier: Apache-2.0
//
// IEEE 754 half precision in integer arithmetic, for the portable kernels and the blocks' scales: compilers' own conversions
// need a run-time library function where the CPU has none.
#ifndef MOE_HALF_H
#define MOE_HALF_H

#include <stdint.h>
#include <string.h>

static inline float moe_float_from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t moe_bits_from_float(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/// Exact; NaN stays NaN.
static inline float moe_float_from_half(uint16_t half) {
    const uint32_t sign = (uint32_t)(half & 0x8000) << 16, rest = half & 0x7fff;
    if (rest >= 0x7c00) return moe_float_from_bits(sign | 0x7f800000 | (rest & 0x3ff) << 13);
    if (rest >= 0x0400) return moe_float_from_bits(sign | ((rest << 13) + (112u << 23)));
    const float magnitude = (float)rest * 0x1p-24f;  // zero and subnormals
    return sign ? -magnitude : magnitude;
}

/// To nearest, ties to even; too large becomes infinity.
static inline uint16_t moe_half_from_float(float value) {
    const uint32_t bits = moe_bits_from_float(value), magnitude = bits & 0x7fffffff;
    const uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    if (magnitude > 0x7f800000) return sign | 0x7e00 | (uint16_t)(magnitude >> 13 & 0x3ff);
    if (magnitude >= 0x477ff000) return sign | 0x7c00;  // 65520 and above
    if (magnitude < 0x38800000) {                       // below 2^-14: a multiple of 2^-24
        // Adding 0.5 leaves exactly the bits down to 2^-24 in the mantissa, rounded to nearest even by the addition.
        return sign | (uint16_t)(moe_bits_from_float(moe_float_from_bits(magnitude) + 0.5f) - 0x3f000000);
    }
    return sign | (uint16_t)((magnitude - (112u << 23) + 0xfff + (magnitude >> 13 & 1)) >> 13);
}

#endif
