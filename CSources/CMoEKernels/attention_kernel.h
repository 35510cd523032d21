// SPDX-License-Identifier: Apache-2.0
//
// The attention kernel of one ISA, and the piece of work that attention.c gives it.
#ifndef MOE_ATTENTION_KERNEL_H
#define MOE_ATTENTION_KERNEL_H

#include "CMoEKernels.h"

enum {
    MOE_ATTENTION_TILE = 64,     // positions that are worked on at a time; tiles start at multiples of it
    MOE_ATTENTION_CHUNK = 512,   // positions whose softmax is one; chunks start at multiples of it
    MOE_ATTENTION_QUERIES = 128,  // query vectors of a piece
    MOE_ATTENTION_SCORES = MOE_ATTENTION_TILE + 16,  // floats between the scores of query vectors: fours may reach over the tile
};

/// Some rows of one sequence, some kv heads, and `heads` query heads of each, `skipped` after its first: rows * kv_heads * heads
/// <= MOE_ATTENTION_QUERIES. Whole, or a part of the positions that they see.
typedef struct moe_attention_piece {
    const moe_attention_shape *shape;
    const moe_attention_task *task;
    int32_t kv_head, kv_heads, skipped, heads, first_row, rows;
    int32_t first_chunk, end_chunk;  // positions of these chunks only
    float *partials;                 // NULL: all chunks are in this piece; else where each query's chunks go, one record each
    int32_t partial_chunk;           // the chunk of the first record
    int32_t partial_chunks;          // records per query
} moe_attention_piece;

/// head_dim as it lies in scratch: whole vectors of every ISA.
static inline size_t moe_attention_padded(int32_t head_dim) { return ((size_t)head_dim + 15) / 16 * 16; }

/// Scales of a row of Q8_0: a float16 per 32 elements of a head, the last for what is left.
static inline int32_t moe_kv_scales(int32_t head_dim) { return (head_dim + 31) / 32; }

/// Floats of scratch that a piece needs: queries, outputs of a chunk and of all, keys or values with their scales, scores, and
/// four numbers per query.
static inline size_t moe_attention_scratch(int32_t head_dim) {
    const size_t q = MOE_ATTENTION_QUERIES, t = MOE_ATTENTION_TILE;
    return (3 * q + t) * moe_attention_padded(head_dim) + t * (size_t)moe_kv_scales(head_dim) +
           q * MOE_ATTENTION_SCORES + 4 * q;
}

/// Floats of a record of one query and one chunk: maximum, sum, 14 unused, output.
static inline size_t moe_attention_record(int32_t head_dim) { return 16 + moe_attention_padded(head_dim); }

/// `run` computes a piece; `finish` puts the records of a piece's chunks together, once all are written.
typedef void (*moe_attention_fn)(const moe_attention_piece *piece, float *scratch);
typedef struct moe_attention_kernel {
    moe_attention_fn run, finish;
} moe_attention_kernel;

extern const moe_attention_kernel moe_attention_ref, moe_attention_avx2, moe_attention_avx512, moe_attention_neon;

#endif
