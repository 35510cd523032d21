// SPDX-License-Identifier: Apache-2.0
//
// The router's kernels compiled for NEON.

#if defined(__aarch64__)
#include <arm_neon.h>

#include "../router_kernels.h"

#include "../router_lanes.h"

INLINE uint32_t lane_bits(ints mask) {
    int32x4_t part[4];
    memcpy(part, &mask, sizeof part);
    const int16x8_t low = vshrn_high_n_s32(vshrn_n_s32(part[0], 16), part[1], 16);
    const int16x8_t high = vshrn_high_n_s32(vshrn_n_s32(part[2], 16), part[3], 16);
    const int8x16_t top = vshrn_high_n_s16(vshrn_n_s16(low, 8), high, 8);
    const uint8x16_t lanes = vreinterpretq_u8_s8(vshrq_n_s8(top, 7));
    const uint8x16_t bits = vandq_u8(lanes, vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201u)));
    return (uint32_t)vaddv_u8(vget_low_u8(bits)) | (uint32_t)vaddv_u8(vget_high_u8(bits)) << 8;
}

#define NAME moe_router_kernels_neon
#include "../router_body.h"
#endif
