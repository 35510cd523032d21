// SPDX-License-Identifier: Apache-2.0
//
// The attention kernel, included once per ISA. The includer defines, before:
//   LANES                                 floats of a vector: 4, 8 or 16
//   SCORE_ROWS                            query vectors of a register tile of scores (times 4 keys)
//   VALUE_ROWS, VALUE_VECTORS             query vectors and vectors of head_dim of a register tile of outputs
//   void half_row(const uint16_t *, float *, int32_t n)   IEEE half to float
//   NAME                                  the kernel's name
// and may define, to read the keys and values of few queries straight from the cache:
//   DIRECT_QUERIES                        up to how many queries
//   DIRECT_ROWS                           query vectors of a register tile then: 4, or 8 where there are 32 registers
//   LOAD_HALF(p), LOAD_BYTES(p)           LANES float16, or int8, as floats
//
// Per tile of positions: scores = q k^T, online softmax (Milakov and Gimelshein 2018), outputs += p v. Every chunk of
// MOE_ATTENTION_CHUNK positions has a softmax of its own; chunks are put together in ascending order.
//
// Order of summation, the same however rows are grouped: a score adds head_dim in LANES lanes and the lanes in a fixed tree;
// an output adds positions in ascending order, tile after tile; tiles and chunks start at multiples of their size. So a row's
// result does not depend on the rows, heads and threads that it is computed with. Elements of the cache become floats without
// rounding (float16; int8 times float16), so it does not matter either who unpacks them. Positions that a row does not see are
// never multiplied into it: their memory may hold anything.

#include <math.h>
#include <string.h>

#include "attention_tiles.h"
#include "exp_float.h"

enum { CHUNK = MOE_ATTENTION_CHUNK };
_Static_assert(CHUNK % TILE == 0, "chunks are whole tiles");

// ---------------------------------------------------------------------------------------------------------------------
// Softmax

