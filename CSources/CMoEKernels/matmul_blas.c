// SPDX-License-Identifier: Apache-2.0
//
// Products by float32 BLAS. Each task's weights are cut into panels of rows that stay in cache as floats; a worker
// dequantises a panel and multiplies it by all of the task's activation rows with one single-threaded sgemm. Panels are cut
// by n, k and type alone, so a result does not depend on the number of threads.
//
// Workers take runs of neighbouring panels, long ones first: a long run gathers its activation rows once, short ones at the
// end let all workers finish together.

#include <stdlib.h>
#include <string.h>

#include "blas_table.h"
#include "matmul_internal.h"
#include "row_kernels.h"

/// Floats of a panel (1 MiB): large enough for sgemm to amortise its packing of the activations, small enough for cache.
enum { PANEL_FLOATS = 1 << 18, PANEL_ROWS_MULTIPLE = 48, PANEL_ROWS_LEAST = 48, PANEL_ROWS_MOST = 768 };

typedef struct blas_plan {
    moe_pool *pool;
    const moe_matmul_task *tasks;
    int64_t *starts;         // [count + 1]: panels of task t are starts[t]..<starts[t + 1]
    double *costs;           // [count + 1]: multiplications of the tasks before t
    int32_t count;
    size_t panel_floats;     // scratch per worker: a panel, then gathered rows, then a SwiGLU task's second product
    size_t row_floats;
    size_t scratch_bytes;
    moe_work_counter next;   // panel
} blas_plan;

/// Weight rows of a panel.
static int32_t panel_rows(const moe_matmul_task *task) {
    int64_t rows = PANEL_FLOATS / (task->k > 0 ? task->k : 1) / PANEL_ROWS_MULTIPLE * PANEL_ROWS_MULTIPLE;
    if (rows < PANEL_ROWS_LEAST) rows = PANEL_ROWS_LEAST;
    if (rows > PANEL_ROWS_MOST) rows = PANEL_ROWS_MOST;
    return rows < task->n ? (int32_t)rows : task->n;
}

static int64_t panel_count(const moe_matmul_task *task) {
    const int64_t rows = panel_rows(task);
    return (task->n + rows - 1) / rows;
}

/// Whether sgemm can read the weights where they are.
static bool used_in_place(const moe_matmul_task *task) {
    return task->weight_type == MOE_TYPE_F32 && task->row_bytes % sizeof(float) == 0;
}

/// Whether the activation rows stand in memory one after the other.
static bool rows_are_contiguous(const moe_matmul_task *task) {
    if (task->input_rows == NULL) return true;
    for (int32_t i = 1; i < task->m; i++) {
        if (task->input_rows[i] != task->input_rows[0] + i) return false;
    }
    return true;
}

static bool same_rows(const moe_matmul_task *a, const moe_matmul_task *b) {
    return a->input == b->input && a->input_rows == b->input_rows && a->input_stride == b->input_stride && a->m == b->m &&
           a->k == b->k;
}

/// The activation rows of the task a worker is at.
typedef struct blas_input {
    const moe_matmul_task *task;  // whose rows these are
    const float *rows;
    int64_t stride;
} blas_input;

static void gather(blas_input *input, const moe_matmul_task *task, float *memory) {
    if (input->task != NULL && same_rows(input->task, task)) return;
    input->task = task;
    if (rows_are_contiguous(task)) {
        const int64_t first = task->input_rows == NULL ? 0 : task->input_rows[0];
        input->rows = task->input + first * task->input_stride;
        input->stride = task->input_stride;
        return;
    }
    for (int32_t i = 0; i < task->m; i++) {
        memcpy(memory + (int64_t)i * task->k, task->input + moe_task_input_row(task, i) * task->input_stride,
               (size_t)task->k * sizeof *memory);
    }
    input->rows = memory;
    input->stride = task->k;
}

/// Columns first..<end of the task's output.
static void compute(const moe_matmul_task *task, const blas_input *input, int32_t first, int32_t end, float *panel) {
    const char *weights = (const char *)task->weights + (size_t)first * task->row_bytes;
    float *output = task->output + first;
    const float *w = panel;
    int64_t stride = task->k;
    if (used_in_place(task)) {
        w = (const float *)weights;
        stride = (int64_t)(task->row_bytes / sizeof(float));
    } else {
        for (int32_t row = 0; row < end - first; row++) {
            moe_dequantize_row(task->weight_type, weights + (size_t)row * task->row_bytes, panel + (int64_t)row * task->k,
                               task->k);
        }
    }
    if (task->k > 0) {
        moe_blas_product(task->m, end - first, task->k, input->rows, input->stride, w, stride, output, task->output_stride);
    } else {
        for (int32_t i = 0; i < task->m; i++) {
            memset(output + i * task->output_stride, 0, (size_t)(end - first) * sizeof *output);
        }
    }
    if (task->bias != NULL) {
        for (int32_t i = 0; i < task->m; i++) {
            float *row = output + i * task->output_stride;
            for (int32_t j = 0; j < end - first; j++) row[j] += task->bias[first + j];
        }
    }
}

/// The same for both matrices of a SwiGLU task. `ups`: [m, panel_rows(task)].
static void compute_gated(const moe_matmul_task *task, const blas_input *input, int32_t first, int32_t end, float *panel,
                          float *ups) {
    const moe_row_kernels *kernels = moe_row_kernels_best();
    moe_matmul_task up = moe_up_task(task);
    up.output_stride = panel_rows(task);
    up.output = ups - first;
    compute(task, input, first, end, panel);
    compute(&up, input, first, end, panel);
    for (int32_t i = 0; i < task->m; i++) {
        float *out = task->output + i * task->output_stride + first;
        kernels->swiglu(out, ups + i * up.output_stride, out, end - first);
    }
}

