// SPDX-License-Identifier: Apache-2.0
//
// AVX-512 VNNI: the dot product of one row of quantised weights with one row of quantised activations, for the types of
// which models are made. The same integers as dot_avx2.c, in half the instructions.
#if defined(__x86_64__)
#include <immintrin.h>
#include <stddef.h>

#include "../blocks.h"
#include "../kernel_table.h"
#include "tables_x86.h"

#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni"))), apply_to = function)
#pragma STDC FP_CONTRACT OFF

#include "avx2.h"
#include "avx512.h"

#define FIELD(type, field) (w + offsetof(type, field))

MOE_INLINE __m512i two_halves(const void *low, const void *high) {
    return _mm512_inserti64x4(_mm512_castsi256_si512(load256(low)), load256(high), 1);
}
MOE_INLINE __m512i four_quarters(const uint8_t *p, size_t bytes) {
    const __m256i low = _mm256_inserti128_si256(_mm256_castsi128_si256(load128(p)), load128(p + bytes), 1);
    const __m256i high = _mm256_inserti128_si256(_mm256_castsi128_si256(load128(p + 2 * bytes)), load128(p + 3 * bytes), 1);
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}
MOE_INLINE __m512i dot(__m512i unsigned_bytes, __m512i signed_bytes) {
    return _mm512_dpbusd_epi32(_mm512_setzero_si512(), unsigned_bytes, signed_bytes);
}

/// In each 128-bit lane the four sums of z[0], z[1], z[2], z[3] over that lane.
MOE_INLINE __m512i sum_quarters(const __m512i z[4]) {
    const __m512i a = _mm512_add_epi32(_mm512_unpacklo_epi32(z[0], z[1]), _mm512_unpackhi_epi32(z[0], z[1]));
    const __m512i b = _mm512_add_epi32(_mm512_unpacklo_epi32(z[2], z[3]), _mm512_unpackhi_epi32(z[2], z[3]));
    return _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
}

/// Lane 0 + lane 1, lane 2 + lane 3.
MOE_INLINE __m256i add_quarters(__m512i v) {
    const __m512i even = _mm512_shuffle_i64x2(v, v, 0x88), odd = _mm512_shuffle_i64x2(v, v, 0xdd);
    return _mm256_add_epi32(_mm512_castsi512_si256(even), _mm512_castsi512_si256(odd));
}

