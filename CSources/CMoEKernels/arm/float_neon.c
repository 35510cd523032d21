// SPDX-License-Identifier: Apache-2.0
//
// NEON: tiles of products of float weights (F32, F16, BF16); four vectors hold the 16 lanes of a sum, no packing.
#if defined(__aarch64__)
#include <arm_neon.h>
#include <stddef.h>
#include <string.h>

#include "../blocks.h"
#include "../kernel_table.h"
#include "tables_arm.h"

#pragma STDC FP_CONTRACT OFF

#include "neon.h"

enum { COLUMNS = 2, ROWS = 3 };  // 2 * 3 * 4 sums leave eight registers for what is multiplied

/// Four elements.
typedef float32x4_t (*load4_fn)(const uint8_t *p);

MOE_INLINE float32x4_t load_f32(const uint8_t *p) { return vreinterpretq_f32_u8(load_u8(p)); }
MOE_INLINE float32x4_t load_f16(const uint8_t *p) { return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(p))); }
MOE_INLINE float32x4_t load_bf16(const uint8_t *p) {
    return vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(vld1_u8(p)), 16));
}

/// One step of 16 elements of `n` weight rows and `m` activation rows.
MOE_INLINE void step(load4_fn load, size_t element, const uint8_t *const *w, const float *const *x, size_t w_offset,
                     int64_t x_offset, const int n, const int m, float32x4_t acc[COLUMNS][ROWS][4]) {
#pragma clang loop unroll(full)
    for (int part = 0; part < 4; part++) {
        float32x4_t weights[COLUMNS];
#pragma clang loop unroll(full)
        for (int j = 0; j < n; j++) weights[j] = load(w[j] + w_offset + 4 * (size_t)part * element);
#pragma clang loop unroll(full)
        for (int i = 0; i < m; i++) {
            const float32x4_t values = vld1q_f32(x[i] + x_offset + 4 * part);
#pragma clang loop unroll(full)
            for (int j = 0; j < n; j++) acc[j][i][part] = vfmaq_f32(acc[j][i][part], values, weights[j]);
        }
    }
}

/// n <= COLUMNS weight rows times m <= ROWS activation rows.
MOE_INLINE void block(load4_fn load, size_t element, const uint8_t *rows, size_t row_bytes, const int n,
                      const float *const *x, const int m, int64_t k, float *out) {
    float32x4_t acc[COLUMNS][ROWS][4];
    const uint8_t *w[COLUMNS];
    for (int j = 0; j < n; j++) {
        w[j] = rows + (size_t)j * row_bytes;
        for (int i = 0; i < m; i++) {
            for (int part = 0; part < 4; part++) acc[j][i][part] = vdupq_n_f32(0);
        }
    }
    int64_t e = 0;
    for (; e + 16 <= k; e += 16) step(load, element, w, x, (size_t)e * element, e, n, m, acc);
    if (e < k) {
        uint8_t w_rest[COLUMNS][64] = {{0}};
        float x_rest[ROWS][16] = {{0}};
        const uint8_t *w_last[COLUMNS];
        const float *x_last[ROWS];
        for (int j = 0; j < n; j++) {
            memcpy(w_rest[j], w[j] + (size_t)e * element, (size_t)(k - e) * element);
            w_last[j] = w_rest[j];
        }
        for (int i = 0; i < m; i++) {
            memcpy(x_rest[i], x[i] + e, (size_t)(k - e) * sizeof(float));
            x_last[i] = x_rest[i];
        }
        step(load, element, w_last, x_last, 0, 0, n, m, acc);
    }
    for (int j = 0; j < n; j++) {
        for (int i = 0; i < m; i++) {
            const float32x4_t *a = acc[j][i];
            out[i * MOE_TILE_COLUMNS + j] = sum_of_lanes((floats8){{vaddq_f32(a[0], a[2]), vaddq_f32(a[1], a[3])}});
        }
    }
}

MOE_INLINE void columns(load4_fn load, size_t element, const uint8_t *rows, size_t row_bytes, int32_t n,
                        const float *const *x, const int m, int64_t k, float *out) {
    // Two weight rows even for one activation row: eight chains of sums hide the latency that four would not.
    int32_t j = 0;
    for (; j + 2 <= n; j += 2) block(load, element, rows + (size_t)j * row_bytes, row_bytes, 2, x, m, k, out + j);
    if (j < n) block(load, element, rows + (size_t)j * row_bytes, row_bytes, 1, x, m, k, out + j);
}

MOE_INLINE void tile(load4_fn load, size_t element, const uint8_t *rows, size_t row_bytes, int32_t n,
                     const float *const *x, int32_t m, int64_t k, float *out) {
    int32_t i = 0;
    for (; i + 3 <= m; i += 3) columns(load, element, rows, row_bytes, n, x + i, 3, k, out + i * MOE_TILE_COLUMNS);
    if (m - i == 2) columns(load, element, rows, row_bytes, n, x + i, 2, k, out + i * MOE_TILE_COLUMNS);
    else if (m - i == 1) columns(load, element, rows, row_bytes, n, x + i, 1, k, out + i * MOE_TILE_COLUMNS);
}

#define DEFINE_TILE(name, element)                                                                                     \
    static void tile_##name(const uint8_t *rows, size_t row_bytes, int32_t n, const float *const *x, int32_t m,        \
                            int64_t k, float *out) {                                                                   \
        tile(load_##name, element, rows, row_bytes, n, x, m, k, out);                                                  \
    }
DEFINE_TILE(f32, 4)
DEFINE_TILE(f16, 2)
DEFINE_TILE(bf16, 2)

void moe_set_float_neon(moe_kernels *table) {
    table->float_tile[MOE_TYPE_F32] = tile_f32;
    table->float_tile[MOE_TYPE_F16] = tile_f16;
    table->float_tile[MOE_TYPE_BF16] = tile_bf16;
    table->names[MOE_TYPE_F32] = table->names[MOE_TYPE_F16] = table->names[MOE_TYPE_BF16] = "neon";
}
#endif