static int32_t task_of(const blas_plan *plan, int64_t panel) {
    int32_t low = 0, high = plan->count;  // starts[low] <= panel < starts[high]
    while (high - low > 1) {
        const int32_t middle = low + (high - low) / 2;
        if (plan->starts[middle] <= panel) low = middle;
        else high = middle;
    }
    return low;
}

/// Multiplications of the panels before `panel`, as if all panels of a task were equal.
static double cost_before(const blas_plan *plan, int64_t panel) {
    if (panel >= plan->starts[plan->count]) return plan->costs[plan->count];
    const int32_t t = task_of(plan, panel);
    const double share = (double)(panel - plan->starts[t]) / (double)(plan->starts[t + 1] - plan->starts[t]);
    return plan->costs[t] + share * (plan->costs[t + 1] - plan->costs[t]);
}

/// Takes the next run of panels: a part of what is left, or one panel. Empty when nothing is left.
static void take(blas_plan *plan, int32_t workers, int64_t *first, int64_t *end) {
    const int64_t total = plan->starts[plan->count];
    int64_t seen = atomic_load_explicit(&plan->next.next, memory_order_relaxed);
    do {
        *first = *end = seen;
        if (seen >= total) return;
        const double begin = cost_before(plan, seen), share = (plan->costs[plan->count] - begin) / (3 * workers);
        int64_t low = seen + 1, high = total;  // the largest run that costs no more than the share, by bisection
        while (low < high) {
            const int64_t middle = low + (high - low + 1) / 2;
            if (cost_before(plan, middle) - begin <= share) low = middle;
            else high = middle - 1;
        }
        *end = low;
    } while (!atomic_compare_exchange_weak_explicit(&plan->next.next, &seen, *end, memory_order_relaxed,
                                                    memory_order_relaxed));
}

static void run_panels(void *context, int32_t worker, int32_t workers) {
    blas_plan *plan = context;
    float *panel = moe_pool_scratch(plan->pool, worker, plan->scratch_bytes);
    blas_input input = {0};
    for (;;) {
        int64_t first, end;
        take(plan, workers, &first, &end);
        if (first == end) return;
        int32_t t = task_of(plan, first);
        for (int64_t p = first; p < end; p++) {
            while (p >= plan->starts[t + 1]) t++;
            const moe_matmul_task *task = &plan->tasks[t];
            gather(&input, task, panel + plan->panel_floats);
            const int64_t rows = panel_rows(task), column = (p - plan->starts[t]) * rows;
            const int64_t last = column + rows < task->n ? column + rows : task->n;
            if (task->up) {
                float *ups = panel + plan->panel_floats + plan->row_floats;
                compute_gated(task, &input, (int32_t)column, (int32_t)last, panel, ups);
            } else {
                compute(task, &input, (int32_t)column, (int32_t)last, panel);
            }
            if (column > 0) continue;
            for (int32_t i = 0; i < task->m; i++) moe_count_evaluation(task, i);
        }
    }
}

int32_t moe_matmul_blas(moe_pool *pool, const moe_matmul_task *tasks, int32_t count) {
    if (count < 1) return 0;
    moe_blas_prepare();
    const int32_t threads = moe_pool_threads(pool);
    blas_plan plan = {.pool = pool, .tasks = tasks, .count = count};
    const size_t entries = (size_t)count + 1;
    plan.starts = moe_pool_scratch(pool, threads, entries * (sizeof *plan.starts + sizeof *plan.costs));
    if (plan.starts == NULL) return -1;
    plan.costs = (double *)(plan.starts + entries);

    size_t up_floats = 0;
    plan.starts[0] = 0;
    plan.costs[0] = 0;
    for (int32_t t = 0; t < count; t++) {
        const moe_matmul_task *task = &tasks[t];
        plan.starts[t + 1] = plan.starts[t] + panel_count(task);
        plan.costs[t + 1] = plan.costs[t] + (double)task->m * task->n * task->k * (task->up ? 2 : 1);
        const moe_matmul_task second = moe_up_task(task);
        const bool in_place = used_in_place(task) && (!task->up || used_in_place(&second));
        const size_t panel = in_place ? 0 : (size_t)panel_rows(task) * (size_t)task->k;
        if (panel > plan.panel_floats) plan.panel_floats = panel;
        const size_t rows = task->input_rows == NULL ? 0 : (size_t)task->m * (size_t)task->k;
        if (rows > plan.row_floats) plan.row_floats = rows;
        const size_t ups = task->up ? (size_t)task->m * (size_t)panel_rows(task) : 0;
        if (ups > up_floats) up_floats = ups;
    }
    plan.panel_floats = (plan.panel_floats + 15) / 16 * 16;
    plan.row_floats = (plan.row_floats + 15) / 16 * 16;
    plan.scratch_bytes = (plan.panel_floats + plan.row_floats + up_floats) * sizeof(float);
    for (int32_t w = 0; w < threads; w++) {
        if (moe_pool_scratch(pool, w, plan.scratch_bytes) == NULL) return -1;
    }
    moe_pool_run_pieces(pool, run_panels, &plan);
    return 0;
}
