// SPDX-License-Identifier: Apache-2.0
//
// AVX2: many activation rows. Eight weight rows are unpacked and interleaved once, so that the eight lanes of a vector are
// eight weight rows: no sums across lanes, and the unpacking is paid once for all activation rows.
//
// Panel: blocks of 32 elements in the order of the sum's lanes (lane j: blocks j, j + 8, …), each block
//   q[8][8][4]   for each group of 4 elements, 4 bytes of each of 8 weight rows, with panel_offset added
//   scale[8], min[8] float32; for BLOCK16 also sub_scale[2][8], sub_min[2][8] float32
//
// Products of unsigned bytes of up to six bits fit in 16 bits, with others of their kind. Those of eight bits would not, even with one
// another; giving one factor the other's sign takes the multiplier's place, so these weights are multiplied as words, by
// activations that are gathered as words.
#if defined(__x86_64__)
#include <immintrin.h>
#include <stddef.h>

#include "../blocks.h"
#include "../kernel_table.h"
#include "tables_x86.h"

#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#pragma STDC FP_CONTRACT OFF

#include "avx2.h"
#include "interleaved_avx2.h"

enum { COLUMNS = 8, ROWS = 4, OFFSET_U5 = 16, OFFSET_BLOCK16 = 32 };

/// Eight rows of 32 bytes, `stride` apart -> eight vectors: the i-th 4 bytes of every row.
MOE_INLINE void transpose(const void *rows, size_t stride, __m256i out[8]) {
    __m256i r[8], quads[8];
    for (size_t i = 0; i < 8; i++) r[i] = load256((const uint8_t *)rows + i * stride);
    for (int i = 0; i < 8; i += 4) transpose_halves(r[i], r[i + 1], r[i + 2], r[i + 3], quads + i);
    for (int i = 0; i < 4; i++) {
        out[i] = _mm256_permute2x128_si256(quads[i], quads[4 + i], 0x20);
        out[i + 4] = _mm256_permute2x128_si256(quads[i], quads[4 + i], 0x31);
    }
}

/// The low and high int16 of each int32, as floats.
MOE_INLINE void store_pairs(float *out, __m256i pairs) {
    _mm256_store_ps(out, _mm256_cvtepi32_ps(_mm256_srai_epi32(_mm256_slli_epi32(pairs, 16), 16)));
    _mm256_store_ps(out + COLUMNS, _mm256_cvtepi32_ps(_mm256_srai_epi32(pairs, 16)));
}

typedef __m256i panel_vector;

// What panel_pack.h asks for.

/// Unsigned where few bits suffice for that.
MOE_INLINE int panel_offset(int32_t type) {
    const moe_type_traits traits = moe_traits_table[type];
    return traits.kind == MOE_CLASS_BLOCK16 ? OFFSET_BLOCK16 : type == MOE_TYPE_MXFP4 ? OFFSET_U5 : traits.offset;
}

MOE_INLINE void transpose_quarters(const void *rows, size_t stride, __m256i out[4]) { transpose_short_rows(rows, stride, out); }

MOE_INLINE panel_vector lookup(panel_vector indices, const int8_t *table) {
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(load128(table)), indices);
}

/// The float16 of each row's first word, or second (negated), times the unsigned byte `index` of its int32.
MOE_INLINE void store_scaled_byte(void *out, panel_vector words, bool second, panel_vector bytes, int index) {
    const __m256i word = second ? _mm256_srli_epi32(words, 16) : _mm256_and_si256(words, _mm256_set1_epi32(0xffff));
    const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(word, word), 0x08);
    const __m256 d = _mm256_cvtph_ps(_mm256_castsi256_si128(packed));
    const __m256i byte = _mm256_and_si256(_mm256_srli_epi32(bytes, 8 * index), _mm256_set1_epi32(255));
    const __m256 product = _mm256_mul_ps(d, _mm256_cvtepi32_ps(byte));
    _mm256_store_ps(out, second ? _mm256_sub_ps(_mm256_setzero_ps(), product) : product);
}
MOE_INLINE void store_halves(void *out, const uint16_t halves[COLUMNS]) {
    _mm256_store_ps(out, _mm256_cvtph_ps(load128(halves)));
}
/// Bytes 2 pair and 2 pair + 1 of each row, as floats.
MOE_INLINE void store_signed_bytes(void *out, panel_vector bytes, int pair) {
    const __m256i first = _mm256_slli_epi32(bytes, 24 - 16 * pair), second = _mm256_slli_epi32(bytes, 16 - 16 * pair);
    _mm256_store_ps(out, _mm256_cvtepi32_ps(_mm256_srai_epi32(first, 24)));
    _mm256_store_ps((float *)out + COLUMNS, _mm256_cvtepi32_ps(_mm256_srai_epi32(second, 24)));
}

