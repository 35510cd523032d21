// SPDX-License-Identifier: Apache-2.0
//
// AVX2: a weight row times one to eight activation rows, for the types of which models are made.
//
// Sums across lanes are what a dot product spends most on. So weights are transposed as they lie, 4 bytes of eight blocks side by
// side: a lane is a block, and its products add up in place, in 16 bits as long as they fit. That is done once for all activation
// rows, which are laid out in the same order once per unit of work.
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

/// Which 4 bytes of which blocks a register holds.
///
/// QUARTERS: part t has bytes 4t...4t + 3 of blocks 0...7, lane by lane. The others: part t (t < 4) has bytes 4t...4t + 3 of four
/// blocks in its low half, and bytes 16 + 4t... of the same blocks in its high half; part 4 + t the same of the other four. Their
/// sums stand in the order of these eight blocks.
typedef enum few_layout {
    QUARTERS,
    IN_ORDER,  // 0, 1, 2, 3 and 4, 5, 6, 7
    BY_TWOS,   // 0, 2, 4, 6 and 1, 3, 5, 7
    BY_FOURS,  // 0, 1, 4, 5 and 2, 3, 6, 7
} few_layout;

/// 256 elements of an activation row, in the order of a layout.
typedef struct row_chunk {
    _Alignas(64) int8_t q[8][32];
    float d[8], dsum[8];
    int32_t bias32[8];
    int16_t sum16[16];
} row_chunk;
_Static_assert(2 * sizeof(row_chunk) == MOE_FEW_BYTES, "kernel_table.h says how much memory there is");

/// 256 weights of a row.
typedef struct row_weights {
    __m256i part[8];
    __m256i sub_scale[2];  // BLOCK16: int16, for parts 0...3 and 4...7
} row_weights;

typedef struct row_scales {
    __m256 scale, min;  // per block of 32
    __m256i sub_scale;  // BLOCK16: int16 per half block
} row_scales;

typedef struct few_type {
    row_weights (*weights)(const uint8_t *w);
    row_scales (*scales)(const uint8_t *w);
    moe_type_traits traits;
    few_layout layout;
    int offset;      // log2 of what is subtracted from each weight; -1: nothing
    bool subtracts;  // mins are subtracted
} few_type;

// ---------------------------------------------------------------------------------------------------------------------
// Order

static const int32_t block_order[4][8] = {[QUARTERS] = {0, 1, 2, 3, 4, 5, 6, 7}, [IN_ORDER] = {0, 1, 2, 3, 4, 5, 6, 7},
                                          [BY_TWOS] = {0, 2, 4, 6, 1, 3, 5, 7}, [BY_FOURS] = {0, 1, 4, 5, 2, 3, 6, 7}};

/// Lane j of the result is lane block_order[layout][j].
MOE_INLINE __m256i order_of(few_layout layout) { return load256(block_order[layout]); }
/// And back.
MOE_INLINE __m256i order_back(few_layout layout) {
    return layout == BY_TWOS ? _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7) : order_of(layout);
}

MOE_INLINE void gather_chunk(const moe_act_chunk *in, few_layout layout, row_chunk *out) {
    const int32_t *block = block_order[layout];
    __m256i q[8];
    for (int half = 0; half < 2; half++) {
        __m256i b[4];
        for (int i = 0; i < 4; i++) b[i] = load256(in->q + 32 * block[4 * half + i]);
        transpose_halves(b[0], b[1], b[2], b[3], q + 4 * half);
    }
    for (int t = 0; t < 4; t++) {
        const __m256i a = q[t], b = q[4 + t];
        const bool whole = layout == QUARTERS;
        _mm256_store_si256((__m256i *)out->q[t], whole ? _mm256_permute2x128_si256(a, b, 0x20) : a);
        _mm256_store_si256((__m256i *)out->q[4 + t], whole ? _mm256_permute2x128_si256(a, b, 0x31) : b);
    }
    const __m256i order = order_of(layout);
    _mm256_store_ps(out->d, _mm256_permutevar8x32_ps(_mm256_load_ps(in->d), order));
    _mm256_store_ps(out->dsum, _mm256_permutevar8x32_ps(_mm256_load_ps(in->dsum), order));
    _mm256_store_si256((__m256i *)out->bias32, _mm256_permutevar8x32_epi32(load256(in->bias32), order));
    _mm256_store_si256((__m256i *)out->sum16, _mm256_permutevar8x32_epi32(load256(in->sum16), order));
}

