// SPDX-License-Identifier: Apache-2.0
//
// AVX-512 VNNI: a weight row times one to eight activation rows, for the types of which models are made.
//
// Decoding is bound by memory only while the processor keeps up, and shuffles (one a cycle) are what it runs out of first. So
// activations are laid out once per unit of work, two rows side by side, such that a 128-bit part of a register never holds
// weights of two blocks: products of a block's halves then add up in place, two registers hold the sums of all eight blocks, and
// one series of shuffles adds the lanes of two activation rows, or of two weight rows where there is one activation row.
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

/// 256 elements of two activation rows. With an odd number of rows the last one stands twice.
typedef struct pair_chunk {
    _Alignas(64) int8_t q[2][MOE_CHUNK];  // in the order of row_weights.part
    float d[2][8], dsum[2][8];
    int32_t bias32[2][8];
    int16_t sum16[2][16];
} pair_chunk;
_Static_assert(sizeof(pair_chunk) == MOE_FEW_BYTES, "kernel_table.h says how much memory there is");

/// `by_halves`: first halves of blocks 0, 2, 4, 6; their second halves; the same of blocks 1, 3, 5, 7. Else as they are.
MOE_INLINE void gather_chunk(const moe_act_chunk *in, bool by_halves, pair_chunk *out, int r) {
    const __m512i a = load512(in->q), b = load512(in->q + 64), c = load512(in->q + 128), d = load512(in->q + 192);
    __m512i q[4] = {a, b, c, d};
    if (by_halves) {
        const __m512i first0 = _mm512_shuffle_i32x4(a, b, 0x88), second0 = _mm512_shuffle_i32x4(a, b, 0xdd);
        const __m512i first4 = _mm512_shuffle_i32x4(c, d, 0x88), second4 = _mm512_shuffle_i32x4(c, d, 0xdd);
        q[0] = _mm512_shuffle_i32x4(first0, first4, 0x88);
        q[1] = _mm512_shuffle_i32x4(second0, second4, 0x88);
        q[2] = _mm512_shuffle_i32x4(first0, first4, 0xdd);
        q[3] = _mm512_shuffle_i32x4(second0, second4, 0xdd);
    }
    for (int i = 0; i < 4; i++) _mm512_store_si512(out->q[r] + 64 * i, q[i]);
    memcpy(out->d[r], in->d, sizeof in->d);
    memcpy(out->dsum[r], in->dsum, sizeof in->dsum);
    memcpy(out->bias32[r], in->bias32, sizeof in->bias32);
    memcpy(out->sum16[r], in->sum16, sizeof in->sum16);
}

MOE_INLINE void gather_rows(const moe_act_chunk *const *x, int32_t m, int64_t k, bool by_halves, uint8_t *gathered) {
    pair_chunk *out = (pair_chunk *)(void *)gathered;
    for (int32_t i = 0; i < m; i += 2) {
        for (int64_t c = 0; c < moe_chunks(k); c++, out++) {
            for (int r = 0; r < 2; r++) gather_chunk(x[i + r < m ? i + r : i] + c, by_halves, out, r);
        }
    }
}

static void gather_by_halves(const moe_act_chunk *const *x, int32_t m, int64_t k, uint8_t *gathered) {
    gather_rows(x, m, k, true, gathered);
}
static void gather_in_order(const moe_act_chunk *const *x, int32_t m, int64_t k, uint8_t *gathered) {
    gather_rows(x, m, k, false, gathered);
}

/// 256 weights of a row, as unsigned bytes.
typedef struct row_weights {
    __m512i part[4];       // BLOCK32: by halves (gather_chunk); BLOCK16: in order
    __m512i sub_scale[2];  // BLOCK16: int16 per half block, in 128-bit part p four times 8i + p and four times 8i + 4 + p
} row_weights;

/// Scales of 256 weights of two rows, or of one row twice.
typedef struct pair_scales {
    __m512 scale, min;   // per block of 32
    __m512i sub_scale;   // BLOCK16: int16 per half block
} pair_scales;

