// SPDX-License-Identifier: Apache-2.0
//
// AVX2: the dot product of one row of quantised weights with one row of quantised activations.
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

MOE_INLINE __m256i ones16(void) { return _mm256_set1_epi16(1); }

MOE_INLINE __m256i two_loads(const void *low, const void *high) {
    return _mm256_inserti128_si256(_mm256_castsi128_si256(load128(low)), load128(high), 1);
}

/// The nibbles of two blocks of 32 whose qs lie at a and b, times their activations: int16 sums, the first block in the low
/// half. `fifth` holds 16 in the bytes (same order) whose fifth bit is set.
MOE_INLINE __m256i nibble_products(const uint8_t *a, const uint8_t *b, __m256i fifth_low, __m256i fifth_high,
                                   const int8_t *x) {
    const __m256i packed = two_loads(a, b);
    const __m256i low = _mm256_or_si256(_mm256_and_si256(packed, _mm256_set1_epi8(15)), fifth_low);
    const __m256i high =
        _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(packed, 4), _mm256_set1_epi8(15)), fifth_high);
    const __m256i low_products = _mm256_maddubs_epi16(low, two_loads(x, x + 32));
    return _mm256_add_epi16(low_products, _mm256_maddubs_epi16(high, two_loads(x + 16, x + 48)));
}

/// Eight blocks of 32 four- or five-bit values `bytes` apart: the integer sum of each.
MOE_INLINE __m256i small_blocks(const uint8_t *qs, const uint8_t *qh, size_t bytes, const moe_act_chunk *x) {
    __m256i sums[4];
    for (size_t i = 0; i < 4; i++) {
        __m256i fifth_low = _mm256_setzero_si256(), fifth_high = fifth_low;
        if (qh) {
            const uint8_t *bits_of_pair = qh + 2 * i * bytes;
            const __m128i a = _mm_set1_epi32(load_i32(bits_of_pair)), b = _mm_set1_epi32(load_i32(bits_of_pair + bytes));
            const __m256i bits = _mm256_inserti128_si256(_mm256_castsi128_si256(a), b, 1);
            fifth_low = fifth_bits(bits, _mm256_setr_epi64x(0, 0x0101010101010101, 0, 0x0101010101010101));
            fifth_high = fifth_bits(
                bits, _mm256_setr_epi64x(0x0202020202020202, 0x0303030303030303, 0x0202020202020202, 0x0303030303030303));
        }
        const uint8_t *p = qs + 2 * i * bytes;
        sums[i] = _mm256_madd_epi16(nibble_products(p, p + bytes, fifth_low, fifth_high, x->q + 64 * i), ones16());
    }
    return sum_halves(sums);
}

MOE_INLINE __m256 step_q4_0(__m256 lanes, const uint8_t *w, const moe_act_chunk *x) {
    const size_t bytes = sizeof(moe_block_q4_0);
    const __m256i sums = small_blocks(FIELD(moe_block_q4_0, qs), NULL, bytes, x);
    return add_products(lanes, halves_of_blocks(w, bytes), x, without_offset(sums, x, 3));
}

MOE_INLINE __m256 step_q4_1(__m256 lanes, const uint8_t *w, const moe_act_chunk *x) {
    const size_t bytes = sizeof(moe_block_q4_1);
    const __m256i sums = small_blocks(FIELD(moe_block_q4_1, qs), NULL, bytes, x);
    lanes = add_products(lanes, halves_of_blocks(w, bytes), x, sums);
    return add_mins(lanes, halves_of_blocks(w + 2, bytes), x);
}

MOE_INLINE __m256 step_q5_0(__m256 lanes, const uint8_t *w, const moe_act_chunk *x) {
    const size_t bytes = sizeof(moe_block_q5_0);
    const __m256i sums = small_blocks(FIELD(moe_block_q5_0, qs), FIELD(moe_block_q5_0, qh), bytes, x);
    return add_products(lanes, halves_of_blocks(w, bytes), x, without_offset(sums, x, 4));
}

MOE_INLINE __m256 step_q5_1(__m256 lanes, const uint8_t *w, const moe_act_chunk *x) {
    const size_t bytes = sizeof(moe_block_q5_1);
    const __m256i sums = small_blocks(FIELD(moe_block_q5_1, qs), FIELD(moe_block_q5_1, qh), bytes, x);
    lanes = add_products(lanes, halves_of_blocks(w, bytes), x, sums);
    return add_mins(lanes, halves_of_blocks(w + 2, bytes), x);
}