MOE_INLINE void gather_rows(const moe_act_chunk *const *x, int32_t m, int64_t k, few_layout layout, uint8_t *gathered) {
    row_chunk *out = (row_chunk *)(void *)gathered;
    for (int32_t i = 0; i < m; i++) {
        for (int64_t c = 0; c < moe_chunks(k); c++) gather_chunk(x[i] + c, layout, out++);
    }
}

#define DEFINE_GATHER(name, layout)                                                                     \
    static void gather_##name(const moe_act_chunk *const *x, int32_t m, int64_t k, uint8_t *gathered) { \
        gather_rows(x, m, k, layout, gathered);                                                         \
    }
DEFINE_GATHER(quarters, QUARTERS)
DEFINE_GATHER(in_order, IN_ORDER)
DEFINE_GATHER(by_twos, BY_TWOS)
DEFINE_GATHER(by_fours, BY_FOURS)

// ---------------------------------------------------------------------------------------------------------------------
// Products

MOE_INLINE __m256i load_part(const row_chunk *x, int t) { return _mm256_load_si256((const __m256i *)x->q[t]); }

/// The sums of the first four blocks (a's halves added), then of the others (b's).
MOE_INLINE __m256i halves_added16(__m256i a, __m256i b) {
    return _mm256_add_epi16(_mm256_blend_epi32(a, b, 0xf0), _mm256_permute2x128_si256(a, b, 0x21));
}
MOE_INLINE __m256i halves_added32(__m256i a, __m256i b) {
    return _mm256_add_epi32(_mm256_blend_epi32(a, b, 0xf0), _mm256_permute2x128_si256(a, b, 0x21));
}

/// Products of four parts whose sums fit in 16 bits: 4 * 2 * 31 * 127 do.
MOE_INLINE __m256i four_small_parts(const row_weights *w, const row_chunk *x, int first) {
    __m256i p[4];
    for (int t = 0; t < 4; t++) p[t] = _mm256_maddubs_epi16(w->part[first + t], load_part(x, first + t));
    return _mm256_add_epi16(_mm256_add_epi16(p[0], p[1]), _mm256_add_epi16(p[2], p[3]));
}

/// Products of four parts, in 32 bits.
MOE_INLINE __m256i four_parts(const few_type type, const row_weights *w, const row_chunk *x, int first) {
    const __m256i ones = _mm256_set1_epi16(1);
    const bool raised = type.traits.range == MOE_RANGE_S8 && type.offset >= 0;
    if (raised || type.traits.range == MOE_RANGE_U5) return _mm256_madd_epi16(four_small_parts(w, x, first), ones);
    __m256i p[4];
    for (int t = 0; t < 4; t++) {
        const __m256i part = w->part[first + t], q = load_part(x, first + t);
        p[t] = type.traits.range == MOE_RANGE_S8 ? products_signed(part, q) : _mm256_maddubs_epi16(part, q);
    }
    if (type.traits.kind == MOE_CLASS_BLOCK16) {  // 4 * 63 * 127 fit in 16 bits
        const __m256i scale = w->sub_scale[first / 4];
        return _mm256_add_epi32(_mm256_madd_epi16(_mm256_add_epi16(p[0], p[1]), scale),
                                _mm256_madd_epi16(_mm256_add_epi16(p[2], p[3]), scale));
    }
    for (int t = 0; t < 4; t++) p[t] = _mm256_madd_epi16(p[t], ones);
    return _mm256_add_epi32(_mm256_add_epi32(p[0], p[1]), _mm256_add_epi32(p[2], p[3]));
}

