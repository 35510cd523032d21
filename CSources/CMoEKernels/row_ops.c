// SPDX-License-Identifier: Apache-2.0
//
// Row operations: which rows go to which worker. The loops over a row are in row_kernels_body.h.

#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "kernel_table.h"
#include "row_kernels.h"
#include "row_split.h"

const moe_row_kernels *moe_row_kernels_best(void) {
#if defined(__x86_64__)
    if (strncmp(moe_kernels_active()->isa, "avx", 3) == 0) return &moe_row_kernels_avx2;
#elif defined(__aarch64__)
    if (strncmp(moe_kernels_active()->isa, "neon", 4) == 0) return &moe_row_kernels_neon;
#endif
    return &moe_row_kernels_ref;
}

typedef struct range_split {
    moe_range_function function;
    const void *context;
    int64_t total, piece;
    moe_work_counter counter;
} range_split;

static void run_pieces(void *context, int32_t worker, int32_t workers) {
    (void)workers;
    range_split *split = context;
    for (;;) {
        const int64_t first = moe_work_take(&split->counter) * split->piece;
        if (first >= split->total) return;
        const int64_t end = split->total - first < split->piece ? split->total : first + split->piece;
        split->function(split->context, first, end, worker);
    }
}

void moe_split_range(moe_pool *pool, int64_t total, int64_t grain, moe_range_function function, const void *context) {
    if (total <= 0) return;
    if (grain < 1) grain = 1;
    const int64_t workers = pool == NULL ? 1 : moe_pool_threads(pool);
    if (workers == 1 || total < 2 * grain) {
        function(context, 0, total, 0);
        return;
    }
    range_split split = {.function = function, .context = context, .total = total};
    const int64_t even = total / (4 * workers);
    split.piece = even > grain ? even : grain;
    moe_pool_run_pieces(pool, run_pieces, &split);
}

// ---------------------------------------------------------------------------------------------------------------------

typedef struct norm_context {
    const moe_row_kernels *kernels;
    const float *x, *weight;
    float *y;
    float eps;
    int64_t x_stride, y_stride;
    int32_t d;
} norm_context;

static void norm_range(const void *context, int64_t first, int64_t end, int32_t worker) {
    (void)worker;
    const norm_context *c = context;
    for (int64_t row = first; row < end; row++) {
        c->kernels->rms_norm(c->x + row * c->x_stride, c->weight, c->eps, c->y + row * c->y_stride, c->d);
    }
}

void moe_rms_norm(moe_pool *pool, const float *x, int64_t x_stride, const float *weight, float eps, float *y,
                  int64_t y_stride, int32_t rows, int32_t d) {
    const norm_context context = {moe_row_kernels_best(), x, weight, y, eps, x_stride, y_stride, d};
    moe_split_range(pool, rows, moe_rows_of(MOE_GRAIN_COPY, d), norm_range, &context);
}

// ---------------------------------------------------------------------------------------------------------------------

typedef struct elementwise_context {
    const moe_row_kernels *kernels;
    const float *a, *b;
    float *out;
} elementwise_context;

static void swiglu_range(const void *context, int64_t first, int64_t end, int32_t worker) {
    (void)worker;
    const elementwise_context *c = context;
    c->kernels->swiglu(c->a + first, c->b + first, c->out + first, end - first);
}

void moe_swiglu(moe_pool *pool, const float *gate, const float *up, float *out, int64_t count) {
    const elementwise_context context = {moe_row_kernels_best(), gate, up, out};
    moe_split_range(pool, count, MOE_GRAIN_EXP, swiglu_range, &context);
}

static void add_range(const void *context, int64_t first, int64_t end, int32_t worker) {
    (void)worker;
    const elementwise_context *c = context;
    c->kernels->add(c->out + first, c->a + first, end - first);
}

void moe_add(moe_pool *pool, float *y, const float *x, int64_t count) {
    const elementwise_context context = {moe_row_kernels_best(), x, NULL, y};
    moe_split_range(pool, count, MOE_GRAIN_COPY, add_range, &context);
}

// ---------------------------------------------------------------------------------------------------------------------

typedef struct rope_context {
    const moe_row_kernels *kernels;
    float *x;
    const int32_t *positions;
    const float *cos, *sin;
    int64_t x_stride;
    int32_t heads, head_dim, half;
    bool neox;
} rope_context;

