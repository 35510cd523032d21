// SPDX-License-Identifier: Apache-2.0
//
// Attention for NEON: 32 registers of 4 floats.

#if defined(__aarch64__)
#include <arm_neon.h>
#include <math.h>
#include <string.h>

#include "../half.h"

#define LANES 4
#define SCORE_ROWS 4
#define VALUE_ROWS 4
#define VALUE_VECTORS 4
#define DIRECT_QUERIES 16
#define DIRECT_ROWS 8
#define LOAD_HALF(p) ((vector)vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8((const uint8_t *)(p)))))
#define LOAD_BYTES(p) ((vector)four_bytes((const uint8_t *)(p)))
#define NAME moe_attention_neon

static inline __attribute__((always_inline)) float32x4_t four_bytes(const uint8_t *p) {
    uint32_t bytes;
    memcpy(&bytes, p, sizeof bytes);
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_u32(vdup_n_u32(bytes))))));
}

static void half_row(const uint16_t *x, float *y, int32_t n) {
    int32_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const float16x8_t halves = vreinterpretq_f16_u16(vld1q_u16(x + i));
        vst1q_f32(y + i, vcvt_f32_f16(vget_low_f16(halves)));
        vst1q_f32(y + i + 4, vcvt_high_f32_f16(halves));
    }
    for (; i < n; i++) y[i] = moe_float_from_half(x[i]);
}

#include "../attention_body.h"
#endif
