// SPDX-License-Identifier: Apache-2.0
//
// Helpers of the AVX2 kernels. Include inside the target attribute, after <immintrin.h>, blocks.h and kernel_table.h.

#define MOE_INLINE static inline __attribute__((always_inline))

MOE_INLINE int32_t load_i32(const void *p) {
    int32_t value;
    memcpy(&value, p, sizeof value);
    return value;
}

MOE_INLINE __m256i load256(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }
MOE_INLINE __m128i load128(const void *p) { return _mm_loadu_si128((const __m128i *)p); }

// What unpack.h leaves to an ISA.
#define MOE_UNPACK_HELPERS 1

MOE_INLINE float moe_load_half(const uint8_t *p) {
    uint16_t half;
    memcpy(&half, p, sizeof half);
    return _cvtsh_ss(half);
}

/// 32 values from 16 bytes: the low nibbles, then the high ones.
MOE_INLINE __m256i nibbles(const uint8_t *qs) {
    const __m128i packed = load128(qs);
    const __m256i both = _mm256_inserti128_si256(_mm256_castsi128_si256(packed), _mm_srli_epi16(packed, 4), 1);
    return _mm256_and_si256(both, _mm256_set1_epi8(15));
}

/// 16 in each byte whose bit is set.
MOE_INLINE __m256i fifth_bits(__m256i bits, __m256i order) {
    const __m256i select = _mm256_set1_epi64x((long long)0x8040201008040201ull);
    const __m256i bytes = _mm256_and_si256(_mm256_shuffle_epi8(bits, order), select);
    return _mm256_and_si256(_mm256_cmpeq_epi8(bytes, select), _mm256_set1_epi8(16));
}

MOE_INLINE void moe_nibbles(const uint8_t *qs, int8_t *q) { _mm256_storeu_si256((__m256i *)q, nibbles(qs)); }

MOE_INLINE void moe_nibbles_fifth(const uint8_t *qs, const uint8_t *qh, int8_t *q) {
    const __m256i order = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i fifth = fifth_bits(_mm256_set1_epi32(load_i32(qh)), order);
    _mm256_storeu_si256((__m256i *)q, _mm256_or_si256(nibbles(qs), fifth));
}

MOE_INLINE void moe_nibbles_codebook(const uint8_t *qs, const int8_t *codebook, int8_t *q) {
    const __m256i values = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(load128(codebook)), nibbles(qs));
    _mm256_storeu_si256((__m256i *)q, values);
}

/// ((l0 + l4) + (l2 + l6)) + ((l1 + l5) + (l3 + l7))
MOE_INLINE float sum_of_lanes(__m256 lanes) {
    __m128 sum = _mm_add_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps(lanes, 1));
    sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
    return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
}

/// |a| * (b with a's sign), summed in pairs: products of int8 for maddubs. a > -128 or |b| <= 127 keeps it exact.
MOE_INLINE __m256i products_signed(__m256i a, __m256i b) {
    return _mm256_maddubs_epi16(_mm256_abs_epi8(a), _mm256_sign_epi8(b, a));
}

/// p[i] holds, in each 128-bit half, two int32 of block 2i and then two of block 2i + 1: the sum of each block, in its lane.
MOE_INLINE __m256i sum_interleaved(const __m256i p[4]) {
    const __m256i a = _mm256_hadd_epi32(p[0], p[1]), b = _mm256_hadd_epi32(p[2], p[3]);
    return _mm256_add_epi32(_mm256_permute2x128_si256(a, b, 0x20), _mm256_permute2x128_si256(a, b, 0x31));
}

/// out[t]: in each half, 4 bytes (the t-th of that half) of a, b, c and d.
MOE_INLINE void transpose_halves(__m256i a, __m256i b, __m256i c, __m256i d, __m256i out[4]) {
    const __m256i ab0 = _mm256_unpacklo_epi32(a, b), ab2 = _mm256_unpackhi_epi32(a, b);
    const __m256i cd0 = _mm256_unpacklo_epi32(c, d), cd2 = _mm256_unpackhi_epi32(c, d);
    out[0] = _mm256_unpacklo_epi64(ab0, cd0);
    out[1] = _mm256_unpackhi_epi64(ab0, cd0);
    out[2] = _mm256_unpacklo_epi64(ab2, cd2);
    out[3] = _mm256_unpackhi_epi64(ab2, cd2);
}

/// Eight rows of 16 bytes, `stride` apart -> four vectors: the i-th 4 bytes of every row.
MOE_INLINE void transpose_short_rows(const uint8_t *p, size_t stride, __m256i out[4]) {
    __m256i r[4];
    for (size_t i = 0; i < 4; i++) {
        r[i] = _mm256_inserti128_si256(_mm256_castsi128_si256(load128(p + i * stride)), load128(p + (i + 4) * stride), 1);
    }
    transpose_halves(r[0], r[1], r[2], r[3], out);
}

