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
#include "formats_neon.h"

#define VECTOR_ROWS 1
enum { VECTORS = 2 };

/// For each group of 4 elements, 4 bytes of each row.
MOE_INLINE void interleave_half(int8x16_t q[8]) {
    int32x4_t groups[2][4];
#pragma clang loop unroll(full)
    for (int part = 0; part < 2; part++) {
        for (int i = 0; i < 4; i++) groups[part][i] = vreinterpretq_s32_s8(q[4 * part + i]);
        transpose_four(groups[part]);
    }
#pragma clang loop unroll(full)
    for (int i = 0; i < 8; i++) q[i] = vreinterpretq_s8_s32(groups[i % 2][i / 2]);
}

/// Adds the products with 16 elements of each x to dots[vectors][2].
MOE_INLINE void add_half(const uint8_t *half, const int8_t *const *x, const int vectors, int32x4_t dots[][VECTORS]) {
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
