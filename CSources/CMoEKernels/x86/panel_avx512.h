// SPDX-License-Identifier: Apache-2.0
//
// Packing panels of 16 weight rows with AVX-512, for the kernels that multiply them (panel_avx512vnni.c, panel_avx512amx.c). Include inside
// the target attribute, after avx2.h, with WEIGHT_SHIFT defined: what is added to each weight.
//
// Panel: blocks of 32 elements in the order of the sum's lanes (lane j: blocks j, j + 8, …), each block
//   q[8][16][4]   for each group of 4 elements, 4 bytes of each of 16 weight rows
//   scale[16], min[16] float32; for BLOCK16 also sub_scale[2][16], sub_min[2][16] float32

#include "avx512.h"
#include "interleaved_avx512.h"

// Two panels of 16 columns share each activation.
enum { COLUMNS = 16, PARTS = 2 };

/// Sixteen rows of 32 bytes, `stride` apart -> eight vectors: the i-th 4 bytes of every row.
MOE_INLINE void transpose(const void *rows, size_t stride, __m512i out[8]) {
    const strided_rows in = strided(rows, stride);
    __m512i r[8], pairs[8], quads[8];
    for (size_t i = 0; i < 8; i++) {
        // Vectors 0...3 hold rows i and i + 4, vectors 4...7 rows i + 4 and i + 8: what the last step needs.
        const size_t low = i < 4 ? i : i + 4;
        r[i] = two_halves(load256(in.first + low * in.stride), load256(in.first + (low + 4) * in.stride));
    }
    for (int i = 0; i < 4; i++) {
        pairs[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
        pairs[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 2; i++) {
        for (int j = 0; j < 2; j++) {
            quads[4 * i + 2 * j] = _mm512_unpacklo_epi64(pairs[4 * i + j], pairs[4 * i + 2 + j]);
            quads[4 * i + 2 * j + 1] = _mm512_unpackhi_epi64(pairs[4 * i + j], pairs[4 * i + 2 + j]);
        }
    }
    for (int i = 0; i < 4; i++) {
        out[i] = _mm512_shuffle_i32x4(quads[i], quads[4 + i], 0x88);
        out[i + 4] = _mm512_shuffle_i32x4(quads[i], quads[4 + i], 0xdd);
    }
}

/// The low and high int16 of each int32, as floats.
MOE_INLINE void store_pairs(float *out, __m512i pairs) {
    _mm512_store_ps(out, _mm512_cvtepi32_ps(_mm512_srai_epi32(_mm512_slli_epi32(pairs, 16), 16)));
    _mm512_store_ps(out + COLUMNS, _mm512_cvtepi32_ps(_mm512_srai_epi32(pairs, 16)));
}

typedef __m512i panel_vector;
// What panel_pack.h asks for.

MOE_INLINE int panel_offset(int32_t type) { return (void)type, WEIGHT_SHIFT; }

/// Sixteen rows of 16 bytes, `stride` apart -> four vectors: the i-th 4 bytes of every row.
MOE_INLINE void transpose_quarters(const void *rows, size_t stride, __m512i out[4]) {
    const strided_rows in = strided(rows, stride);
    __m512i r[4];
    for (size_t i = 0; i < 4; i++) r[i] = four_quarters(in.first + i * in.stride, 4 * in.stride);
    const __m512i a = _mm512_unpacklo_epi32(r[0], r[1]), b = _mm512_unpackhi_epi32(r[0], r[1]);
    const __m512i c = _mm512_unpacklo_epi32(r[2], r[3]), d = _mm512_unpackhi_epi32(r[2], r[3]);
    out[0] = _mm512_unpacklo_epi64(a, c);
    out[1] = _mm512_unpackhi_epi64(a, c);
    out[2] = _mm512_unpacklo_epi64(b, d);
    out[3] = _mm512_unpackhi_epi64(b, d);
}

MOE_INLINE panel_vector lookup(panel_vector indices, const int8_t *table) {
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(load128(table)), indices);
}

/// The float16 of each row's first word, or second (negated), times the unsigned byte `index` of its int32.
MOE_INLINE void store_scaled_byte(void *out, panel_vector words, bool second, panel_vector bytes, int index) {
    const __m512 d = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(second ? _mm512_srli_epi32(words, 16) : words));
    const __m512i byte = _mm512_and_si512(_mm512_srli_epi32(bytes, (unsigned)(8 * index)), _mm512_set1_epi32(255));
    const __m512 product = _mm512_mul_ps(d, _mm512_cvtepi32_ps(byte));
    _mm512_store_ps(out, second ? _mm512_sub_ps(_mm512_setzero_ps(), product) : product);
}
MOE_INLINE void store_halves(void *out, const uint16_t halves[COLUMNS]) {
    _mm512_store_ps(out, _mm512_cvtph_ps(load256(halves)));
}
/// Bytes 2 pair and 2 pair + 1 of each row, as floats.
MOE_INLINE void store_signed_bytes(void *out, panel_vector bytes, int pair) {
    const __m512i first = _mm512_slli_epi32(bytes, (unsigned)(24 - 16 * pair));
    const __m512i second = _mm512_slli_epi32(bytes, (unsigned)(16 - 16 * pair));
    _mm512_store_ps(out, _mm512_cvtepi32_ps(_mm512_srai_epi32(first, 24)));
    _mm512_store_ps((float *)out + COLUMNS, _mm512_cvtepi32_ps(_mm512_srai_epi32(second, 24)));
}

MOE_INLINE __m256 row_halves_q8_0(const uint8_t *w) { return scales_q8_0(w); }
MOE_INLINE __m256 row_halves_q4_0(const uint8_t *w) { return scales_q4_0(w); }

#include "panel_body.h"

static void pack_parts(int32_t type, moe_unpack_fn unpack, const uint8_t *rows, size_t row_bytes, int32_t n, int64_t k,
                       moe_ahead ahead, uint8_t *panel) {
    const int32_t parts = n > COLUMNS ? 2 : 1;
    for (int32_t p = 0; p < parts; p++, n -= COLUMNS, rows += COLUMNS * row_bytes) {
        uint8_t *part = panel + (size_t)p * moe_panel_bytes(moe_traits(type), COLUMNS, k);
        const moe_ahead next = moe_ahead_part(ahead, p, parts);
        if (type >= MOE_INTERLEAVED) pack_interleaved(type, rows, k, next, part);
        else pack(type, unpack, rows, row_bytes, n < COLUMNS ? n : COLUMNS, k, next, part);
    }
}
