// SPDX-License-Identifier: Apache-2.0
//
// Whole products: gathers, bias, threads, groups of tasks; a row's result in any company.
#include <stdlib.h>
#include <string.h>

#include "test.h"

enum { N = 37, ROWS = 21 };

typedef struct product {
    const named_type *named;
    const void *weights;
    const float *x;
    const int32_t *rows;
    const float *bias;
    int32_t k;
} product;

static moe_matmul_task task_of(const product *p, int32_t first, int32_t m, float *output, int32_t *evaluations) {
    return (moe_matmul_task){.weights = p->weights, .input = p->x, .input_rows = p->rows + first, .output = output,
                             .bias = p->bias, .evaluations = evaluations, .row_bytes = moe_row_bytes(p->named->type, p->k),
                             .input_stride = p->k, .output_stride = N, .weight_type = p->named->type, .m = m, .n = N,
                             .k = p->k};
}

static void test_rows_in_company(const product *p, moe_pool *const *pools, int pool_count, float *reference) {
    static const int32_t counts[] = {1, 2, 3, 4, 5, 7, 8, 9, 21};
    float *alone = guarded(ROWS * N * sizeof *alone), *together = guarded(ROWS * N * sizeof *together);
    for (int i = 0; i < isa_count; i++) {
        for (int32_t row = 0; row < ROWS; row++) {
            const moe_matmul_task task = task_of(p, row, 1, alone + row * N, NULL);
            check(moe_matmul_isa(pools[0], isas[i], &task, 1) == 0, "%s matmul %s", isas[i], p->named->name);
        }
        if (i == 0) memcpy(reference, alone, ROWS * N * sizeof *alone);
        const bool quantised = moe_type_block_elements(p->named->type) > 1;
        if (quantised) {
            check(same_bits(alone, reference, ROWS * N), "%s matmul %s is not the reference's", isas[i], p->named->name);
        }
        for (int t = 0; t < pool_count; t++) {
            for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
                const int32_t m = counts[c], first = ROWS - m;
                int32_t evaluations[ROWS] = {0}, evaluated = 0;
                memset(together, 0x55, ROWS * N * sizeof *together);
                const moe_matmul_task task = task_of(p, first, m, together, evaluations);
                check(moe_matmul_isa(pools[t], isas[i], &task, 1) == 0, "%s matmul %s", isas[i], p->named->name);
                check(same_bits(together, alone + first * N, m * N), "%s matmul %s, m %d, pool %d", isas[i], p->named->name,
                      m, t);
                for (int32_t row = 0; row < ROWS; row++) evaluated += evaluations[row];
                check(evaluated == m, "%s matmul %s counts %d rows of %d", isas[i], p->named->name, evaluated, m);
            }
        }
    }
}

/// Many tasks at once, some without rows, are each alone.
static void test_groups(moe_pool *pool) {
    enum { K = 512, TOKENS = 12, TASKS = 6 };
    static const int32_t rows[TASKS][TOKENS] = {{3, 0, 7}, {0}, {11}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, {5, 5}, {1}};
    static const int32_t counts[TASKS] = {3, 0, 1, 12, 2, 1}, columns[TASKS] = {37, 17, 33, 37, 1, 0};
    static const int32_t types[TASKS] = {MOE_TYPE_Q4_K, MOE_TYPE_Q8_0, MOE_TYPE_F16, MOE_TYPE_Q6_K, MOE_TYPE_MXFP4,
                                         MOE_TYPE_Q4_0};
    numbers n = {6};
    float *x = guarded(TOKENS * K * sizeof *x);
    fill_activations(&n, ACTIVATIONS_RANDOM, x, TOKENS * K);
    moe_matmul_task together[TASKS];
    for (int i = 0; i < isa_count; i++) {
        float *alone[TASKS];
        for (int t = 0; t < TASKS; t++) {
            const size_t row_bytes = moe_row_bytes(types[t], K), bytes = (size_t)columns[t] * row_bytes;
            uint8_t *weights = guarded(bytes);
            fill_weights(&n, types[t], WEIGHTS_RANDOM, weights, bytes);
            const size_t out_bytes = (size_t)(counts[t] * columns[t]) * sizeof(float);
            together[t] = (moe_matmul_task){.weights = weights, .input = x, .input_rows = rows[t], .row_bytes = row_bytes,
                                            .input_stride = K, .output_stride = columns[t], .weight_type = types[t],
                                            .m = counts[t], .n = columns[t], .k = K, .output = guarded(out_bytes)};
            moe_matmul_task task = together[t];
            task.output = alone[t] = guarded(out_bytes);
            check(moe_matmul_isa(pool, isas[i], &task, 1) == 0, "%s matmul alone", isas[i]);
        }
        check(moe_matmul_isa(pool, isas[i], together, TASKS) == 0, "%s matmul of groups", isas[i]);
        for (int t = 0; t < TASKS; t++) {
            check(same_bits(together[t].output, alone[t], counts[t] * columns[t]), "%s matmul of groups, task %d", isas[i], t);
        }
    }
}

