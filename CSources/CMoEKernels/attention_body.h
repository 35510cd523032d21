// SPDX-License-Identifier: Apache-2.0
//
// The attention kernel, included once per ISA. The includer defines, before:
//   LANES                                 floats of a vector: 4, 8 or 16
//   SCORE_ROWS                            query vectors of a register tile of scores (times 4 keys)
//   VALUE_ROWS, VALUE_VECTORS             query vectors and vectors of head_dim of a register tile of outputs
//   void half_row(const uint16_t *, float *, int32_t n)   IEEE half to float
//   NAME                                  the function's name
//
// Per tile of positions: scores = q k^T, online softmax (Milakov and Gimelshein 2018), outputs += p v.
//
// Order of summation, the same however rows are grouped: a score adds head_dim in LANES lanes and the lanes in a fixed tree;
// an output adds positions in ascending order, tile after tile; tiles start at multiples of MOE_ATTENTION_TILE. So a row's
// result does not depend on the rows, heads and threads that it is computed with. Positions that a row does not see are never
// multiplied into it: their memory may hold anything.

#include <math.h>
#include <string.h>

#include "attention_kernel.h"
#include "exp_float.h"

typedef float vector __attribute__((vector_size(LANES * 4)));
typedef float vector4 __attribute__((vector_size(16)));
#define INLINE static inline __attribute__((always_inline))

enum { TILE = MOE_ATTENTION_TILE };

INLINE vector load(const float *x) {
    vector v;
    memcpy(&v, x, sizeof v);
    return v;
}
INLINE void store(float *x, vector v) { memcpy(x, &v, sizeof v); }

/// The sum of the lanes in a fixed tree: halves onto halves down to four lanes.
INLINE vector4 fold(vector v) {
#if LANES == 16
    typedef float vector8 __attribute__((vector_size(32)));
    const vector8 half = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) +
                         __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
    return __builtin_shufflevector(half, half, 0, 1, 2, 3) + __builtin_shufflevector(half, half, 4, 5, 6, 7);
#elif LANES == 8
    return __builtin_shufflevector(v, v, 0, 1, 2, 3) + __builtin_shufflevector(v, v, 4, 5, 6, 7);
#else
    return v;
#endif
}

/// The sums of four vectors.
INLINE vector4 sums(vector a, vector b, vector c, vector d) {
    const vector4 e = fold(a), f = fold(b), g = fold(c), h = fold(d);
    const vector4 ef = __builtin_shufflevector(e, f, 0, 4, 1, 5) + __builtin_shufflevector(e, f, 2, 6, 3, 7);
    const vector4 gh = __builtin_shufflevector(g, h, 0, 4, 1, 5) + __builtin_shufflevector(g, h, 2, 6, 3, 7);
    return __builtin_shufflevector(ef, gh, 0, 1, 4, 5) + __builtin_shufflevector(ef, gh, 2, 3, 6, 7);
}

/// scores[rows][4] = q[rows] . k[4]
INLINE void score_tile(const int32_t rows, const float *q, const float *k, size_t d, float *scores) {
    vector sum[4][4] = {0};
    for (size_t i = 0; i < d; i += LANES) {
        const vector k0 = load(k + i), k1 = load(k + d + i), k2 = load(k + 2 * d + i), k3 = load(k + 3 * d + i);
#pragma clang loop unroll(full)
        for (int32_t r = 0; r < rows; r++) {
            const vector x = load(q + (size_t)r * d + i);
            sum[r][0] += x * k0;
            sum[r][1] += x * k1;
            sum[r][2] += x * k2;
            sum[r][3] += x * k3;
        }
    }
#pragma clang loop unroll(full)
    for (int32_t r = 0; r < rows; r++) {
        const vector4 result = sums(sum[r][0], sum[r][1], sum[r][2], sum[r][3]);
        memcpy(scores + r * TILE, &result, sizeof result);
    }
}

/// scores[count][TILE], positions first..<end of the tile (rounded outwards to fours).
static void score(const float *q, int32_t count, const float *k, size_t d, int32_t first, int32_t end, float *scores) {
    int32_t r = 0;
    for (; r + SCORE_ROWS <= count; r += SCORE_ROWS) {
        for (int32_t p = first / 4 * 4; p < end; p += 4) {
            score_tile(SCORE_ROWS, q + (size_t)r * d, k + (size_t)p * d, d, scores + r * TILE + p);
        }
    }
    for (; r < count; r++) {
        for (int32_t p = first / 4 * 4; p < end; p += 4) {
            score_tile(1, q + (size_t)r * d, k + (size_t)p * d, d, scores + r * TILE + p);
        }
    }
}

