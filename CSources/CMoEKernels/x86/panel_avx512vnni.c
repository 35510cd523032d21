// SPDX-License-Identifier: Apache-2.0
//
// AVX-512 VNNI: many activation rows. As panel_avx2.c, with 16 weight rows per panel. The instruction multiplies unsigned by
// signed bytes: weights are stored with 128 added, and the accumulators start at -128 times the activations' sum.
#if defined(__x86_64__)
#include <immintrin.h>
#include <stddef.h>

#include "../blocks.h"
#include "../kernel_table.h"
#include "tables_x86.h"

#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni"))), apply_to = function)
#pragma STDC FP_CONTRACT OFF

#include "avx2.h"
#define WEIGHT_SHIFT 128
#include "panel_avx512.h"

// Times two panels: twelve sums, twelve products under way.
enum { ROWS = 6 };

/// Adds the products of `groups` groups of 4 elements to dots[p][i], for m activation rows at x[i] and `parts` panels.
MOE_INLINE void dot_groups(const uint8_t *const *blocks, int parts, const int8_t *const *x, int groups, int m,
                           __m512i dots[PARTS][ROWS]) {
    __m512i odd[PARTS][ROWS];  // with few rows, two chains per row hide the latency
    const bool split = m * parts <= 4;
    for (int i = 0; i < m; i++) {
        for (int p = 0; p < parts; p++) odd[p][i] = _mm512_setzero_si512();
    }
    for (int g = 0; g < groups; g++) {
        __m512i w[PARTS];
        for (int p = 0; p < parts; p++) w[p] = _mm512_load_si512(blocks[p] + 64 * g);
        for (int i = 0; i < m; i++) {
            const __m512i values = _mm512_set1_epi32(load_i32(x[i] + 4 * g));
            for (int p = 0; p < parts; p++) {
                if (split && g % 2) odd[p][i] = _mm512_dpbusd_epi32(odd[p][i], w[p], values);
                else dots[p][i] = _mm512_dpbusd_epi32(dots[p][i], w[p], values);
            }
        }
    }
    for (int i = 0; split && i < m; i++) {
        for (int p = 0; p < parts; p++) dots[p][i] = _mm512_add_epi32(dots[p][i], odd[p][i]);
    }
}

MOE_INLINE void add_block32(const uint8_t *const *blocks, int parts, const moe_act_chunk *const *x, int j, bool has_min, int m,
                            __m512 lanes[PARTS][ROWS]) {
    __m512i dots[PARTS][ROWS];
    const int8_t *q[ROWS];
    for (int i = 0; i < m; i++) {
        q[i] = x[i]->q + 32 * j;
        for (int p = 0; p < parts; p++) dots[p][i] = _mm512_set1_epi32(x[i]->bias32[j]);
    }
    dot_groups(blocks, parts, q, 8, m, dots);
    for (int p = 0; p < parts; p++) {
        const __m512 scale = _mm512_load_ps(blocks[p] + 512);
        for (int i = 0; i < m; i++) {
            const __m512 both = _mm512_mul_ps(scale, _mm512_set1_ps(x[i]->d[j]));
            lanes[p][i] = _mm512_fmadd_ps(both, _mm512_cvtepi32_ps(dots[p][i]), lanes[p][i]);
        }
        if (!has_min) continue;
        const __m512 min = _mm512_load_ps(blocks[p] + 576);
        for (int i = 0; i < m; i++) lanes[p][i] = _mm512_fmadd_ps(min, _mm512_set1_ps(x[i]->dsum[j]), lanes[p][i]);
    }
}

