// SPDX-License-Identifier: Apache-2.0
//
// AVX-512 VNNI: sixteen interleaved weight rows (interleave.c) times one to eight activation rows.
//
// A lane is a weight row: one instruction adds the products of its next 4 weights, and nothing has to be transposed or added across
// lanes. An activation's 4 bytes go to all lanes by the load. Same bits as from rows that lie as in a file.
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
#define WEIGHT_SHIFT 0  // panels are not made here
#include "interleaved_avx512.h"

/// 256 elements of an activation row.
typedef struct row_chunk {
    _Alignas(64) int8_t q[8][32];
    float d[8], dsum[8];
    int32_t start[16];  // what a block's sum begins with, or a half block's: the weights' offset times the activations, subtracted
} row_chunk;
_Static_assert(2 * sizeof(row_chunk) == MOE_FEW_BYTES, "kernel_table.h says how much memory there is");

/// log2 of what is subtracted from each weight as the kernel has it (the instruction wants unsigned ones); -1: nothing.
MOE_INLINE int kernel_offset(const few_type type) { return type.traits.range == MOE_RANGE_S8 ? 7 : type.offset; }

/// Chunks in ascending order, the rows of each side by side.
MOE_INLINE void gather_rows(const few_type type, const moe_act_chunk *const *x, int32_t m, int64_t k, uint8_t *gathered) {
    row_chunk *out = (row_chunk *)(void *)gathered;
    const bool halves = type.traits.kind == MOE_CLASS_BLOCK16;
    const int offset = kernel_offset(type);
    for (int64_t c = 0; c < moe_chunks(k); c++) {
        for (int32_t i = 0; i < m; i++, out++) {
            const moe_act_chunk *in = x[i] + c;
            memcpy(out->q, in->q, sizeof out->q);
            memcpy(out->d, in->d, sizeof out->d);
            memcpy(out->dsum, in->dsum, sizeof out->dsum);
            if (offset < 0) continue;
            const __m512i sums = halves ? load512(in->bias16) : _mm512_castsi256_si512(load256(in->bias32));
            _mm512_store_si512(out->start, _mm512_srai_epi32(sums, (unsigned)(7 - offset)));
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Products

/// The integer sum of parts first...first + count - 1 of each row's block.
MOE_INLINE __m512i sum_of_parts(__m512i sum, const block_weights *w, const row_chunk *x, int j, int first, int count) {
    for (int t = first; t < first + count; t++) {
        sum = _mm512_dpbusd_epi32(sum, w->part[t], _mm512_set1_epi32(load_i32(x->q[j] + 4 * t)));
    }
    return sum;
}

/// The same of all, as floats.
MOE_INLINE __m512 sum_of_block(const few_type type, const block_weights *w, const row_chunk *x, int j) {
    if (type.traits.kind == MOE_CLASS_BLOCK16) {
        const __m512i a = sum_of_parts(_mm512_set1_epi32(x->start[2 * j]), w, x, j, 0, 4);
        const __m512i b = sum_of_parts(_mm512_set1_epi32(x->start[2 * j + 1]), w, x, j, 4, 4);
        // Integers below 2^24: exact in float, and their sum is rounded once, as the integer would be.
        const __m512 first = floats_of(lowest_byte(w->sub_scales)), second = floats_of(lowest_byte(bytes_right(w->sub_scales, 1)));
        return _mm512_fmadd_ps(second, floats_of(b), times(first, floats_of(a)));
    }
    const __m512i start = kernel_offset(type) < 0 ? _mm512_setzero_si512() : _mm512_set1_epi32(x->start[j]);
    return floats_of(sum_of_parts(start, w, x, j, 0, 8));
}

/// Adds a block's products to the sum's lane j of every row.
MOE_INLINE __m512 add_block(__m512 lane, const few_type type, const block_weights *w, const row_chunk *x, int j) {
    lane = _mm512_fmadd_ps(times(w->scale, _mm512_set1_ps(x->d[j])), sum_of_block(type, w, x, j), lane);
    return type.traits.has_min ? _mm512_fnmadd_ps(w->min, _mm512_set1_ps(x->dsum[j]), lane) : lane;
}

/// The instruction wants unsigned weights.
MOE_INLINE block_weights prepared(const few_type type, block_weights w) {
    if (type.traits.range == MOE_RANGE_S8) {
        for (int t = 0; t < 8; t++) w.part[t] = _mm512_xor_si512(w.part[t], bytes_of(128));
    }
    return w;
}

#include "interleaved_body.h"

#define DEFINE_GATHER(NAME, name, ...)                                                                  \
    static void gather_##name(const moe_act_chunk *const *x, int32_t m, int64_t k, uint8_t *gathered) { \
        gather_rows(FEW_TYPE(NAME, name, __VA_ARGS__), x, m, k, gathered);                              \
    }
FEW_TYPES(DEFINE_GATHER)

#pragma clang attribute pop

void moe_set_interleaved_avx512vnni(moe_kernels *table) {
    table->interleaved_rows = GROUP;
#define SET_FEW(NAME, name, ...)                                          \
    table->few.gather[MOE_INTERLEAVED + MOE_TYPE_##NAME] = gather_##name; \
    table->few.multiply[MOE_INTERLEAVED + MOE_TYPE_##NAME] = few_##name;
    FEW_TYPES(SET_FEW)
}
#endif
