// SPDX-License-Identifier: Apache-2.0
//
// Attention of every ISA over a paged cache: against loops in double precision, and a row alone against the row among others.
// What no row may see holds NaN.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "half.h"
#include "test.h"

typedef struct attention_case {
    int32_t heads, kv_heads, head_dim, block_size, kv_type, window, past, rows;
} attention_case;

static const attention_case cases[] = {
    {4, 2, 16, 8, MOE_TYPE_F16, 0, 0, 70},
    {8, 1, 64, 32, MOE_TYPE_F16, 0, 100, 9},
    {3, 3, 80, 16, MOE_TYPE_F32, 0, 5, 40},
    {6, 2, 20, 5, MOE_TYPE_F16, 17, 50, 20},
    {12, 12, 128, 32, MOE_TYPE_F16, 0, 150, 1},
    {64, 1, 32, 32, MOE_TYPE_F32, 40, 0, 70},
    {40, 1, 12, 7, MOE_TYPE_F16, 3, 2, 31},
    {4, 4, 8, 3, MOE_TYPE_F16, 1, 0, 9},
    {2, 1, 64, 64, MOE_TYPE_F16, 0, 515, 2},
    {4, 2, 64, 16, MOE_TYPE_Q8_0, 0, 30, 7},
    {16, 2, 128, 32, MOE_TYPE_Q8_0, 0, 530, 1},
    {6, 3, 20, 5, MOE_TYPE_Q8_0, 17, 50, 40},
    {3, 1, 80, 7, MOE_TYPE_Q8_0, 0, 3, 20},
    {12, 1, 48, 9, MOE_TYPE_F32, 0, 600, 3},
};

static double cached(const attention_case *c, const void *cache, const int32_t *table, int32_t position, int32_t head,
                     int32_t j) {
    const moe_kv_layout layout = moe_kv_layout_of(c->kv_type, c->block_size, c->head_dim);
    const char *page = (const char *)cache + ((int64_t)table[position / c->block_size] * c->kv_heads + head) * layout.page_bytes;
    const int32_t slot = position % c->block_size;
    const void *row = page + slot * layout.row_bytes;
    if (c->kv_type == MOE_TYPE_F32) return (double)((const float *)row)[j];
    if (c->kv_type == MOE_TYPE_F16) return (double)moe_float_from_half(((const uint16_t *)row)[j]);
    const uint16_t *scales = (const void *)(page + layout.scales_at + slot * layout.scale_bytes);
    return (double)((const int8_t *)row)[j] * (double)moe_float_from_half(scales[j / 32]);
}

static void plain_loops(const attention_case *c, const moe_attention_shape *shape, const moe_attention_task *task,
                        double *out) {
    double *p = malloc((size_t)(c->past + c->rows) * sizeof *p);
    for (int32_t row = 0; row < c->rows; row++) {
        const int32_t position = c->past + row;
        const int32_t first = c->window > 0 && position >= c->window ? position - c->window + 1 : 0;
        for (int32_t head = 0; head < c->heads; head++, out += c->head_dim) {
            const int32_t kv = head / (c->heads / c->kv_heads);
            const float *q = task->q + row * task->q_stride + head * c->head_dim;
            double top = -INFINITY, total = 0;
            for (int32_t s = first; s <= position; s++) {
                p[s] = 0;
                for (int32_t j = 0; j < c->head_dim; j++) {
                    p[s] += (double)q[j] * cached(c, shape->k_cache, task->block_table, s, kv, j);
                }
                p[s] *= (double)shape->scale;
                top = fmax(top, p[s]);
            }
            for (int32_t s = first; s <= position; s++) total += p[s] = exp(p[s] - top);
            for (int32_t j = 0; j < c->head_dim; j++) {
                out[j] = 0;
                for (int32_t s = first; s <= position; s++) {
                    out[j] += p[s] / total * cached(c, shape->v_cache, task->block_table, s, kv, j);
                }
            }
        }
    }
    free(p);
}

static void test_case(const attention_case *c, const char *isa, moe_pool *one, moe_pool *three) {
    numbers n = {8};
    const int32_t total = c->past + c->rows, blocks = (total + c->block_size - 1) / c->block_size + 3;
    const int32_t kv_width = c->kv_heads * c->head_dim, width = c->heads * c->head_dim;
    const moe_kv_layout layout = moe_kv_layout_of(c->kv_type, c->block_size, c->head_dim);
    const size_t cache_bytes = (size_t)(blocks * c->kv_heads * layout.page_bytes);
    uint8_t *k_cache = guarded(cache_bytes), *v_cache = guarded(cache_bytes);
    memset(k_cache, 0xff, cache_bytes);  // NaN, or a scale of NaN
    memset(v_cache, 0xff, cache_bytes);
    int32_t table[256], positions[1024];
    for (int32_t i = 0; i < blocks; i++) table[i] = blocks - 1 - i;
    for (int32_t i = 0; i < total; i++) positions[i] = i;
    float *k = guarded((size_t)(total * kv_width) * sizeof *k), *v = guarded((size_t)(total * kv_width) * sizeof *v);
    float *q = guarded((size_t)(c->rows * width) * sizeof *q);
    fill_random(&n, k, total * kv_width, 1);
    fill_random(&n, v, total * kv_width, 1);
    fill_random(&n, q, c->rows * width, 3);
    moe_kv_store(one, c->kv_type, k_cache, v_cache, k, kv_width, v, kv_width, positions, table, total, c->block_size, c->kv_heads,
                 c->head_dim);

    const moe_attention_shape shape = {.k_cache = k_cache, .v_cache = v_cache, .scale = 1 / sqrtf((float)c->head_dim),
                                       .kv_type = c->kv_type, .block_size = c->block_size, .heads = c->heads,
                                       .kv_heads = c->kv_heads, .head_dim = c->head_dim, .window = c->window};
    const size_t out_bytes = (size_t)(c->rows * width) * sizeof(float);
    float *together = guarded(out_bytes), *apart = guarded(out_bytes);
    moe_attention_task task = {.q = q, .out = together, .block_table = table, .q_stride = width, .out_stride = width,
                               .rows = c->rows, .first_position = c->past};
    check(moe_attention(three, &shape, &task, 1) == 0, "%s attention", isa);
    double *expected = malloc((size_t)(c->rows * width) * sizeof *expected);
    plain_loops(c, &shape, &task, expected);
    const double error = largest_error(together, expected, c->rows * width);
    check(error < 2e-6, "%s attention, %d heads of %d: error %g", isa, c->heads, c->head_dim, error);
    for (int32_t row = 0; row < c->rows; row++) {
        const moe_attention_task alone = {.q = q + row * width, .out = apart + row * width, .block_table = table,
                                          .q_stride = width, .out_stride = width, .rows = 1, .first_position = c->past + row};
        check(moe_attention(one, &shape, &alone, 1) == 0, "%s attention", isa);
    }
    check(same_bits(together, apart, c->rows * width), "%s attention, %d heads of %d: rows alone", isa, c->heads, c->head_dim);
    free(expected);
    release_guarded();
}

void test_attention(void) {
    moe_pool *one = moe_pool_create(1), *three = moe_pool_create(3);
    check(one && three, "no pool");
    for (int i = 0; i < isa_count && one && three; i++) {
        check(moe_kernels_limit(isas[i]), "%s cannot be chosen", isas[i]);
        for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) test_case(&cases[c], isas[i], one, three);
    }
    moe_kernels_limit(NULL);
    moe_pool_destroy(one);
    moe_pool_destroy(three);
}