/// The integer sum of each block.
MOE_INLINE __m256i sums_of_blocks(const few_type type, const row_weights *w, const row_chunk *x) {
    if (type.traits.range == MOE_RANGE_U4) {  // 16 * 15 * 127 fit in 16 bits
        const __m256i a = four_small_parts(w, x, 0), b = four_small_parts(w, x, 4);
        const __m256i sums = type.layout == QUARTERS ? _mm256_add_epi16(a, b) : halves_added16(a, b);
        return _mm256_madd_epi16(sums, _mm256_set1_epi16(1));
    }
    const __m256i a = four_parts(type, w, x, 0), b = four_parts(type, w, x, 4);
    return type.layout == QUARTERS ? _mm256_add_epi32(a, b) : halves_added32(a, b);
}

/// Adds a chunk's products to a sum's lanes.
MOE_INLINE __m256 add_chunk(__m256 lanes, const few_type type, const row_weights *w, const row_scales *s, const row_chunk *x) {
    __m256i sums = sums_of_blocks(type, w, x);
    if (type.traits.kind == MOE_CLASS_BLOCK16) {
        const __m256i whole = _mm256_madd_epi16(s->sub_scale, _mm256_load_si256((const __m256i *)x->sum16));
        sums = _mm256_sub_epi32(sums, _mm256_slli_epi32(whole, type.offset));
    } else if (type.offset >= 0) {
        sums = without_offset(sums, type.offset, load256(x->bias32));
    }
    lanes = _mm256_fmadd_ps(_mm256_mul_ps(s->scale, _mm256_load_ps(x->d)), _mm256_cvtepi32_ps(sums), lanes);
    if (!type.traits.has_min) return lanes;
    const __m256 dsum = _mm256_load_ps(x->dsum);
    return type.subtracts ? _mm256_fnmadd_ps(s->min, dsum, lanes) : _mm256_fmadd_ps(s->min, dsum, lanes);
}

/// One weight row times m activation rows (a constant). Of the last, incomplete chunk (of types with blocks of 32) only the row's
/// own blocks count; what is read for the others is what lies behind the row, or zeros where that may not be read.
MOE_INLINE void over_chunks_of_rows(const few_type type, const uint8_t *row, size_t readable, const uint8_t *gathered, int m,
                                    int64_t k, float *out) {
    const size_t chunk_bytes = (size_t)(MOE_CHUNK / type.traits.block_elements * type.traits.block_bytes);
    const int64_t chunks = k / MOE_CHUNK, stride = moe_chunks(k);
    const row_chunk *x = (const row_chunk *)(const void *)gathered;
    __m256 lanes[MOE_DOT_ROWS];
    for (int i = 0; i < m; i++) lanes[i] = _mm256_setzero_ps();
    for (int64_t c = 0; c < chunks; c++, row += chunk_bytes, x++) {
        for (size_t line = 0; line < chunk_bytes; line += 64) _mm_prefetch((const char *)row + line + 4096, _MM_HINT_T0);
        const row_weights w = type.weights(row);
        const row_scales s = type.scales(row);
        for (int i = 0; i < m; i++) lanes[i] = add_chunk(lanes[i], type, &w, &s, x + i * stride);
    }
    if (type.traits.block_elements < MOE_CHUNK && k % MOE_CHUNK) {
        const int blocks = (int)(k % MOE_CHUNK / type.traits.block_elements);
        uint8_t rest[8 * 34];
        if (readable < (size_t)(chunks + 1) * chunk_bytes) {
            memset(rest, 0, sizeof rest);
            memcpy(rest, row, (size_t)(blocks * type.traits.block_bytes));
            row = rest;
        }
        const row_weights w = type.weights(row);
        const row_scales s = type.scales(row);
        for (int i = 0; i < m; i++) {
            lanes[i] = first_lanes(lanes[i], add_chunk(lanes[i], type, &w, &s, x + i * stride), blocks);
        }
    }
    for (int i = 0; i < m; i++) out[i] = sum_of_lanes(_mm256_permutevar8x32_ps(lanes[i], order_back(type.layout)));
}

// ---------------------------------------------------------------------------------------------------------------------
// Weights

MOE_INLINE __m256i low_nibbles(__m256i v) { return _mm256_and_si256(v, _mm256_set1_epi8(15)); }
MOE_INLINE __m256i high_nibbles(__m256i v) { return low_nibbles(_mm256_srli_epi16(v, 4)); }

