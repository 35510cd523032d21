// SPDX-License-Identifier: Apache-2.0
//
// Attention for AVX-512: 32 registers of 16 floats.

#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "../half.h"

#define LANES 16
#define SCORE_ROWS 4
#define VALUE_ROWS 4
#define VALUE_VECTORS 4
#define DIRECT_QUERIES 16
#define DIRECT_ROWS 8
#define LOAD_HALF(p) ((vector)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)(p))))
#define LOAD_BYTES(p) ((vector)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)(p)))))
#define NAME moe_attention_avx512

#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx2,fma,f16c"))), apply_to = function)

static void half_row(const uint16_t *x, float *y, int32_t n) {
    int32_t i = 0;
    for (; i + 16 <= n; i += 16) _mm512_storeu_ps(y + i, _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(x + i))));
    for (; i < n; i++) y[i] = moe_float_from_half(x[i]);
}

#include "../attention_body.h"

#pragma clang attribute pop
#endif
