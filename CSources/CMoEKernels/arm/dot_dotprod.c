// SPDX-License-Identifier: Apache-2.0
//
// NEON with dot products of bytes (FEAT_DotProd): quantised rows, few activations.
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

MOE_INLINE int32x4_t half_products(int8x16_t w, int8x16_t x) { return vdotq_s32(vdupq_n_s32(0), w, x); }

MOE_INLINE int32x4_t block_products(const int range, int8x16x2_t w, int8x16x2_t x) {
    (void)range;
    return vdotq_s32(half_products(w.val[0], x.val[0]), w.val[1], x.val[1]);
}

#define ISA "neon_dotprod"
#define SET_TABLE moe_set_dot_dotprod
#include "dot_body.h"

#pragma clang attribute pop
#endif
