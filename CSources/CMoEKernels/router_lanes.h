// SPDX-License-Identifier: Apache-2.0
//
// Sixteen floats or integers side by side, for router_body.h. Include inside the target attribute. Comparisons give -1 or 0 per
// lane. Contraction to fma is off for all that follows in the file: the same bits on every ISA.

#include <math.h>
#include <stdint.h>
#include <string.h>

#pragma clang fp contract(off)
// All of it is inlined: no vector is ever passed by an ABI that could differ between ISAs.
#pragma clang diagnostic ignored "-Wpsabi"

typedef float lanes __attribute__((vector_size(64)));
typedef int32_t ints __attribute__((vector_size(64)));
#define INLINE static inline __attribute__((always_inline))

INLINE lanes splat(float x) { return (lanes){0} + x; }
INLINE ints splat_int(int32_t x) { return (ints){0} + x; }
INLINE ints lane_numbers(void) { return (ints){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}; }
/// -1 in the first `count` lanes.
INLINE ints first_lanes(int32_t count) { return lane_numbers() < splat_int(count); }

INLINE lanes load(const float *x) {
    lanes v;
    memcpy(&v, x, sizeof v);
    return v;
}
INLINE ints load_ints(const int32_t *x) {
    ints v;
    memcpy(&v, x, sizeof v);
    return v;
}
INLINE void store(float *x, lanes v) { memcpy(x, &v, sizeof v); }

/// The first `count` of 16 floats, or all; `rest` in the other lanes.
INLINE lanes load_part(const float *x, int32_t count, float rest) {
    if (count >= 16) return load(x);
    float part[16];
    for (int32_t i = 0; i < 16; i++) part[i] = i < count ? x[i] : rest;
    return load(part);
}

INLINE ints select_ints(ints mask, ints a, ints b) { return (mask & a) | (~mask & b); }
INLINE lanes select_lanes(ints mask, lanes a, lanes b) { return (lanes)select_ints(mask, (ints)a, (ints)b); }
/// x where the mask is set, else 0.
INLINE lanes keep(ints mask, lanes x) { return (lanes)(mask & (ints)x); }
INLINE ints max_ints(ints a, ints b) { return select_ints(a > b, a, b); }

typedef float lanes8 __attribute__((vector_size(32)));
typedef float lanes4 __attribute__((vector_size(16)));

/// The sum of all lanes: l[i] + l[i + 8], then ((l0 + l4) + (l2 + l6)) + ((l1 + l5) + (l3 + l7)).
INLINE float fold(lanes v) {
    const lanes8 a = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) +
                     __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
    const lanes4 b = __builtin_shufflevector(a, a, 0, 1, 2, 3) + __builtin_shufflevector(a, a, 4, 5, 6, 7);
    return (b[0] + b[2]) + (b[1] + b[3]);
}

/// The largest lane; a NaN is passed over unless lane 0 holds it.
INLINE float largest_lane(lanes v) {
    float all[16], top;
    memcpy(all, &v, sizeof all);
    top = all[0];
    for (int32_t i = 1; i < 16; i++) top = all[i] > top ? all[i] : top;
    return top;
}

/// moe_exp of each lane, operation by operation.
INLINE lanes exp_lanes(lanes x) {
    const lanes least = splat(-87.33654f), shifter = splat(0x1.8p+23f);
    const ints vanishes = x < least;
    x = select_lanes(vanishes, least, x);
    x = select_lanes(x > 89.0f, splat(89.0f), x);
    const lanes shifted = x * 0x1.715476p+0f + shifter;
    const lanes n = shifted - shifter;
    const lanes r = (x - n * 0x1.63p-1f) - n * -0x1.bd0106p-13f;
    lanes p = splat(1.0f / 5040);
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    const ints exponent = (ints)shifted - 0x4b400000;
    const ints low = exponent >> 1, high = exponent - low;
    return keep(~vanishes, p * (lanes)((low + 127) << 23) * (lanes)((high + 127) << 23));
}

/// log of positive normal numbers, at most 2 units in the last place off; NaN and infinity stay what they are.
///
/// log x = e ln 2 + log m, x = 2^e m, sqrt(1/2) <= m < sqrt(2); log m = 2 artanh(s) = 2 (s + s^3/3 + …), s = (m - 1) / (m + 1),
/// |s| < 0.172, so that the first term left out, 2 s^13 / 13, is below 2e-11. ln 2 is split so that e * high is exact.
INLINE lanes log_lanes(lanes x) {
    const ints bits = (ints)x;
    const ints shifted = bits - 0x3f3504f3;  // the bits of sqrt(1/2)
    const ints e = shifted >> 23;
    const lanes m = (lanes)(bits - (e << 23));
    const lanes s = (m - 1.0f) / (m + 1.0f), square = s * s;
    lanes p = splat(2.0f / 11);
    p = p * square + 2.0f / 9;
    p = p * square + 2.0f / 7;
    p = p * square + 2.0f / 5;
    p = p * square + 2.0f / 3;
    const lanes n = __builtin_convertvector(e, lanes);
    const lanes result = n * 0x1.63p-1f + (2.0f * s + (p * square * s + n * -0x1.bd0106p-13f));
    return select_lanes(x < INFINITY, result, x);
}