MOE_INLINE __m256 step_q8_0(__m256 lanes, const uint8_t *w, const moe_act_chunk *x) {
    const size_t bytes = sizeof(moe_block_q8_0);
    const uint8_t *qs = FIELD(moe_block_q8_0, qs);
    __m256i sums[8];
    for (size_t b = 0; b < 8; b++) {
        sums[b] = _mm256_madd_epi16(products_signed(load256(qs + b * bytes), load256(x->q + 32 * b)), ones16());
    }
    return add_products(lanes, halves_of_blocks(w, bytes), x, sum_blocks(sums));
}

/// Eight blocks of 32 indices into a codebook of int8, whose qs lie `bytes` apart: the integer sum of each.
MOE_INLINE __m256i codebook_blocks(const uint8_t *qs, size_t bytes, const int8_t *values, const moe_act_chunk *x) {
    const __m256i mask = _mm256_set1_epi8(15), codebook = _mm256_broadcastsi128_si256(load128(values));
    __m256i sums[4];
    for (size_t i = 0; i < 4; i++) {
        const __m256i packed = two_loads(qs + 2 * i * bytes, qs + (2 * i + 1) * bytes);
        const __m256i low = _mm256_shuffle_epi8(codebook, _mm256_and_si256(packed, mask));
        const __m256i high = _mm256_shuffle_epi8(codebook, _mm256_and_si256(_mm256_srli_epi16(packed, 4), mask));
        const int8_t *q = x->q + 64 * i;
        const __m256i a = _mm256_madd_epi16(products_signed(low, two_loads(q, q + 32)), ones16());
        const __m256i b = _mm256_madd_epi16(products_signed(high, two_loads(q + 16, q + 48)), ones16());
        sums[i] = _mm256_add_epi32(a, b);
    }
    return sum_halves(sums);
}

MOE_INLINE __m256 step_iq4_nl(__m256 lanes, const uint8_t *w, const moe_act_chunk *x) {
    static const int8_t codebook[16] = MOE_CODEBOOK_IQ4;
    const size_t bytes = sizeof(moe_block_iq4_nl);
    const __m256i sums = codebook_blocks(FIELD(moe_block_iq4_nl, qs), bytes, codebook, x);
    return add_products(lanes, halves_of_blocks(w, bytes), x, sums);
}

MOE_INLINE __m256 step_iq4_xs(__m256 lanes, const uint8_t *w, const moe_act_chunk *x) {
    static const int8_t codebook[16] = MOE_CODEBOOK_IQ4;
    const __m256i sums = codebook_blocks(FIELD(moe_block_iq4_xs, qs), 16, codebook, x);
    return add_products(lanes, scales_iq4_xs(w), x, sums);
}

MOE_INLINE __m256 step_mxfp4(__m256 lanes, const uint8_t *w, const moe_act_chunk *x) {
    static const int8_t codebook[16] = MOE_CODEBOOK_MXFP4;
    const size_t bytes = sizeof(moe_block_mxfp4);
    const __m256i sums = codebook_blocks(FIELD(moe_block_mxfp4, qs), bytes, codebook, x);
    return add_products(lanes, exponents_of_blocks(w, bytes), x, sums);
}

/// Four pairs of blocks, low and high nibbles of 32 bytes each; `qh` holds the fifth bits of block b in bit b, or is NULL.
MOE_INLINE __m256i sums_k(const uint8_t *qs, const uint8_t *qh, const moe_act_chunk *x) {
    const __m256i mask = _mm256_set1_epi8(15), fifth = _mm256_set1_epi8(16);
    __m256i sums[4];
    for (int i = 0; i < 4; i++) {
        const __m256i packed = load256(qs + 32 * i);
        __m256i low = _mm256_and_si256(packed, mask), high = _mm256_and_si256(_mm256_srli_epi16(packed, 4), mask);
        if (qh) {
            const __m256i bits = load256(qh);
            const __m256i a = 2 * i < 4 ? _mm256_slli_epi16(bits, 4 - 2 * i) : _mm256_srli_epi16(bits, 2 * i - 4);
            const __m256i b = 2 * i + 1 < 4 ? _mm256_slli_epi16(bits, 3 - 2 * i) : _mm256_srli_epi16(bits, 2 * i - 3);
            low = _mm256_or_si256(low, _mm256_and_si256(a, fifth));
            high = _mm256_or_si256(high, _mm256_and_si256(b, fifth));
        }
        const __m256i even = _mm256_maddubs_epi16(low, load256(x->q + 64 * i));
        const __m256i odd = _mm256_maddubs_epi16(high, load256(x->q + 64 * i + 32));
        sums[i] = _mm256_madd_epi16(_mm256_hadd_epi16(even, odd), ones16());
    }
    return sum_interleaved(sums);
}