/// How a type is read: the scales of rows a and b, which may be one row.
typedef struct few_type {
    row_weights (*weights)(const uint8_t *w);
    pair_scales (*scales)(const uint8_t *a, const uint8_t *b);
    moe_type_traits traits;
    int offset;  // log2 of what is subtracted from each weight (its own offset, or what makes it unsigned); -1: nothing
} few_type;

// ---------------------------------------------------------------------------------------------------------------------
// Products

/// sum_lanes for lanes whose sums over a part fit in 16 bits: of 4-bit weights at most 16 * 15 * 127 are added up.
MOE_INLINE __m512i sum_small_lanes(__m512i even0, __m512i odd0, __m512i even1, __m512i odd1) {
    const __m512i ones = _mm512_set1_epi16(1);
    const __m512i a = _mm512_madd_epi16(_mm512_packs_epi32(even0, odd0), ones);
    const __m512i b = _mm512_madd_epi16(_mm512_packs_epi32(even1, odd1), ones);
    return _mm512_madd_epi16(_mm512_packs_epi32(a, b), ones);
}

MOE_INLINE __m512i dot(__m512i unsigned_bytes, const int8_t *x) {
    return _mm512_dpbusd_epi32(_mm512_setzero_si512(), unsigned_bytes, _mm512_load_si512(x));
}

/// A row's sums in lanes. BLOCK32: of even blocks and of odd ones, four lanes each. BLOCK16: [0], and in 128-bit part p half blocks
/// p, p + 4, p + 8, p + 12.
typedef struct row_sums {
    __m512i of[2];
} row_sums;

MOE_INLINE row_sums multiply_chunk(const few_type type, const row_weights *w, const int8_t *x) {
    row_sums sums;
    for (int i = 0; i < 2; i++) {
        const __m512i first = dot(w->part[2 * i], x + 128 * i);
        if (type.traits.kind == MOE_CLASS_BLOCK16) {
            // At most 4 * 63 * 127 each: in 16 bits, so that one instruction multiplies by the halves' scales and adds.
            const __m512i halves = _mm512_packs_epi32(first, dot(w->part[2 * i + 1], x + 128 * i + 64));
            sums.of[i] = _mm512_madd_epi16(halves, w->sub_scale[i]);
        } else {
            sums.of[i] = _mm512_dpbusd_epi32(first, w->part[2 * i + 1], _mm512_load_si512(x + 128 * i + 64));
        }
    }
    if (type.traits.kind == MOE_CLASS_BLOCK16) {
        const __m512 a = _mm512_castsi512_ps(sums.of[0]), b = _mm512_castsi512_ps(sums.of[1]);
        const __m512 even = _mm512_shuffle_ps(a, b, 0x88), odd = _mm512_shuffle_ps(a, b, 0xdd);
        sums.of[0] = sums.of[1] = _mm512_add_epi32(_mm512_castps_si512(even), _mm512_castps_si512(odd));
    }
    return sums;
}

/// The sums of each block of a, then of b.
MOE_INLINE __m512i sums_of_blocks(const few_type type, row_sums a, row_sums b) {
    if (type.traits.kind == MOE_CLASS_BLOCK16) {
        const __m512i first = _mm512_shuffle_i32x4(a.of[0], b.of[0], 0x88), second = _mm512_shuffle_i32x4(a.of[0], b.of[0], 0xdd);
        const __m512i order = _mm512_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15);
        return _mm512_permutexvar_epi32(order, _mm512_add_epi32(first, second));
    }
    const __m512i parts = type.traits.range == MOE_RANGE_U4 ? sum_small_lanes(a.of[0], a.of[1], b.of[0], b.of[1])
                                                            : sum_lanes(a.of[0], a.of[1], b.of[0], b.of[1]);
    return _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7), parts);
}

