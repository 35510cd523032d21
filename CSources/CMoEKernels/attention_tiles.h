// SPDX-License-Identifier: Apache-2.0
//
// The register tiles of attention, included once per ISA by attention_body.h: scores of a tile of positions, outputs of a tile,
// and the unpacking of a tile of the cache.
//
// The cache is read row after row, and a few KiB ahead of that fetched: one long run of memory is what CPUs read fastest. Where
// several queries share keys, a few rows are unpacked at a time, so that computing with them and reading the next overlap.

#include "attention_kernel.h"
#include "attention_lanes.h"

enum {
    TILE = MOE_ATTENTION_TILE,
    SCORE_STRIDE = MOE_ATTENTION_SCORES,
    UNPACKED_ROWS = 16,  // rows that are unpacked at a time
    FEW_QUERIES = 16,    // up to so many, values are unpacked as keys are; more would load and store their outputs too often
    AHEAD_BYTES = 8192,  // how far ahead of the row in use memory is fetched; what does not follow the row there is no loss
};

/// The positions of a tile that a query sees, counted from the tile's start: first..<end, none if first >= end.
typedef struct span {
    int32_t first, end;
} span;

/// Rows of one head that follow one another in a page of the cache.
typedef struct run_of_rows {
    const char *rows;
    const float *scales;  // Q8_0: [rows][scale_count]
    int32_t count, row_bytes, scale_count, head_dim;
} run_of_rows;

/// Fetches what lies ahead of a row.
INLINE void fetch_ahead(const char *row, int32_t bytes) {
    for (int32_t byte = 0; byte < bytes; byte += 64) __builtin_prefetch(row + AHEAD_BYTES + byte);
}

// ---------------------------------------------------------------------------------------------------------------------
// Scores

/// scores[rows][4] = q[rows] . k[4]; rows of scores are SCORE_STRIDE apart.
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
        memcpy(scores + r * SCORE_STRIDE, &result, sizeof result);
    }
}

