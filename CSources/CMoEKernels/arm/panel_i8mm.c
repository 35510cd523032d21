// SPDX-License-Identifier: Apache-2.0
//
// NEON with products of int8 matrices (FEAT_I8MM): many activation rows. One instruction multiplies two activation rows by two
// weight rows, eight elements deep: the order of a panel's integers is, for each group of 8 elements, 8 bytes of each of 8
// weight rows. Few rows take the dot products of dot_dotprod.c: two weight rows times one activation row would leave half of
// the instruction idle.
#if defined(__aarch64__)
#include <arm_neon.h>
#include <stddef.h>
#include <string.h>

#include "../blocks.h"
#include "../kernel_table.h"
#include "tables_arm.h"

#pragma clang attribute push(__attribute__((target("dotprod,i8mm"))), apply_to = function)
#pragma STDC FP_CONTRACT OFF

#include "neon.h"
#include "formats_neon.h"

#define VECTOR_ROWS 2
enum { VECTORS = 4 };

MOE_INLINE int8x16_t low_halves(int8x16_t a, int8x16_t b) {
    return vreinterpretq_s8_s64(vtrn1q_s64(vreinterpretq_s64_s8(a), vreinterpretq_s64_s8(b)));
}
MOE_INLINE int8x16_t high_halves(int8x16_t a, int8x16_t b) {
    return vreinterpretq_s8_s64(vtrn2q_s64(vreinterpretq_s64_s8(a), vreinterpretq_s64_s8(b)));
}

/// For each group of 8 elements, 8 bytes of each row.
MOE_INLINE void interleave_half(int8x16_t q[8]) {
    int8x16_t pairs[8];
#pragma clang loop unroll(full)
    for (int i = 0; i < 4; i++) {
        pairs[i] = low_halves(q[2 * i], q[2 * i + 1]);
        pairs[i + 4] = high_halves(q[2 * i], q[2 * i + 1]);
    }
    for (int i = 0; i < 8; i++) q[i] = pairs[i];
}

/// Adds the products with 16 elements of each x to dots[vectors][4], a vector being two rows of x times two weight rows.
MOE_INLINE void add_half(const uint8_t *half, const int8_t *const *x, const int vectors, int32x4_t dots[][VECTORS]) {
    int8x16_t values[2][2];
#pragma clang loop unroll(full)
    for (int r = 0; r < vectors; r++) {
        const int8x16_t a = load_s8(x[2 * r]), b = load_s8(x[2 * r + 1]);
        values[r][0] = low_halves(a, b);
        values[r][1] = high_halves(a, b);
    }
#pragma clang loop unroll(full)
    for (int g = 0; g < 2; g++) {
#pragma clang loop unroll(full)
        for (int c = 0; c < VECTORS; c++) {
            const int8x16_t w = load_s8(half + 64 * g + 16 * c);
#pragma clang loop unroll(full)
            for (int r = 0; r < vectors; r++) dots[r][c] = vmmlaq_s32(dots[r][c], values[r][g], w);
        }
    }
}

#include "panel_body.h"

#pragma clang attribute pop

void moe_set_panel_i8mm(moe_kernels *table) { set_panel(table); }

void moe_kernels_set_neon_i8mm(moe_kernels *table) {
    table->isa = "neon_i8mm";
    moe_set_panel_i8mm(table);
}
#endif