/// The first and second word of each of eight blocks of at least 16 bytes, `bytes` apart: the first words are out[0].
MOE_INLINE void words_of_blocks(const uint8_t *p, size_t bytes, __m128i out[2]) {
    __m128i pairs[4];
    for (size_t i = 0; i < 4; i++) pairs[i] = _mm_unpacklo_epi16(load128(p + 2 * i * bytes), load128(p + (2 * i + 1) * bytes));
    const __m128i low = _mm_unpacklo_epi32(pairs[0], pairs[1]), high = _mm_unpacklo_epi32(pairs[2], pairs[3]);
    out[0] = _mm_unpacklo_epi64(low, high);
    out[1] = _mm_unpackhi_epi64(low, high);
}

/// The float16 at the start of each of eight blocks of at least 16 bytes, `bytes` apart.
MOE_INLINE __m256 halves_of_blocks(const uint8_t *p, size_t bytes) {
    __m128i words[2];
    words_of_blocks(p, bytes, words);
    return _mm256_cvtph_ps(words[0]);
}

/// The scales of eight blocks of MXFP4, `bytes` apart: moe_e8m0_half_to_float.
MOE_INLINE __m256 exponents_of_blocks(const uint8_t *w, size_t bytes) {
    __m128i low = _mm_cvtsi32_si128(w[0]), high = _mm_cvtsi32_si128(w[4 * bytes]);
    low = _mm_insert_epi8(_mm_insert_epi8(_mm_insert_epi8(low, w[bytes], 1), w[2 * bytes], 2), w[3 * bytes], 3);
    high = _mm_insert_epi8(_mm_insert_epi8(_mm_insert_epi8(high, w[5 * bytes], 1), w[6 * bytes], 2), w[7 * bytes], 3);
    const __m256i e = _mm256_cvtepu8_epi32(_mm_unpacklo_epi32(low, high));
    const __m256i normal = _mm256_slli_epi32(_mm256_sub_epi32(e, _mm256_set1_epi32(1)), 23);
    const __m256i subnormal = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), e);
    return _mm256_castsi256_ps(_mm256_blendv_epi8(subnormal, normal, _mm256_cmpgt_epi32(e, _mm256_set1_epi32(1))));
}

/// The scales of a block of IQ4_XS: six bits each, less 32, times d.
MOE_INLINE __m256 scales_iq4_xs(const uint8_t *w) {
    uint16_t high;
    memcpy(&high, w + offsetof(moe_block_iq4_xs, scales_h), sizeof high);
    const __m256i low = _mm256_srlv_epi32(_mm256_set1_epi32(load_i32(w + offsetof(moe_block_iq4_xs, scales_l))),
                                          _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28));
    const __m256i top = _mm256_srlv_epi32(_mm256_set1_epi32(high), _mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14));
    const __m256i scales = _mm256_or_si256(_mm256_and_si256(low, _mm256_set1_epi32(15)),
                                           _mm256_slli_epi32(_mm256_and_si256(top, _mm256_set1_epi32(3)), 4));
    return _mm256_mul_ps(_mm256_set1_ps(moe_load_half(w)),
                         _mm256_cvtepi32_ps(_mm256_sub_epi32(scales, _mm256_set1_epi32(32))));
}

/// lanes += scale * d * integers
MOE_INLINE __m256 add_products(__m256 lanes, __m256 scale, const moe_act_chunk *x, __m256i integers) {
    return _mm256_fmadd_ps(_mm256_mul_ps(scale, _mm256_load_ps(x->d)), _mm256_cvtepi32_ps(integers), lanes);
}

/// integers - 2^log2_offset * (sum of the activations); bias32 is -128 times that sum.
MOE_INLINE __m256i without_offset(__m256i integers, int log2_offset, __m256i bias) {
    return _mm256_add_epi32(integers, _mm256_srai_epi32(bias, 7 - log2_offset));
}

/// Rows side by side, of which the compiler knows nothing more: else it keeps a pointer to each of them, in memory, and counts all of
/// them on, which took an eighth of the time of packing a panel.
typedef struct strided_rows {
    const uint8_t *first;
    size_t stride;
} strided_rows;

MOE_INLINE strided_rows strided(const void *first, size_t stride) {
    strided_rows rows = {first, stride};
    __asm__("" : "+r"(rows.first), "+r"(rows.stride));
    return rows;
}

/// What of a moe_ahead has been fetched, and by how much that grows with each of `parts` parts of the work.
typedef struct moe_fetching {
    const uint8_t *at, *until, *end;
    size_t step;
} moe_fetching;