/// One panel at a time: two kinds of products leave no registers for a second.
MOE_INLINE void add_block16(const uint8_t *block, const moe_act_chunk *const *x, int j, bool has_min, int m, __m512 *lanes) {
    __m512i first[PARTS][ROWS], second[PARTS][ROWS];
    const int8_t *q[ROWS];
    for (int i = 0; i < m; i++) {
        q[i] = x[i]->q + 32 * j;
        first[0][i] = _mm512_set1_epi32(x[i]->bias16[2 * j]);
        second[0][i] = _mm512_set1_epi32(x[i]->bias16[2 * j + 1]);
    }
    dot_groups(&block, 1, q, 4, m, first);
    for (int i = 0; i < m; i++) q[i] += 16;
    const uint8_t *half = block + 256;
    dot_groups(&half, 1, q, 4, m, second);
    const float *floats = (const float *)(block + 512);
    const __m512 scale = _mm512_load_ps(floats), min = _mm512_load_ps(floats + 16);
    const __m512 sub0 = _mm512_load_ps(floats + 32), sub1 = _mm512_load_ps(floats + 48);
    for (int i = 0; i < m; i++) {
        // Integers below 2^24: exact in float.
        const __m512 integer = _mm512_fmadd_ps(sub1, _mm512_cvtepi32_ps(second[0][i]),
                                               _mm512_mul_ps(sub0, _mm512_cvtepi32_ps(first[0][i])));
        const __m512 d = _mm512_set1_ps(x[i]->d[j]);
        lanes[i] = _mm512_fmadd_ps(_mm512_mul_ps(scale, d), integer, lanes[i]);
        if (!has_min) continue;
        const __m512 sum0 = _mm512_set1_ps((float)x[i]->sum16[2 * j]), sum1 = _mm512_set1_ps((float)x[i]->sum16[2 * j + 1]);
        const __m512 min0 = _mm512_load_ps(floats + 64), min1 = _mm512_load_ps(floats + 80);
        const __m512 mins = _mm512_fmadd_ps(min1, sum1, _mm512_mul_ps(min0, sum0));
        lanes[i] = _mm512_fmadd_ps(_mm512_mul_ps(min, d), mins, lanes[i]);
    }
}

/// `parts` panels of 16 columns, `part_bytes` apart, for m activation rows (constants).
MOE_INLINE void panel_rows(const moe_type_traits traits, const uint8_t *panel, int parts, const moe_act_chunk *const *x, int m,
                           int64_t k, moe_fetching *fetch, float *out) {
    const size_t block_bytes = moe_panel_block_bytes(&traits, COLUMNS), part_bytes = moe_panel_bytes(&traits, COLUMNS, k);
    const int64_t chunks = moe_chunks(k);
    __m512 lanes[8][PARTS][ROWS];
    for (int j = 0; j < 8; j++) {
        // The last chunk may have fewer than eight blocks.
        const int64_t count = chunks - ((chunks - 1) * 8 + j >= k / 32);
        __m512 sums[PARTS][ROWS];
        const moe_act_chunk *chunk[ROWS];
        for (int i = 0; i < m; i++) {
            for (int p = 0; p < parts; p++) sums[p][i] = _mm512_setzero_ps();
            chunk[i] = x[i];
        }
        for (int64_t c = 0; c < count; c++, panel += block_bytes) {
            fetch_part(fetch);
            if (traits.kind == MOE_CLASS_BLOCK32) {
                const uint8_t *blocks[PARTS] = {panel, panel + part_bytes};
                add_block32(blocks, parts, chunk, j, traits.has_min, m, sums);
            } else {
                add_block16(panel, chunk, j, traits.has_min, m, sums[0]);
            }
            for (int i = 0; i < m; i++) chunk[i]++;
        }
        panel += (size_t)(chunks - count) * block_bytes;
        for (int i = 0; i < m; i++) {
            for (int p = 0; p < parts; p++) lanes[j][p][i] = sums[p][i];
        }
    }
    for (int p = 0; p < parts; p++) {
        for (int i = 0; i < m; i++) {
            __m512 l[8];
            for (int j = 0; j < 8; j++) l[j] = lanes[j][p][i];
            _mm512_storeu_ps(out + i * MOE_TILE_COLUMNS + COLUMNS * p, sums_of_lanes(l));
        }
    }
}

