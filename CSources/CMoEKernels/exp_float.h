// SPDX-License-Identifier: Apache-2.0
//
// exp for loops that the compiler vectorises, each under its own target attribute: hence a static inline function.
#ifndef MOE_EXP_FLOAT_H
#define MOE_EXP_FLOAT_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/// exp(x) with at most 2 units in the last place of error, without branches, so that loops over it vectorise. Results below
/// the smallest normal number are 0: subnormal arithmetic is slow on some CPUs, and here nobody could tell.
///
/// exp(x) = 2^n * exp(r), n = round(x / ln 2), |r| <= ln(2) / 2, and exp(r) as its Taylor polynomial of degree 7, whose error
/// there is 7e-9 (relative), an eighth of a unit in the last place. ln 2 is split so that n * high is exact. 2^n is applied in
/// two halves, because 2^128 is not a float.
static inline float moe_exp(float x) {
    const float log2e = 0x1.715476p+0f, ln2_high = 0x1.63p-1f, ln2_low = -0x1.bd0106p-13f;
    const float shifter = 0x1.8p+23f;  // adding it rounds to a whole number, held in the low bits
    const float least = -87.33654f;    // the logarithm of 2^-126
    const bool vanishes = x < least;   // NaN does not, and passes through all of this
    x = vanishes ? least : x;
    x = x > 89.0f ? 89.0f : x;
    const float shifted = x * log2e + shifter;
    const float n = shifted - shifter;
    float r = x - n * ln2_high;
    r = r - n * ln2_low;
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;

    int32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    const int32_t exponent = bits - 0x4b400000;  // the bits of the shifter
    const int32_t low = exponent >> 1, high = exponent - low;
    const int32_t low_bits = (int32_t)((uint32_t)(low + 127) << 23), high_bits = (int32_t)((uint32_t)(high + 127) << 23);
    float low_scale, high_scale;
    memcpy(&low_scale, &low_bits, sizeof low_scale);
    memcpy(&high_scale, &high_bits, sizeof high_scale);
    return vanishes ? 0.0f : p * low_scale * high_scale;
}

#endif