MOE_INLINE row_weights nibbles_of(const __m256i packed[4]) {
    row_weights out;
    for (int t = 0; t < 4; t++) {
        out.part[t] = low_nibbles(packed[t]);
        out.part[4 + t] = high_nibbles(packed[t]);
    }
    return out;
}

/// Eight blocks of 16 bytes, `bytes` apart: a block's first half in the low nibbles, its second in the high ones.
MOE_INLINE row_weights nibble_parts(const uint8_t *qs, size_t bytes) {
    __m256i packed[4];
    transpose_short_rows(qs, bytes, packed);
    return nibbles_of(packed);
}

MOE_INLINE row_scales scales_of(const uint8_t *w, size_t bytes) { return (row_scales){.scale = halves_of_blocks(w, bytes)}; }
MOE_INLINE row_scales scales_and_mins_of(const uint8_t *w, size_t bytes) {
    __m128i words[2];
    words_of_blocks(w, bytes, words);
    return (row_scales){.scale = _mm256_cvtph_ps(words[0]), .min = _mm256_cvtph_ps(words[1])};
}

MOE_INLINE row_weights weights_q8_0(const uint8_t *w) {
    const size_t bytes = sizeof(moe_block_q8_0);
    __m256i b[8];
    for (size_t i = 0; i < 8; i++) b[i] = load256(FIELD(moe_block_q8_0, qs) + i * bytes);
    row_weights out;
    transpose_halves(b[0], b[1], b[2], b[3], out.part);
    transpose_halves(b[4], b[5], b[6], b[7], out.part + 4);
    return out;
}
MOE_INLINE row_scales row_scales_q8_0(const uint8_t *w) { return scales_of(w, sizeof(moe_block_q8_0)); }

MOE_INLINE row_weights weights_q4_0(const uint8_t *w) { return nibble_parts(FIELD(moe_block_q4_0, qs), sizeof(moe_block_q4_0)); }
MOE_INLINE row_scales row_scales_q4_0(const uint8_t *w) { return scales_of(w, sizeof(moe_block_q4_0)); }

MOE_INLINE row_weights weights_q4_1(const uint8_t *w) { return nibble_parts(FIELD(moe_block_q4_1, qs), sizeof(moe_block_q4_1)); }
MOE_INLINE row_scales row_scales_q4_1(const uint8_t *w) { return scales_and_mins_of(w, sizeof(moe_block_q4_1)); }

/// 16 more where the fifth bit (of eight blocks, `bytes` apart) says so.
MOE_INLINE row_weights add_fifth_bits(row_weights w, const uint8_t *qh, size_t bytes) {
    const __m256i bits = _mm256_setr_epi32(load_i32(qh), load_i32(qh + bytes), load_i32(qh + 2 * bytes), load_i32(qh + 3 * bytes),
                                           load_i32(qh + 4 * bytes), load_i32(qh + 5 * bytes), load_i32(qh + 6 * bytes),
                                           load_i32(qh + 7 * bytes));
    for (int t = 0; t < 8; t++) {
        // Byte i of each lane is byte t / 2 of its block's bits, of which bit 4 (t % 2) + i counts.
        const __m256i lanes = _mm256_setr_epi32(0, 0x04040404, 0x08080808, 0x0c0c0c0c, 0, 0x04040404, 0x08080808, 0x0c0c0c0c);
        const __m256i order = _mm256_add_epi8(lanes, _mm256_set1_epi8((char)(t / 2)));
        const __m256i select = _mm256_set1_epi32(t % 2 ? (int)0x80402010 : 0x08040201);
        const __m256i chosen = _mm256_and_si256(_mm256_shuffle_epi8(bits, order), select);
        const __m256i sixteen = _mm256_and_si256(_mm256_cmpeq_epi8(chosen, select), _mm256_set1_epi8(16));
        w.part[t] = _mm256_or_si256(w.part[t], sixteen);
    }
    return w;
}

MOE_INLINE row_weights weights_q5_0(const uint8_t *w) {
    const size_t bytes = sizeof(moe_block_q5_0);
    return add_fifth_bits(nibble_parts(FIELD(moe_block_q5_0, qs), bytes), FIELD(moe_block_q5_0, qh), bytes);
}
MOE_INLINE row_scales row_scales_q5_0(const uint8_t *w) { return scales_of(w, sizeof(moe_block_q5_0)); }