MOE_INLINE __m256 row_halves_q8_0(const uint8_t *w) { return halves_of_blocks(w, sizeof(moe_block_q8_0)); }
MOE_INLINE __m256 row_halves_q4_0(const uint8_t *w) { return halves_of_blocks(w, sizeof(moe_block_q4_0)); }

#include "panel_body.h"

/// What the table has.
static void pack_any(int32_t type, moe_unpack_fn unpack, const uint8_t *rows, size_t row_bytes, int32_t n, int64_t k, moe_ahead ahead,
                     uint8_t *panel) {
    if (type >= MOE_INTERLEAVED) pack_interleaved(type, rows, k, ahead, panel);
    else pack(type, unpack, rows, row_bytes, n, k, ahead, panel);
}

// ---------------------------------------------------------------------------------------------------------------------
// Activations as words

/// A block of 32 of ROWS activation rows: elements 0 and 2, and 1 and 3, of each group of four, as int16. What is of rows that are
/// missing is not used.
typedef struct word_block {
    _Alignas(16) int32_t q[8][2][ROWS];
    float d[ROWS];
} word_block;

static void gather_words(const moe_act_chunk *const *x, int32_t m, int64_t k, uint8_t *gathered) {
    const int64_t chunks = moe_chunks(k);
    const moe_act_chunk *rows[ROWS];
    for (int32_t i = 0; i < ROWS; i++) rows[i] = x[i < m ? i : 0];
    for (int j = 0; j < 8; j++) {
        for (int64_t c = 0; c < chunks; c++) {
            word_block *out = (word_block *)(void *)gathered + j * chunks + c;
            __m256i part[2][ROWS], groups[4];
            for (int32_t i = 0; i < ROWS; i++) {
                const __m256i q = load256(rows[i][c].q + 32 * j);
                part[0][i] = _mm256_srai_epi16(_mm256_slli_epi16(q, 8), 8);
                part[1][i] = _mm256_srai_epi16(q, 8);
                out->d[i] = rows[i][c].d[j];
            }
            for (int p = 0; p < 2; p++) {
                transpose_halves(part[p][0], part[p][1], part[p][2], part[p][3], groups);
                for (int g = 0; g < 4; g++) {
                    _mm_store_si128((__m128i *)out->q[g][p], _mm256_castsi256_si128(groups[g]));
                    _mm_store_si128((__m128i *)out->q[g + 4][p], _mm256_extracti128_si256(groups[g], 1));
                }
            }
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Products

/// Adds `groups` groups of 4 elements (int8 products summed exactly) to dots[i], for m activation rows at x[i]; `together`: how many
/// products may be added in 16 bits.
MOE_INLINE void add_bytes(const uint8_t *weights, const int8_t *const *x, int groups, int together, int m, __m256i *dots) {
    const __m256i ones = _mm256_set1_epi16(1);
    for (int first = 0; first < groups; first += together) {
        __m256i words[ROWS];
        for (int g = first; g < first + together; g++) {
            const __m256i w = load256(weights + 32 * g);
            for (int i = 0; i < m; i++) {
                const __m256i products = _mm256_maddubs_epi16(w, _mm256_set1_epi32(load_i32(x[i] + 4 * g)));
                words[i] = g == first ? products : _mm256_add_epi16(words[i], products);
            }
        }
        for (int i = 0; i < m; i++) dots[i] = _mm256_add_epi32(dots[i], _mm256_madd_epi16(words[i], ones));
    }
}

/// Products of words: dots[i] of a whole block. Weights are taken as they lie in their words' upper halves, 256 times as large: the sums
/// stay below 2^28.
MOE_INLINE void dots_of_words(const uint8_t *weights, const word_block *x, int m, __m256i *dots) {
    for (int i = 0; i < m; i++) dots[i] = _mm256_setzero_si256();
    // Unrolled no further: the loop would not fit where decoded instructions are kept.
#pragma clang loop unroll_count(4)
    for (int g = 0; g < 8; g++) {
        const __m256i w = load256(weights + 32 * g);
        const __m256i parts[2] = {_mm256_slli_epi16(w, 8), _mm256_and_si256(w, _mm256_set1_epi16(-256))};
        for (int part = 0; part < 2; part++) {
            for (int i = 0; i < m; i++) {
                const __m256i products = _mm256_madd_epi16(parts[part], _mm256_set1_epi32(x->q[g][part][i]));
                dots[i] = _mm256_add_epi32(dots[i], products);
            }
        }
    }
    for (int i = 0; i < m; i++) dots[i] = _mm256_srai_epi32(dots[i], 8);
}

MOE_INLINE __m256 scaled_by(__m256 scale, float d) { return _mm256_mul_ps(scale, _mm256_set1_ps(d)); }

MOE_INLINE void add_words(const uint8_t *block, const word_block *x, int m, __m256 *lanes) {
    __m256i dots[ROWS];
    dots_of_words(block, x, m, dots);
    const __m256 scale = _mm256_load_ps((const float *)(block + 256));
    for (int i = 0; i < m; i++) lanes[i] = _mm256_fmadd_ps(scaled_by(scale, x->d[i]), _mm256_cvtepi32_ps(dots[i]), lanes[i]);
}

MOE_INLINE void add_block32(const uint8_t *block, const moe_act_chunk *const *x, int j, const moe_type_traits traits, int m,
                            __m256 *lanes) {
    __m256i dots[ROWS];
    const int8_t *q[ROWS];
    for (int i = 0; i < m; i++) {
        q[i] = x[i]->q + 32 * j;
        dots[i] = _mm256_setzero_si256();
    }
    add_bytes(block, q, 8, traits.range == MOE_RANGE_U4 ? 8 : 4, m, dots);
    const __m256 scale = _mm256_load_ps((const float *)(block + 256));
    for (int i = 0; i < m; i++) {
        if (traits.offset) {
            const int shift = traits.offset == OFFSET_U5 ? 3 : 4;  // bias32 is -128 * sum; or 8
            const __m256i bias = _mm256_set1_epi32(x[i]->bias32[j]);
            dots[i] = _mm256_add_epi32(dots[i], _mm256_srai_epi32(bias, shift));
        }
        lanes[i] = _mm256_fmadd_ps(scaled_by(scale, x[i]->d[j]), _mm256_cvtepi32_ps(dots[i]), lanes[i]);
    }
    if (!traits.has_min) return;
    const __m256 min = _mm256_load_ps((const float *)(block + 288));
    for (int i = 0; i < m; i++) lanes[i] = _mm256_fmadd_ps(min, _mm256_set1_ps(x[i]->dsum[j]), lanes[i]);
}

/// The integers of half a block, as floats: below 2^24, exact.
MOE_INLINE void half_dots(const uint8_t *block, const moe_act_chunk *const *x, int j, int half, int m, __m256 *integers) {
    __m256i dots[ROWS];
    const int8_t *q[ROWS];
    for (int i = 0; i < m; i++) {
        q[i] = x[i]->q + 32 * j + 16 * half;
        dots[i] = _mm256_srai_epi32(_mm256_set1_epi32(x[i]->bias16[2 * j + half]), 2);  // -OFFSET_BLOCK16 * sum
    }
    add_bytes(block + 128 * half, q, 4, 2, m, dots);
    for (int i = 0; i < m; i++) integers[i] = _mm256_cvtepi32_ps(dots[i]);
}

MOE_INLINE void add_block16(const uint8_t *block, const moe_act_chunk *const *x, int j, const moe_type_traits traits, int m,
                            __m256 *lanes) {
    __m256 first[ROWS], second[ROWS];
    half_dots(block, x, j, 0, m, first);
    half_dots(block, x, j, 1, m, second);
    const float *floats = (const float *)(block + 256);
    const __m256 scale = _mm256_load_ps(floats), min = _mm256_load_ps(floats + 8);
    const __m256 sub0 = _mm256_load_ps(floats + 16), sub1 = _mm256_load_ps(floats + 24);
    for (int i = 0; i < m; i++) {
        const __m256 integer = _mm256_fmadd_ps(sub1, second[i], _mm256_mul_ps(sub0, first[i]));
        const __m256 d = _mm256_set1_ps(x[i]->d[j]);
        lanes[i] = _mm256_fmadd_ps(_mm256_mul_ps(scale, d), integer, lanes[i]);
        if (!traits.has_min) continue;
        const __m256 sum0 = _mm256_set1_ps((float)x[i]->sum16[2 * j]), sum1 = _mm256_set1_ps((float)x[i]->sum16[2 * j + 1]);
        const __m256 min0 = _mm256_load_ps(floats + 32), min1 = _mm256_load_ps(floats + 40);
        const __m256 mins = _mm256_fmadd_ps(min1, sum1, _mm256_mul_ps(min0, sum0));
        lanes[i] = _mm256_fmadd_ps(_mm256_mul_ps(min, d), mins, lanes[i]);
    }
}

MOE_INLINE void panel_rows(const moe_type_traits traits, const uint8_t *panel, moe_panel_input x, int m, int64_t k,
                           moe_ahead ahead, float *out) {
    const size_t block_bytes = moe_panel_block_bytes(&traits, COLUMNS);
    const int64_t chunks = moe_chunks(k);
    const word_block *words = (const word_block *)(const void *)x.gathered;
    moe_fetching fetch = fetching(ahead, (size_t)(8 * chunks));
    __m256 lanes[8][ROWS];
    for (int j = 0; j < 8; j++) {
        __m256 sums[ROWS];
        const moe_act_chunk *chunk[ROWS];
        for (int i = 0; i < m; i++) {
            sums[i] = _mm256_setzero_ps();
            if (traits.range != MOE_RANGE_S8) chunk[i] = x.rows[i];
        }
        for (int64_t c = 0; c < chunks; c++, panel += block_bytes) {
            fetch_part(&fetch);
            if (traits.range == MOE_RANGE_S8) {
                add_words(panel, words++, m, sums);
                continue;
            }
            if (traits.kind == MOE_CLASS_BLOCK32) add_block32(panel, chunk, j, traits, m, sums);
            else add_block16(panel, chunk, j, traits, m, sums);
            for (int i = 0; i < m; i++) chunk[i]++;
        }
        for (int i = 0; i < m; i++) lanes[j][i] = sums[i];
    }
    for (int i = 0; i < m; i++) {
        __m256 l[8];
        for (int j = 0; j < 8; j++) l[j] = lanes[j][i];
        _mm256_storeu_ps(out + i * MOE_TILE_COLUMNS, sums_of_lanes(l));
    }
}

// One body per combination of traits that matters here, shared by the types that have it.
#define DEFINE_PANEL(name, NAME)                                                                                               \
    static void panel_##name(const uint8_t *packed, moe_panel_input x, int32_t m, int64_t k, moe_ahead ahead, float *out) {     \
        switch (m) {                                                                                                           \
            case 1: panel_rows(moe_traits_table[MOE_TYPE_##NAME], packed, x, 1, k, ahead, out); break;                         \
            case 2: panel_rows(moe_traits_table[MOE_TYPE_##NAME], packed, x, 2, k, ahead, out); break;                         \
            case 3: panel_rows(moe_traits_table[MOE_TYPE_##NAME], packed, x, 3, k, ahead, out); break;                         \
            default: panel_rows(moe_traits_table[MOE_TYPE_##NAME], packed, x, 4, k, ahead, out); break;                        \
        }                                                                                                                      \
    }
DEFINE_PANEL(u4_offset, Q4_0)
DEFINE_PANEL(u4_min, Q4_K)
DEFINE_PANEL(u5_offset, Q5_0)
DEFINE_PANEL(u5_min, Q5_K)
DEFINE_PANEL(s8, Q8_0)
DEFINE_PANEL(sub16, Q6_K)
DEFINE_PANEL(sub16_min, Q2_K)

/// Whether weights are multiplied as words.
static bool by_words(int32_t type) { return moe_traits_table[type].range == MOE_RANGE_S8 && panel_offset(type) == 0; }

static void panel(int32_t type, const uint8_t *packed, int32_t n, moe_panel_input x, int32_t m, int64_t k,
                  moe_ahead ahead, float *out) {
    (void)n;  // the columns after it are written too
    const moe_type_traits *traits = moe_traits(type);
    if (traits->kind == MOE_CLASS_BLOCK16) {
        (traits->has_min ? panel_sub16_min : panel_sub16)(packed, x, m, k, ahead, out);
    } else if (by_words(type)) {
        panel_s8(packed, x, m, k, ahead, out);
    } else if (traits->range == MOE_RANGE_U4) {
        (traits->has_min ? panel_u4_min : panel_u4_offset)(packed, x, m, k, ahead, out);
    } else {
        (traits->has_min ? panel_u5_min : panel_u5_offset)(packed, x, m, k, ahead, out);
    }
}

#pragma clang attribute pop

void moe_set_panel_avx2(moe_kernels *table) {
    table->panels = (moe_panels){
        .pack = pack_any, .multiply = panel, .columns = COLUMNS, .rows = ROWS, .unit_bytes = MOE_UNIT_BYTES,
        .gathered_rows = ROWS, .gathered_block_bytes = sizeof(word_block),
    };
    // Measured, 2 threads on cold weights (AMD Zen 4 without AVX-512): rows from which on packing is paid back. What few_avx2.c
    // computes comes to two or three passes of eight rows then, of Q6_K to seven: there it unpacks as fast as it multiplies.
    for (int type = 0; type < MOE_TYPE_SLOTS; type++) {
        const bool only_dots = type == MOE_TYPE_Q2_K || type == MOE_TYPE_Q3_K;  // below
        table->panels.from[type] = only_dots ? 9 : type % MOE_INTERLEAVED == MOE_TYPE_Q6_K ? 56 : by_words(type) ? 12 : 17;
        table->panels.gather[type] = by_words(type) ? gather_words : NULL;
    }
}
#endif