// One body per combination of traits that matters here, shared by the types that have it.
#define PANEL_CASE(NAME, parts, rows) \
    case rows: panel_rows(moe_traits_table[MOE_TYPE_##NAME], packed, parts, x, rows, k, fetch, out); break;
#define DEFINE_PANEL(name, NAME, parts)                                                                                \
    static void panel_##name(const uint8_t *packed, const moe_act_chunk *const *x, int32_t m, int64_t k,               \
                             moe_fetching *fetch, float *out) {                                                        \
        switch (m) {                                                                                                   \
            PANEL_CASE(NAME, parts, 1) PANEL_CASE(NAME, parts, 2) PANEL_CASE(NAME, parts, 3) PANEL_CASE(NAME, parts, 4) \
            PANEL_CASE(NAME, parts, 5) PANEL_CASE(NAME, parts, 6)                                                      \
        }                                                                                                              \
    }
DEFINE_PANEL(block32, Q8_0, 1)
DEFINE_PANEL(block32_pair, Q8_0, 2)
DEFINE_PANEL(block32_min, Q4_K, 1)
DEFINE_PANEL(block32_min_pair, Q4_K, 2)
DEFINE_PANEL(block16, Q6_K, 1)
DEFINE_PANEL(block16_min, Q2_K, 1)

static void panel(int32_t type, const uint8_t *packed, int32_t n, moe_panel_input x, int32_t m, int64_t k,
                  moe_ahead ahead, float *out) {
    const moe_type_traits *traits = moe_traits(type);
    const bool pair = n > COLUMNS, block16 = traits->kind == MOE_CLASS_BLOCK16;
    moe_fetching fetch = fetching(ahead, (size_t)(8 * moe_chunks(k) * (block16 && pair ? 2 : 1)));
    if (!block16) {
        if (traits->has_min) (pair ? panel_block32_min_pair : panel_block32_min)(packed, x.rows, m, k, &fetch, out);
        else (pair ? panel_block32_pair : panel_block32)(packed, x.rows, m, k, &fetch, out);
        return;
    }
    for (int p = 0; p <= pair; p++) {
        const uint8_t *part = packed + (size_t)p * moe_panel_bytes(traits, COLUMNS, k);
        (traits->has_min ? panel_block16_min : panel_block16)(part, x.rows, m, k, &fetch, out + COLUMNS * p);
    }
}

#pragma clang attribute pop

void moe_set_panel_avx512vnni(moe_kernels *table) {
    table->panels = (moe_panels){
        .pack = pack_parts, .multiply = panel, .columns = PARTS * COLUMNS, .rows = ROWS, .unit_bytes = MOE_UNIT_BYTES,
    };
    // Measured (Xeon of the Emerald Rapids family): rows from which on packing is paid back. moe_few is as fast with eight rows, and has
    // nothing to gain from more; interleaved weights keep it as fast with three times that. The others as measured against dot products
    // (AMD Zen 5).
    for (int type = 0; type < MOE_TYPE_SLOTS; type++) {
        const moe_type_traits *traits = moe_traits(type);
        if (type >= MOE_INTERLEAVED) table->panels.from[type] = type == MOE_INTERLEAVED + MOE_TYPE_Q6_K ? MOE_NEVER : 3 * MOE_DOT_ROWS;
        else if (table->few.multiply[type]) table->panels.from[type] = MOE_DOT_ROWS + 1;
        else table->panels.from[type] = traits && traits->kind == MOE_CLASS_BLOCK16 ? 8 : 6;
    }
}

void moe_kernels_set_avx512vnni(moe_kernels *table) {
    table->isa = "avx512vnni";
    moe_set_few_avx512vnni(table);
    moe_set_interleaved_avx512vnni(table);
    moe_set_quantize_avx512vnni(table);
    moe_set_panel_avx512vnni(table);
}
#endif