MOE_INLINE row_weights weights_q5_1(const uint8_t *w) {
    const size_t bytes = sizeof(moe_block_q5_1);
    return add_fifth_bits(nibble_parts(FIELD(moe_block_q5_1, qs), bytes), FIELD(moe_block_q5_1, qh), bytes);
}
MOE_INLINE row_scales row_scales_q5_1(const uint8_t *w) { return scales_and_mins_of(w, sizeof(moe_block_q5_1)); }

/// Indices to the values of a codebook, with `offset` added.
MOE_INLINE row_weights look_up(row_weights w, const int8_t *codebook, int offset) {
    const __m256i values = _mm256_add_epi8(_mm256_broadcastsi128_si256(load128(codebook)), _mm256_set1_epi8((char)offset));
    for (int t = 0; t < 8; t++) w.part[t] = _mm256_shuffle_epi8(values, w.part[t]);
    return w;
}

MOE_INLINE row_weights weights_iq4_nl(const uint8_t *w) {
    static const int8_t codebook[16] = MOE_CODEBOOK_IQ4;
    return look_up(weights_q4_0(w), codebook, 0);  // the same layout
}
MOE_INLINE row_scales row_scales_iq4_nl(const uint8_t *w) { return row_scales_q4_0(w); }

MOE_INLINE row_weights weights_iq4_xs(const uint8_t *w) {
    static const int8_t codebook[16] = MOE_CODEBOOK_IQ4;
    return look_up(nibble_parts(FIELD(moe_block_iq4_xs, qs), 16), codebook, 0);
}
MOE_INLINE row_scales row_scales_iq4_xs(const uint8_t *w) { return (row_scales){.scale = scales_iq4_xs(w)}; }

/// Raised to be unsigned, and still of five bits.
MOE_INLINE row_weights weights_mxfp4(const uint8_t *w) {
    static const int8_t codebook[16] = MOE_CODEBOOK_MXFP4;
    return look_up(nibble_parts(FIELD(moe_block_mxfp4, qs), sizeof(moe_block_mxfp4)), codebook, 16);
}
MOE_INLINE row_scales row_scales_mxfp4(const uint8_t *w) {
    return (row_scales){.scale = exponents_of_blocks(w, sizeof(moe_block_mxfp4))};
}

/// Blocks 2p and 2p + 1 are the low and high nibbles of bytes 32 p...32 p + 31.
MOE_INLINE row_weights weights_q4_k(const uint8_t *w) {
    const uint8_t *qs = FIELD(moe_block_q4_k, qs);
    __m256i packed[4];
    transpose_halves(load256(qs), load256(qs + 32), load256(qs + 64), load256(qs + 96), packed);
    return nibbles_of(packed);
}

/// The 16 bytes that blocks of Q4_K and Q5_K begin with: d, dmin, and twelve bytes of scales and mins. Scales 0...3 are the lower
/// six bits of s[0...3]; scales 4...7 have their lower four bits in those of s[8...11], and two more in the upper ones of s[0...3].
/// Mins: the same with s[4...7] and the upper four bits of s[8...11].
MOE_INLINE row_scales scales_k(const uint8_t *w) {
    const uint64_t six = 0x3f3f3f3f3f3f3f3full, four = 0x0f0f0f0full, two = 0x3030303030303030ull;
    uint64_t first;
    const uint64_t last = (uint32_t)load_i32(w + 12);
    memcpy(&first, w + 4, sizeof first);
    // Scales and mins 0...3, then 4...7: by the integer unit, which has nothing else to do.
    const __m128i low = _mm_cvtsi64_si128((long long)(first & six));
    const __m128i high = _mm_cvtsi64_si128((long long)((first >> 2 & two) | (last & four) | (last >> 4 & four) << 32));
    const __m256i both = _mm256_broadcastsi128_si256(_mm_unpacklo_epi32(low, high));
    const __m256i scales = _mm256_shuffle_epi8(both, _mm256_setr_epi8(0, -1, -1, -1, 2, -1, -1, -1, 4, -1, -1, -1, 6, -1, -1, -1,
                                                                      1, -1, -1, -1, 3, -1, -1, -1, 5, -1, -1, -1, 7, -1, -1, -1));
    const __m256i mins = _mm256_shuffle_epi8(both, _mm256_setr_epi8(8, -1, -1, -1, 10, -1, -1, -1, 12, -1, -1, -1, 14, -1, -1, -1,
                                                                    9, -1, -1, -1, 11, -1, -1, -1, 13, -1, -1, -1, 15, -1, -1, -1));
    const __m128 halves = _mm_cvtph_ps(_mm_cvtsi32_si128(load_i32(w)));
    const __m256 d = _mm256_broadcastss_ps(halves), dmin = _mm256_broadcastss_ps(_mm_movehdup_ps(halves));
    return (row_scales){.scale = _mm256_mul_ps(d, _mm256_cvtepi32_ps(scales)), .min = _mm256_mul_ps(dmin, _mm256_cvtepi32_ps(mins))};
}
MOE_INLINE row_scales row_scales_q4_k(const uint8_t *w) { return scales_k(w); }

