// SPDX-License-Identifier: Apache-2.0
//
// AVX-512: tiles of products of float weights (F32, F16, BF16); one vector holds the 16 lanes of a sum.
#if defined(__x86_64__)
#include <immintrin.h>
#include <stddef.h>

#include "../blocks.h"
#include "../kernel_table.h"
#include "tables_x86.h"

#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512vl"))), apply_to = function)
#pragma STDC FP_CONTRACT OFF

#include "avx2.h"

/// 16 elements at p, those outside the mask zero (and not read).
typedef __m512 (*load16_fn)(const uint8_t *p, __mmask16 mask);

MOE_INLINE __m512 load_f32(const uint8_t *p, __mmask16 mask) { return _mm512_maskz_loadu_ps(mask, p); }
MOE_INLINE __m512 load_f16(const uint8_t *p, __mmask16 mask) {
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, p));
}
MOE_INLINE __m512 load_bf16(const uint8_t *p, __mmask16 mask) {
    const __m512i wide = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

MOE_INLINE void step(load16_fn load, size_t element, const uint8_t *const *w, const float *const *x, int64_t e,
                     __mmask16 mask, int n, int m, __m512 acc[4][4]) {
    __m512 weights[4];
    for (int j = 0; j < n; j++) weights[j] = load(w[j] + (size_t)e * element, mask);
    for (int i = 0; i < m; i++) {
        const __m512 values = load_f32((const uint8_t *)(x[i] + e), mask);
        for (int j = 0; j < n; j++) acc[j][i] = _mm512_fmadd_ps(values, weights[j], acc[j][i]);
    }
}

/// n <= 4 weight rows times m <= 4 activation rows.
MOE_INLINE void block(load16_fn load, size_t element, const uint8_t *rows, size_t row_bytes, int n, const float *const *x,
                      int m, int64_t k, float *out) {
    __m512 acc[4][4];
    const uint8_t *w[4];
    for (int j = 0; j < n; j++) {
        w[j] = rows + (size_t)j * row_bytes;
        for (int i = 0; i < m; i++) acc[j][i] = _mm512_setzero_ps();
    }
    int64_t e = 0;
    for (; e + 16 <= k; e += 16) {
        if (n == 1) _mm_prefetch((const char *)w[0] + (size_t)e * element + 4096, _MM_HINT_T0);
        step(load, element, w, x, e, 0xffff, n, m, acc);
    }
    if (e < k) step(load, element, w, x, e, (__mmask16)((1u << (k - e)) - 1), n, m, acc);
    for (int j = 0; j < n; j++) {
        for (int i = 0; i < m; i++) {
            const __m256 high = _mm512_castps512_ps256(_mm512_shuffle_f32x4(acc[j][i], acc[j][i], 0x4e));
            out[i * MOE_TILE_COLUMNS + j] = sum_of_lanes(_mm256_add_ps(_mm512_castps512_ps256(acc[j][i]), high));
        }
    }
}

MOE_INLINE void columns(load16_fn load, size_t element, const uint8_t *rows, size_t row_bytes, int32_t n,
                        const float *const *x, int m, int64_t k, float *out) {
    int32_t j = 0;
    // One row is a matter of reading memory in order; four at a time pay when each is used more often.
    if (m > 1) {
        for (; j + 4 <= n; j += 4) block(load, element, rows + (size_t)j * row_bytes, row_bytes, 4, x, m, k, out + j);
    }
    for (; j < n; j++) block(load, element, rows + (size_t)j * row_bytes, row_bytes, 1, x, m, k, out + j);
}

MOE_INLINE void tile(load16_fn load, size_t element, const uint8_t *rows, size_t row_bytes, int32_t n,
                     const float *const *x, int32_t m, int64_t k, float *out) {
    int32_t i = 0;
    for (; i + 4 <= m; i += 4) columns(load, element, rows, row_bytes, n, x + i, 4, k, out + i * MOE_TILE_COLUMNS);
    for (; i + 2 <= m; i += 2) columns(load, element, rows, row_bytes, n, x + i, 2, k, out + i * MOE_TILE_COLUMNS);
    for (; i < m; i++) columns(load, element, rows, row_bytes, n, x + i, 1, k, out + i * MOE_TILE_COLUMNS);
}

#define DEFINE_TILE(name, element)                                                                                     \
    static void tile_##name(const uint8_t *rows, size_t row_bytes, int32_t n, const float *const *x, int32_t m,        \
                            int64_t k, float *out) {                                                                   \
        tile(load_##name, element, rows, row_bytes, n, x, m, k, out);                                                  \
    }
DEFINE_TILE(f32, 4)
DEFINE_TILE(f16, 2)
DEFINE_TILE(bf16, 2)

#pragma clang attribute pop

void moe_kernels_set_avx512(moe_kernels *table) {
    table->isa = "avx512";
    table->float_tile[MOE_TYPE_F32] = tile_f32;
    table->float_tile[MOE_TYPE_F16] = tile_f16;
    table->float_tile[MOE_TYPE_BF16] = tile_bf16;
    table->names[MOE_TYPE_F32] = table->names[MOE_TYPE_F16] = table->names[MOE_TYPE_BF16] = "avx512";
}
#endif
