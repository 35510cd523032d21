// SPDX-License-Identifier: Apache-2.0
//
// What a router computes between its logits and its counts: which rows go to which worker. The arithmetic of a row is in
// router_body.h.

#include <string.h>

#include "kernel_table.h"
#include "router_kernels.h"
#include "row_split.h"

/// NULL: what this process uses. Else by name; NULL when the CPU cannot run it.
static const moe_router_kernels *kernels_named(const char *isa) {
    const moe_kernels *table = isa ? moe_kernels_named(isa) : moe_kernels_active();
    if (!table) return NULL;
#if defined(__x86_64__)
    if (strncmp(table->isa, "avx512", 6) == 0) return &moe_router_kernels_avx512;
    if (strcmp(table->isa, "avx2") == 0) return &moe_router_kernels_avx2;
#elif defined(__aarch64__)
    if (strncmp(table->isa, "neon", 4) == 0) return &moe_router_kernels_neon;
#endif
    return &moe_router_kernels_ref;
}

typedef struct router_context {
    const moe_router_kernels *kernels;
    const moe_learned_gate *gate;
    const float *x, *norms, *direction, *offsets, *ranked;
    int64_t stride, ranked_stride, out_stride;
    float *out, *scratch;
    int32_t *counts;
    int32_t n, k, minimum;
    float inverse, p;
} router_context;

/// Rows of the block that begins at `row`.
static int32_t rows_from(int64_t row, int64_t end) {
    return end - row < MOE_ROUTER_ROWS ? (int32_t)(end - row) : MOE_ROUTER_ROWS;
}

// ---------------------------------------------------------------------------------------------------------------------

static void top_k_range(const void *context, int64_t first, int64_t end, int32_t worker) {
    (void)worker;
    const router_context *c = context;
    for (int64_t row = first; row < end; row++) {
        c->kernels->top_k(c->x + row * c->stride, c->n, c->k, c->counts + row * c->k, c->out + row * c->k);
    }
}

bool moe_top_k(const char *isa, moe_pool *pool, const float *x, int64_t stride, int32_t rows, int32_t n, int32_t count,
               int32_t *indices, float *values) {
    const router_context c = {.kernels = kernels_named(isa), .x = x, .stride = stride, .n = n, .k = count,
                              .counts = indices, .out = values};
    if (c.kernels && count > 0) moe_split_range(pool, rows, moe_rows_of(MOE_GRAIN_EXP, n), top_k_range, &c);
    return c.kernels != NULL;
}

static void norm_range(const void *context, int64_t first, int64_t end, int32_t worker) {
    (void)worker;
    const router_context *c = context;
    for (int64_t row = first; row < end; row++) c->out[row] = c->kernels->norm(c->x + row * c->stride, c->n);
}

bool moe_row_norms(const char *isa, moe_pool *pool, const float *x, int64_t stride, int32_t rows, int32_t d, float *norms) {
    const router_context c = {.kernels = kernels_named(isa), .x = x, .stride = stride, .n = d, .out = norms};
    if (c.kernels) moe_split_range(pool, rows, moe_rows_of(MOE_GRAIN_COPY, d), norm_range, &c);
    return c.kernels != NULL;
}

static void product_range(const void *context, int64_t first, int64_t end, int32_t worker) {
    (void)worker;
    const router_context *c = context;
    for (int64_t row = first; row < end; row++) c->out[row] = c->kernels->product(c->x + row * c->stride, c->direction, c->n);
}

bool moe_row_products(const char *isa, moe_pool *pool, const float *x, int64_t stride, int32_t rows, int32_t d,
                      const float *direction, float *products) {
    const router_context c = {.kernels = kernels_named(isa), .x = x, .stride = stride, .n = d, .direction = direction,
                              .out = products};
    if (c.kernels) moe_split_range(pool, rows, moe_rows_of(MOE_GRAIN_COPY, d), product_range, &c);
    return c.kernels != NULL;
}

static void entropy_range(const void *context, int64_t first, int64_t end, int32_t worker) {
    (void)worker;
    const router_context *c = context;
    for (int64_t row = first; row < end; row += MOE_ROUTER_ROWS) {
        c->kernels->entropy(c->x + row * c->stride, c->stride, rows_from(row, end), c->n, c->out + row);
    }
}