/// z[i] holds block 2i in its low half and block 2i + 1 in its high half: the sum of each block, in its lane.
MOE_INLINE __m256i in_block_order(__m256i sums) {
    return _mm256_permutevar8x32_epi32(sums, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

// ---------------------------------------------------------------------------------------------------------------------
// Blocks of 32

MOE_INLINE __m256 step_q8_0(__m256 lanes, const uint8_t *w, const moe_act_chunk *x) {
    const size_t bytes = sizeof(moe_block_q8_0);
    __m512i z[4];
    for (size_t i = 0; i < 4; i++) {
        const uint8_t *qs = FIELD(moe_block_q8_0, qs) + 2 * i * bytes;
        z[i] = dot(_mm512_xor_si512(two_halves(qs, qs + bytes), _mm512_set1_epi8((char)0x80)), load512(x->q + 64 * i));
    }
    const __m256i sums = in_block_order(add_quarters(sum_quarters(z)));
    return add_products(lanes, scales_q8_0(w), x, without_offset(sums, x, 7));
}

/// Low and high nibbles of four blocks (quarters), with 16 added where `fifth` says so, times their activations: four sums
/// per block.
MOE_INLINE __m512i nibble_dots(__m512i packed, __mmask64 fifth_low, __mmask64 fifth_high, const int8_t *x) {
    const __m512i mask = _mm512_set1_epi8(15), sixteen = _mm512_set1_epi8(16);
    const __m512i low = _mm512_and_si512(packed, mask), high = _mm512_and_si512(_mm512_srli_epi16(packed, 4), mask);
    const __m512i x01 = load512(x), x23 = load512(x + 64);
    const __m512i sums = dot(_mm512_mask_add_epi8(low, fifth_low, low, sixteen), _mm512_shuffle_i32x4(x01, x23, 0x88));
    return _mm512_dpbusd_epi32(sums, _mm512_mask_add_epi8(high, fifth_high, high, sixteen),
                               _mm512_shuffle_i32x4(x01, x23, 0xdd));
}

/// From nibble_dots of blocks 0...3 and 4...7: the sum of each block, in its lane.
MOE_INLINE __m256i sum_eight(__m512i a, __m512i b) {
    const __m512i pairs = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    const __m512i sums = _mm512_add_epi32(pairs, _mm512_shuffle_epi32(pairs, 0x4e));
    const __m512i order = _mm512_castsi256_si512(_mm256_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13));
    return _mm512_castsi512_si256(_mm512_permutexvar_epi32(order, sums));
}

/// The same for indices into a codebook, whose values lie in `values` with 128 added.
MOE_INLINE __m512i codebook_dots(__m512i packed, __m512i values, const int8_t *x) {
    const __m512i mask = _mm512_set1_epi8(15);
    const __m512i low = _mm512_and_si512(packed, mask), high = _mm512_and_si512(_mm512_srli_epi16(packed, 4), mask);
    const __m512i x01 = load512(x), x23 = load512(x + 64);
    const __m512i sums = dot(_mm512_shuffle_epi8(values, low), _mm512_shuffle_i32x4(x01, x23, 0x88));
    return _mm512_dpbusd_epi32(sums, _mm512_shuffle_epi8(values, high), _mm512_shuffle_i32x4(x01, x23, 0xdd));
}

/// Eight blocks of 16 bytes of indices, `bytes` apart: the integer sum of each.
MOE_INLINE __m256i codebook_blocks(const uint8_t *qs, size_t bytes, const int8_t *codebook, const moe_act_chunk *x) {
    const __m512i values = _mm512_xor_si512(_mm512_broadcast_i32x4(load128(codebook)), _mm512_set1_epi8((char)0x80));
    const __m512i a = codebook_dots(four_quarters(qs, bytes), values, x->q);
    const __m512i b = codebook_dots(four_quarters(qs + 4 * bytes, bytes), values, x->q + 128);
    return without_offset(sum_eight(a, b), x, 7);
}

MOE_INLINE __m256 step_iq4_nl(__m256 lanes, const uint8_t *w, const moe_act_chunk *x) {
    static const int8_t codebook[16] = MOE_CODEBOOK_IQ4;
    const size_t bytes = sizeof(moe_block_iq4_nl);
    const __m256i sums = codebook_blocks(FIELD(moe_block_iq4_nl, qs), bytes, codebook, x);
    return add_products(lanes, scales_q4_0(w), x, sums);  // the same layout
}

MOE_INLINE __m256 step_iq4_xs(__m256 lanes, const uint8_t *w, const moe_act_chunk *x) {
    static const int8_t codebook[16] = MOE_CODEBOOK_IQ4;
    return add_products(lanes, scales_iq4_xs(w), x, codebook_blocks(FIELD(moe_block_iq4_xs, qs), 16, codebook, x));
}

MOE_INLINE __m256 step_mxfp4(__m256 lanes, const uint8_t *w, const moe_act_chunk *x) {
    static const int8_t codebook[16] = MOE_CODEBOOK_MXFP4;
    const size_t bytes = sizeof(moe_block_mxfp4);
    const __m256i sums = codebook_blocks(FIELD(moe_block_mxfp4, qs), bytes, codebook, x);
    return add_products(lanes, exponents_of_blocks(w, bytes), x, sums);
}

MOE_INLINE __m256 step_q4_0(__m256 lanes, const uint8_t *w, const moe_act_chunk *x) {
    const size_t bytes = sizeof(moe_block_q4_0);
    const uint8_t *qs = FIELD(moe_block_q4_0, qs);
    const __m512i a = nibble_dots(four_quarters(qs, bytes), 0, 0, x->q);
    const __m512i b = nibble_dots(four_quarters(qs + 4 * bytes, bytes), 0, 0, x->q + 128);
    return add_products(lanes, scales_q4_0(w), x, without_offset(sum_eight(a, b), x, 3));
}

MOE_INLINE __m256 step_q4_1(__m256 lanes, const uint8_t *w, const moe_act_chunk *x) {
    const size_t bytes = sizeof(moe_block_q4_1);
    const uint8_t *qs = FIELD(moe_block_q4_1, qs);
    const __m512i a = nibble_dots(four_quarters(qs, bytes), 0, 0, x->q);
    const __m512i b = nibble_dots(four_quarters(qs + 4 * bytes, bytes), 0, 0, x->q + 128);
    // d and m of four blocks each: words 10 i and 10 i + 1 of 32.
    const __m512i order = _mm512_castsi128_si512(_mm_setr_epi16(0, 10, 20, 30, 1, 11, 21, 31));
    const __m128i low = _mm512_castsi512_si128(_mm512_permutexvar_epi16(order, load512(w)));
    const __m128i high = _mm512_castsi512_si128(_mm512_permutexvar_epi16(order, load512(w + 4 * bytes)));
    lanes = add_products(lanes, _mm256_cvtph_ps(_mm_unpacklo_epi64(low, high)), x, sum_eight(a, b));
    return add_mins(lanes, _mm256_cvtph_ps(_mm_unpackhi_epi64(low, high)), x);
}

/// The words of four blocks that are `step` words apart, from 128 bytes that begin `first` words before the first block: word
/// `a` of each block, then `b`, then `c`, then `d`.
MOE_INLINE __m256i words_of_four(const uint8_t *p, short first, short step, short a, short b, short c, short d) {
    const short s1 = (short)(first + step), s2 = (short)(first + 2 * step), s3 = (short)(first + 3 * step);
    const __m256i order = _mm256_setr_epi16(
        (short)(first + a), (short)(s1 + a), (short)(s2 + a), (short)(s3 + a), (short)(first + b), (short)(s1 + b),
        (short)(s2 + b), (short)(s3 + b), (short)(first + c), (short)(s1 + c), (short)(s2 + c), (short)(s3 + c),
        (short)(first + d), (short)(s1 + d), (short)(s2 + d), (short)(s3 + d));
    return _mm512_castsi512_si256(_mm512_permutex2var_epi16(load512(p), _mm512_castsi256_si512(order), load512(p + 64)));
}

MOE_INLINE __m256 step_q5_0(__m256 lanes, const uint8_t *w, const moe_act_chunk *x) {
    const size_t bytes = sizeof(moe_block_q5_0);
    const uint8_t *qs = FIELD(moe_block_q5_0, qs);
    // Per block: word 0 is d, words 1 and 2 are the fifth bits. The second load ends with the chunk: block 4 is word 20 of it.
    const __m256i low = words_of_four(w, 0, 11, 0, 0, 1, 2);
    const __m256i high = words_of_four(w + 8 * bytes - 128, 20, 11, 0, 0, 1, 2);
    const __m128i low_bits = _mm256_extracti128_si256(low, 1), high_bits = _mm256_extracti128_si256(high, 1);
    const __m512i a = nibble_dots(four_quarters(qs, bytes), (__mmask64)_mm_cvtsi128_si64(low_bits),
                                  (__mmask64)_mm_extract_epi64(low_bits, 1), x->q);
    const __m512i b = nibble_dots(four_quarters(qs + 4 * bytes, bytes), (__mmask64)_mm_cvtsi128_si64(high_bits),
                                  (__mmask64)_mm_extract_epi64(high_bits, 1), x->q + 128);
    const __m128i d = _mm_unpacklo_epi64(_mm256_castsi256_si128(low), _mm256_castsi256_si128(high));
    return add_products(lanes, _mm256_cvtph_ps(d), x, without_offset(sum_eight(a, b), x, 4));
}

MOE_INLINE __m256 step_q5_1(__m256 lanes, const uint8_t *w, const moe_act_chunk *x) {
    const size_t bytes = sizeof(moe_block_q5_1);
    const uint8_t *qs = FIELD(moe_block_q5_1, qs);
    // Per block: words 0 and 1 are d and m, words 2 and 3 the fifth bits. Block 4 is word 16 of the second load.
    const __m256i low = words_of_four(w, 0, 12, 0, 1, 2, 3);
    const __m256i high = words_of_four(w + 8 * bytes - 128, 16, 12, 0, 1, 2, 3);
    const __m128i low_bits = _mm256_extracti128_si256(low, 1), high_bits = _mm256_extracti128_si256(high, 1);
    const __m512i a = nibble_dots(four_quarters(qs, bytes), (__mmask64)_mm_cvtsi128_si64(low_bits),
                                  (__mmask64)_mm_extract_epi64(low_bits, 1), x->q);
    const __m512i b = nibble_dots(four_quarters(qs + 4 * bytes, bytes), (__mmask64)_mm_cvtsi128_si64(high_bits),
                                  (__mmask64)_mm_extract_epi64(high_bits, 1), x->q + 128);
    const __m128i scales_low = _mm256_castsi256_si128(low), scales_high = _mm256_castsi256_si128(high);
    lanes = add_products(lanes, _mm256_cvtph_ps(_mm_unpacklo_epi64(scales_low, scales_high)), x, sum_eight(a, b));
    return add_mins(lanes, _mm256_cvtph_ps(_mm_unpackhi_epi64(scales_low, scales_high)), x);
}

// ---------------------------------------------------------------------------------------------------------------------
// Blocks of 256

/// 64 bytes: blocks 4 half, 4 half + 2 in the low nibbles, 4 half + 1, 4 half + 3 in the high nibbles. `qh` holds the fifth
/// bits of block b in bit b, or is NULL.
MOE_INLINE __m256i sums_k(const uint8_t *qs, const uint8_t *qh, const moe_act_chunk *x) {
    const __m512i mask = _mm512_set1_epi8(15), sixteen = _mm512_set1_epi8(16);
    const __m512i bits = qh ? _mm512_broadcast_i64x4(load256(qh)) : _mm512_setzero_si512();
    __m512i z[4];
    for (int half = 0; half < 2; half++) {
        const __m512i packed = load512(qs + 64 * half);
        __m512i low = _mm512_and_si512(packed, mask), high = _mm512_and_si512(_mm512_srli_epi16(packed, 4), mask);
        if (qh) {
            const int b = 4 * half;
            const __m256i even0 = _mm256_set1_epi8((char)(1 << b)), even1 = _mm256_set1_epi8((char)(4 << b));
            const __m512i even = _mm512_inserti64x4(_mm512_castsi256_si512(even0), even1, 1);
            const __m512i odd = _mm512_add_epi8(even, even);
            low = _mm512_mask_add_epi8(low, _mm512_test_epi8_mask(bits, even), low, sixteen);
            high = _mm512_mask_add_epi8(high, _mm512_test_epi8_mask(bits, odd), high, sixteen);
        }
        const int8_t *q = x->q + 128 * half;
        z[2 * half] = dot(low, two_halves(q, q + 64));
        z[2 * half + 1] = dot(high, two_halves(q + 32, q + 96));
    }
    // Blocks 0, 1, 4, 5 in the low half, 2, 3, 6, 7 in the high.
    return _mm256_permute4x64_epi64(add_quarters(sum_quarters(z)), 0xd8);
}

MOE_INLINE __m256 step_q4_k(__m256 lanes, const uint8_t *w, const moe_act_chunk *x) {
    const __m256i sums = sums_k(FIELD(moe_block_q4_k, qs), NULL, x);
    return add_block_k(lanes, w, FIELD(moe_block_q4_k, scales), x, sums);
}

MOE_INLINE __m256 step_q5_k(__m256 lanes, const uint8_t *w, const moe_act_chunk *x) {
    const __m256i sums = sums_k(FIELD(moe_block_q5_k, qs), FIELD(moe_block_q5_k, qh), x);
    return add_block_k(lanes, w, FIELD(moe_block_q5_k, scales), x, sums);
}

MOE_INLINE __m256 step_q6_k(__m256 lanes, const uint8_t *w, const moe_act_chunk *x) {
    const __m512i mask = _mm512_set1_epi8(15), top = _mm512_set1_epi8(48);
    const __m512i shift = _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi16(2), 1);
    __m512i z[4];
    for (int half = 0; half < 2; half++) {
        const __m512i packed = load512(w + 64 * half);
        const __m256i qh = load256(FIELD(moe_block_q6_k, qh) + 32 * half);
        // Bits 4 and 5 are now those of blocks 2 and 3, bits 0 and 1 those of blocks 0 and 1.
        const __m512i high = _mm512_srlv_epi16(_mm512_broadcast_i64x4(qh), shift);
        const __m512i high01 = _mm512_and_si512(_mm512_slli_epi16(high, 4), top);
        const __m512i q01 = _mm512_or_si512(_mm512_and_si512(packed, mask), high01);
        const __m512i q23 = _mm512_or_si512(_mm512_and_si512(_mm512_srli_epi16(packed, 4), mask), _mm512_and_si512(high, top));
        z[2 * half] = dot(q01, load512(x->q + 128 * half));
        z[2 * half + 1] = dot(q23, load512(x->q + 128 * half + 64));
    }
    // Lane i of the sums holds sub-blocks i, i + 4, i + 8, i + 12.
    const __m128i scales = load128(FIELD(moe_block_q6_k, scales));
    const __m128i order = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512i wide = _mm512_cvtepi8_epi32(_mm_shuffle_epi8(scales, order));
    const __m256i sums = in_block_order(add_quarters(_mm512_mullo_epi32(sum_quarters(z), wide)));
    // The values are q - 32.
    const __m256i sum16 = load256(x->sum16);
    const __m256i offset = _mm256_slli_epi32(_mm256_madd_epi16(_mm256_cvtepi8_epi16(scales), sum16), 5);
    const __m256 d = _mm256_set1_ps(moe_load_half(FIELD(moe_block_q6_k, d)));
    return add_products(lanes, d, x, _mm256_sub_epi32(sums, offset));
}

#define VNNI_TYPES(X)                                                                                    \
    X(Q8_0, q8_0) X(Q4_0, q4_0) X(Q4_1, q4_1) X(Q5_0, q5_0) X(Q5_1, q5_1) X(Q4_K, q4_k) X(Q5_K, q5_k) X(Q6_K, q6_k) \
    X(IQ4_NL, iq4_nl) X(IQ4_XS, iq4_xs) X(MXFP4, mxfp4)

VNNI_TYPES(MOE_DEFINE_DOTS)

#pragma clang attribute pop

void moe_set_dot_avx512vnni(moe_kernels *table) {
#define SET_DOT(NAME, name)                       \
    table->names[MOE_TYPE_##NAME] = "avx512vnni"; \
    table->dot[MOE_TYPE_##NAME] = dot_##name;     \
    table->dots[MOE_TYPE_##NAME] = dots_##name;
    VNNI_TYPES(SET_DOT)
}
#endif