MOE_INLINE __m256 step_q4_k(__m256 lanes, const uint8_t *w, const moe_act_chunk *x) {
    const __m256i sums = sums_k(FIELD(moe_block_q4_k, qs), NULL, x);
    return add_block_k(lanes, w, FIELD(moe_block_q4_k, scales), x, sums);
}

MOE_INLINE __m256 step_q5_k(__m256 lanes, const uint8_t *w, const moe_act_chunk *x) {
    const __m256i sums = sums_k(FIELD(moe_block_q5_k, qs), FIELD(moe_block_q5_k, qh), x);
    return add_block_k(lanes, w, FIELD(moe_block_q5_k, scales), x, sums);
}

/// int16 pair sums of blocks 2i and 2i + 1 (|sum| <= 16384), times the 8-bit scales of their halves: sum_interleaved's input.
MOE_INLINE __m256i scaled_pair(__m256i even, __m256i odd, __m128i scales, int i) {
    // After hadd the low half holds the first halves of both blocks, the high half the second halves.
    const char a = (char)(4 * i), b = (char)(4 * i + 1), c = (char)(4 * i + 2), d = (char)(4 * i + 3);
    const __m128i order = _mm_setr_epi8(a, a, a, a, c, c, c, c, b, b, b, b, d, d, d, d);
    const __m256i wide = _mm256_cvtepi8_epi16(_mm_shuffle_epi8(scales, order));
    return _mm256_madd_epi16(_mm256_hadd_epi16(even, odd), wide);
}

MOE_INLINE __m256 step_q6_k(__m256 lanes, const uint8_t *w, const moe_act_chunk *x) {
    const uint8_t *qh = FIELD(moe_block_q6_k, qh);
    const __m128i scales = load128(FIELD(moe_block_q6_k, scales));
    const __m256i mask = _mm256_set1_epi8(15), top = _mm256_set1_epi8(48);
    __m256i sums[4];
    for (int half = 0; half < 2; half++) {
        const __m256i low0 = load256(w + 64 * half), low1 = load256(w + 64 * half + 32), high = load256(qh + 32 * half);
        const __m256i q0 =
            _mm256_or_si256(_mm256_and_si256(low0, mask), _mm256_and_si256(_mm256_slli_epi16(high, 4), top));
        const __m256i q1 =
            _mm256_or_si256(_mm256_and_si256(low1, mask), _mm256_and_si256(_mm256_slli_epi16(high, 2), top));
        const __m256i q2 =
            _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(low0, 4), mask), _mm256_and_si256(high, top));
        const __m256i q3 = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(low1, 4), mask),
                                           _mm256_and_si256(_mm256_srli_epi16(high, 2), top));
        const int8_t *q = x->q + 128 * half;
        const __m256i p0 = _mm256_maddubs_epi16(q0, load256(q)), p1 = _mm256_maddubs_epi16(q1, load256(q + 32));
        const __m256i p2 = _mm256_maddubs_epi16(q2, load256(q + 64)), p3 = _mm256_maddubs_epi16(q3, load256(q + 96));
        sums[2 * half] = scaled_pair(p0, p1, scales, 2 * half);
        sums[2 * half + 1] = scaled_pair(p2, p3, scales, 2 * half + 1);
    }
    // The values are q - 32.
    const __m256i sum16 = load256(x->sum16);
    const __m256i offset = _mm256_slli_epi32(_mm256_madd_epi16(_mm256_cvtepi8_epi16(scales), sum16), 5);
    const __m256 d = _mm256_set1_ps(moe_load_half(FIELD(moe_block_q6_k, d)));
    return add_products(lanes, d, x, _mm256_sub_epi32(sum_interleaved(sums), offset));
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

MOE_QUANTISED_TYPES(MOE_DEFINE_DOTS)

#pragma clang attribute pop

void moe_set_dot_avx2(moe_kernels *table) {
#define SET_DOT(NAME, name)                   \
    table->names[MOE_TYPE_##NAME] = "avx2";   \
    table->dot[MOE_TYPE_##NAME] = dot_##name; \
    table->dots[MOE_TYPE_##NAME] = dots_##name;
    MOE_QUANTISED_TYPES(SET_DOT)
}
#endif
