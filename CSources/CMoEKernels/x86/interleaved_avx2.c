// SPDX-License-Identifier: Apache-2.0
//
// AVX2: eight interleaved weight rows (interleave.c) times one to eight activation rows.
//
// A lane is a weight row: products add up in place, in 16 bits as long as they fit, and nothing has to be transposed. An activation's
// 4 bytes go to all lanes by the load. Same bits as from rows that lie as in a file.
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

/// 256 elements of an activation row.
typedef struct row_chunk {
    _Alignas(64) int8_t q[8][32];
    float d[8], dsum[8];
    int32_t bias32[8];
    int32_t sum16[8];  // pairs of int16
} row_chunk;
_Static_assert(2 * sizeof(row_chunk) == MOE_FEW_BYTES, "kernel_table.h says how much memory there is");

/// Chunks in ascending order, the rows of each side by side.
static void gather(const moe_act_chunk *const *x, int32_t m, int64_t k, uint8_t *gathered) {
    row_chunk *out = (row_chunk *)(void *)gathered;
    for (int64_t c = 0; c < moe_chunks(k); c++) {
        for (int32_t i = 0; i < m; i++, out++) {
            const moe_act_chunk *in = x[i] + c;
            memcpy(out->q, in->q, sizeof out->q);
            memcpy(out->d, in->d, sizeof out->d);
            memcpy(out->dsum, in->dsum, sizeof out->dsum);
            memcpy(out->bias32, in->bias32, sizeof out->bias32);
            memcpy(out->sum16, in->sum16, sizeof out->sum16);
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Products

MOE_INLINE __m256i activation(const row_chunk *x, int j, int t) { return _mm256_set1_epi32(load_i32(x->q[j] + 4 * t)); }

/// Products of parts first...first + count - 1, of up to 5 bits, that fit in 16 bits.
MOE_INLINE __m256i small_parts(const block_weights *w, const row_chunk *x, int j, int first, int count) {
    __m256i sum = _mm256_maddubs_epi16(w->part[first], activation(x, j, first));
    for (int t = first + 1; t < first + count; t++) {
        sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(w->part[t], activation(x, j, t)));
    }
    return sum;
}

/// Bytes first and second of each lane as its two words, with their sign.
MOE_INLINE __m256i half_scales(__m256i bytes, int first, int second) {
    const char p = (char)first, q = (char)second;
    const __m128i order = _mm_setr_epi8(-1, p, -1, q, -1, 4 + p, -1, 4 + q, -1, 8 + p, -1, 8 + q, -1, 12 + p, -1, 12 + q);
    return _mm256_srai_epi16(_mm256_shuffle_epi8(bytes, _mm256_broadcastsi128_si256(order)), 8);
}

/// The integer sum of each row's block.
MOE_INLINE __m256i sum_of_block(const few_type type, const block_weights *w, const row_chunk *x, int j) {
    const __m256i ones = _mm256_set1_epi16(1);
    if (type.traits.range == MOE_RANGE_U4) return _mm256_madd_epi16(small_parts(w, x, j, 0, 8), ones);
    if (type.traits.range == MOE_RANGE_U5) {
        return _mm256_add_epi32(_mm256_madd_epi16(small_parts(w, x, j, 0, 4), ones),
                                _mm256_madd_epi16(small_parts(w, x, j, 4, 4), ones));
    }
    __m256i sum = _mm256_setzero_si256();
    if (type.traits.kind == MOE_CLASS_BLOCK16) {  // 4 * 63 * 127 fit in 16 bits
        const __m256i sub_scale[2] = {half_scales(w->sub_scales, 0, 0), half_scales(w->sub_scales, 1, 1)};
        const __m256i whole = _mm256_madd_epi16(half_scales(w->sub_scales, 0, 1), _mm256_set1_epi32(x->sum16[j]));
        sum = _mm256_sub_epi32(sum, _mm256_slli_epi32(whole, type.offset));
        for (int t = 0; t < 8; t += 2) {
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(small_parts(w, x, j, t, 2), sub_scale[t / 4]));
        }
        return sum;
    }
    for (int t = 0; t < 8; t++) {
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(products_signed(w->part[t], activation(x, j, t)), ones));
    }
    return sum;
}

/// Adds a block's products to the sum's lane j of every row.
MOE_INLINE __m256 add_block(__m256 lane, const few_type type, const block_weights *w, const row_chunk *x, int j) {
    __m256i sum = sum_of_block(type, w, x, j);
    if (type.traits.kind == MOE_CLASS_BLOCK32 && type.offset >= 0) sum = without_offset(sum, type.offset, _mm256_set1_epi32(x->bias32[j]));
    lane = _mm256_fmadd_ps(_mm256_mul_ps(w->scale, _mm256_set1_ps(x->d[j])), _mm256_cvtepi32_ps(sum), lane);
    return type.traits.has_min ? _mm256_fnmadd_ps(w->min, _mm256_set1_ps(x->dsum[j]), lane) : lane;
}

MOE_INLINE block_weights prepared(const few_type type, block_weights w) { return (void)type, w; }

#include "interleaved_body.h"

#pragma clang attribute pop

void moe_set_interleaved_avx2(moe_kernels *table) {
    table->interleaved_rows = GROUP;
#define SET_FEW(NAME, name, ...)                                   \
    table->few.gather[MOE_INTERLEAVED + MOE_TYPE_##NAME] = gather; \
    table->few.multiply[MOE_INTERLEAVED + MOE_TYPE_##NAME] = few_##name;
    FEW_TYPES(SET_FEW)
}
#endif