/// out[rows][vectors of d] += p[rows][first..<end] v[first..<end], positions in ascending order.
INLINE void value_tile(const int32_t rows, const int32_t vectors, const float *p, const float *v, size_t d, int32_t first,
                       int32_t end, float *out) {
    vector sum[4][8];
#pragma clang loop unroll(full)
    for (int32_t r = 0; r < rows; r++) {
#pragma clang loop unroll(full)
        for (int32_t j = 0; j < vectors; j++) sum[r][j] = load(out + (size_t)r * d + j * LANES);
    }
    for (int32_t i = first; i < end; i++) {
#pragma clang loop unroll(full)
        for (int32_t j = 0; j < vectors; j++) {
            const vector x = load(v + (size_t)i * d + j * LANES);
#pragma clang loop unroll(full)
            for (int32_t r = 0; r < rows; r++) sum[r][j] += p[r * TILE + i] * x;
        }
    }
#pragma clang loop unroll(full)
    for (int32_t r = 0; r < rows; r++) {
#pragma clang loop unroll(full)
        for (int32_t j = 0; j < vectors; j++) store(out + (size_t)r * d + j * LANES, sum[r][j]);
    }
}

static void value_row(const float *p, const float *v, size_t d, int32_t first, int32_t end, float *out) {
    size_t j = 0;
    if (first >= end) return;
    for (; j + 8 * LANES <= d; j += 8 * LANES) value_tile(1, 8, p, v + j, d, first, end, out + j);
    for (; j + 2 * LANES <= d; j += 2 * LANES) value_tile(1, 2, p, v + j, d, first, end, out + j);
    for (; j < d; j += LANES) value_tile(1, 1, p, v + j, d, first, end, out + j);
}

static void value_rows(const float *p, const float *v, size_t d, int32_t first, int32_t end, float *out) {
    size_t j = 0;
    for (; j + VALUE_VECTORS * LANES <= d; j += VALUE_VECTORS * LANES) {
        value_tile(VALUE_ROWS, VALUE_VECTORS, p, v + j, d, first, end, out + j);
    }
    for (; j < d; j += LANES) value_tile(VALUE_ROWS, 1, p, v + j, d, first, end, out + j);
}

/// The positions of a tile that a query sees, counted from the tile's start: first..<end, none if first >= end.
typedef struct span {
    int32_t first, end;
} span;

INLINE int32_t least(int32_t a, int32_t b) { return a < b ? a : b; }
INLINE int32_t most(int32_t a, int32_t b) { return a > b ? a : b; }

/// The first position that the row at `position` sees.
INLINE int32_t first_seen(int32_t position, int32_t window) {
    return window > 0 && position >= window ? position - window + 1 : 0;
}

static void add_values(const float *p, int32_t count, const span *spans, const float *v, size_t d, float *out) {
    int32_t r = 0;
    for (; r + VALUE_ROWS <= count; r += VALUE_ROWS) {
        // What all rows of the register tile see, with what is before it and after it row by row.
        span common = spans[r];
        for (int32_t i = 1; i < VALUE_ROWS; i++) {
            common.first = most(common.first, spans[r + i].first);
            common.end = least(common.end, spans[r + i].end);
        }
        if (common.first >= common.end) common.first = common.end = TILE;
        for (int32_t i = r; i < r + VALUE_ROWS; i++) {
            value_row(p + i * TILE, v, d, spans[i].first, least(spans[i].end, common.first), out + (size_t)i * d);
        }
        if (common.first < common.end) {
            value_rows(p + r * TILE, v, d, common.first, common.end, out + (size_t)r * d);
            for (int32_t i = r; i < r + VALUE_ROWS; i++) {
                value_row(p + i * TILE, v, d, common.end, spans[i].end, out + (size_t)i * d);
            }
        }
    }
    for (; r < count; r++) value_row(p + r * TILE, v, d, spans[r].first, spans[r].end, out + (size_t)r * d);
}

/// Scores of one query become weights; top and total are its running maximum and sum. Returns what the output so far must be
/// multiplied by.
static float soften(float *scores, span seen, float *top, float *total) {
    for (int32_t i = 0; i < TILE; i++) scores[i] = i >= seen.first && i < seen.end ? scores[i] : -INFINITY;
    float lanes[8];
    for (int32_t j = 0; j < 8; j++) lanes[j] = *top;
    for (int32_t i = 0; i < TILE; i += 8) {
        for (int32_t j = 0; j < 8; j++) lanes[j] = scores[i + j] > lanes[j] ? scores[i + j] : lanes[j];
    }
    float highest = lanes[0];
    for (int32_t j = 1; j < 8; j++) highest = lanes[j] > highest ? lanes[j] : highest;

    const float keep = moe_exp(*top - highest);
    float sum = 0;
    for (int32_t i = 0; i < TILE; i++) scores[i] = moe_exp(scores[i] - highest);
    {
#pragma clang fp reassociate(on)
        for (int32_t i = 0; i < TILE; i++) sum += scores[i];
    }
    *top = highest;
    *total = *total * keep + sum;
    return keep;
}

/// Where the piece's head of a position lies in a cache array, counted in elements.
INLINE int64_t place(const moe_attention_piece *piece, int32_t position) {
    const moe_attention_shape *shape = piece->shape;
    const int64_t block = piece->task->block_table[position / shape->block_size];
    return ((block * shape->block_size + position % shape->block_size) * shape->kv_heads + piece->kv_head) * shape->head_dim;
}