bool moe_router_entropy(const char *isa, moe_pool *pool, const float *logits, int64_t stride, int32_t rows, int32_t n,
                        float *bits) {
    const router_context c = {.kernels = kernels_named(isa), .x = logits, .stride = stride, .n = n, .out = bits};
    if (c.kernels && n > 0) moe_split_range(pool, rows, moe_rows_of(MOE_GRAIN_EXP, n), entropy_range, &c);
    return c.kernels != NULL;
}

// ---------------------------------------------------------------------------------------------------------------------

static void features_range(const void *context, int64_t first, int64_t end, int32_t worker) {
    (void)worker;
    const router_context *c = context;
    for (int64_t row = first; row < end; row += MOE_ROUTER_ROWS) {
        c->kernels->features(c->gate, c->x + row * c->stride, c->stride, c->norms + row, rows_from(row, end),
                             c->out + row * c->out_stride, c->out_stride);
    }
}

bool moe_gate_features(const char *isa, moe_pool *pool, const moe_learned_gate *gate, const float *logits, int64_t stride,
                       const float *norms, int32_t rows, float *features, int64_t features_stride) {
    const router_context c = {.kernels = kernels_named(isa), .gate = gate, .x = logits, .stride = stride, .norms = norms,
                              .out = features, .out_stride = features_stride};
    if (c.kernels) moe_split_range(pool, rows, moe_rows_of(MOE_GRAIN_EXP, 2 * (int64_t)gate->n), features_range, &c);
    return c.kernels != NULL;
}

static void counts_range(const void *context, int64_t first, int64_t end, int32_t worker) {
    const router_context *c = context;
    const int64_t width = moe_gate_width(c->gate->n, c->gate->k);
    const int64_t used = moe_gate_features_count(c->gate->n, c->gate->k);
    float *features = c->scratch + worker * MOE_ROUTER_ROWS * width;
    const int32_t most = rows_from(first, end);
    for (int32_t r = 0; r < most; r++) memset(features + r * width + used, 0, (size_t)(width - used) * sizeof *features);
    for (int64_t row = first; row < end; row += MOE_ROUTER_ROWS) {
        const int32_t rows = rows_from(row, end);
        c->kernels->features(c->gate, c->x + row * c->stride, c->stride, c->norms + row, rows, features, width);
        for (int32_t r = 0; r < rows; r++) {
            c->counts[row + r] = c->kernels->heads(c->gate, features + r * width, c->offsets ? c->offsets[row + r] : 0);
        }
    }
}

bool moe_gate_counts(const char *isa, moe_pool *pool, const moe_learned_gate *gate, const float *logits, int64_t stride,
                     const float *norms, const float *offsets, int32_t rows, float *scratch, int32_t *counts) {
    const router_context c = {.kernels = kernels_named(isa), .gate = gate, .x = logits, .stride = stride, .norms = norms,
                              .offsets = offsets, .scratch = scratch, .counts = counts};
    if (c.kernels) moe_split_range(pool, rows, moe_rows_of(MOE_GRAIN_EXP, 2 * (int64_t)gate->n), counts_range, &c);
    return c.kernels != NULL;
}

// ---------------------------------------------------------------------------------------------------------------------

static void top_p_range(const void *context, int64_t first, int64_t end, int32_t worker) {
    (void)worker;
    const router_context *c = context;
    for (int64_t row = first; row < end; row++) {
        const int32_t count = c->kernels->top_p(c->x + row * c->stride, c->n, c->ranked + row * c->ranked_stride, c->k,
                                                c->inverse, c->p);
        c->counts[row] = count < c->minimum ? c->minimum : count;
    }
}

bool moe_top_p_counts(const char *isa, moe_pool *pool, const float *scores, int64_t stride, int32_t n, const float *ranked,
                      int64_t ranked_stride, int32_t limit, int32_t rows, float temperature, float p, int32_t minimum,
                      int32_t *counts) {
    const router_context c = {.kernels = kernels_named(isa), .x = scores, .stride = stride, .n = n, .ranked = ranked,
                              .ranked_stride = ranked_stride, .k = limit, .inverse = 1 / temperature, .p = p,
                              .minimum = minimum, .counts = counts};
    if (c.kernels) moe_split_range(pool, rows, moe_rows_of(MOE_GRAIN_EXP, n), top_p_range, &c);
    return c.kernels != NULL;
}
