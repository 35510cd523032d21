// SPDX-License-Identifier: Apache-2.0
//
// The register tiles of attention, included once per ISA by attention_body.h: scores of a tile of positions, outputs of a tile,
// and the unpacking of a tile of the cache.
//
// The cache is read row after row, page after page: one long run of memory is what CPUs read fastest. Meanwhile what is read
// next is fetched. Where many queries share keys, a few rows are unpacked at a time, so that computing with them and reading
// the next overlap.

#include "attention_kernel.h"
#include "attention_lanes.h"

enum {
    TILE = MOE_ATTENTION_TILE,
    SCORE_STRIDE = MOE_ATTENTION_SCORES,
    UNPACKED_ROWS = 16,  // rows that are unpacked at a time
    FEW_QUERIES = 16,    // up to so many, values are unpacked as keys are; more would load and store their outputs too often
    AHEAD_BYTES = 8192,  // how far ahead of a row memory is fetched where it is read on and on
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
    ptrdiff_t ahead;      // bytes from a row to what is fetched meanwhile
} run_of_rows;

/// Fetches what lies some way after a row, or a part of one.
INLINE void fetch_ahead(const char *row, int32_t bytes, ptrdiff_t ahead) {
    for (int32_t byte = 0; byte < bytes; byte += 64) __builtin_prefetch(row + ahead + byte);
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
            value_row(p + i * SCORE_STRIDE, v, d, most(first, spans[i].first), least(common.first, spans[i].end),
                      out + (size_t)i * d);
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
        fetch_ahead(row, run->row_bytes, run->ahead);
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
// Few queries: straight from the cache

#ifdef DIRECT_QUERIES

INLINE vector elements(const int32_t type, const char *row, const float *scales, size_t i) {
    switch (type) {
    case MOE_TYPE_F16: return LOAD_HALF(row + 2 * i);
    case MOE_TYPE_Q8_0: return LOAD_BYTES(row + i) * scales[i / 32];
    default: return load((const float *)(const void *)row + i);
    }
}

/// scores[rows][key] = q[rows] . the run's keys key and key + 1, if it has that.
INLINE void score_pair(const int32_t type, const int32_t rows, const float *q, const run_of_rows *k, int32_t key, size_t d,
                       float *scores) {
    const bool both = key + 1 < k->count;
    const char *first = k->rows + (int64_t)key * k->row_bytes, *second = both ? first + k->row_bytes : first;
    const float *first_scales = k->scales + key * k->scale_count, *second_scales = first_scales + (both ? k->scale_count : 0);
    vector sum[8][2] = {0};
    for (size_t i = 0; i < d; i += LANES) {
        const vector x = elements(type, first, first_scales, i), y = elements(type, second, second_scales, i);
#pragma clang loop unroll(full)
        for (int32_t r = 0; r < rows; r++) {
            const vector query = load(q + (size_t)r * d + i);
            sum[r][0] += query * x;
            sum[r][1] += query * y;
        }
    }
#pragma clang loop unroll(full)
    for (int32_t r = 0; r < rows; r += 2) {
        const vector4 four = sums(sum[r][0], sum[r][1], sum[r + 1][0], sum[r + 1][1]);
        memcpy(scores + r * SCORE_STRIDE + key, &four, 8);
        memcpy(scores + (r + 1) * SCORE_STRIDE + key, (const char *)&four + 8, 8);
    }
}

/// scores[keys] = q . k, rounded up to fours
INLINE void score_single(const int32_t type, const float *q, const run_of_rows *k, size_t d, bool ahead, float *scores) {
    const char *row = k->rows;
    const float *scales = k->scales;
    for (int32_t p = 0; p < k->count; p += 4) {
        vector sum[4] = {0};
#pragma clang loop unroll(full)
        for (int32_t j = 0; j < 4; j++) {
            if (p + j >= k->count) continue;
            if (ahead) fetch_ahead(row, k->row_bytes, k->ahead);
            for (size_t i = 0; i < d; i += LANES) sum[j] += load(q + i) * elements(type, row, scales, i);
            row += k->row_bytes;
            if (type == MOE_TYPE_Q8_0) scales += k->scale_count;
        }
        const vector4 result = sums(sum[0], sum[1], sum[2], sum[3]);
        memcpy(scores + p, &result, sizeof result);
    }
}

/// Queries r..<r + rows, and so on while there are so many. Returns how many are done.
INLINE int32_t score_groups(const int32_t type, const int32_t rows, const float *q, int32_t r, int32_t count,
                            const run_of_rows *k, size_t d, float *scores) {
    for (; r + rows <= count; r += rows) {
        for (int32_t p = 0; p < k->count; p += 2) {
            if (r == 0) fetch_ahead(k->rows + (int64_t)p * k->row_bytes, 2 * k->row_bytes, k->ahead);
            score_pair(type, rows, q + (size_t)r * d, k, p, d, scores + r * SCORE_STRIDE);
        }
    }
    return r;
}

/// scores[count][keys of the run] (rounded up to fours)
INLINE void score_direct(const int32_t type, const float *q, int32_t count, const run_of_rows *k, size_t d, float *scores) {
    int32_t r = 0;
    if (DIRECT_ROWS == 8) r = score_groups(type, 8, q, r, count, k, d, scores);
    r = score_groups(type, 4, q, r, count, k, d, scores);
    r = score_groups(type, 2, q, r, count, k, d, scores);
    if (r < count) score_single(type, q + (size_t)r * d, k, d, r == 0, scores + r * SCORE_STRIDE);
}

/// out[rows][vectors of d from element j on] += p[rows] v[first..<end], positions in ascending order.
INLINE void value_direct_tile(const int32_t type, const int32_t rows, const int32_t vectors, const float *p,
                              const run_of_rows *v, size_t j, size_t d, int32_t first, int32_t end, bool ahead, float *out) {
    const size_t element_bytes = type == MOE_TYPE_F16 ? 2 : type == MOE_TYPE_Q8_0 ? 1 : 4;
    vector sum[8][8];
#pragma clang loop unroll(full)
    for (int32_t r = 0; r < rows; r++) {
#pragma clang loop unroll(full)
        for (int32_t n = 0; n < vectors; n++) sum[r][n] = load(out + (size_t)r * d + j + n * LANES);
    }
    const char *row = v->rows + (int64_t)first * v->row_bytes;
    const float *scales = v->scales + first * v->scale_count;
    for (int32_t i = first; i < end; i++) {
        // Each tile fetches its own part of the row ahead: all at once would be more than memory gives meanwhile.
        if (ahead) fetch_ahead(row + j * element_bytes, (int32_t)(vectors * LANES * element_bytes), v->ahead);
#pragma clang loop unroll(full)
        for (int32_t n = 0; n < vectors; n++) {
            const vector x = elements(type, row, scales, j + n * LANES);
#pragma clang loop unroll(full)
            for (int32_t r = 0; r < rows; r++) sum[r][n] += p[r * SCORE_STRIDE + i] * x;
        }
        row += v->row_bytes;
        if (type == MOE_TYPE_Q8_0) scales += v->scale_count;
    }
#pragma clang loop unroll(full)
    for (int32_t r = 0; r < rows; r++) {
#pragma clang loop unroll(full)
        for (int32_t n = 0; n < vectors; n++) store(out + (size_t)r * d + j + n * LANES, sum[r][n]);
    }
}

INLINE void value_direct_rows(const int32_t type, const int32_t rows, const int32_t vectors, const float *p,
                              const run_of_rows *v, size_t d, int32_t first, int32_t end, bool ahead, float *out) {
    size_t j = 0;
    if (first >= end) return;
    for (; j + (size_t)vectors * LANES <= d; j += (size_t)vectors * LANES) {
        value_direct_tile(type, rows, vectors, p, v, j, d, first, end, ahead, out);
    }
    for (; j < d; j += LANES) value_direct_tile(type, rows, 1, p, v, j, d, first, end, ahead, out);
}

/// Queries r..<r + rows, and so on while there are so many that see the same. Returns how many are done.
INLINE int32_t value_groups(const int32_t type, const int32_t rows, const int32_t vectors, const float *p, int32_t r,
                            int32_t count, const span *spans, const run_of_rows *v, size_t d, float *out) {
    for (; r + rows <= count; r += rows) {
        for (int32_t i = r + 1; i < r + rows; i++) {
            if (spans[i].first != spans[r].first || spans[i].end != spans[r].end) return r;
        }
        value_direct_rows(type, rows, vectors, p + r * SCORE_STRIDE, v, d, spans[r].first, spans[r].end, r == 0,
                          out + (size_t)r * d);
    }
    return r;
}

/// out[count][d] += p[count] v, of the run's rows those that each query sees, by spans.
INLINE void value_direct(const int32_t type, const float *p, int32_t count, const span *spans, const run_of_rows *v, size_t d,
                         float *out) {
    int32_t r = 0;
    if (DIRECT_ROWS == 8) r = value_groups(type, 8, 2, p, r, count, spans, v, d, out);
    r = value_groups(type, 4, DIRECT_ROWS / 2, p, r, count, spans, v, d, out);
    r = value_groups(type, 2, 4, p, r, count, spans, v, d, out);
    for (; r < count; r++) {
        value_direct_rows(type, 1, 8, p + r * SCORE_STRIDE, v, d, spans[r].first, spans[r].end, r == 0, out + (size_t)r * d);
    }
}

// One function per type, so that the loops hold no choice.
#define FOR_TYPE(suffix, type)                                                                                             \
    static void score_##suffix(const float *q, int32_t count, const run_of_rows *k, size_t d, float *scores) {            \
        score_direct(type, q, count, k, d, scores);                                                                       \
    }                                                                                                                     \
    static void value_##suffix(const float *p, int32_t count, const span *spans, const run_of_rows *v, size_t d, float *out) { \
        value_direct(type, p, count, spans, v, d, out);                                                                   \
    }
FOR_TYPE(f32, MOE_TYPE_F32)
FOR_TYPE(f16, MOE_TYPE_F16)
FOR_TYPE(q8_0, MOE_TYPE_Q8_0)
#undef FOR_TYPE

static void score_few(int32_t type, const float *q, int32_t count, const run_of_rows *k, size_t d, float *scores) {
    if (type == MOE_TYPE_F16) score_f16(q, count, k, d, scores);
    else if (type == MOE_TYPE_Q8_0) score_q8_0(q, count, k, d, scores);
    else score_f32(q, count, k, d, scores);
}

static void add_values_few(int32_t type, const float *p, int32_t count, const span *spans, const run_of_rows *v, size_t d,
                           int32_t first, float *out) {
    span in_run[DIRECT_QUERIES];
    for (int32_t i = 0; i < count; i++) {
        in_run[i].first = most(spans[i].first - first, 0);
        in_run[i].end = most(least(spans[i].end - first, v->count), in_run[i].first);
    }
    p += first;
    if (type == MOE_TYPE_F16) value_f16(p, count, in_run, v, d, out);
    else if (type == MOE_TYPE_Q8_0) value_q8_0(p, count, in_run, v, d, out);
    else value_f32(p, count, in_run, v, d, out);
}

#endif
