// SPDX-License-Identifier: Apache-2.0
//
// The two ways of computing a group of products, behind moe_matmul (matmul.c). Both see only tasks that matmul.c has checked:
// m, n, k > 0, a known weight type, k a multiple of its block. Neither counts moe_matmul_stats (matmul.c does); both
// count `evaluations` themselves, with moe_count_evaluation, where a row is computed.
#ifndef MOE_MATMUL_INTERNAL_H
#define MOE_MATMUL_INTERNAL_H

#include "CMoEKernels.h"
#include "kernel_table.h"
#include "pool_internal.h"

/// Our dot kernels (matmul_native.c), those of the given table. 0, or -1 when scratch memory cannot be had.
int32_t moe_matmul_native(moe_pool *pool, const moe_kernels *kernels, const moe_matmul_task *tasks, int32_t count);
/// float32 BLAS over dequantised panels (matmul_blas.c). 0, or -1 when scratch memory cannot be had.
int32_t moe_matmul_blas(moe_pool *pool, const moe_matmul_task *tasks, int32_t count);

/// The second product of a SwiGLU task, as a task of its own. It counts no evaluations: the first does.
static inline moe_matmul_task moe_up_task(const moe_matmul_task *task) {
    moe_matmul_task up = *task;
    up.weights = task->up;
    up.bias = task->up_bias;
    up.row_bytes = task->up_row_bytes;
    up.weight_type = task->up_type;
    up.evaluations = NULL;
    up.up = NULL;
    return up;
}

/// The input row that row i of the task reads.
static inline int64_t moe_task_input_row(const moe_matmul_task *task, int32_t i) {
    return task->input_rows ? task->input_rows[i] : i;
}

/// Counts one computed row. Exactly one unit of work per task calls it for each row: the one that computes column 0. Atomic,
/// because tasks that run at the same time may share the counters (the experts of one token).
static inline void moe_count_evaluation(const moe_matmul_task *task, int32_t i) {
    if (task->evaluations) __atomic_fetch_add(&task->evaluations[moe_task_input_row(task, i)], 1, __ATOMIC_RELAXED);
}

#endif
