// SPDX-License-Identifier: Apache-2.0
//
// NEON with dot products of bytes (FEAT_DotProd): many activation rows.
#if defined(__aarch64__)
#include <arm_neon.h>
#include <stddef.h>
#include <string.h>

#include "../blocks.h"
#include "../kernel_table.h"
#include "tables_arm.h"

#pragma clang attribute push(__attribute__((target("dotprod"))), apply_to = function)
#pragma STDC FP_CONTRACT OFF

#include "neon.h"
#include "four_columns.h"

/// Adds the products with 16 elements of each x to dots[vectors][2].
MOE_INLINE void add_half(const uint8_t *half, const int8_t *const *x, const int range, const int vectors,
                         int32x4_t dots[][VECTORS]) {
    (void)range;
    int8x16_t values[4];
#pragma clang loop unroll(full)
    for (int r = 0; r < vectors; r++) values[r] = load_s8(x[r]);
// The group's number must be a constant of the source.
#define ADD_GROUP(g)                                                               \
    _Pragma("clang loop unroll(full)") for (int c = 0; c < VECTORS; c++) {         \
        const int8x16_t w = load_s8(half + 32 * (g) + 16 * c);                     \
        _Pragma("clang loop unroll(full)") for (int r = 0; r < vectors; r++) {     \
            dots[r][c] = vdotq_laneq_s32(dots[r][c], w, values[r], g);             \
        }                                                                          \
    }
    ADD_GROUP(0)
    ADD_GROUP(1)
    ADD_GROUP(2)
    ADD_GROUP(3)
}

#include "panel_body.h"

#pragma clang attribute pop

void moe_set_panel_dotprod(moe_kernels *table) { set_panel(table); }

void moe_kernels_set_neon_dotprod(moe_kernels *table) {
    table->isa = "neon_dotprod";
    moe_set_dot_dotprod(table);
    moe_set_panel_dotprod(table);
}
#endif
