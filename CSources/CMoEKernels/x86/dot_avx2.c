// SPDX-License-Identifier: Apache-2.0
//
// AVX2: a weight row times one to eight activation rows, for Q2_K and Q3_K. few_avx2.c has the other types.
#if defined(__x86_64__)
#include <immintrin.h>
#include <stddef.h>

#include "../blocks.h"
#include "../kernel_table.h"
#include "tables_x86.h"

#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#pragma STDC FP_CONTRACT OFF

#include "avx2.h"

#define FIELD(type, field) (w + offsetof(type, field))

/// int16 pair sums of blocks 2i and 2i + 1 (|sum| <= 16384), times the 8-bit scales of their halves: sum_interleaved's input.
MOE_INLINE __m256i scaled_pair(__m256i even, __m256i odd, __m128i scales, int i) {
    // After hadd the low half holds the first halves of both blocks, the high half the second halves.
    const char a = (char)(4 * i), b = (char)(4 * i + 1), c = (char)(4 * i + 2), d = (char)(4 * i + 3);
    const __m128i order = _mm_setr_epi8(a, a, a, a, c, c, c, c, b, b, b, b, d, d, d, d);
    const __m256i wide = _mm256_cvtepi8_epi16(_mm_shuffle_epi8(scales, order));
    return _mm256_madd_epi16(_mm256_hadd_epi16(even, odd), wide);
}

MOE_INLINE __m256 step_q2_k(__m256 lanes, const uint8_t *w, const moe_act_chunk *x) {
    const __m128i packed = load128(w), mask = _mm_set1_epi8(15);
    const __m128i scales = _mm_and_si128(packed, mask), mins = _mm_and_si128(_mm_srli_epi16(packed, 4), mask);
    const __m256i two = _mm256_set1_epi8(3);
    __m256i sums[4];
    for (int half = 0; half < 2; half++) {
        const __m256i qs = load256(FIELD(moe_block_q2_k, qs) + 32 * half);
        const int8_t *q = x->q + 128 * half;
        const __m256i p0 = _mm256_maddubs_epi16(_mm256_and_si256(qs, two), load256(q));
        const __m256i p1 = _mm256_maddubs_epi16(_mm256_and_si256(_mm256_srli_epi16(qs, 2), two), load256(q + 32));
        const __m256i p2 = _mm256_maddubs_epi16(_mm256_and_si256(_mm256_srli_epi16(qs, 4), two), load256(q + 64));
        const __m256i p3 = _mm256_maddubs_epi16(_mm256_and_si256(_mm256_srli_epi16(qs, 6), two), load256(q + 96));
        sums[2 * half] = scaled_pair(p0, p1, scales, 2 * half);
        sums[2 * half + 1] = scaled_pair(p2, p3, scales, 2 * half + 1);
    }
    const __m256 d = _mm256_set1_ps(moe_load_half(FIELD(moe_block_q2_k, d)));
    const __m256 dmin = _mm256_set1_ps(-moe_load_half(FIELD(moe_block_q2_k, dmin)));
    lanes = add_products(lanes, d, x, sum_interleaved(sums));
    return add_products(lanes, dmin, x, _mm256_madd_epi16(_mm256_cvtepu8_epi16(mins), load256(x->sum16)));
}

/// The sixteen 6-bit scales of Q3_K, less 32, as int8.
MOE_INLINE __m128i scales_q3_k(const uint8_t *p) {
    const uint32_t a = (uint32_t)load_i32(p), b = (uint32_t)load_i32(p + 4), c = (uint32_t)load_i32(p + 8);
    const uint32_t four = 0x0f0f0f0f, two = 0x30303030;
    const __m128i scales = _mm_setr_epi32((int)((a & four) | (c << 4 & two)), (int)((b & four) | (c << 2 & two)),
                                          (int)((a >> 4 & four) | (c & two)), (int)((b >> 4 & four) | (c >> 2 & two)));
    return _mm_sub_epi8(scales, _mm_set1_epi8(32));
}

/// The bits of block b (at bit b of each byte) as 4 in each byte.
MOE_INLINE __m256i third_bits(__m256i bits, int b) {
    const __m256i moved = b < 2 ? _mm256_slli_epi16(bits, 2 - b) : _mm256_srli_epi16(bits, b - 2);
    return _mm256_and_si256(moved, _mm256_set1_epi8(4));
}

MOE_INLINE __m256 step_q3_k(__m256 lanes, const uint8_t *w, const moe_act_chunk *x) {
    const __m128i scales = scales_q3_k(FIELD(moe_block_q3_k, scales));
    const __m256i two = _mm256_set1_epi8(3), bits = load256(w);
    __m256i sums[4];
    for (int half = 0; half < 2; half++) {
        const __m256i qs = load256(FIELD(moe_block_q3_k, qs) + 32 * half);
        const int8_t *q = x->q + 128 * half;
        const int b = 4 * half;
        const __m256i q0 = _mm256_or_si256(_mm256_and_si256(qs, two), third_bits(bits, b));
        const __m256i q1 = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(qs, 2), two), third_bits(bits, b + 1));
        const __m256i q2 = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(qs, 4), two), third_bits(bits, b + 2));
        const __m256i q3 = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(qs, 6), two), third_bits(bits, b + 3));
        const __m256i p0 = _mm256_maddubs_epi16(q0, load256(q)), p1 = _mm256_maddubs_epi16(q1, load256(q + 32));
        const __m256i p2 = _mm256_maddubs_epi16(q2, load256(q + 64)), p3 = _mm256_maddubs_epi16(q3, load256(q + 96));
        sums[2 * half] = scaled_pair(p0, p1, scales, 2 * half);
        sums[2 * half + 1] = scaled_pair(p2, p3, scales, 2 * half + 1);
    }
    // The values are q - 4.
    const __m256i offset =
        _mm256_slli_epi32(_mm256_madd_epi16(_mm256_cvtepi8_epi16(scales), load256(x->sum16)), 2);
    const __m256 d = _mm256_set1_ps(moe_load_half(FIELD(moe_block_q3_k, d)));
    return add_products(lanes, d, x, _mm256_sub_epi32(sum_interleaved(sums), offset));
}

#define DOT_TYPES(X) X(Q2_K, q2_k) X(Q3_K, q3_k)
DOT_TYPES(MOE_DEFINE_DOTS)

#pragma clang attribute pop

void moe_set_dot_avx2(moe_kernels *table) {
#define SET_DOT(NAME, name)                   \
    table->names[MOE_TYPE_##NAME] = "avx2";   \
    table->dot[MOE_TYPE_##NAME] = dot_##name; \
    table->dots[MOE_TYPE_##NAME] = dots_##name;
    DOT_TYPES(SET_DOT)
}
#endif
