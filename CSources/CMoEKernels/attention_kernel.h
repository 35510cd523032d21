// SPDX-License-Identifier: Apache-2.0
//
// The attention kernel of one ISA, and the piece of work that attention.c gives it.
#ifndef MOE_ATTENTION_KERNEL_H
#define MOE_ATTENTION_KERNEL_H

#include "CMoEKernels.h"

enum {
    MOE_ATTENTION_TILE = 64,     // positions whose keys and values are unpacked at a time; tiles start at multiples of it
    MOE_ATTENTION_QUERIES = 64,  // query vectors (rows times heads of one kv head) that share an unpacked tile
};

/// Some rows of one sequence and some of the query heads of one kv head: rows * heads <= MOE_ATTENTION_QUERIES.
typedef struct moe_attention_piece {
    const moe_attention_shape *shape;
    const moe_attention_task *task;
    int32_t kv_head, first_head, heads, first_row, rows;
} moe_attention_piece;

/// head_dim as it lies in scratch: whole vectors of every ISA.
static inline size_t moe_attention_padded(int32_t head_dim) { return ((size_t)head_dim + 15) / 16 * 16; }

/// Floats of scratch that a piece needs: queries, outputs, keys, values, scores, and two numbers per query.
static inline size_t moe_attention_scratch(int32_t head_dim) {
    const size_t q = MOE_ATTENTION_QUERIES, t = MOE_ATTENTION_TILE;
    return 2 * (q + t) * moe_attention_padded(head_dim) + q * t + 2 * q;
}

typedef void (*moe_attention_fn)(const moe_attention_piece *piece, float *scratch);
void moe_attention_ref(const moe_attention_piece *piece, float *scratch);
void moe_attention_avx2(const moe_attention_piece *piece, float *scratch);
void moe_attention_avx512(const moe_attention_piece *piece, float *scratch);
void moe_attention_neon(const moe_attention_piece *piece, float *scratch);

#endif
