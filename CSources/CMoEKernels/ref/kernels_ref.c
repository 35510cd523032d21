// SPDX-License-Identifier: Apache-2.0
//
// The reference kernels: portable C, every type, every CPU. Other ISAs are tested against these.
#include <float.h>
#include <math.h>
#include <stddef.h>

#include "../blocks.h"
#include "../kernel_table.h"
#include "../unpack.h"

#pragma STDC FP_CONTRACT OFF

static void quantize(const float *x, int64_t k, moe_act_chunk *out) {
    for (int64_t base = 0; base < k; base += MOE_CHUNK, out++) {
        memset(out, 0, sizeof *out);
        for (int b = 0; b < 8 && base + 32 * b < k; b++) {
            const float *block = x + base + 32 * b;
            float maximum = 0;
            bool finite = true;
            for (int i = 0; i < 32; i++) {
                const float magnitude = fabsf(block[i]);
                finite = finite && magnitude <= FLT_MAX;
                maximum = magnitude > maximum ? magnitude : maximum;
            }
            if (!finite) {
                out->d[b] = out->dsum[b] = NAN;
                continue;
            }
            if (maximum < MOE_SMALLEST_MAXIMUM) continue;
            const float inverse = 127.0f / maximum;
            int sums[2] = {0, 0};
            for (int i = 0; i < 32; i++) {
                const int q = (int)rintf(block[i] * inverse);
                out->q[32 * b + i] = (int8_t)q;
                sums[i / 16] += q;
            }
            out->d[b] = maximum / 127.0f;
            out->dsum[b] = out->d[b] * (float)(sums[0] + sums[1]);
            out->bias32[b] = -128 * (sums[0] + sums[1]);
            for (int half = 0; half < 2; half++) {
                out->sum16[2 * b + half] = (int16_t)sums[half];
                out->bias16[2 * b + half] = -128 * sums[half];
            }
        }
    }
}

static inline float sum_of_lanes(const float *l) {
    return ((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7]));
}

/// Adds one chunk's products to the eight lanes.
static inline __attribute__((always_inline)) void add_chunk(const moe_type_traits traits, const moe_chunk *w,
                                                            const moe_act_chunk *x, float *lanes) {
    for (int b = 0; b < 8; b++) {
        int32_t dots[2] = {0, 0};
        for (int i = 0; i < 16; i++) {
            dots[0] += w->q[32 * b + i] * x->q[32 * b + i];
            dots[1] += w->q[32 * b + 16 + i] * x->q[32 * b + 16 + i];
        }
        const float scale = w->scale[b] * x->d[b];
        if (traits.kind == MOE_CLASS_BLOCK32) {
            const int32_t sum = x->sum16[2 * b] + x->sum16[2 * b + 1];
            lanes[b] = fmaf(scale, (float)(dots[0] + dots[1] - traits.offset * sum), lanes[b]);
            if (traits.has_min) lanes[b] = fmaf(w->min[b], x->dsum[b], lanes[b]);
        } else {
            lanes[b] = fmaf(scale, (float)(w->sub_scale[2 * b] * dots[0] + w->sub_scale[2 * b + 1] * dots[1]), lanes[b]);
            if (traits.has_min) {
                const int32_t sum = w->sub_min[2 * b] * x->sum16[2 * b] + w->sub_min[2 * b + 1] * x->sum16[2 * b + 1];
                lanes[b] = fmaf(w->min[b] * x->d[b], (float)sum, lanes[b]);
            }
        }
    }
}

