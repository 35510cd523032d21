// SPDX-License-Identifier: Apache-2.0
//
// The entry of all matrix products: checks, counts, and passes the tasks with work to the path.
#include <stdlib.h>

#include "kernel_table.h"
#include "matmul_internal.h"

/// Whether a path can multiply by a matrix [n, k]. Interleaved ones have whole groups and chunks, and their own kernels.
static bool is_valid_matrix(enum moe_matmul_path path, const moe_kernels *kernels, int32_t type, size_t row_bytes, int32_t n, int32_t k) {
    const moe_type_traits *traits = moe_traits(type);
    if (!traits || k % traits->block_elements != 0 ||
        (size_t)k / (size_t)traits->block_elements * (size_t)traits->block_bytes > row_bytes) {
        return false;
    }
    return type < MOE_INTERLEAVED ||
        (path == MOE_PATH_NATIVE && moe_interleaved_group(kernels, type - MOE_INTERLEAVED, n, k) > 0 &&
         row_bytes == moe_row_bytes(type, k));
}

static bool is_valid(enum moe_matmul_path path, const moe_kernels *kernels, const moe_matmul_task *task) {
    return task->m >= 0 && task->n >= 0 && task->k > 0 &&
        is_valid_matrix(path, kernels, task->weight_type, task->row_bytes, task->n, task->k) &&
        (!task->up || is_valid_matrix(path, kernels, task->up_type, task->up_row_bytes, task->n, task->k));
}

static bool has_work(const moe_matmul_task *task) { return task->m > 0 && task->n > 0; }

static int32_t run(moe_pool *pool, enum moe_matmul_path path, const moe_kernels *kernels, const moe_matmul_task *tasks,
                   int32_t count) {
    return path == MOE_PATH_BLAS ? moe_matmul_blas(pool, tasks, count) : moe_matmul_native(pool, kernels, tasks, count);
}

static int32_t matmul(moe_pool *pool, enum moe_matmul_path path, const moe_kernels *kernels, const moe_matmul_task *tasks,
                      int32_t count, moe_matmul_stats *stats) {
    bool all = true;
    for (int32_t i = 0; i < count; i++) {
        if (!is_valid(path, kernels, &tasks[i])) return -1;
        all = all && has_work(&tasks[i]);
    }
    int32_t result = 0;
    if (all) {
        result = count > 0 ? run(pool, path, kernels, tasks, count) : 0;
    } else {
        // Runs of tasks with work between those without: rare, and never worth a copy.
        for (int32_t first = 0; first < count && result == 0;) {
            int32_t end = first;
            while (end < count && has_work(&tasks[end])) end++;
            if (end > first) result = run(pool, path, kernels, tasks + first, end - first);
            first = end + 1;
        }
    }
    if (result == 0 && stats) {
        for (int32_t i = 0; i < count; i++) {
            if (!has_work(&tasks[i])) continue;
            const size_t row_bytes = tasks[i].row_bytes + (tasks[i].up ? tasks[i].up_row_bytes : 0);
            stats->weight_bytes += (int64_t)tasks[i].n * (int64_t)row_bytes;
            stats->products += tasks[i].m;
        }
    }
    return result;
}

int32_t moe_matmul(moe_pool *pool, enum moe_matmul_path path, const moe_matmul_task *tasks, int32_t count,
                   moe_matmul_stats *stats) {
    return matmul(pool, path, moe_kernels_active(), tasks, count, stats);
}

int32_t moe_matmul_isa(moe_pool *pool, const char *isa, const moe_matmul_task *tasks, int32_t count) {
    const moe_kernels *kernels = moe_kernels_named(isa);
    return kernels ? matmul(pool, MOE_PATH_NATIVE, kernels, tasks, count, NULL) : -1;
}