/// Scores of one query become weights, of positions that it does not see 0; top and total are its running maximum and sum.
/// Returns what the output so far must be multiplied by.
static float soften(float *scores, span seen, float *top, float *total) {
    if (seen.first > 0 || seen.end < TILE) {
        for (int32_t i = 0; i < TILE; i++) scores[i] = i >= seen.first && i < seen.end ? scores[i] : -INFINITY;
    }
    float lanes[16];
    for (int32_t j = 0; j < 16; j++) lanes[j] = *top;
    for (int32_t i = 0; i < TILE; i += 16) {
        for (int32_t j = 0; j < 16; j++) lanes[j] = scores[i + j] > lanes[j] ? scores[i + j] : lanes[j];
    }
    for (int32_t half = 8; half > 0; half /= 2) {
        for (int32_t j = 0; j < half; j++) lanes[j] = lanes[j + half] > lanes[j] ? lanes[j + half] : lanes[j];
    }
    const float highest = lanes[0];
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

/// Puts a chunk of one query to those before it: maximum, sum and output[d]. A chunk that the query does not see has sum 0.
static void add_chunk(float top, float total, const float *out, float *all_top, float *all_total, float *all, size_t d) {
    if (total == 0) return;
    if (*all_total == 0) {
        *all_top = top;
        *all_total = total;
        memcpy(all, out, d * sizeof *all);
        return;
    }
    const float highest = top > *all_top ? top : *all_top;
    const float keep = moe_exp(*all_top - highest), add = moe_exp(top - highest);
    *all_total = *all_total * keep + total * add;
    for (size_t j = 0; j < d; j++) all[j] = all[j] * keep + out[j] * add;
    *all_top = highest;
}

// ---------------------------------------------------------------------------------------------------------------------

/// The first position that the row at `position` sees.
INLINE int32_t first_seen(int32_t position, int32_t window) {
    return window > 0 && position >= window ? position - window + 1 : 0;
}

/// The page of a cache that holds position p of one of the piece's heads.
INLINE const char *page_at(const moe_attention_piece *piece, const moe_kv_layout *layout, const void *cache, int32_t kv,
                           int32_t p) {
    const int64_t block = piece->task->block_table[p / piece->shape->block_size];
    return (const char *)cache + (block * piece->shape->kv_heads + piece->kv_head + kv) * layout->page_bytes;
}

/// Positions p..<end of one of the piece's heads, as far as they are in one page of a cache. Scales become floats at `scales`.
/// What is read next: heads of a block lie next to one another, so what follows; where only some heads are read, the page of the
/// next, or that of the first for the next block, up to position `last`.
static run_of_rows run_at(const moe_attention_piece *piece, const void *cache, int32_t kv, int32_t p, int32_t end, int32_t last,
                          float *scales) {
    const moe_attention_shape *shape = piece->shape;
    const moe_kv_layout layout = moe_kv_layout_of(shape->kv_type, shape->block_size, shape->head_dim);
    const int32_t slot = p % shape->block_size;
    const char *page = page_at(piece, &layout, cache, kv, p);
    run_of_rows run = {.rows = page + slot * layout.row_bytes, .scales = scales, .scale_count = moe_kv_scales(shape->head_dim)};
    run.count = least(end - p, shape->block_size - slot);
    run.row_bytes = (int32_t)layout.row_bytes;
    run.head_dim = shape->head_dim;
    if (piece->kv_heads == shape->kv_heads && piece->kv_heads > 1) run.ahead = AHEAD_BYTES;
    else if (kv + 1 < piece->kv_heads) run.ahead = layout.page_bytes;
    else if (p + run.count < last) run.ahead = page_at(piece, &layout, cache, 0, p + run.count) - page;
    if (shape->kv_type == MOE_TYPE_Q8_0) {
        const char *source = page + layout.scales_at + slot * layout.scale_bytes;
        half_row((const uint16_t *)(const void *)source, scales, run.count * run.scale_count);
    }
    return run;
}

/// What a piece works with, in its scratch.
typedef struct state {
    float *q, *out, *all, *tile, *scales, *scores;  // [QUERIES][d] three times, [TILE][d], [TILE][scales], [QUERIES][…]
    float *top, *total, *all_top, *all_total;       // [QUERIES]
} state;

static state state_in(float *scratch, int32_t head_dim) {
    const size_t d = moe_attention_padded(head_dim), queries = MOE_ATTENTION_QUERIES;
    state s = {.q = scratch};
    s.out = s.q + queries * d;
    s.all = s.out + queries * d;
    s.tile = s.all + queries * d;
    s.scores = s.tile + TILE * d;
    s.top = s.scores + queries * SCORE_STRIDE;
    s.total = s.top + queries;
    s.all_top = s.total + queries;
    s.all_total = s.all_top + queries;
    s.scales = s.all_total + queries;
    return s;
}

/// The chunk's part of the piece: positions begin..<end. Heads of a block of positions lie next to one another: they are read
/// one after the other, before the next block.
static void run_chunk(const moe_attention_piece *piece, const state *s, int32_t begin, int32_t end, bool direct) {
    const moe_attention_shape *shape = piece->shape;
    const int32_t per_kv = piece->rows * piece->heads, count = per_kv * piece->kv_heads, type = shape->kv_type;
    const size_t d = moe_attention_padded(shape->head_dim);
    const int32_t first_position = piece->task->first_position + piece->first_row;
    (void)direct;
    for (int32_t i = 0; i < count; i++) {
        s->top[i] = -INFINITY;
        s->total[i] = 0;
    }
    memset(s->out, 0, (size_t)count * d * sizeof *s->out);

    for (int32_t start = begin / TILE * TILE; start < end; start += TILE) {
        const int32_t first = most(begin, start), last = least(end - start, TILE) + start;
        for (int32_t p = first, step; p < last; p += step) {
            step = last - p;
            // Rows before p see none of these keys.
            const int32_t blind = most(p - first_position, 0) * piece->heads;
            for (int32_t kv = 0; kv < piece->kv_heads; kv++) {
                const run_of_rows k = run_at(piece, shape->k_cache, kv, p, last, end, s->scales);
                const float *q = s->q + (size_t)(kv * per_kv + blind) * d;
                float *scores = s->scores + (kv * per_kv + blind) * SCORE_STRIDE + (p - start);
                step = k.count;
#ifdef DIRECT_QUERIES
                if (direct) {
                    score_few(type, q, per_kv - blind, &k, d, scores);
                    continue;
                }
#endif
                score_unpacking(type, q, per_kv - blind, &k, d, s->tile, scores);
            }
        }

        span spans[MOE_ATTENTION_QUERIES];  // the same for all kv heads
        for (int32_t i = 0; i < count; i++) {
            const int32_t position = first_position + i % per_kv / piece->heads;
            const span seen = {most(first, first_seen(position, shape->window)) - start, least(last, position + 1) - start};
            if (i < per_kv) spans[i] = seen;
            if (seen.first >= seen.end) continue;
            const float keep = soften(s->scores + i * SCORE_STRIDE, seen, &s->top[i], &s->total[i]);
            if (keep == 1) continue;
            for (size_t j = 0; j < d; j++) s->out[(size_t)i * d + j] *= keep;
        }

        for (int32_t p = first, step; p < last; p += step) {
            step = last - p;
            for (int32_t kv = 0; kv < piece->kv_heads; kv++) {
                const run_of_rows v = run_at(piece, shape->v_cache, kv, p, last, end, s->scales);
                const float *weights = s->scores + kv * per_kv * SCORE_STRIDE;
                float *out = s->out + (size_t)(kv * per_kv) * d;
                step = v.count;
#ifdef DIRECT_QUERIES
                if (direct) {
                    add_values_few(type, weights, per_kv, spans, &v, d, p - start, out);
                    continue;
                }
#endif
                add_values_unpacking(type, weights, per_kv, spans, &v, d, p - start, s->tile, out);
            }
        }
    }
}

/// The row and the query head of a piece's query vector: those of a kv head follow one another, by row.
typedef struct query_place {
    int64_t row, head;
} query_place;

INLINE query_place place_of(const moe_attention_piece *piece, int32_t query) {
    const int32_t group = piece->shape->heads / piece->shape->kv_heads, kv = query / (piece->rows * piece->heads);
    return (query_place){piece->first_row + query / piece->heads % piece->rows,
                         (piece->kv_head + kv) * group + piece->skipped + query % piece->heads};
}

INLINE int32_t query_count(const moe_attention_piece *piece) { return piece->rows * piece->heads * piece->kv_heads; }

/// Divides by the sums: the piece's rows of the result.
static void write_rows(const moe_attention_piece *piece, const state *s) {
    const int32_t head_dim = piece->shape->head_dim;
    const size_t d = moe_attention_padded(head_dim);
    for (int32_t i = 0; i < query_count(piece); i++) {
        const query_place place = place_of(piece, i);
        float *target = piece->task->out + place.row * piece->task->out_stride + place.head * head_dim;
        for (int32_t j = 0; j < head_dim; j++) target[j] = s->all[(size_t)i * d + j] / s->all_total[i];
    }
}

/// Where the records of a query of the piece begin.
INLINE float *records(const moe_attention_piece *piece, int32_t query, size_t record) {
    const query_place place = place_of(piece, query);
    return piece->partials + (size_t)(place.row * piece->shape->heads + place.head) * (size_t)piece->partial_chunks * record;
}

static void run(const moe_attention_piece *piece, float *scratch) {
    const moe_attention_shape *shape = piece->shape;
    const moe_attention_task *task = piece->task;
    const int32_t head_dim = shape->head_dim, count = query_count(piece);
    const size_t d = moe_attention_padded(head_dim), record = moe_attention_record(head_dim);
    const state s = state_in(scratch, head_dim);
    for (int32_t i = 0; i < count; i++) {
        const query_place place = place_of(piece, i);
        const float *source = task->q + place.row * task->q_stride + place.head * head_dim;
        for (int32_t j = 0; j < head_dim; j++) s.q[(size_t)i * d + j] = source[j] * shape->scale;
        for (size_t j = (size_t)head_dim; j < d; j++) s.q[(size_t)i * d + j] = 0;
        s.all_top[i] = -INFINITY;
        s.all_total[i] = 0;
    }

    const int32_t first_position = task->first_position + piece->first_row;
    const int32_t seen_end = first_position + piece->rows, seen_begin = first_seen(first_position, shape->window);
#ifdef DIRECT_QUERIES
    const bool direct = piece->rows * piece->heads <= DIRECT_QUERIES && (size_t)head_dim == d;
#else
    const bool direct = false;
#endif
    for (int32_t chunk = piece->first_chunk; chunk < piece->end_chunk; chunk++) {
        const int32_t begin = most(seen_begin, chunk * CHUNK), end = least(seen_end - chunk * CHUNK, CHUNK) + chunk * CHUNK;
        const bool seen = begin < end;
        if (seen) run_chunk(piece, &s, begin, end, direct);
        if (piece->partials == NULL && !seen) continue;
        for (int32_t i = 0; i < count; i++) {
            if (piece->partials == NULL) {
                add_chunk(s.top[i], s.total[i], s.out + (size_t)i * d, &s.all_top[i], &s.all_total[i],
                          s.all + (size_t)i * d, d);
                continue;
            }
            float *partial = records(piece, i, record) + (size_t)(chunk - piece->partial_chunk) * record;
            partial[0] = s.top[i];
            partial[1] = seen ? s.total[i] : 0;
            if (seen) memcpy(partial + 16, s.out + (size_t)i * d, d * sizeof *partial);
        }
    }
    if (piece->partials == NULL) write_rows(piece, &s);
}

static void finish(const moe_attention_piece *piece, float *scratch) {
    const int32_t head_dim = piece->shape->head_dim;
    const size_t d = moe_attention_padded(head_dim), record = moe_attention_record(head_dim);
    const state s = state_in(scratch, head_dim);
    for (int32_t i = 0; i < query_count(piece); i++) {
        const float *partial = records(piece, i, record);
        s.all_total[i] = 0;
        for (int32_t c = 0; c < piece->partial_chunks; c++, partial += record) {
            add_chunk(partial[0], partial[1], partial + 16, &s.all_top[i], &s.all_total[i], s.all + (size_t)i * d, d);
        }
    }
    write_rows(piece, &s);
}

const moe_attention_kernel NAME = {run, finish};
