// SPDX-License-Identifier: Apache-2.0
//
// NEON: quantising activations, and the portable unpacking and dequantising compiled with this ISA's helpers.
#if defined(__aarch64__)
#include <arm_neon.h>
#include <float.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "../blocks.h"
#include "../kernel_table.h"
#include "tables_arm.h"

#pragma STDC FP_CONTRACT OFF

#include "neon.h"
#include "../unpack.h"

MOE_INLINE void quantize_block(const float *x, moe_act_chunk *out, int b) {
    float32x4_t v[8];
    float32x4_t maximum = vdupq_n_f32(0);
    for (int i = 0; i < 8; i++) {
        v[i] = vld1q_f32(x + 4 * i);
        maximum = vmaxq_f32(maximum, vabsq_f32(v[i]));  // of a NaN and a number: NaN
    }
    const float largest = vmaxvq_f32(maximum);
    const bool valid = largest <= FLT_MAX;
    const bool zero = !valid || largest < MOE_SMALLEST_MAXIMUM;

    const float inverse = zero ? 0 : 127.0f / largest;
    int16x8_t words[4];
    for (int i = 0; i < 4; i++) {
        const int32x4_t low = vcvtnq_s32_f32(vmulq_n_f32(v[2 * i], inverse));
        const int32x4_t high = vcvtnq_s32_f32(vmulq_n_f32(v[2 * i + 1], inverse));
        words[i] = zero ? vdupq_n_s16(0) : vmovn_high_s32(vmovn_s32(low), high);
    }
    vst1q_s8(out->q + 32 * b, vmovn_high_s16(vmovn_s16(words[0]), words[1]));
    vst1q_s8(out->q + 32 * b + 16, vmovn_high_s16(vmovn_s16(words[2]), words[3]));
    const int16_t first = vaddvq_s16(vaddq_s16(words[0], words[1])), second = vaddvq_s16(vaddq_s16(words[2], words[3]));
    out->d[b] = !valid ? NAN : zero ? 0 : largest / 127.0f;
    out->dsum[b] = out->d[b] * (float)(first + second);
    out->bias32[b] = -128 * (first + second);
    out->bias16[2 * b] = -128 * first;
    out->bias16[2 * b + 1] = -128 * second;
    out->sum16[2 * b] = first;
    out->sum16[2 * b + 1] = second;
}

static void quantize(const float *x, int64_t k, moe_act_chunk *out) {
    for (int64_t base = 0; base < k; base += MOE_CHUNK, out++) {
        const int64_t left = (k - base) / 32;
        if (left < 8) memset(out, 0, sizeof *out);
        for (int b = 0; b < 8 && b < left; b++) quantize_block(x + base + 32 * b, out, b);
    }
}

#define DEFINE_QUANTISED(NAME, name)                                                                        \
    static void unpack_##name(const uint8_t *src, int32_t blocks, moe_chunk *out) {                         \
        moe_unpack_chunk(moe_unpack_##name, src, blocks, out);                                              \
    }                                                                                                       \
    static void dequantize_##name(const void *src, float *dst, int64_t k) {                                 \
        const moe_type_traits traits = moe_traits_table[MOE_TYPE_##NAME];                                   \
        const int64_t chunk_bytes = MOE_CHUNK / traits.block_elements * traits.block_bytes;                 \
        const uint8_t *row = src;                                                                           \
        moe_chunk chunk = {0};                                                                              \
        int64_t base = 0;                                                                                   \
        for (; base + MOE_CHUNK <= k; base += MOE_CHUNK, row += chunk_bytes) {                              \
            moe_unpack_##name(row, 8, &chunk);                                                              \
            moe_chunk_values(traits, &chunk, 8, dst + base);                                                \
        }                                                                                                   \
        if (base < k) {                                                                                     \
            unpack_##name(row, (int32_t)((k - base) / 32), &chunk);                                         \
            moe_chunk_values(traits, &chunk, (int32_t)((k - base) / 32), dst + base);                       \
        }                                                                                                   \
    }

MOE_QUANTISED_TYPES(DEFINE_QUANTISED)

static void dequantize_f32(const void *src, float *dst, int64_t k) { memcpy(dst, src, (size_t)k * sizeof(float)); }

static void dequantize_f16(const void *src, float *dst, int64_t k) {
    const uint8_t *row = src;
    int64_t i = 0;
    for (; i + 8 <= k; i += 8) {
        const float16x8_t halves = vreinterpretq_f16_u8(load_u8(row + 2 * i));
        vst1q_f32(dst + i, vcvt_f32_f16(vget_low_f16(halves)));
        vst1q_f32(dst + i + 4, vcvt_high_f32_f16(halves));
    }
    for (; i < k; i++) dst[i] = moe_load_half(row + 2 * i);
}

static void dequantize_bf16(const void *src, float *dst, int64_t k) {
    const uint8_t *row = src;
    int64_t i = 0;
    for (; i + 8 <= k; i += 8) {
        const uint16x8_t halves = vreinterpretq_u16_u8(load_u8(row + 2 * i));
        vst1q_f32(dst + i, vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(halves), 16)));
        vst1q_f32(dst + i + 4, vreinterpretq_f32_u32(vshll_high_n_u16(halves, 16)));
    }
    for (; i < k; i++) {
        uint16_t value;
        memcpy(&value, row + 2 * i, sizeof value);
        dst[i] = moe_float_from_bits((uint32_t)value << 16);
    }
}

void moe_set_convert_neon(moe_kernels *table) {
    table->quantize = quantize;
#define SET_QUANTISED(NAME, name)                            \
    table->dequantize[MOE_TYPE_##NAME] = dequantize_##name;  \
    table->unpack[MOE_TYPE_##NAME] = unpack_##name;
    MOE_QUANTISED_TYPES(SET_QUANTISED)
    table->dequantize[MOE_TYPE_F32] = dequantize_f32;
    table->dequantize[MOE_TYPE_F16] = dequantize_f16;
    table->dequantize[MOE_TYPE_BF16] = dequantize_bf16;
}

void moe_kernels_set_neon(moe_kernels *table) {
    table->isa = "neon";
    moe_set_convert_neon(table);
    moe_set_dot_neon(table);
    moe_set_float_neon(table);
}
#endif