/// Adds a chunk's products to the lanes of two sums.
MOE_INLINE __m512 add_chunk(__m512 lanes, const few_type type, row_sums a, row_sums b, const pair_scales *w, const pair_chunk *x) {
    __m512i sums = sums_of_blocks(type, a, b);
    if (type.traits.kind == MOE_CLASS_BLOCK16) {
        const __m512i whole = _mm512_madd_epi16(w->sub_scale, _mm512_load_si512(x->sum16));
        sums = _mm512_sub_epi32(sums, _mm512_slli_epi32(whole, (unsigned)type.offset));
    } else if (type.offset >= 0) {
        sums = _mm512_add_epi32(sums, _mm512_srai_epi32(_mm512_load_si512(x->bias32), (unsigned)(7 - type.offset)));
    }
    lanes = _mm512_fmadd_ps(_mm512_mul_ps(w->scale, _mm512_load_ps(x->d)), _mm512_cvtepi32_ps(sums), lanes);
    return type.traits.has_min ? _mm512_fmadd_ps(w->min, _mm512_load_ps(x->dsum), lanes) : lanes;
}

/// ((l0 + l4) + (l2 + l6)) + ((l1 + l5) + (l3 + l7)) of each half, in its first lane.
MOE_INLINE __m512 sums_of_lanes(__m512 lanes) {
    __m512 sum = _mm512_add_ps(lanes, _mm512_shuffle_f32x4(lanes, lanes, 0xb1));
    sum = _mm512_add_ps(sum, _mm512_shuffle_ps(sum, sum, 0x4e));
    return _mm512_add_ps(sum, _mm512_shuffle_ps(sum, sum, 0xb1));
}

/// Adds a chunk of one weight row times m activation rows, `stride` chunks from pair to pair; or, n = 2, of two weight rows times one.
MOE_INLINE void add_rows(__m512 *lanes, const few_type type, const uint8_t *row, const uint8_t *other, int n, const pair_chunk *x,
                         int64_t stride, int m) {
    const uint8_t *a = row, *b;
    // Else the compiler makes weights with shuffles of what was loaded for the scales.
    __asm__("" : "+r"(a));
    b = a;
    if (n == 2) __asm__("" : "=r"(b) : "0"(other));
    const pair_scales scales = type.scales(a, b);
    const row_weights w = type.weights(row);
    if (n == 2) {
        const row_weights second = type.weights(other);
        lanes[0] = add_chunk(lanes[0], type, multiply_chunk(type, &w, x->q[0]), multiply_chunk(type, &second, x->q[0]), &scales, x);
        return;
    }
    for (int i = 0; i < m; i += 2, x += stride) {
        const row_sums first = multiply_chunk(type, &w, x->q[0]);
        const row_sums second = i + 1 < m ? multiply_chunk(type, &w, x->q[1]) : first;
        lanes[i / 2] = add_chunk(lanes[i / 2], type, first, second, &scales, x);
    }
}