/// scores[count][keys] (rounded up to fours)
static void score(const float *q, int32_t count, const float *k, int32_t keys, size_t d, float *scores) {
    int32_t r = 0;
    for (; r + SCORE_ROWS <= count; r += SCORE_ROWS) {
        for (int32_t p = 0; p < keys; p += 4) {
            score_tile(SCORE_ROWS, q + (size_t)r * d, k + (size_t)p * d, d, scores + r * SCORE_STRIDE + p);
        }
    }
    for (; r < count; r++) {
        for (int32_t p = 0; p < keys; p += 4) {
            score_tile(1, q + (size_t)r * d, k + (size_t)p * d, d, scores + r * SCORE_STRIDE + p);
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Values

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
            for (int32_t r = 0; r < rows; r++) sum[r][j] += p[r * SCORE_STRIDE + i] * x;
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

/// out[count][d] += p[count] v, of positions first..<end those that each query sees.
static void add_values(const float *p, int32_t count, const span *spans, const float *v, size_t d, int32_t first, int32_t end,
                       float *out) {
    int32_t r = 0;
    for (; r + VALUE_ROWS <= count; r += VALUE_ROWS) {
        // What all rows of the register tile see, with what is before it and after it row by row.
        span common = {first, end};
        for (int32_t i = r; i < r + VALUE_ROWS; i++) {
            common.first = most(common.first, spans[i].first);
            common.end = least(common.end, spans[i].end);
        }
        if (common.first >= common.end) common.first = common.end = end;
        for (int32_t i = r; i < r + VALUE_ROWS; i++) {
            value_row(p + i * SCORE_STRIDE, v, d, most(first, spans[i].first), least(common.first, spans[i].end), out + (size_t)i * d);
        }
        if (common.first < common.end) {
            value_rows(p + r * SCORE_STRIDE, v, d, common.first, common.end, out + (size_t)r * d);
            for (int32_t i = r; i < r + VALUE_ROWS; i++) {
                value_row(p + i * SCORE_STRIDE, v, d, common.end, least(end, spans[i].end), out + (size_t)i * d);
            }
        }
    }
    for (; r < count; r++) {
        value_row(p + r * SCORE_STRIDE, v, d, most(first, spans[r].first), least(end, spans[r].end), out + (size_t)r * d);
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Unpacking

/// Rows first..<end of a run as floats at out[row - first][d], padded with zeros.
static void unpack(int32_t type, const run_of_rows *run, int32_t first, int32_t end, size_t d, float *out) {
    const int32_t head_dim = run->head_dim;
    for (int32_t i = first; i < end; i++, out += d) {
        const char *row = run->rows + (int64_t)i * run->row_bytes;
        fetch_ahead(row, run->row_bytes);
        if (type == MOE_TYPE_F16) {
            half_row((const uint16_t *)(const void *)row, out, head_dim);
        } else if (type == MOE_TYPE_Q8_0) {
            const int8_t *bytes = (const int8_t *)row;
            const float *scales = run->scales + i * run->scale_count;
            int32_t j = 0;
            for (; j + 32 <= head_dim; j += 32, scales++) {
                for (int32_t n = 0; n < 32; n++) out[j + n] = (float)bytes[j + n] * *scales;
            }
            for (; j < head_dim; j++) out[j] = (float)bytes[j] * *scales;
        } else {
            memcpy(out, row, (size_t)head_dim * sizeof *out);
        }
        for (size_t j = (size_t)head_dim; j < d; j++) out[j] = 0;
    }
}

/// scores[count][keys of the run] (rounded up to fours), a few keys unpacked at a time.
static void score_unpacking(int32_t type, const float *q, int32_t count, const run_of_rows *k, size_t d, float *buffer,
                            float *scores) {
    for (int32_t p = 0; p < k->count; p += UNPACKED_ROWS) {
        const int32_t end = least(p + UNPACKED_ROWS, k->count);
        unpack(type, k, p, end, d, buffer);
        score(q, count, buffer, end - p, d, scores + p);
    }
}

/// out[count][d] += p[count] v, of positions first..<first + v->count of the tile those that each query sees.
static void add_values_unpacking(int32_t type, const float *p, int32_t count, const span *spans, const run_of_rows *v, size_t d,
                                 int32_t first, float *buffer, float *out) {
    const int32_t step = count > FEW_QUERIES ? TILE : UNPACKED_ROWS;
    for (int32_t from = 0; from < v->count; from += step) {
        const int32_t end = least(from + step, v->count);
        unpack(type, v, from, end, d, buffer);
        add_values(p, count, spans, buffer - (size_t)(first + from) * d, d, first + from, first + end, out);
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// A single query, or two: straight from the cache

#ifdef DIRECT_QUERIES

INLINE vector elements(const int32_t type, const char *row, const float *scales, size_t i) {
    switch (type) {
    case MOE_TYPE_F16: return LOAD_HALF(row + 2 * i);
    case MOE_TYPE_Q8_0: return LOAD_BYTES(row + i) * scales[i / 32];
    default: return load((const float *)(const void *)row + i);
    }
}

/// scores[keys] = q . k, rounded up to fours
INLINE void score_direct(const int32_t type, const float *q, const run_of_rows *k, size_t d, float *scores) {
    const char *row = k->rows;
    const float *scales = k->scales;
    for (int32_t p = 0; p < k->count; p += 4) {
        vector sum[4] = {0};
#pragma clang loop unroll(full)
        for (int32_t j = 0; j < 4; j++) {
            if (p + j >= k->count) continue;
            fetch_ahead(row, k->row_bytes);
            for (size_t i = 0; i < d; i += LANES) sum[j] += load(q + i) * elements(type, row, scales, i);
            row += k->row_bytes;
            if (type == MOE_TYPE_Q8_0) scales += k->scale_count;
        }
        const vector4 result = sums(sum[0], sum[1], sum[2], sum[3]);
        memcpy(scores + p, &result, sizeof result);
    }
}

/// out[vectors of d from element j on] += p[rows] v[first..<end], positions in ascending order.
INLINE void value_direct_tile(const int32_t type, const int32_t vectors, const float *p, const run_of_rows *v, size_t j,
                              int32_t first, int32_t end, float *out) {
    vector sum[8];
#pragma clang loop unroll(full)
    for (int32_t n = 0; n < vectors; n++) sum[n] = load(out + j + n * LANES);
    const char *row = v->rows + (int64_t)first * v->row_bytes;
    const float *scales = type == MOE_TYPE_Q8_0 ? v->scales + first * v->scale_count : NULL;
    for (int32_t i = first; i < end; i++) {
        if (j == 0) fetch_ahead(row, v->row_bytes);
#pragma clang loop unroll(full)
        for (int32_t n = 0; n < vectors; n++) sum[n] += p[i] * elements(type, row, scales, j + n * LANES);
        row += v->row_bytes;
        if (type == MOE_TYPE_Q8_0) scales += v->scale_count;
    }
#pragma clang loop unroll(full)
    for (int32_t n = 0; n < vectors; n++) store(out + j + n * LANES, sum[n]);
}

/// out[d] += p[rows] v, of rows first..<end of the run.
INLINE void value_direct(const int32_t type, const float *p, const run_of_rows *v, size_t d, int32_t first, int32_t end,
                         float *out) {
    size_t j = 0;
    for (; j + 8 * LANES <= d; j += 8 * LANES) value_direct_tile(type, 8, p, v, j, first, end, out);
    for (; j + 4 * LANES <= d; j += 4 * LANES) value_direct_tile(type, 4, p, v, j, first, end, out);
    for (; j < d; j += LANES) value_direct_tile(type, 1, p, v, j, first, end, out);
}

// One function per type, so that the loops hold no choice.
#define FOR_TYPE(suffix, type)                                                                                             \
    static void score_##suffix(const float *q, const run_of_rows *k, size_t d, float *scores) {                           \
        score_direct(type, q, k, d, scores);                                                                              \
    }                                                                                                                     \
    static void value_##suffix(const float *p, const run_of_rows *v, size_t d, int32_t first, int32_t end, float *out) {  \
        value_direct(type, p, v, d, first, end, out);                                                                     \
    }
FOR_TYPE(f32, MOE_TYPE_F32)
FOR_TYPE(f16, MOE_TYPE_F16)
FOR_TYPE(q8_0, MOE_TYPE_Q8_0)
#undef FOR_TYPE

static void score_one(int32_t type, const float *q, const run_of_rows *k, size_t d, float *scores) {
    if (type == MOE_TYPE_F16) score_f16(q, k, d, scores);
    else if (type == MOE_TYPE_Q8_0) score_q8_0(q, k, d, scores);
    else score_f32(q, k, d, scores);
}

static void value_one(int32_t type, const float *p, const run_of_rows *v, size_t d, int32_t first, int32_t end, float *out) {
    if (type == MOE_TYPE_F16) value_f16(p, v, d, first, end, out);
    else if (type == MOE_TYPE_Q8_0) value_q8_0(p, v, d, first, end, out);
    else value_f32(p, v, d, first, end, out);
}

#endif