/// Bit b of byte i of qh belongs to element i of block b.
MOE_INLINE row_weights weights_q5_k(const uint8_t *w) {
    const uint8_t *qs = FIELD(moe_block_q5_k, qs);
    const __m256i qh = load256(FIELD(moe_block_q5_k, qh)), sixteen = _mm256_set1_epi8(16);
    const __m256i bits[4] = {_mm256_shuffle_epi32(qh, 0x00), _mm256_shuffle_epi32(qh, 0x55), _mm256_shuffle_epi32(qh, 0xaa),
                             _mm256_shuffle_epi32(qh, 0xff)};
    __m256i packed[4];
    transpose_halves(load256(qs), load256(qs + 32), load256(qs + 64), load256(qs + 96), packed);
    row_weights out;
    for (int t = 0; t < 4; t++) {
        // Bits 0 and 1 are now those of blocks 2p and 2p + 1, in lane p of each half.
        const __m256i own = _mm256_srlv_epi32(bits[t], _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6));
        out.part[t] = _mm256_or_si256(low_nibbles(packed[t]), _mm256_and_si256(_mm256_slli_epi32(own, 4), sixteen));
        out.part[4 + t] = _mm256_or_si256(high_nibbles(packed[t]), _mm256_and_si256(_mm256_slli_epi32(own, 3), sixteen));
    }
    return out;
}
MOE_INLINE row_scales row_scales_q5_k(const uint8_t *w) { return scales_k(w); }

/// Of each 128 weights, blocks 0 and 1 are the low nibbles of bytes 0...31 and 32...63 of ql, blocks 2 and 3 their high nibbles;
/// bits 2b and 2b + 1 of bytes 0...31 of qh are the upper ones of block b.
MOE_INLINE row_weights weights_q6_k(const uint8_t *w) {
    const uint8_t *qh = FIELD(moe_block_q6_k, qh);
    const __m256i top = _mm256_set1_epi8(48), by = _mm256_setr_epi32(0, 2, 0, 2, 0, 2, 0, 2);
    __m256i packed[4];
    transpose_halves(load256(w), load256(w + 32), load256(w + 64), load256(w + 96), packed);
    const __m256i h0 = load256(qh), h1 = load256(qh + 32);
    const __m256i low = _mm256_unpacklo_epi32(h0, h1), high = _mm256_unpackhi_epi32(h0, h1);
    const __m256i bits[4] = {_mm256_shuffle_epi32(low, 0x50), _mm256_shuffle_epi32(low, 0xfa), _mm256_shuffle_epi32(high, 0x50),
                             _mm256_shuffle_epi32(high, 0xfa)};
    row_weights out;
    for (int t = 0; t < 4; t++) {
        // Bits 0 and 1 are now those of the low nibble, bits 4 and 5 those of the high one.
        const __m256i own = _mm256_srlv_epi32(bits[t], by);
        out.part[t] = _mm256_or_si256(low_nibbles(packed[t]), _mm256_and_si256(_mm256_slli_epi32(own, 4), top));
        out.part[4 + t] = _mm256_or_si256(high_nibbles(packed[t]), _mm256_and_si256(own, top));
    }
    // A scale per half block: in the low half of a register that of the first, in the high half that of the second.
    const __m128i scales = load128(FIELD(moe_block_q6_k, scales));
    const __m128i first = _mm_setr_epi8(0, 0, 2, 2, 8, 8, 10, 10, 1, 1, 3, 3, 9, 9, 11, 11);
    const __m128i second = _mm_setr_epi8(4, 4, 6, 6, 12, 12, 14, 14, 5, 5, 7, 7, 13, 13, 15, 15);
    out.sub_scale[0] = _mm256_cvtepi8_epi16(_mm_shuffle_epi8(scales, first));
    out.sub_scale[1] = _mm256_cvtepi8_epi16(_mm_shuffle_epi8(scales, second));
    return out;
}
MOE_INLINE row_scales row_scales_q6_k(const uint8_t *w) {
    const __m128i order = _mm_setr_epi8(0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 12, 13, 14, 15);
    const __m128i scales = _mm_shuffle_epi8(load128(FIELD(moe_block_q6_k, scales)), order);
    return (row_scales){.scale = _mm256_set1_ps(moe_load_half(FIELD(moe_block_q6_k, d))),
                        .sub_scale = _mm256_cvtepi8_epi16(scales)};
}