INLINE const char *element(const moe_attention_shape *shape, const void *cache, int64_t index) {
    return (const char *)cache + index * (shape->kv_type == MOE_TYPE_F16 ? 2 : 4);
}

/// Positions first..<end of a paged cache as floats at tile[position - start][d], padded with zeros. places[position - start]
/// are their places. While a row is converted, the row at next_places of next_cache is fetched, which is read after this tile:
/// the heads of a position lie apart, so that the CPU does not foresee the next row by itself.
INLINE void unpack(const moe_attention_piece *piece, const void *cache, const int64_t *places, int32_t start, int32_t first,
                   int32_t end, size_t d, float *tile, const void *next_cache, const int64_t *next_places, int32_t next_count) {
    const moe_attention_shape *shape = piece->shape;
    const int32_t head_dim = shape->head_dim, row_bytes = head_dim * (shape->kv_type == MOE_TYPE_F16 ? 2 : 4);
    for (int32_t i = first - start; i < end - start; i++) {
        if (i < next_count) {
            const char *next = element(shape, next_cache, next_places[i]);
            for (int32_t byte = 0; byte < row_bytes; byte += 64) __builtin_prefetch(next + byte);
        }
        float *out = tile + (size_t)i * d;
        const char *row = element(shape, cache, places[i]);
        if (shape->kv_type == MOE_TYPE_F16) half_row((const uint16_t *)row, out, head_dim);
        else memcpy(out, row, (size_t)row_bytes);
        for (size_t j = (size_t)head_dim; j < d; j++) out[j] = 0;
    }
}

void NAME(const moe_attention_piece *piece, float *scratch) {
    const moe_attention_shape *shape = piece->shape;
    const moe_attention_task *task = piece->task;
    const int32_t head_dim = shape->head_dim, heads = piece->heads, count = piece->rows * heads;
    const size_t d = moe_attention_padded(head_dim);
    float *q = scratch, *out = q + MOE_ATTENTION_QUERIES * d, *k = out + MOE_ATTENTION_QUERIES * d, *v = k + TILE * d;
    float *scores = v + TILE * d, *top = scores + MOE_ATTENTION_QUERIES * TILE, *total = top + MOE_ATTENTION_QUERIES;

    for (int32_t i = 0; i < count; i++) {
        const int64_t row = piece->first_row + i / heads, head = piece->first_head + i % heads;
        const float *source = task->q + row * task->q_stride + head * head_dim;
        for (int32_t j = 0; j < head_dim; j++) q[(size_t)i * d + j] = source[j] * shape->scale;
        for (size_t j = (size_t)head_dim; j < d; j++) q[(size_t)i * d + j] = 0;
        top[i] = -INFINITY;
        total[i] = 0;
    }
    memset(out, 0, (size_t)count * d * sizeof *out);

    const int32_t first_position = task->first_position + piece->first_row;
    const int32_t end_position = first_position + piece->rows;
    const int32_t begin = first_seen(first_position, shape->window);
    int64_t places[2][TILE];
    int32_t now = 0;
    for (int32_t p = begin; p < least(end_position, begin / TILE * TILE + TILE); p++) places[0][p % TILE] = place(piece, p);
    for (int32_t start = begin / TILE * TILE; start < end_position; start += TILE, now ^= 1) {
        const int32_t first = most(begin, start), end = least(end_position, start + TILE);
        const int64_t *here = places[now];
        unpack(piece, shape->k_cache, here, start, first, end, d, k, shape->v_cache, here, end - start);
        score(q, count, k, d, first - start, end - start, scores);

        span spans[MOE_ATTENTION_QUERIES];
        for (int32_t i = 0; i < count; i++) {
            const int32_t position = first_position + i / heads;
            const span seen = {most(0, first_seen(position, shape->window) - start), least(TILE, position + 1 - start)};
            spans[i] = seen;
            if (seen.first >= seen.end) continue;
            const float keep = soften(scores + i * TILE, seen, &top[i], &total[i]);
            if (keep == 1) continue;
            for (size_t j = 0; j < d; j++) out[(size_t)i * d + j] *= keep;
        }
        int64_t *next = places[now ^ 1];
        const int32_t next_count = most(0, least(end_position - end, TILE));
        for (int32_t i = 0; i < next_count; i++) next[i] = place(piece, end + i);
        unpack(piece, shape->v_cache, here, start, first, end, d, v, shape->k_cache, next, next_count);
        add_values(scores, count, spans, v, d, out);
    }

    for (int32_t i = 0; i < count; i++) {
        const int64_t row = piece->first_row + i / heads, head = piece->first_head + i % heads;
        float *target = task->out + row * task->out_stride + head * head_dim;
        for (int32_t j = 0; j < head_dim; j++) target[j] = out[(size_t)i * d + j] / total[i];
    }
}