MOE_INLINE moe_fetching fetching(moe_ahead ahead, size_t parts) {
    return (moe_fetching){ahead.memory, ahead.memory, ahead.memory + ahead.bytes, (ahead.bytes + parts - 1) / parts};
}
MOE_INLINE void fetch_part(moe_fetching *f) {
    f->until = f->step < (size_t)(f->end - f->until) ? f->until + f->step : f->end;
    for (; f->at < f->until; f->at += 64) _mm_prefetch((const char *)f->at, _MM_HINT_T1);
}

/// Lanes b < blocks of `after`, the others of `before`.
MOE_INLINE __m256 first_lanes(__m256 before, __m256 after, int blocks) {
    const __m256i order = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_blendv_ps(before, after, _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32(blocks), order)));
}

/// Runs `step` over the chunks of a row, for m activation rows (a constant: the unpacking of weights, the same for all, is done
/// once). Of the last, incomplete chunk (of types with blocks of 32) only the row's own blocks count; what is read for the others
/// is what lies behind the row, or zeros where that may not be read.
MOE_INLINE void over_chunks(__m256 (*step)(__m256, const uint8_t *, const moe_act_chunk *), const moe_type_traits traits,
                            const uint8_t *row, size_t readable, const moe_act_chunk *const *x, int m, int64_t k, float *out) {
    const size_t chunk_bytes = (size_t)(MOE_CHUNK / traits.block_elements * traits.block_bytes);
    const int64_t chunks = k / MOE_CHUNK;
    __m256 lanes[MOE_DOT_ROWS];
    for (int i = 0; i < m; i++) lanes[i] = _mm256_setzero_ps();
    for (int64_t c = 0; c < chunks; c++, row += chunk_bytes) {
        for (size_t line = 0; line < chunk_bytes; line += 64) _mm_prefetch((const char *)row + line + 4096, _MM_HINT_T0);
        for (int i = 0; i < m; i++) lanes[i] = step(lanes[i], row, x[i] + c);
    }
    if (traits.block_elements < MOE_CHUNK && k % MOE_CHUNK) {
        const int blocks = (int)(k % MOE_CHUNK / traits.block_elements);
        uint8_t rest[8 * 34];
        if (readable < (size_t)(chunks + 1) * chunk_bytes) {
            memset(rest, 0, sizeof rest);
            memcpy(rest, row, (size_t)(blocks * traits.block_bytes));
            row = rest;
        }
        for (int i = 0; i < m; i++) lanes[i] = first_lanes(lanes[i], step(lanes[i], row, x[i] + chunks), blocks);
    }
    for (int i = 0; i < m; i++) out[i] = sum_of_lanes(lanes[i]);
}

/// The two kernels of a type: one activation row, and up to MOE_DOT_ROWS.
#define MOE_DEFINE_DOTS(NAME, name)                                                                                       \
    static float dot_##name(const uint8_t *row, size_t readable, const moe_act_chunk *x, int64_t k) {                     \
        float out;                                                                                                        \
        over_chunks(step_##name, moe_traits_table[MOE_TYPE_##NAME], row, readable, &x, 1, k, &out);                       \
        return out;                                                                                                       \
    }                                                                                                                     \
    static void dots_##name(const uint8_t *row, size_t readable, const moe_act_chunk *const *x, int32_t m, int64_t k,     \
                            float *out) {                                                                                 \
        switch (m) {                                                                                                      \
            case 1: over_chunks(step_##name, moe_traits_table[MOE_TYPE_##NAME], row, readable, x, 1, k, out); break;      \
            case 2: over_chunks(step_##name, moe_traits_table[MOE_TYPE_##NAME], row, readable, x, 2, k, out); break;      \
            case 3: over_chunks(step_##name, moe_traits_table[MOE_TYPE_##NAME], row, readable, x, 3, k, out); break;      \
            case 4: over_chunks(step_##name, moe_traits_table[MOE_TYPE_##NAME], row, readable, x, 4, k, out); break;      \
            case 5: over_chunks(step_##name, moe_traits_table[MOE_TYPE_##NAME], row, readable, x, 5, k, out); break;      \
            case 6: over_chunks(step_##name, moe_traits_table[MOE_TYPE_##NAME], row, readable, x, 6, k, out); break;      \
            case 7: over_chunks(step_##name, moe_traits_table[MOE_TYPE_##NAME], row, readable, x, 7, k, out); break;      \
            default: over_chunks(step_##name, moe_traits_table[MOE_TYPE_##NAME], row, readable, x, 8, k, out); break;     \
        }                                                                                                                 \
    }
