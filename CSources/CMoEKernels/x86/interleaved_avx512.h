// SPDX-License-Identifier: Apache-2.0
//
// Sixteen weight rows side by side, a lane a row: what interleaved_weights.h asks for, and the panels of panel_avx512.h. Include inside the
// target attribute, after avx512.h, with WEIGHT_SHIFT defined: what panels add to each weight.

enum { GROUP = 16 };
typedef __m512i integers;
typedef __m512 floats;

MOE_INLINE __m512i load_integers(const uint8_t *p) { return load512(p); }
MOE_INLINE __m512 load_halves(const uint8_t *p) { return _mm512_cvtph_ps(load256(p)); }
MOE_INLINE __m512i bytes_of(int value) { return _mm512_set1_epi8((char)value); }
MOE_INLINE __m512i ints_of(int value) { return _mm512_set1_epi32(value); }
MOE_INLINE __m512i sum(__m512i a, __m512i b) { return _mm512_add_epi8(a, b); }
MOE_INLINE __m512i both(__m512i a, __m512i b) { return _mm512_or_si512(a, b); }
MOE_INLINE __m512i common(__m512i a, __m512i b) { return _mm512_and_si512(a, b); }
MOE_INLINE __m512i bits_left(__m512i v, int n) { return _mm512_slli_epi16(v, (unsigned)n); }
MOE_INLINE __m512i bits_right(__m512i v, int n) { return _mm512_srli_epi16(v, (unsigned)n); }
MOE_INLINE __m512i bytes_right(__m512i v, int n) { return _mm512_srli_epi32(v, 8 * (unsigned)n); }
MOE_INLINE __m512i lowest_byte(__m512i v) { return _mm512_srai_epi32(_mm512_slli_epi32(v, 24), 24); }
MOE_INLINE __m512 floats_of(__m512i v) { return _mm512_cvtepi32_ps(v); }
MOE_INLINE __m512 times(__m512 a, __m512 b) { return _mm512_mul_ps(a, b); }
MOE_INLINE __m512 minus(__m512 v) { return _mm512_sub_ps(_mm512_setzero_ps(), v); }
MOE_INLINE void store_panel(void *p, __m512i v) { _mm512_store_si512(p, v); }
MOE_INLINE void store_floats(float *p, __m512 v) { _mm512_store_ps(p, v); }
MOE_INLINE __m512i panel_weights(__m512i v, int offset) { return WEIGHT_SHIFT == offset ? v : sum(v, bytes_of(WEIGHT_SHIFT - offset)); }

#include "interleaved_weights.h"

/// The eight lanes of 16 sums, added in the order that kernel_table.h gives.
MOE_INLINE __m512 sums_of_lanes(const __m512 l[8]) {
    const __m512 even = _mm512_add_ps(_mm512_add_ps(l[0], l[4]), _mm512_add_ps(l[2], l[6]));
    const __m512 odd = _mm512_add_ps(_mm512_add_ps(l[1], l[5]), _mm512_add_ps(l[3], l[7]));
    return _mm512_add_ps(even, odd);
}
