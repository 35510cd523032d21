// SPDX-License-Identifier: Apache-2.0
//
// NEON without dot products of bytes (Cortex-A53 to A75): quantised rows, few activations.
#if defined(__aarch64__)
#include <arm_neon.h>
#include <stddef.h>
#include <string.h>

#include "../blocks.h"
#include "../kernel_table.h"
#include "tables_arm.h"

#pragma STDC FP_CONTRACT OFF

#include "neon.h"
#include "formats_neon.h"

/// Two products of int8 fit in 16 bits (2 * 128 * 127 < 2^15), four of values to 63 too.
MOE_INLINE int16x8_t half_products16(int8x16_t w, int8x16_t x) {
    return vmlal_high_s8(vmull_s8(vget_low_s8(w), vget_low_s8(x)), w, x);
}

MOE_INLINE int32x4_t half_products(int8x16_t w, int8x16_t x) { return vpaddlq_s16(half_products16(w, x)); }

MOE_INLINE int32x4_t block_products(const int range, int8x16x2_t w, int8x16x2_t x) {
    const int16x8_t first = half_products16(w.val[0], x.val[0]);
    if (range == MOE_RANGE_S8) return vpadalq_s16(vpaddlq_s16(first), half_products16(w.val[1], x.val[1]));
    const int16x8_t third = vmlal_s8(first, vget_low_s8(w.val[1]), vget_low_s8(x.val[1]));
    return vpaddlq_s16(vmlal_high_s8(third, w.val[1], x.val[1]));
}

#define ISA "neon"
#define SET_TABLE moe_set_dot_neon
#include "dot_body.h"
#endif