#define DEFINE_QUANTISED(NAME, name)                                                                        \
    static void unpack_##name(const uint8_t *src, int32_t blocks, moe_chunk *out) {                         \
        moe_unpack_chunk(moe_unpack_##name, src, blocks, out);                                              \
    }                                                                                                       \
    static float dot_##name(const uint8_t *row, size_t readable, const moe_act_chunk *x, int64_t k) {       \
        (void)readable;                                                                                     \
        const moe_type_traits traits = moe_traits_table[MOE_TYPE_##NAME];                                        \
        const int64_t chunk_bytes = MOE_CHUNK / traits.block_elements * traits.block_bytes;                 \
        moe_chunk chunk = {0};                                                                              \
        float lanes[8] = {0};                                                                               \
        for (int64_t base = 0; base < k; base += MOE_CHUNK, row += chunk_bytes, x++) {                      \
            const int64_t left = (k - base) / 32;                                                           \
            unpack_##name(row, left < 8 ? (int32_t)left : 8, &chunk);                                       \
            add_chunk(traits, &chunk, x, lanes);                                                            \
        }                                                                                                   \
        return sum_of_lanes(lanes);                                                                         \
    }                                                                                                       \
    static void dequantize_##name(const void *src, float *dst, int64_t k) {                                 \
        const moe_type_traits traits = moe_traits_table[MOE_TYPE_##NAME];                                        \
        const int64_t chunk_bytes = MOE_CHUNK / traits.block_elements * traits.block_bytes;                 \
        const uint8_t *row = src;                                                                           \
        moe_chunk chunk = {0};                                                                              \
        for (int64_t base = 0; base < k; base += MOE_CHUNK, row += chunk_bytes) {                           \
            const int64_t left = (k - base) / 32;                                                           \
            const int32_t blocks = left < 8 ? (int32_t)left : 8;                                            \
            unpack_##name(row, blocks, &chunk);                                                             \
            moe_chunk_values(traits, &chunk, blocks, dst + base);                                           \
        }                                                                                                   \
    }

MOE_QUANTISED_TYPES(DEFINE_QUANTISED)

static inline float value_f32(const uint8_t *p) {
    float value;
    memcpy(&value, p, sizeof value);
    return value;
}

static inline float value_f16(const uint8_t *p) { return moe_load_half(p); }

static inline float value_bf16(const uint8_t *p) {
    uint16_t value;
    memcpy(&value, p, sizeof value);
    return moe_float_from_bits((uint32_t)value << 16);
}

#define DEFINE_FLOAT(name, bytes)                                                                                       \
    static void dequantize_##name(const void *src, float *dst, int64_t k) {                                             \
        const uint8_t *row = src;                                                                                       \
        for (int64_t i = 0; i < k; i++) dst[i] = value_##name(row + bytes * i);                                         \
    }                                                                                                                   \
    static void tile_##name(const uint8_t *rows, size_t row_bytes, int32_t n, const float *const *x, int32_t m,         \
                            int64_t k, float *out) {                                                                    \
        for (int32_t j = 0; j < n; j++) {                                                                               \
            const uint8_t *row = rows + (size_t)j * row_bytes;                                                          \
            for (int32_t i = 0; i < m; i++) {                                                                           \
                float lanes[16] = {0};                                                                                  \
                for (int64_t base = 0; base < k; base += 16) {                                                          \
                    const int64_t end = k - base < 16 ? k - base : 16;                                                  \
                    for (int64_t e = 0; e < end; e++) lanes[e] += x[i][base + e] * value_##name(row + bytes * (base + e)); \
                }                                                                                                       \
                for (int e = 0; e < 8; e++) lanes[e] += lanes[e + 8];                                                   \
                out[i * MOE_TILE_COLUMNS + j] = sum_of_lanes(lanes);                                                    \
            }                                                                                                           \
        }                                                                                                               \
    }

DEFINE_FLOAT(f32, 4)
DEFINE_FLOAT(f16, 2)
DEFINE_FLOAT(bf16, 2)

void moe_kernels_set_ref(moe_kernels *table) {
    table->isa = "ref";
    table->quantize = quantize;
#define SET_QUANTISED(NAME, name)                            \
    table->names[MOE_TYPE_##NAME] = "ref";                   \
    table->dequantize[MOE_TYPE_##NAME] = dequantize_##name;  \
    table->unpack[MOE_TYPE_##NAME] = unpack_##name;          \
    table->dot[MOE_TYPE_##NAME] = dot_##name;
    MOE_QUANTISED_TYPES(SET_QUANTISED)
#define SET_FLOAT(NAME, name)                                \
    table->names[MOE_TYPE_##NAME] = "ref";                   \
    table->dequantize[MOE_TYPE_##NAME] = dequantize_##name;  \
    table->float_tile[MOE_TYPE_##NAME] = tile_##name;
    SET_FLOAT(F32, f32)
    SET_FLOAT(F16, f16)
    SET_FLOAT(BF16, bf16)
}
