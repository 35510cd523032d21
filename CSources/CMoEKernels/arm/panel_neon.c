// SPDX-License-Identifier: Apache-2.0
//
// NEON without dot products of bytes: many activation rows.
#if defined(__aarch64__)
#include <arm_neon.h>
#include <stddef.h>
#include <string.h>

#include "../blocks.h"
#include "../kernel_table.h"
#include "tables_arm.h"

#pragma STDC FP_CONTRACT OFF

#include "neon.h"
#include "four_columns.h"

/// Adds the products with 16 elements of each x to dots[vectors][2]. |w| <= 32 unless the range is S8: then four products may
/// be added in 16 bits, and the sums of two pairs too (8 * 32 * 127 < 2^15); else two.
MOE_INLINE void add_half(const uint8_t *half, const int8_t *const *x, const int range, const int vectors,
                         int32x4_t dots[][VECTORS]) {
    const int together = range == MOE_RANGE_S8 ? 2 : 4;
#pragma clang loop unroll(full)
    for (int c = 0; c < VECTORS; c++) {
#pragma clang loop unroll(full)
        for (int first = 0; first < 4; first += together) {
#pragma clang loop unroll(full)
            for (int r = 0; r < vectors; r++) {
                int16x8_t low, high;  // weight rows 0 and 1, 2 and 3
#pragma clang loop unroll(full)
                for (int g = first; g < first + together; g++) {
                    const int8x16_t w = load_s8(half + 32 * g + 16 * c);
                    const int8x16_t values = vreinterpretq_s8_u32(vdupq_n_u32(load_u32(x[r] + 4 * g)));
                    low = g == first ? vmull_s8(vget_low_s8(w), vget_low_s8(values))
                                     : vmlal_s8(low, vget_low_s8(w), vget_low_s8(values));
                    high = g == first ? vmull_high_s8(w, values) : vmlal_high_s8(high, w, values);
                }
                if (range == MOE_RANGE_S8) {
                    dots[r][c] = vaddq_s32(dots[r][c], vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high)));
                } else {
                    dots[r][c] = vpadalq_s16(dots[r][c], vpaddq_s16(low, high));
                }
            }
        }
    }
}

#include "panel_body.h"

void moe_set_panel_neon(moe_kernels *table) { set_panel(table); }
#endif
