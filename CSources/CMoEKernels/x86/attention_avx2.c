// SPDX-License-Identifier: Apache-2.0
//
// Attention for AVX2, FMA and F16C: 16 registers of 8 floats.

#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "../half.h"

#define LANES 8
#define SCORE_ROWS 2
#define VALUE_ROWS 4
#define VALUE_VECTORS 2
#define DIRECT_QUERIES 16
#define DIRECT_ROWS 4
#define LOAD_HALF(p) ((vector)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(p))))
#define LOAD_BYTES(p) ((vector)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(p)))))
#define NAME moe_attention_avx2

#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)

static void half_row(const uint16_t *x, float *y, int32_t n) {
    int32_t i = 0;
    for (; i + 8 <= n; i += 8) _mm256_storeu_ps(y + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(x + i))));
    for (; i < n; i++) y[i] = moe_float_from_half(x[i]);
}

#include "../attention_body.h"

#pragma clang attribute pop
#endif