/// Gate, up and SwiGLU in one task are the two products and moe_swiglu, to the bit.
static void test_gated(moe_pool *pool) {
    enum { K = 512, MOST = 9 };
    static const int32_t types[][2] = {{MOE_TYPE_Q4_K, MOE_TYPE_Q6_K}, {MOE_TYPE_Q8_0, MOE_TYPE_Q8_0},
                                       {MOE_TYPE_F16, MOE_TYPE_MXFP4}};
    numbers n = {9};
    float x[MOST * K], gate[MOST * N], up[MOST * N], fused[MOST * N];
    fill_activations(&n, ACTIVATIONS_RANDOM, x, MOST * K);
    for (size_t t = 0; t < sizeof types / sizeof types[0]; t++) {
        const void *weights[2];
        for (int w = 0; w < 2; w++) {
            const size_t bytes = N * moe_row_bytes(types[t][w], K);
            uint8_t *memory = guarded(bytes);
            fill_weights(&n, types[t][w], WEIGHTS_RANDOM, memory, bytes);
            weights[w] = memory;
        }
        for (int i = 0; i < isa_count; i++) {
            check(moe_kernels_limit(isas[i]), "%s cannot be chosen", isas[i]);
            for (int32_t m = 1; m <= MOST; m += 2) {
                moe_matmul_task task = {.weights = weights[0], .input = x, .output = fused, .up = weights[1],
                                        .row_bytes = moe_row_bytes(types[t][0], K),
                                        .up_row_bytes = moe_row_bytes(types[t][1], K), .input_stride = K,
                                        .output_stride = N, .weight_type = types[t][0], .up_type = types[t][1], .m = m,
                                        .n = N, .k = K};
                moe_matmul_task apart[2] = {task, task};
                apart[0].output = gate, apart[1].output = up;
                apart[0].up = apart[1].up = NULL;
                apart[1].weights = weights[1], apart[1].row_bytes = task.up_row_bytes, apart[1].weight_type = task.up_type;
                check(moe_matmul_isa(pool, isas[i], &task, 1) == 0, "%s matmul with SwiGLU", isas[i]);
                check(moe_matmul_isa(pool, isas[i], apart, 2) == 0, "%s matmul of gate and up", isas[i]);
                moe_swiglu(NULL, gate, up, gate, m * N);
                check(same_bits(fused, gate, m * N), "%s matmul with SwiGLU, types %zu, m %d", isas[i], t, m);
            }
        }
    }
    moe_kernels_limit(NULL);
}

void test_matmul(void) {
    static const int32_t threads[] = {1, 2, 5};
    enum { POOLS = 3 };
    moe_pool *pools[POOLS];
    for (int t = 0; t < POOLS; t++) {
        pools[t] = moe_pool_create(threads[t]);
        check(pools[t] != NULL, "no pool of %d threads", threads[t]);
        if (!pools[t]) return;
    }
    for (int t = 0; t < quantised_type_count + float_type_count; t++) {
        const named_type *named = t < quantised_type_count ? &quantised_types[t] : &float_types[t - quantised_type_count];
        const int32_t block = moe_type_block_elements(named->type);
        product p = {.named = named, .k = block == 1 ? 203 : block == 32 ? 288 : 512};
        numbers n = {5};
        uint64_t digest = 0;
        const size_t bytes = N * moe_row_bytes(named->type, p.k);
        uint8_t *weights = guarded(bytes);
        float *x = guarded((size_t)(ROWS * p.k) * sizeof *x), bias[N], reference[ROWS * N];
        int32_t rows[ROWS];
        fill_weights(&n, named->type, WEIGHTS_RANDOM, weights, bytes);
        fill_activations(&n, ACTIVATIONS_RANDOM, x, ROWS * p.k);
        for (int32_t i = 0; i < ROWS; i++) rows[i] = i * 8 % ROWS;
        for (int32_t j = 0; j < N; j++) bias[j] = (float)j / 7;
        p.weights = weights, p.x = x, p.rows = rows, p.bias = bias;
        test_rows_in_company(&p, pools, POOLS, reference);
        if (block > 1) {
            digest_floats(&digest, reference, ROWS * N);
            print_digest("matmul", named->name, digest);
        }
        release_guarded();
    }
    test_groups(pools[1]);
    test_gated(pools[1]);
    release_guarded();
    for (int t = 0; t < POOLS; t++) moe_pool_destroy(pools[t]);
}