// ---------------------------------------------------------------------------------------------------------------------

// Type, who gathers, layout, few_type.offset.
#define FEW_TYPES(X)                          \
    X(Q8_0, q8_0, in_order, IN_ORDER, -1)     \
    X(Q4_0, q4_0, quarters, QUARTERS, 3)      \
    X(Q4_1, q4_1, quarters, QUARTERS, -1)     \
    X(Q5_0, q5_0, quarters, QUARTERS, 4)      \
    X(Q5_1, q5_1, quarters, QUARTERS, -1)     \
    X(Q4_K, q4_k, by_twos, BY_TWOS, -1)       \
    X(Q5_K, q5_k, by_twos, BY_TWOS, -1)       \
    X(Q6_K, q6_k, by_fours, BY_FOURS, 5)      \
    X(IQ4_NL, iq4_nl, quarters, QUARTERS, -1) \
    X(IQ4_XS, iq4_xs, quarters, QUARTERS, -1) \
    X(MXFP4, mxfp4, quarters, QUARTERS, 4)

#define ROWS(m) over_chunks_of_rows(type, row, readable, gathered, m, k, out)
#define DEFINE(NAME, name, gather, layout, offset)                                                                               \
    static void few_##name(const uint8_t *row, size_t row_bytes, int32_t n, size_t readable, const uint8_t *gathered, int32_t m, \
                           int64_t k, float *out) {                                                                              \
        const moe_type_traits traits = moe_traits_table[MOE_TYPE_##NAME];                                                        \
        const few_type type = {weights_##name, row_scales_##name, traits, layout, offset, layout == BY_TWOS};                    \
        for (int32_t j = 0; j < n; j++, row += row_bytes, readable -= row_bytes, out += m) {                                     \
            switch (m) {                                                                                                         \
                case 1: ROWS(1); break;                                                                                          \
                case 2: ROWS(2); break;                                                                                          \
                case 3: ROWS(3); break;                                                                                          \
                case 4: ROWS(4); break;                                                                                          \
                case 5: ROWS(5); break;                                                                                          \
                case 6: ROWS(6); break;                                                                                          \
                case 7: ROWS(7); break;                                                                                          \
                default: ROWS(8); break;                                                                                         \
            }                                                                                                                    \
        }                                                                                                                        \
    }
FEW_TYPES(DEFINE)

#pragma clang attribute pop

void moe_set_few_avx2(moe_kernels *table) {
#define SET_FEW(NAME, name, gather_name, layout, offset)       \
    table->names[MOE_TYPE_##NAME] = "avx2";                    \
    table->few.gather[MOE_TYPE_##NAME] = gather_##gather_name; \
    table->few.multiply[MOE_TYPE_##NAME] = few_##name;
    FEW_TYPES(SET_FEW)
}
#endif