/// n = 1 weight row times m activation rows, or n = 2 times one: constants. Of the last, incomplete chunk (of types with blocks of
/// 32) only the row's own blocks count; what is read for the others is what lies behind the row, or zeros where that may not be read.
MOE_INLINE void over_chunks_in_pairs(const few_type type, const uint8_t *row, size_t row_bytes, int n, size_t readable,
                                     const uint8_t *gathered, int m, int64_t k, float *out) {
    const size_t chunk_bytes = (size_t)(MOE_CHUNK / type.traits.block_elements * type.traits.block_bytes);
    const int64_t chunks = k / MOE_CHUNK, stride = moe_chunks(k);
    const pair_chunk *x = (const pair_chunk *)(const void *)gathered;
    const uint8_t *other = row + (size_t)(n - 1) * row_bytes;
    __m512 lanes[MOE_DOT_ROWS / 2];
    for (int i = 0; i < m; i += 2) lanes[i / 2] = _mm512_setzero_ps();
    for (int64_t c = 0; c < chunks; c++, row += chunk_bytes, other += chunk_bytes, x++) {
        for (size_t line = 0; line < chunk_bytes; line += 64) {
            _mm_prefetch((const char *)row + line + 4096, _MM_HINT_T0);
            if (n == 2) _mm_prefetch((const char *)other + line + 4096, _MM_HINT_T0);
        }
        add_rows(lanes, type, row, other, n, x, stride, m);
    }
    if (type.traits.block_elements < MOE_CHUNK && k % MOE_CHUNK) {
        const int blocks = (int)(k % MOE_CHUNK / type.traits.block_elements);
        const __mmask16 own = (__mmask16)(((1 << blocks) - 1) * 0x101);
        uint8_t rest[2][8 * 34];
        if (readable < (size_t)(n - 1) * row_bytes + (size_t)(chunks + 1) * chunk_bytes) {
            memset(rest, 0, sizeof rest);
            memcpy(rest[0], row, (size_t)(blocks * type.traits.block_bytes));
            memcpy(rest[1], other, (size_t)(blocks * type.traits.block_bytes));
            row = rest[0];
            other = rest[n - 1];
        }
        __m512 all[MOE_DOT_ROWS / 2];
        memcpy(all, lanes, sizeof all);
        add_rows(all, type, row, other, n, x, stride, m);
        for (int i = 0; i < m; i += 2) lanes[i / 2] = _mm512_mask_mov_ps(lanes[i / 2], own, all[i / 2]);
    }
    for (int i = 0; i < m * n; i += 2) {
        const __m512 sums = sums_of_lanes(lanes[i / 2]);
        out[i] = _mm512_cvtss_f32(sums);
        if (i + 1 < m * n) _mm_store_ss(out + i + 1, _mm512_extractf32x4_ps(sums, 2));
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Weights

MOE_INLINE __m512 side_by_side(__m256 a, __m256 b) {
    return _mm512_castsi512_ps(two_halves(_mm256_castps_si256(a), _mm256_castps_si256(b)));
}

/// Eight blocks of 16 bytes, `bytes` apart: a block's first half in the low nibbles, its second in the high ones.
MOE_INLINE row_weights nibble_parts(const uint8_t *qs, size_t bytes) {
    row_weights out;
    for (int odd = 0; odd < 2; odd++) {
        const __m512i packed = four_quarters(qs + (size_t)odd * bytes, 2 * bytes);
        out.part[2 * odd] = low_nibbles(packed);
        out.part[2 * odd + 1] = high_nibbles(packed);
    }
    return out;
}

/// Indices to the values of a codebook, with 128 added.
MOE_INLINE row_weights look_up(row_weights w, const int8_t *codebook) {
    const __m512i values = _mm512_xor_si512(_mm512_broadcast_i32x4(load128(codebook)), _mm512_set1_epi8((char)0x80));
    for (int i = 0; i < 4; i++) w.part[i] = _mm512_shuffle_epi8(values, w.part[i]);
    return w;
}

/// Words 0 and 1 of four blocks that are `step` words apart, from 128 bytes that begin `first` words before the first block.
MOE_INLINE __m128i two_words_of_four(const uint8_t *p, short first, short step) {
    const short s1 = (short)(first + step), s2 = (short)(first + 2 * step), s3 = (short)(first + 3 * step);
    const __m128i order = _mm_setr_epi16(first, s1, s2, s3, (short)(first + 1), (short)(s1 + 1), (short)(s2 + 1), (short)(s3 + 1));
    return _mm512_castsi512_si128(_mm512_permutex2var_epi16(load512(p), _mm512_castsi128_si512(order), load512(p + 64)));
}

/// Scale and min of eight blocks that begin with both.
typedef struct scale_and_min {
    __m256 scale, min;
} scale_and_min;

/// The second load ends with the chunk.
MOE_INLINE scale_and_min scales_of_blocks(const uint8_t *w, size_t bytes) {
    const short step = (short)(bytes / 2);
    const __m128i low = two_words_of_four(w, 0, step);
    const __m128i high = two_words_of_four(w + 8 * bytes - 128, (short)(64 - 4 * step), step);
    return (scale_and_min){_mm256_cvtph_ps(_mm_unpacklo_epi64(low, high)), _mm256_cvtph_ps(_mm_unpackhi_epi64(low, high))};
}

MOE_INLINE pair_scales pair_of(__m256 a, __m256 b) { return (pair_scales){.scale = side_by_side(a, b)}; }
MOE_INLINE pair_scales pair_with_min(scale_and_min a, scale_and_min b) {
    return (pair_scales){.scale = side_by_side(a.scale, b.scale), .min = side_by_side(a.min, b.min)};
}

MOE_INLINE row_weights weights_q8_0(const uint8_t *w) {
    const size_t bytes = sizeof(moe_block_q8_0);
    row_weights out;
    for (int i = 0; i < 4; i++) {
        const uint8_t *qs = FIELD(moe_block_q8_0, qs) + (size_t)(i / 2) * bytes + (size_t)(16 * (i % 2));
        out.part[i] = _mm512_xor_si512(four_quarters(qs, 2 * bytes), _mm512_set1_epi8((char)0x80));
    }
    return out;
}
MOE_INLINE pair_scales pairs_q8_0(const uint8_t *a, const uint8_t *b) { return pair_of(scales_q8_0(a), scales_q8_0(b)); }

MOE_INLINE row_weights weights_q4_0(const uint8_t *w) { return nibble_parts(FIELD(moe_block_q4_0, qs), sizeof(moe_block_q4_0)); }
MOE_INLINE pair_scales pairs_q4_0(const uint8_t *a, const uint8_t *b) { return pair_of(scales_q4_0(a), scales_q4_0(b)); }

MOE_INLINE row_weights weights_q4_1(const uint8_t *w) { return nibble_parts(FIELD(moe_block_q4_1, qs), sizeof(moe_block_q4_1)); }
MOE_INLINE pair_scales pairs_q4_1(const uint8_t *a, const uint8_t *b) {
    const size_t bytes = sizeof(moe_block_q4_1);
    return pair_with_min(scales_of_blocks(a, bytes), scales_of_blocks(b, bytes));
}

/// 16 more where the fifth bit (of eight blocks, `bytes` apart) says so.
MOE_INLINE row_weights add_fifth_bits(row_weights w, const uint8_t *qh, size_t bytes) {
    for (int odd = 0; odd < 2; odd++) {
        uint64_t halves[2] = {0, 0};
        for (size_t i = 0; i < 4; i++) {
            const uint32_t bits = (uint32_t)load_i32(qh + (2 * i + (size_t)odd) * bytes);
            halves[0] |= (uint64_t)(bits & 0xffff) << 16 * i;
            halves[1] |= (uint64_t)(bits >> 16) << 16 * i;
        }
        for (int half = 0; half < 2; half++) {
            __m512i *part = &w.part[2 * odd + half];
            *part = _mm512_mask_add_epi8(*part, (__mmask64)halves[half], *part, _mm512_set1_epi8(16));
        }
    }
    return w;
}

MOE_INLINE row_weights weights_q5_0(const uint8_t *w) {
    const size_t bytes = sizeof(moe_block_q5_0);
    return add_fifth_bits(nibble_parts(FIELD(moe_block_q5_0, qs), bytes), FIELD(moe_block_q5_0, qh), bytes);
}
MOE_INLINE pair_scales pairs_q5_0(const uint8_t *a, const uint8_t *b) {
    const size_t bytes = sizeof(moe_block_q5_0);
    return pair_of(scales_of_blocks(a, bytes).scale, scales_of_blocks(b, bytes).scale);
}

MOE_INLINE row_weights weights_q5_1(const uint8_t *w) {
    const size_t bytes = sizeof(moe_block_q5_1);
    return add_fifth_bits(nibble_parts(FIELD(moe_block_q5_1, qs), bytes), FIELD(moe_block_q5_1, qh), bytes);
}
MOE_INLINE pair_scales pairs_q5_1(const uint8_t *a, const uint8_t *b) {
    const size_t bytes = sizeof(moe_block_q5_1);
    return pair_with_min(scales_of_blocks(a, bytes), scales_of_blocks(b, bytes));
}

MOE_INLINE row_weights weights_iq4_nl(const uint8_t *w) {
    static const int8_t codebook[16] = MOE_CODEBOOK_IQ4;
    return look_up(weights_q4_0(w), codebook);  // the same layout
}
MOE_INLINE pair_scales pairs_iq4_nl(const uint8_t *a, const uint8_t *b) { return pairs_q4_0(a, b); }

MOE_INLINE row_weights weights_iq4_xs(const uint8_t *w) {
    static const int8_t codebook[16] = MOE_CODEBOOK_IQ4;
    return look_up(nibble_parts(FIELD(moe_block_iq4_xs, qs), 16), codebook);
}
MOE_INLINE pair_scales pairs_iq4_xs(const uint8_t *a, const uint8_t *b) { return pair_of(scales_iq4_xs(a), scales_iq4_xs(b)); }

MOE_INLINE row_weights weights_mxfp4(const uint8_t *w) {
    static const int8_t codebook[16] = MOE_CODEBOOK_MXFP4;
    return look_up(nibble_parts(FIELD(moe_block_mxfp4, qs), sizeof(moe_block_mxfp4)), codebook);
}
MOE_INLINE pair_scales pairs_mxfp4(const uint8_t *a, const uint8_t *b) {
    const size_t bytes = sizeof(moe_block_mxfp4);
    return pair_of(exponents_of_blocks(a, bytes), exponents_of_blocks(b, bytes));
}

/// Blocks 2p and 2p + 1 are the low and high nibbles of bytes 32 p...32 p + 31.
MOE_INLINE row_weights nibble_parts_k(const uint8_t *qs) {
    const __m512i a = load512(qs), b = load512(qs + 64);
    const __m512i first = _mm512_shuffle_i32x4(a, b, 0x88), second = _mm512_shuffle_i32x4(a, b, 0xdd);
    return (row_weights){{low_nibbles(first), low_nibbles(second), high_nibbles(first), high_nibbles(second)}, {}};
}

MOE_INLINE __m512i both_halves(__m256i v) { return two_halves(v, v); }

/// Each 32 bits of v shifted right, in lanes 0...3 of eight by `low` and in the others by `high`.
MOE_INLINE __m512i shifted_right(__m512i v, int low, int high) {
    return _mm512_srlv_epi32(v, both_halves(_mm256_setr_epi32(low, low, low, low, high, high, high, high)));
}

/// The 16 bytes that blocks of Q4_K and Q5_K begin with: d, dmin, and twelve bytes of scales and mins. Scales 0...3 are the lower
/// six bits of s[0...3]; scales 4...7 have their lower four bits in those of s[8...11], and two more in the upper ones of s[0...3].
/// Mins: the same with s[4...7] and the upper four bits of s[8...11].
MOE_INLINE pair_scales pairs_k(const uint8_t *a, const uint8_t *b) {
    const __m256i first = _mm256_broadcastsi128_si256(load128(a));
    const __m256i second = a == b ? first : _mm256_broadcastsi128_si256(load128(b));
    const __m512i heads = two_halves(first, second);
    // Per block the byte with its lower bits, and above it, for blocks 4...7, the byte with its upper ones.
    const __m512i scale_order = both_halves(_mm256_setr_epi8(4, -1, -1, -1, 5, -1, -1, -1, 6, -1, -1, -1, 7, -1, -1, -1,
                                                             12, 4, -1, -1, 13, 5, -1, -1, 14, 6, -1, -1, 15, 7, -1, -1));
    const __m512i min_order = both_halves(_mm256_setr_epi8(8, -1, -1, -1, 9, -1, -1, -1, 10, -1, -1, -1, 11, -1, -1, -1,
                                                           12, 8, -1, -1, 13, 9, -1, -1, 14, 10, -1, -1, 15, 11, -1, -1));
    const __m512i s = _mm512_shuffle_epi8(heads, scale_order), m = _mm512_shuffle_epi8(heads, min_order);
    const __m512i four = _mm512_set1_epi32(15), two = _mm512_set1_epi32(48);
    const __m512i scales = _mm512_or_si512(_mm512_and_si512(s, four), _mm512_and_si512(shifted_right(s, 0, 10), two));
    const __m512i mins = _mm512_or_si512(_mm512_and_si512(shifted_right(m, 0, 4), four),
                                         _mm512_and_si512(shifted_right(m, 0, 10), two));
    // d and dmin of each row, everywhere.
    const __m512i order = _mm512_setr_epi32(0, 0, 0, 0, 8, 8, 8, 8, 0, 0, 0, 0, 0, 0, 0, 0);
    const __m512 halves = _mm512_cvtph_ps(_mm512_castsi512_si256(_mm512_permutexvar_epi32(order, heads)));
    const __m512i minus = _mm512_set1_epi32((int)0x80000000);
    const __m512 minus_dmin = _mm512_castsi512_ps(_mm512_xor_si512(_mm512_castps_si512(_mm512_movehdup_ps(halves)), minus));
    return (pair_scales){.scale = _mm512_mul_ps(_mm512_moveldup_ps(halves), _mm512_cvtepi32_ps(scales)),
                         .min = _mm512_mul_ps(minus_dmin, _mm512_cvtepi32_ps(mins))};
}

MOE_INLINE row_weights weights_q4_k(const uint8_t *w) { return nibble_parts_k(FIELD(moe_block_q4_k, qs)); }
MOE_INLINE pair_scales pairs_q4_k(const uint8_t *a, const uint8_t *b) { return pairs_k(a, b); }

MOE_INLINE row_weights weights_q5_k(const uint8_t *w) {
    row_weights out = nibble_parts_k(FIELD(moe_block_q5_k, qs));
    // Bit b of byte i belongs to element i of block b.
    const __m512i even = _mm512_setr_epi64(0x0101010101010101, 0x0101010101010101, 0x0404040404040404, 0x0404040404040404,
                                           0x1010101010101010, 0x1010101010101010, 0x4040404040404040, 0x4040404040404040);
    const __m512i odd = _mm512_add_epi8(even, even);
    for (int half = 0; half < 2; half++) {
        const __m512i bits = _mm512_broadcast_i32x4(load128(FIELD(moe_block_q5_k, qh) + 16 * half));
        __m512i *first = &out.part[half], *second = &out.part[2 + half];
        *first = _mm512_mask_add_epi8(*first, _mm512_test_epi8_mask(bits, even), *first, _mm512_set1_epi8(16));
        *second = _mm512_mask_add_epi8(*second, _mm512_test_epi8_mask(bits, odd), *second, _mm512_set1_epi8(16));
    }
    return out;
}
MOE_INLINE pair_scales pairs_q5_k(const uint8_t *a, const uint8_t *b) { return pairs_k(a, b); }

MOE_INLINE __m256i sub_scales_q6_k(const uint8_t *w) { return _mm256_cvtepi8_epi16(load128(FIELD(moe_block_q6_k, scales))); }

/// Of each 128 weights, blocks 0 and 1 are the low nibbles of bytes 0...31 and 32...63 of ql, blocks 2 and 3 their high nibbles;
/// bits 2b and 2b + 1 of bytes 0...31 of qh are the upper ones of block b.
MOE_INLINE row_weights weights_q6_k(const uint8_t *w) {
    const __m512i top = _mm512_set1_epi8(48), by = two_halves(_mm256_setzero_si256(), _mm256_set1_epi16(2));
    row_weights out;
    for (int i = 0; i < 2; i++) {
        const __m512i packed = load512(w + 64 * i);
        // Bits 0 and 1 are now those of blocks 0 and 1, bits 4 and 5 those of blocks 2 and 3.
        const __m512i high = _mm512_srlv_epi16(_mm512_broadcast_i64x4(load256(FIELD(moe_block_q6_k, qh) + 32 * i)), by);
        out.part[2 * i] = _mm512_or_si512(low_nibbles(packed), _mm512_and_si512(_mm512_slli_epi16(high, 4), top));
        out.part[2 * i + 1] = _mm512_or_si512(high_nibbles(packed), _mm512_and_si512(high, top));
    }
    const __m512i scales = _mm512_castsi256_si512(sub_scales_q6_k(w));
    const __m512i order = _mm512_setr_epi64(0x0000000000000000, 0x0004000400040004, 0x0001000100010001, 0x0005000500050005,
                                            0x0002000200020002, 0x0006000600060006, 0x0003000300030003, 0x0007000700070007);
    out.sub_scale[0] = _mm512_permutexvar_epi16(order, scales);
    out.sub_scale[1] = _mm512_permutexvar_epi16(_mm512_add_epi16(order, _mm512_set1_epi16(8)), scales);
    return out;
}
MOE_INLINE pair_scales pairs_q6_k(const uint8_t *a, const uint8_t *b) {
    const __m256 d = _mm256_set1_ps(moe_load_half(a + offsetof(moe_block_q6_k, d)));
    const __m256 other = _mm256_set1_ps(moe_load_half(b + offsetof(moe_block_q6_k, d)));
    return (pair_scales){.scale = side_by_side(d, other),
                         .sub_scale = two_halves(sub_scales_q6_k(a), sub_scales_q6_k(b))};
}

// ---------------------------------------------------------------------------------------------------------------------

// Type, and few_type.offset.
#define FEW_TYPES(X)                                                                                                        \
    X(Q8_0, q8_0, 7) X(Q4_0, q4_0, 3) X(Q4_1, q4_1, -1) X(Q5_0, q5_0, 4) X(Q5_1, q5_1, -1) X(Q4_K, q4_k, -1) X(Q5_K, q5_k, -1) \
    X(Q6_K, q6_k, 5) X(IQ4_NL, iq4_nl, 7) X(IQ4_XS, iq4_xs, 7) X(MXFP4, mxfp4, 7)

#define ROWS(n, m) over_chunks_in_pairs(type, row, row_bytes, n, readable, gathered, m, k, out)
#define DEFINE(NAME, name, offset)                                                                                           \
    static void few_##name(const uint8_t *row, size_t row_bytes, int32_t n, size_t readable, const uint8_t *gathered, int32_t m, \
                           int64_t k, float *out) {                                                                          \
        const few_type type = {weights_##name, pairs_##name, moe_traits_table[MOE_TYPE_##NAME], offset};                     \
        while (n > 0) {                                                                                                      \
            const int32_t rows = m == 1 && n > 1 ? 2 : 1;                                                                    \
            switch (m) {                                                                                                     \
                case 1: if (rows == 2) ROWS(2, 1); else ROWS(1, 1); break;                                                   \
                case 2: ROWS(1, 2); break;                                                                                   \
                case 3: ROWS(1, 3); break;                                                                                   \
                case 4: ROWS(1, 4); break;                                                                                   \
                case 5: ROWS(1, 5); break;                                                                                   \
                case 6: ROWS(1, 6); break;                                                                                   \
                case 7: ROWS(1, 7); break;                                                                                   \
                default: ROWS(1, 8); break;                                                                                  \
            }                                                                                                                \
            row += (size_t)rows * row_bytes;                                                                                 \
            readable -= (size_t)rows * row_bytes;                                                                            \
            out += rows * m;                                                                                                 \
            n -= rows;                                                                                                       \
        }                                                                                                                    \
    }
FEW_TYPES(DEFINE)

#pragma clang attribute pop

static moe_gather_fn gather_of(int32_t type) {
    return moe_traits(type)->kind == MOE_CLASS_BLOCK16 ? gather_in_order : gather_by_halves;
}

void moe_set_few_avx512vnni(moe_kernels *table) {
#define SET_FEW(NAME, name, offset)                                  \
    table->names[MOE_TYPE_##NAME] = "avx512vnni";                    \
    table->few.gather[MOE_TYPE_##NAME] = gather_of(MOE_TYPE_##NAME); \
    table->few.multiply[MOE_TYPE_##NAME] = few_##name;
    FEW_TYPES(SET_FEW)
}
#endif
