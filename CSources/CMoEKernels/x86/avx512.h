// SPDX-License-Identifier: Apache-2.0
//
// Helpers of the AVX-512 VNNI kernels. Include inside the target attribute, after avx2.h.

MOE_INLINE __m512i load512(const void *p) { return _mm512_loadu_si512(p); }
MOE_INLINE __m512i two_halves(__m256i low, __m256i high) { return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1); }
/// Four times 16 bytes, `stride` apart.
MOE_INLINE __m512i four_quarters(const uint8_t *p, size_t stride) {
    __m512i v = _mm512_castsi128_si512(load128(p));
    v = _mm512_inserti32x4(v, load128(p + stride), 1);
    v = _mm512_inserti32x4(v, load128(p + 2 * stride), 2);
    return _mm512_inserti32x4(v, load128(p + 3 * stride), 3);
}

/// In 128-bit part p: the sums over the lanes of part p of v0, v1, v2, v3.
MOE_INLINE __m512i sum_lanes(__m512i v0, __m512i v1, __m512i v2, __m512i v3) {
    const __m512i a = _mm512_add_epi32(_mm512_unpacklo_epi32(v0, v1), _mm512_unpackhi_epi32(v0, v1));
    const __m512i b = _mm512_add_epi32(_mm512_unpacklo_epi32(v2, v3), _mm512_unpackhi_epi32(v2, v3));
    return _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
}

MOE_INLINE __m512i low_nibbles(__m512i v) { return _mm512_and_si512(v, _mm512_set1_epi8(15)); }
MOE_INLINE __m512i high_nibbles(__m512i v) { return low_nibbles(_mm512_srli_epi16(v, 4)); }

/// d of the eight blocks of a chunk of Q8_0: words 17 i of each four.
MOE_INLINE __m256 scales_q8_0(const uint8_t *w) {
    const size_t four = 4 * sizeof(moe_block_q8_0);
    const __m512i order = _mm512_castsi128_si512(_mm_setr_epi16(0, 17, 34, 51, 0, 0, 0, 0));
    const __m512i low = _mm512_permutex2var_epi16(load512(w), order, load512(w + 64));
    const __m512i high = _mm512_permutex2var_epi16(load512(w + four), order, load512(w + four + 64));
    return _mm256_cvtph_ps(_mm_unpacklo_epi64(_mm512_castsi512_si128(low), _mm512_castsi512_si128(high)));
}

/// d of the eight blocks of a chunk of Q4_0: words 9 i.
MOE_INLINE __m256 scales_q4_0(const uint8_t *w) {
    const __m512i order = _mm512_castsi128_si512(_mm_setr_epi16(0, 9, 18, 27, 36, 45, 54, 63));
    return _mm256_cvtph_ps(_mm512_castsi512_si128(_mm512_permutex2var_epi16(load512(w), order, load512(w + 64))));
}
