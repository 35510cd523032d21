// SPDX-License-Identifier: Apache-2.0
//
// AVX2: tiles of products of float weights (F32, F16, BF16), 16 lanes along k, no packing.
#if defined(__x86_64__)
#include <immintrin.h>
#include <stddef.h>

#include "../blocks.h"
#include "../kernel_table.h"
#include "tables_x86.h"

#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#pragma STDC FP_CONTRACT OFF

#include "avx2.h"

typedef struct { __m256 low, high; } lanes16;
typedef lanes16 (*load16_fn)(const uint8_t *p);

MOE_INLINE lanes16 load_f32(const uint8_t *p) {
    return (lanes16){_mm256_loadu_ps((const float *)p), _mm256_loadu_ps((const float *)(p + 32))};
}
MOE_INLINE lanes16 load_f16(const uint8_t *p) {
    return (lanes16){_mm256_cvtph_ps(load128(p)), _mm256_cvtph_ps(load128(p + 16))};
}
MOE_INLINE __m256 widen_bf16(__m128i v) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(v), 16));
}
MOE_INLINE lanes16 load_bf16(const uint8_t *p) { return (lanes16){widen_bf16(load128(p)), widen_bf16(load128(p + 16))}; }

/// One step of 16 elements of `n` weight rows and `m` activation rows.
MOE_INLINE void step(load16_fn load, const uint8_t *const *w, const float *const *x, size_t w_offset, int64_t x_offset,
                     int n, int m, lanes16 acc[2][3]) {
    lanes16 weights[2];
    for (int j = 0; j < n; j++) weights[j] = load(w[j] + w_offset);
    for (int i = 0; i < m; i++) {
        const lanes16 values = load_f32((const uint8_t *)(x[i] + x_offset));
        for (int j = 0; j < n; j++) {
            acc[j][i].low = _mm256_fmadd_ps(values.low, weights[j].low, acc[j][i].low);
            acc[j][i].high = _mm256_fmadd_ps(values.high, weights[j].high, acc[j][i].high);
        }
    }
}

/// n <= 2 weight rows times m <= 3 activation rows.
MOE_INLINE void block(load16_fn load, size_t element, const uint8_t *rows, size_t row_bytes, int n, const float *const *x,
                      int m, int64_t k, float *out) {
    lanes16 acc[2][3];
    const uint8_t *w[2];
    for (int j = 0; j < n; j++) {
        w[j] = rows + (size_t)j * row_bytes;
        for (int i = 0; i < m; i++) acc[j][i] = (lanes16){_mm256_setzero_ps(), _mm256_setzero_ps()};
    }
    int64_t e = 0;
    for (; e + 16 <= k; e += 16) {
        if (n == 1) _mm_prefetch((const char *)w[0] + (size_t)e * element + 4096, _MM_HINT_T0);
        step(load, w, x, (size_t)e * element, e, n, m, acc);
    }
    if (e < k) {
        uint8_t w_rest[2][64] = {{0}};
        float x_rest[3][16] = {{0}};
        const uint8_t *w_last[2];
        const float *x_last[3];
        for (int j = 0; j < n; j++) {
            memcpy(w_rest[j], w[j] + (size_t)e * element, (size_t)(k - e) * element);
            w_last[j] = w_rest[j];
        }
        for (int i = 0; i < m; i++) {
            memcpy(x_rest[i], x[i] + e, (size_t)(k - e) * sizeof(float));
            x_last[i] = x_rest[i];
        }
        step(load, w_last, x_last, 0, 0, n, m, acc);
    }
    for (int j = 0; j < n; j++) {
        for (int i = 0; i < m; i++) {
            out[i * MOE_TILE_COLUMNS + j] = sum_of_lanes(_mm256_add_ps(acc[j][i].low, acc[j][i].high));
        }
    }
}

MOE_INLINE void tile(load16_fn load, size_t element, const uint8_t *rows, size_t row_bytes, int32_t n,
                     const float *const *x, int32_t m, int64_t k, float *out) {
    // One activation row is a matter of reading memory in order; two weight rows pay when each is used more often.
    const int32_t columns = m > 1 ? 2 : 1;
    for (int32_t i = 0; i < m; i += 3) {
        for (int32_t j = 0; j < n; j += columns) {
            const uint8_t *w = rows + (size_t)j * row_bytes;
            float *o = out + i * MOE_TILE_COLUMNS + j;
            const bool two = columns == 2 && n - j >= 2;
            if (m - i >= 3) {
                if (two) block(load, element, w, row_bytes, 2, x + i, 3, k, o);
                else block(load, element, w, row_bytes, 1, x + i, 3, k, o);
            } else if (m - i == 2) {
                if (two) block(load, element, w, row_bytes, 2, x + i, 2, k, o);
                else block(load, element, w, row_bytes, 1, x + i, 2, k, o);
            } else {
                if (two) block(load, element, w, row_bytes, 2, x + i, 1, k, o);
                else block(load, element, w, row_bytes, 1, x + i, 1, k, o);
            }
        }
    }
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

void moe_set_float_avx2(moe_kernels *table) {
    table->float_tile[MOE_TYPE_F32] = tile_f32;
    table->float_tile[MOE_TYPE_F16] = tile_f16;
    table->float_tile[MOE_TYPE_BF16] = tile_bf16;
    table->names[MOE_TYPE_F32] = table->names[MOE_TYPE_F16] = table->names[MOE_TYPE_BF16] = "avx2";
}
#endif