static void rope_range(const void *context, int64_t first, int64_t end, int32_t worker) {
    (void)worker;
    const rope_context *c = context;
    for (int64_t row = first; row < end; row++) {
        const int64_t angles = (int64_t)c->positions[row] * c->half;
        c->kernels->rope(c->x + row * c->x_stride, c->cos + angles, c->sin + angles, c->heads, c->head_dim, c->half, c->neox);
    }
}

void moe_rope(moe_pool *pool, float *x, int64_t x_stride, const int32_t *positions, const float *cos, const float *sin,
              int32_t rows, int32_t heads, int32_t head_dim, int32_t rotary_dim, bool neox) {
    const rope_context context = {moe_row_kernels_best(), x, positions, cos, sin, x_stride, heads, head_dim, rotary_dim / 2,
                                  neox};
    moe_split_range(pool, rows, moe_rows_of(MOE_GRAIN_COPY, (int64_t)heads * head_dim), rope_range, &context);
}

// ---------------------------------------------------------------------------------------------------------------------

void moe_softmax(float *x, int64_t stride, int32_t rows, int32_t n) {
    const moe_row_kernels *kernels = moe_row_kernels_best();
    for (int64_t row = 0; row < rows; row++) kernels->softmax(x + row * stride, n);
}

// ---------------------------------------------------------------------------------------------------------------------

typedef struct combine_context {
    const moe_row_kernels *kernels;
    const float *expert_out;
    const int32_t *offsets, *slots;
    const float *weights;
    float *out;
    int64_t out_stride;
    int32_t d;
    bool accumulate;
} combine_context;

static void combine_range(const void *context, int64_t first, int64_t end, int32_t worker) {
    (void)worker;
    const combine_context *c = context;
    for (int64_t row = first; row < end; row++) {
        float *out = c->out + row * c->out_stride;
        int32_t s = c->offsets[row];
        const int32_t last = c->offsets[row + 1];
        if (!c->accumulate) {
            if (s == last) {
                memset(out, 0, (size_t)c->d * sizeof *out);
            } else {
                c->kernels->scale(out, c->expert_out + (int64_t)c->slots[s] * c->d, c->weights[s], c->d);
                s++;
            }
        }
        for (; s < last; s++) {
            c->kernels->add_scaled(out, c->expert_out + (int64_t)c->slots[s] * c->d, c->weights[s], c->d);
        }
    }
}

void moe_combine(moe_pool *pool, const float *expert_out, const int32_t *offsets, const int32_t *slots,
                 const float *weights, float *out, int64_t out_stride, int32_t rows, int32_t d, bool accumulate) {
    if (rows < 1) return;
    const combine_context context = {moe_row_kernels_best(), expert_out, offsets, slots, weights, out, out_stride, d,
                                     accumulate};
    const int64_t pairs = (int64_t)offsets[rows] - offsets[0] + rows;
    moe_split_range(pool, rows, moe_rows_of(MOE_GRAIN_COPY, pairs * d / rows), combine_range, &context);
}

// ---------------------------------------------------------------------------------------------------------------------

typedef struct gated_context {
    const moe_row_kernels *kernels;
    const float *gate, *x;
    float *out;
    int32_t d;
} gated_context;

static void gated_range(const void *context, int64_t first, int64_t end, int32_t worker) {
    (void)worker;
    const gated_context *c = context;
    for (int64_t row = first; row < end; row++) {
        const float share = c->gate == NULL ? 1.0f : 1.0f / (1.0f + expf(-c->gate[row]));
        c->kernels->add_scaled(c->out + row * c->d, c->x + row * c->d, share, c->d);
    }
}

void moe_add_gated(moe_pool *pool, const float *gate, const float *x, float *out, int32_t rows, int32_t d) {
    const gated_context context = {moe_row_kernels_best(), gate, x, out, d};
    moe_split_range(pool, rows, moe_rows_of(MOE_GRAIN_COPY, d), gated_range, &context);
}

bool moe_all_finite(const float *x, int64_t count) {
    // An exponent of all ones is an infinity or no number; as integers, so that the loop vectorises.
    uint32_t found = 0;
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        found |= (bits & 0x7f800000u) == 0x7f800000u;
    }
    return found == 0;
}
