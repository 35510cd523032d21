// SPDX-License-Identifier: Apache-2.0
//
// Vectors of LANES floats for the attention kernels, included once per ISA by attention_body.h.

#include <stdint.h>
#include <string.h>

typedef float vector __attribute__((vector_size(LANES * 4)));
typedef float vector4 __attribute__((vector_size(16)));
#define INLINE static inline __attribute__((always_inline))

INLINE int32_t least(int32_t a, int32_t b) { return a < b ? a : b; }
INLINE int32_t most(int32_t a, int32_t b) { return a > b ? a : b; }

INLINE vector load(const float *x) {
    vector v;
    memcpy(&v, x, sizeof v);
    return v;
}
INLINE void store(float *x, vector v) { memcpy(x, &v, sizeof v); }

#if LANES == 16
#define INTERLEAVE(a, b, i, j) \
    __builtin_shufflevector(a, b, i, 16 + i, j, 16 + j, 4 + i, 20 + i, 4 + j, 20 + j, 8 + i, 24 + i, 8 + j, 24 + j, 12 + i, \
                            28 + i, 12 + j, 28 + j)
#define PAIRS(a, b, i) \
    __builtin_shufflevector(a, b, i, i + 1, 16 + i, 17 + i, 4 + i, 5 + i, 20 + i, 21 + i, 8 + i, 9 + i, 24 + i, 25 + i, 12 + i, \
                            13 + i, 28 + i, 29 + i)
#elif LANES == 8
#define INTERLEAVE(a, b, i, j) __builtin_shufflevector(a, b, i, 8 + i, j, 8 + j, 4 + i, 12 + i, 4 + j, 12 + j)
#define PAIRS(a, b, i) __builtin_shufflevector(a, b, i, i + 1, 8 + i, 9 + i, 4 + i, 5 + i, 12 + i, 13 + i)
#else
#define INTERLEAVE(a, b, i, j) __builtin_shufflevector(a, b, i, 4 + i, j, 4 + j)
#define PAIRS(a, b, i) __builtin_shufflevector(a, b, i, i + 1, 4 + i, 5 + i)
#endif

/// The sums of four vectors, each in the same fixed tree: lanes 0 and 2, 1 and 3 of every four; these two; then the fours.
INLINE vector4 sums(vector a, vector b, vector c, vector d) {
    const vector ab = INTERLEAVE(a, b, 0, 1) + INTERLEAVE(a, b, 2, 3);
    const vector cd = INTERLEAVE(c, d, 0, 1) + INTERLEAVE(c, d, 2, 3);
    const vector fours = PAIRS(ab, cd, 0) + PAIRS(ab, cd, 2);
#if LANES == 16
    typedef float vector8 __attribute__((vector_size(32)));
    const vector8 half = __builtin_shufflevector(fours, fours, 0, 1, 2, 3, 4, 5, 6, 7) +
                         __builtin_shufflevector(fours, fours, 8, 9, 10, 11, 12, 13, 14, 15);
    return __builtin_shufflevector(half, half, 0, 1, 2, 3) + __builtin_shufflevector(half, half, 4, 5, 6, 7);
#elif LANES == 8
    return __builtin_shufflevector(fours, fours, 0, 1, 2, 3) + __builtin_shufflevector(fours, fours, 4, 5, 6, 7);
#else
    return fours;
#endif
}

#undef INTERLEAVE
#undef PAIRS
