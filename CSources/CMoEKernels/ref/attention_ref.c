// SPDX-License-Identifier: Apache-2.0
//
// Attention in portable vectors of four floats.

#include "../half.h"

#define LANES 4
#define SCORE_ROWS 2
#define VALUE_ROWS 4
#define VALUE_VECTORS 2
#define NAME moe_attention_ref

static void half_row(const uint16_t *x, float *y, int32_t n) {
    for (int32_t i = 0; i < n; i++) y[i] = moe_float_from_half(x[i]);
}

#include "../attention_body.h"
