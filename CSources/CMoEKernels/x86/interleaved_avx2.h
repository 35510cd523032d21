// SPDX-License-Identifier: Apache-2.0
//
// Eight weight rows side by side, a lane a row: what interleaved_weights.h asks for, and the panels of panel_avx2.c. Include inside the
// target attribute, after avx2.h.

enum { GROUP = 8 };
typedef __m256i integers;
typedef __m256 floats;

MOE_INLINE __m256i load_integers(const uint8_t *p) { return load256(p); }
MOE_INLINE __m256 load_halves(const uint8_t *p) { return _mm256_cvtph_ps(load128(p)); }
MOE_INLINE __m256i bytes_of(int value) { return _mm256_set1_epi8((char)value); }
MOE_INLINE __m256i ints_of(int value) { return _mm256_set1_epi32(value); }
MOE_INLINE __m256i sum(__m256i a, __m256i b) { return _mm256_add_epi8(a, b); }
MOE_INLINE __m256i common(__m256i a, __m256i b) { return _mm256_and_si256(a, b); }
MOE_INLINE __m256i both(__m256i a, __m256i b) { return _mm256_or_si256(a, b); }
MOE_INLINE __m256i bits_right(__m256i v, int n) { return _mm256_srl_epi16(v, _mm_cvtsi32_si128(n)); }
MOE_INLINE __m256i bits_left(__m256i v, int n) { return _mm256_sll_epi16(v, _mm_cvtsi32_si128(n)); }
MOE_INLINE __m256i bytes_right(__m256i v, int n) { return _mm256_srl_epi32(v, _mm_cvtsi32_si128(8 * n)); }
MOE_INLINE __m256i low_nibbles(__m256i v) { return _mm256_and_si256(v, _mm256_set1_epi8(15)); }
MOE_INLINE __m256i high_nibbles(__m256i v) { return low_nibbles(_mm256_srli_epi16(v, 4)); }
MOE_INLINE __m256i lowest_byte(__m256i v) { return _mm256_srai_epi32(_mm256_slli_epi32(v, 24), 24); }
MOE_INLINE __m256 floats_of(__m256i v) { return _mm256_cvtepi32_ps(v); }
MOE_INLINE __m256 times(__m256 a, __m256 b) { return _mm256_mul_ps(a, b); }
MOE_INLINE __m256 minus(__m256 v) { return _mm256_sub_ps(_mm256_setzero_ps(), v); }
MOE_INLINE __m256i panel_weights(__m256i v, int offset) { return (void)offset, v; }
MOE_INLINE void store_panel(void *p, __m256i v) { _mm256_store_si256(p, v); }
MOE_INLINE void store_floats(float *p, __m256 v) { _mm256_store_ps(p, v); }

#include "interleaved_weights.h"

/// The eight lanes of 8 sums, added in the order that kernel_table.h gives.
MOE_INLINE __m256 sums_of_lanes(const __m256 l[8]) {
    const __m256 even = _mm256_add_ps(_mm256_add_ps(l[0], l[4]), _mm256_add_ps(l[2], l[6]));
    const __m256 odd = _mm256_add_ps(_mm256_add_ps(l[1], l[5]), _mm256_add_ps(l[3], l[7]));
    return _mm256_add_ps(even, odd);
}
