// SPDX-License-Identifier: Apache-2.0
//
// The native path: quantised activations, then units of work (a task, a range of its columns) that workers take one after the
// other. Which kernel computes a unit (dot products for few rows, packed panels for many) never changes a bit: see
// kernel_table.h.
#include <stdlib.h>
#include <string.h>

#include "kernel_table.h"
#include "matmul_internal.h"
#include "row_kernels.h"

// Units per worker: few enough to be cheap, many enough that the last one does not keep the others waiting.
static const int64_t units_per_worker = 16;
// Multiply-adds that take about as long as reading a byte of weights.
static const int64_t products_per_byte = 16;
// Costs (in bytes read) below which waking the other workers is not worth it: a region costs 1.5 to 2.5 us, in which one core reads
// some 50 KiB, and what others wrote has to come from their caches. Measured with rows of 256 weights on two cores of Emerald Rapids.
static const int64_t serial_cost = 80 * 1024;
static const int64_t serial_quantize_elements = 16 * 1024;
static const int64_t serial_gather_bytes = 64 * 1024;
// A smaller part of a call than one of so many is mostly computed in one run of units, by a worker that gathers into its own caches.
static const int64_t shared_part_of_call = 8;

/// Tasks that read the same matrix of activations; their rows are quantised once.
typedef struct activation_group {
    const float *input;
    int64_t stride, k;
    int64_t rows;          // 1 + the last row in use
    int64_t first_in_map;  // map[first_in_map + row] is the row's slot, or -1
} activation_group;

/// One row to be quantised.
typedef struct activation_slot {
    const float *source;
    int64_t k;
    moe_act_chunk *quantised;
} activation_slot;

/// Activations of a task, gathered for panels once; tasks that follow each other and read the same rows share them.
typedef struct shared_rows {
    const moe_matmul_task *task;
    const moe_panels *panels;
    moe_gather_fn gather;
    int32_t group;
    int32_t part_rows;   // gathered by one call: a tile, or a group where that is less
    int64_t first_part;  // work: so many parts of others lie before
    size_t offset;       // of the memory
} shared_rows;

typedef struct task_plan {
    int64_t first_unit;
    int32_t unit_columns;
    int32_t group;   // -1: float weights
    int32_t shared;  // -1: who computes a unit gathers
} task_plan;

/// Memory of one worker.
typedef struct worker_scratch {
    uint8_t *panels;    // packed weights of a unit
    uint8_t *gathered;  // activations, for panels that want them side by side
    float *ups;         // [m, unit's columns]: the second product of a SwiGLU task
} worker_scratch;

typedef struct native_call {
    const moe_kernels *kernels;
    const moe_row_kernels *rows;
    const moe_matmul_task *tasks;
    int32_t count, workers;
    task_plan *plans;
    activation_group *groups;
    int32_t *map;
    activation_slot *slots;
    shared_rows *shared;
    uint8_t *shared_memory;
    int32_t shared_count;
    int64_t slot_count, part_count, unit_count;
    worker_scratch *scratch;  // one per worker
    moe_work_counter work;
} native_call;

/// Columns begin..<end of one matrix of a task.
typedef struct native_unit {
    const native_call *call;
    const moe_matmul_task *task;
    const task_plan *plan;
    int32_t begin, end;
    worker_scratch scratch;
    moe_ahead after;            // what is most likely read next
    moe_gather_fn gathered;     // who gathered the activations; NULL: nobody yet
} native_unit;

static const moe_act_chunk *activation_row(const native_call *call, int32_t group, const moe_matmul_task *task, int32_t i) {
    return call->slots[call->map[call->groups[group].first_in_map + moe_task_input_row(task, i)]].quantised;
}

static const moe_act_chunk *activations(const native_unit *unit, int32_t i) {
    return activation_row(unit->call, unit->plan->group, unit->task, i);
}

static inline int32_t least(int32_t a, int32_t b) { return a < b ? a : b; }

static bool is_float(int32_t type) { return moe_traits(type)->kind == MOE_CLASS_FLOAT; }

/// Whether a task multiplies quantised activations.
static bool is_quantised(const moe_matmul_task *task) {
    return !is_float(task->weight_type) || (task->up && !is_float(task->up_type));
}

/// The panels that a matrix is multiplied by; NULL: dot products, or float weights.
static const moe_panels *panels_of(const native_call *call, const moe_matmul_task *task, int32_t type) {
    return is_float(type) ? NULL : moe_panels_for(call->kernels, type, task->m);
}

/// Bytes of packed weights per column.
static size_t panel_column_bytes(const moe_panels *panels, const moe_matmul_task *task, int32_t type) {
    return moe_panel_bytes(moe_traits(type), panels->columns, task->k) / (size_t)panels->columns;
}

/// Groups of activation rows as equal as can be: a last group of one row would cost half as much as a full one. Where a group is of
/// several tiles, of whole ones: a tile that is not full costs about as much as one that is.
typedef struct row_groups {
    int32_t count, rows;
    size_t gathered;  // bytes of a group; 0: it is read where it is
} row_groups;

static row_groups groups_of(const moe_panels *panels, const moe_matmul_task *task, int32_t type) {
    const int32_t count = (task->m + panels->rows - 1) / panels->rows;
    const int32_t equal = (task->m + count - 1) / count;
    const int32_t tile = panels->gathered_rows > 0 && panels->gathered_rows < panels->rows ? panels->gathered_rows : 1;
    const int32_t rows = (equal + tile - 1) / tile * tile;
    return (row_groups){count, rows, panels->gather[type] ? moe_gathered_bytes(panels, rows, task->k) : 0};
}

typedef struct row_group {
    int32_t first, rows;
    size_t offset;  // where all groups are gathered
} row_group;

static row_group group_at(const row_groups *groups, const moe_matmul_task *task, int32_t index) {
    const int32_t first = index * groups->rows;
    return (row_group){first, least(groups->rows, task->m - first), (size_t)index * groups->gathered};
}

/// As long as all activations stay in the second-level cache, each panel is used at once, while it is in the first.
/// Otherwise a group of rows passes over all panels of the unit.
static bool panels_at_once(const moe_matmul_task *task) {
    return (size_t)task->m * (size_t)moe_chunks(task->k) * sizeof(moe_act_chunk) <= MOE_UNIT_BYTES;
}

/// The activations of a group of rows that were gathered for all workers; NULL: they were not.
static const uint8_t *shared_group(const native_unit *unit, const moe_panels *panels, row_group group) {
    if (unit->plan->shared < 0) return NULL;
    const shared_rows *shared = &unit->call->shared[unit->plan->shared];
    if (shared->gather != panels->gather[unit->task->weight_type]) return NULL;
    return unit->call->shared_memory + shared->offset + group.offset;
}

/// Bytes of gathered activations in a worker's scratch.
static size_t gathered_bytes(const moe_panels *panels, const moe_matmul_task *task, int32_t type) {
    const row_groups groups = groups_of(panels, task, type);
    return (panels_at_once(task) ? (size_t)groups.count : 1) * groups.gathered;
}

/// Who has gathered all activations of a task when one of its matrices is multiplied; NULL: nobody, or not all at once.
static moe_gather_fn gathered_by(const native_call *call, const moe_matmul_task *task, int32_t type) {
    if (is_float(type)) return NULL;
    const moe_panels *panels = panels_of(call, task, type);
    if (panels) return panels_at_once(task) ? panels->gather[type] : NULL;
    return task->m <= MOE_DOT_ROWS ? call->kernels->few.gather[type] : NULL;
}

// ---------------------------------------------------------------------------------------------------------------------
// Units of work

static void store_tile(const moe_matmul_task *task, const float *tile, int32_t i0, int32_t m, int32_t j0, int32_t n) {
    for (int32_t i = 0; i < m; i++) {
        float *out = task->output + (int64_t)(i0 + i) * task->output_stride + j0;
        const float *row = tile + i * MOE_TILE_COLUMNS;
        if (task->bias) {
            for (int32_t j = 0; j < n; j++) out[j] = row[j] + task->bias[j0 + j];
        } else {
            memcpy(out, row, (size_t)n * sizeof(float));
        }
    }
}

static const uint8_t *weight_row(const moe_matmul_task *task, int32_t column) {
    return (const uint8_t *)task->weights + (size_t)column * task->row_bytes;
}

/// The weights of columns j..<j + columns, as far as `end`.
static moe_ahead weights_of(const moe_matmul_task *task, int64_t j, int32_t columns, int64_t end) {
    if (j >= end) return (moe_ahead){NULL, 0};
    const int64_t count = end - j < columns ? end - j : columns;
    return (moe_ahead){weight_row(task, (int32_t)j), (size_t)count * task->row_bytes};
}

static void compute_float(const native_unit *unit) {
    const moe_matmul_task *task = unit->task;
    const int32_t begin = unit->begin, end = unit->end;
    const moe_float_tile_fn compute = unit->call->kernels->float_tile[task->weight_type];
    float tile[MOE_TILE_ROWS * MOE_TILE_COLUMNS];
    for (int32_t i = 0; i < task->m; i += MOE_TILE_ROWS) {
        const int32_t m = least(MOE_TILE_ROWS, task->m - i);
        const float *x[MOE_TILE_ROWS];
        for (int32_t r = 0; r < m; r++) x[r] = task->input + moe_task_input_row(task, i + r) * task->input_stride;
        for (int32_t j = begin; j < end; j += MOE_TILE_COLUMNS) {
            const int32_t n = least(MOE_TILE_COLUMNS, end - j);
            compute(weight_row(task, j), task->row_bytes, n, x, m, task->k, tile);
            store_tile(task, tile, i, m, j, n);
        }
        if (begin == 0) {
            for (int32_t r = 0; r < m; r++) moe_count_evaluation(task, i + r);
        }
    }
}

/// sums[j * m + i] = weight row j . x[i], for n weight rows and m <= MOE_DOT_ROWS activation rows.
static void multiply_rows(const moe_kernels *kernels, int32_t type, const uint8_t *row, size_t row_bytes, int32_t n,
                          size_t readable, const moe_act_chunk *const *x, int32_t m, int64_t k, float *sums) {
    for (int32_t j = 0; j < n; j++, row += row_bytes, readable -= row_bytes, sums += m) {
        if (m > 1 && kernels->dots[type]) {
            kernels->dots[type](row, readable, x, m, k, sums);
        } else {
            for (int32_t i = 0; i < m; i++) sums[i] = kernels->dot[type](row, readable, x[i], k);
        }
    }
}

/// sums[j * m + i] -> rows i0...i0 + m - 1 of columns j0...j0 + n - 1.
static void store_sums(const moe_matmul_task *task, const float *sums, int32_t i0, int32_t m, int32_t j0, int32_t n) {
    for (int32_t i = 0; i < m; i++) {
        float *out = task->output + (int64_t)(i0 + i) * task->output_stride + j0;
        if (m == 1) memcpy(out, sums, (size_t)n * sizeof(float));
        else for (int32_t j = 0; j < n; j++) out[j] = sums[j * m + i];
        for (int32_t j = 0; task->bias && j < n; j++) out[j] += task->bias[j0 + j];
    }
}

static void compute_few(const native_unit *unit) {
    const moe_matmul_task *task = unit->task;
    const moe_kernels *kernels = unit->call->kernels;
    const int32_t type = task->weight_type, end = unit->end;
    const moe_gather_fn gather = kernels->few.gather[type];
    const moe_few_fn multiply = kernels->few.multiply[type];
    // Rows share a weight row while it is in the first-level cache; more of them pass over the unit's weights again.
    const int32_t groups = (task->m + MOE_DOT_ROWS - 1) / MOE_DOT_ROWS, rows = (task->m + groups - 1) / groups;
    for (int32_t first = 0; first < task->m; first += rows) {
        const int32_t m = least(rows, task->m - first);
        const moe_act_chunk *x[MOE_DOT_ROWS];
        for (int32_t i = 0; i < m; i++) x[i] = activations(unit, first + i);
        if (gather && gather != unit->gathered) gather(x, m, task->k, unit->scratch.gathered);
        for (int32_t j0 = unit->begin; j0 < end; j0 += MOE_TILE_COLUMNS) {
            const int32_t n = least(MOE_TILE_COLUMNS, end - j0);
            const size_t readable = (size_t)(task->n - 1 - j0) * task->row_bytes + moe_row_bytes(type, task->k);
            float sums[MOE_DOT_ROWS * MOE_TILE_COLUMNS];
            if (multiply) multiply(weight_row(task, j0), task->row_bytes, n, readable, unit->scratch.gathered, m, task->k, sums);
            else multiply_rows(kernels, type, weight_row(task, j0), task->row_bytes, n, readable, x, m, task->k, sums);
            store_sums(task, sums, first, m, j0, n);
        }
    }
    if (unit->begin == 0) {
        for (int32_t i = 0; i < task->m; i++) moe_count_evaluation(task, i);
    }
}

/// A group of activation rows. The panels may want it gathered: for all workers, or in this one's scratch, where all groups lie if
/// panels are used at once.
static moe_panel_input panel_input(const native_unit *unit, const moe_panels *panels, row_group group,
                                   const moe_act_chunk **rows) {
    const moe_matmul_task *task = unit->task;
    const uint8_t *shared = shared_group(unit, panels, group);
    if (shared) return (moe_panel_input){.gathered = shared};
    const moe_gather_fn gather = panels->gather[task->weight_type];
    uint8_t *memory = unit->scratch.gathered;
    if (gather && panels_at_once(task)) memory += group.offset;
    if (gather && gather == unit->gathered) return (moe_panel_input){.gathered = memory};
    for (int32_t r = 0; r < group.rows; r++) rows[r] = activations(unit, group.first + r);
    if (!gather) return (moe_panel_input){.rows = rows};
    gather(rows, group.rows, task->k, memory);
    return (moe_panel_input){.gathered = memory};
}

/// A group of activation rows times one packed panel: columns j...j + n - 1.
static void compute_panel(const native_unit *unit, const moe_panels *panels, moe_panel_input x, row_group group, int32_t j, int32_t n,
                          const uint8_t *panel, moe_ahead ahead) {
    const moe_matmul_task *task = unit->task;
    float tile[MOE_PANEL_ROWS * MOE_TILE_COLUMNS];
    panels->multiply(task->weight_type, panel, n, x, group.rows, task->k, ahead, tile);
    store_tile(task, tile, group.first, group.rows, j, n);
}

/// Each panel is packed, used for all rows, and forgotten.
static void compute_panels_at_once(const native_unit *unit, const moe_panels *panels) {
    const moe_matmul_task *task = unit->task;
    const int32_t type = task->weight_type, end = unit->end, columns = panels->columns;
    const row_groups groups = groups_of(panels, task, type);
    const moe_act_chunk *rows[MOE_PANEL_ROWS];
    native_unit later = *unit;
    later.gathered = panels->gather[type];
    for (int32_t j = unit->begin; j < end; j += columns) {
        const int32_t n = least(columns, end - j), parts = groups.count + 1;
        const moe_ahead next = j + n < end ? weights_of(task, j + n, columns, end) : unit->after;
        panels->pack(type, unit->call->kernels->unpack[type], weight_row(task, j), task->row_bytes, n, task->k,
                     moe_ahead_part(next, 0, parts), unit->scratch.panels);
        for (int32_t g = 0; g < groups.count; g++) {
            const row_group group = group_at(&groups, task, g);
            const moe_panel_input x = panel_input(j == unit->begin ? unit : &later, panels, group, rows);
            compute_panel(unit, panels, x, group, j, n, unit->scratch.panels, moe_ahead_part(next, g + 1, parts));
        }
    }
}

/// All panels of the unit are packed, then each group of rows passes over them.
static void compute_panels_in_turn(const native_unit *unit, const moe_panels *panels) {
    const moe_matmul_task *task = unit->task;
    const int32_t type = task->weight_type, end = unit->end, columns = panels->columns;
    const size_t panel_bytes = moe_panel_bytes(moe_traits(type), columns, task->k);
    uint8_t *packed = unit->scratch.panels;
    for (int32_t j = unit->begin; j < end; j += columns, packed += panel_bytes) {
        const int32_t n = least(columns, end - j);
        const moe_ahead next = j + n < end ? weights_of(task, j + n, columns, end) : unit->after;
        panels->pack(type, unit->call->kernels->unpack[type], weight_row(task, j), task->row_bytes, n, task->k, next, packed);
    }
    const row_groups groups = groups_of(panels, task, type);
    for (int32_t g = 0; g < groups.count; g++) {
        const row_group group = group_at(&groups, task, g);
        const moe_act_chunk *rows[MOE_PANEL_ROWS];
        const moe_panel_input x = panel_input(unit, panels, group, rows);
        packed = unit->scratch.panels;
        for (int32_t j = unit->begin; j < end; j += columns, packed += panel_bytes) {
            compute_panel(unit, panels, x, group, j, least(columns, end - j), packed, (moe_ahead){NULL, 0});
        }
    }
}

static void compute_panels(const native_unit *unit, const moe_panels *panels) {
    const moe_matmul_task *task = unit->task;
    const uint8_t *first = weight_row(task, unit->begin);
    const size_t bytes = (size_t)least(panels->columns, unit->end - unit->begin) * task->row_bytes;
    for (size_t at = 0; at < bytes; at += 64) __builtin_prefetch(first + at);
    if (panels_at_once(task)) compute_panels_at_once(unit, panels);
    else compute_panels_in_turn(unit, panels);
    if (unit->begin == 0) {
        for (int32_t i = 0; i < task->m; i++) moe_count_evaluation(task, i);
    }
}

static void compute_matrix(const native_unit *unit) {
    const moe_panels *panels = panels_of(unit->call, unit->task, unit->task->weight_type);
    if (is_float(unit->task->weight_type)) compute_float(unit);
    else if (panels) compute_panels(unit, panels);
    else compute_few(unit);
}

/// Columns begin..<end of a task: of both matrices, if it has two, and then their SwiGLU, while both are in cache.
/// `is_last`: of a run; the others take the units behind it meanwhile. `before`: who gathered the task's activations for the unit
/// before, into the same scratch.
/// - Returns: who gathered them last.
static moe_gather_fn compute_unit(const native_call *call, int32_t index, int64_t number, bool is_last, worker_scratch scratch,
                                  moe_gather_fn before) {
    const moe_matmul_task *task = &call->tasks[index];
    const task_plan *plan = &call->plans[index];
    const int64_t begin = (number - plan->first_unit) * plan->unit_columns;
    const int64_t last = begin + plan->unit_columns;
    const moe_panels *panels = panels_of(call, task, task->weight_type);
    const int32_t columns = panels ? panels->columns : MOE_TILE_COLUMNS;
    const moe_ahead next = weights_of(task, begin + (is_last ? call->workers : 1) * (int64_t)plan->unit_columns, columns, task->n);
    native_unit unit = {call, task, plan, (int32_t)begin, last < task->n ? (int32_t)last : task->n, scratch, next, before};
    moe_matmul_task up;
    if (task->up) {
        up = moe_up_task(task);
        unit.after = weights_of(&up, begin, columns, unit.end);
    }
    compute_matrix(&unit);
    unit.gathered = gathered_by(call, task, task->weight_type);
    if (!task->up) return unit.gathered;
    unit.after = next;
    up.output_stride = plan->unit_columns;
    up.output = scratch.ups - begin;
    unit.task = &up;
    compute_matrix(&unit);
    const int32_t n = unit.end - unit.begin;
    for (int32_t i = 0; i < task->m; i++) {
        float *out = task->output + i * task->output_stride + begin;
        call->rows->swiglu(out, scratch.ups + (int64_t)i * plan->unit_columns, out, n);
    }
    return gathered_by(call, &up, up.weight_type);
}

static void compute_worker(void *context, int32_t worker, int32_t workers) {
    (void)workers;
    native_call *call = context;
    int32_t task = 0;  // units are taken in ascending order
    for (moe_work_run run; (run = moe_work_take_run(&call->work, call->unit_count, call->workers)).count > 0;) {
        moe_gather_fn gathered = NULL;
        for (int64_t unit = run.first; unit < run.first + run.count; unit++) {
            while (task + 1 < call->count && call->plans[task + 1].first_unit <= unit) {
                task++;
                gathered = NULL;
            }
            gathered = compute_unit(call, task, unit, unit + 1 == run.first + run.count, call->scratch[worker], gathered);
        }
    }
}

static void gather_worker(void *context, int32_t worker, int32_t workers) {
    (void)worker, (void)workers;
    native_call *call = context;
    int32_t index = 0;  // parts are taken in ascending order
    for (int64_t part; (part = moe_work_take(&call->work)) < call->part_count;) {
        while (index + 1 < call->shared_count && call->shared[index + 1].first_part <= part) index++;
        const shared_rows *shared = &call->shared[index];
        const moe_matmul_task *task = shared->task;
        const int32_t rows = shared->part_rows, own = (int32_t)(part - shared->first_part);
        const int32_t i = own * rows, m = least(rows, task->m - i);
        const moe_act_chunk *x[MOE_PANEL_ROWS];
        for (int32_t r = 0; r < m; r++) x[r] = activation_row(call, shared->group, task, i + r);
        shared->gather(x, m, task->k,
                       call->shared_memory + shared->offset + (size_t)own * moe_gathered_bytes(shared->panels, rows, task->k));
    }
}

static void quantize_worker(void *context, int32_t worker, int32_t workers) {
    (void)worker, (void)workers;
    native_call *call = context;
    for (int64_t slot; (slot = moe_work_take(&call->work)) < call->slot_count;) {
        const activation_slot *s = &call->slots[slot];
        call->kernels->quantize(s->source, s->k, s->quantised);
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Planning

static int64_t last_row(const moe_matmul_task *task) {
    if (!task->input_rows) return task->m - 1;
    int64_t last = 0;
    for (int32_t i = 0; i < task->m; i++) last = task->input_rows[i] > last ? task->input_rows[i] : last;
    return last;
}

static int64_t column_cost(const moe_matmul_task *task) {
    const int64_t products = (int64_t)task->m * task->k / products_per_byte + 1;
    return (int64_t)task->row_bytes + products + (task->up ? (int64_t)task->up_row_bytes + products : 0);
}

/// Columns of one unit of a task: its share of the work, whole tiles, and no more weights than stay in cache if many rows use
/// them.
static int32_t unit_columns(const native_call *call, const moe_matmul_task *task, int64_t unit_cost) {
    int64_t columns = unit_cost / column_cost(task);
    if (task->m > 1) {
        const moe_panels *panels = panels_of(call, task, task->weight_type);
        const size_t bytes = panels ? panel_column_bytes(panels, task, task->weight_type) : task->row_bytes;
        const size_t in_cache = panels ? panels->unit_bytes : MOE_UNIT_BYTES;
        const int64_t most = (int64_t)(in_cache / (bytes ? bytes : 1));
        columns = columns < most ? columns : most;
    }
    columns = (columns + MOE_TILE_COLUMNS - 1) / MOE_TILE_COLUMNS * MOE_TILE_COLUMNS;
    columns = columns > MOE_TILE_COLUMNS ? columns : MOE_TILE_COLUMNS;
    const int64_t all = ((int64_t)task->n + MOE_TILE_COLUMNS - 1) / MOE_TILE_COLUMNS * MOE_TILE_COLUMNS;
    return (int32_t)(columns < all ? columns : all);
}

static size_t most(size_t a, size_t b) { return a > b ? a : b; }

/// Bytes of the parts of a worker's scratch, and of what all workers share.
typedef struct scratch_sizes {
    size_t panels, gathered, ups;
    size_t shared;
} scratch_sizes;

/// Whether the activations that were gathered for one task are this one's too, as those of queries are of keys and values.
static bool same_rows(const shared_rows *shared, const moe_matmul_task *task, int32_t group, moe_gather_fn gather) {
    return shared->gather == gather && shared->group == group && shared->task->m == task->m &&
           shared->task->input_rows == task->input_rows;
}

/// Has the activations of a task gathered for all workers, if its panels want that and it would be done several times over.
static void plan_shared(native_call *call, int32_t index, scratch_sizes *sizes) {
    const moe_matmul_task *task = &call->tasks[index];
    task_plan *plan = &call->plans[index];
    plan->shared = -1;
    const moe_panels *panels = panels_of(call, task, task->weight_type);
    const moe_gather_fn gather = panels ? panels->gather[task->weight_type] : NULL;
    const int64_t units = (index + 1 < call->count ? call->plans[index + 1].first_unit : call->unit_count) - plan->first_unit;
    if (!gather || units == 1 || (panels_at_once(task) && units < call->unit_count / shared_part_of_call)) return;
    if (call->shared_count == 0 || !same_rows(&call->shared[call->shared_count - 1], task, plan->group, gather)) {
        const int32_t rows = least(groups_of(panels, task, task->weight_type).rows, panels->gathered_rows);
        const int32_t parts = (task->m + rows - 1) / rows;
        call->shared[call->shared_count++] = (shared_rows){task, panels, gather, plan->group, rows, call->part_count, sizes->shared};
        call->part_count += parts;
        sizes->shared += (size_t)parts * moe_gathered_bytes(panels, rows, task->k);
    }
    plan->shared = call->shared_count - 1;
}

static void size_panels(const native_call *call, const task_plan *plan, const moe_matmul_task *task, int32_t type,
                        scratch_sizes *sizes) {
    const int32_t columns = plan->unit_columns;
    const moe_panels *panels = panels_of(call, task, type);
    if (!panels) {
        const int32_t m = least(task->m, MOE_DOT_ROWS);
        if (!is_float(type)) sizes->gathered = most(sizes->gathered, moe_few_bytes(m, task->k));
        return;
    }
    const size_t padded = (size_t)(columns + panels->columns - 1) / (size_t)panels->columns * (size_t)panels->columns;
    sizes->panels = most(sizes->panels, padded * panel_column_bytes(panels, task, type));
    if (plan->shared >= 0 && call->shared[plan->shared].gather == panels->gather[type]) return;
    sizes->gathered = most(sizes->gathered, gathered_bytes(panels, task, type));
}

static int64_t plan_units(native_call *call, int32_t workers, scratch_sizes *sizes) {
    int64_t cost = 0;
    for (int32_t t = 0; t < call->count; t++) cost += call->tasks[t].n * column_cost(&call->tasks[t]);
    const int64_t unit_cost = cost / (workers * units_per_worker);
    *sizes = (scratch_sizes){0};
    call->unit_count = call->part_count = 0;
    call->shared_count = 0;
    for (int32_t t = 0; t < call->count; t++) {
        const moe_matmul_task *task = &call->tasks[t];
        task_plan *plan = &call->plans[t];
        plan->unit_columns = unit_columns(call, task, unit_cost);
        plan->first_unit = call->unit_count;
        call->unit_count += ((int64_t)task->n + plan->unit_columns - 1) / plan->unit_columns;
    }
    for (int32_t t = 0; t < call->count; t++) {
        const moe_matmul_task *task = &call->tasks[t];
        const task_plan *plan = &call->plans[t];
        plan_shared(call, t, sizes);
        size_panels(call, plan, task, task->weight_type, sizes);
        if (!task->up) continue;
        size_panels(call, plan, task, task->up_type, sizes);
        sizes->ups = most(sizes->ups, (size_t)plan->unit_columns * (size_t)task->m * sizeof(float));
    }
    return cost;
}

/// The group of a task's activations: found by hash, or new.
static int32_t find_group(native_call *call, const moe_matmul_task *task, int32_t *table, uint32_t mask, int32_t *count) {
    uint64_t hash = (uint64_t)(uintptr_t)task->input ^ (uint64_t)task->k << 48 ^ (uint64_t)task->input_stride << 20;
    hash = (hash ^ hash >> 31) * 0x9e3779b97f4a7c15ull;
    for (uint32_t at = (uint32_t)(hash >> 32) & mask;; at = (at + 1) & mask) {
        if (table[at] < 0) {
            call->groups[*count] = (activation_group){task->input, task->input_stride, task->k, 0, 0};
            return table[at] = (*count)++;
        }
        const activation_group *group = &call->groups[table[at]];
        if (group->input == task->input && group->stride == task->input_stride && group->k == task->k) return table[at];
    }
}

/// Gives every distinct row of quantised tasks a slot; returns the chunks of quantised activations that they need.
static int64_t plan_activations(native_call *call, int32_t *table, uint32_t mask) {
    int32_t groups = 0;
    for (uint32_t i = 0; i <= mask; i++) table[i] = -1;
    for (int32_t t = 0; t < call->count; t++) {
        const moe_matmul_task *task = &call->tasks[t];
        call->plans[t].group = -1;
        if (!is_quantised(task)) continue;
        const int32_t group = find_group(call, task, table, mask, &groups);
        const int64_t rows = last_row(task) + 1;
        call->plans[t].group = group;
        if (rows > call->groups[group].rows) call->groups[group].rows = rows;
    }
    int64_t in_map = 0, chunks = 0;
    for (int32_t g = 0; g < groups; g++) {
        call->groups[g].first_in_map = in_map;
        for (int64_t row = 0; row < call->groups[g].rows; row++) call->map[in_map++] = -1;
    }
    call->slot_count = 0;
    for (int32_t t = 0; t < call->count; t++) {
        const moe_matmul_task *task = &call->tasks[t];
        if (call->plans[t].group < 0) continue;
        const activation_group *group = &call->groups[call->plans[t].group];
        for (int32_t i = 0; i < task->m; i++) {
            const int64_t row = moe_task_input_row(task, i);
            if (call->map[group->first_in_map + row] >= 0) continue;
            call->map[group->first_in_map + row] = (int32_t)call->slot_count;
            call->slots[call->slot_count++] = (activation_slot){task->input + row * task->input_stride, task->k, NULL};
            chunks += moe_chunks(task->k);
        }
    }
    return chunks;
}

// ---------------------------------------------------------------------------------------------------------------------

/// Hands out parts of one piece of scratch; with base NULL it only measures.
static void *take(uint8_t *base, size_t *used, size_t bytes) {
    void *part = base ? base + *used : NULL;
    *used += (bytes + 63) / 64 * 64;
    return part;
}

static void run(moe_pool *pool, moe_pool_task work, native_call *call, bool serial) {
    atomic_store_explicit(&call->work.next, 0, memory_order_relaxed);
    if (serial) work(call, 0, 1);
    else moe_pool_run_pieces(pool, work, call);
}

int32_t moe_matmul_native(moe_pool *pool, const moe_kernels *kernels, const moe_matmul_task *tasks, int32_t count) {
    native_call call = {.kernels = kernels, .rows = moe_row_kernels_best(), .tasks = tasks, .count = count,
                        .workers = moe_pool_threads(pool)};
    const int32_t workers = call.workers;
    const size_t n = (size_t)count;
    size_t map_entries = 0, slots = 0;
    for (int32_t t = 0; t < count; t++) {
        if (!is_quantised(&tasks[t])) continue;
        map_entries += (size_t)last_row(&tasks[t]) + 1;
        slots += (size_t)tasks[t].m;
    }
    uint32_t mask = 1;
    while (mask < 2 * (uint32_t)count) mask = 2 * mask + 1;

    // The tables of the call, in the scratch that all workers share; the quantised activations follow in a second request.
    uint8_t *base = NULL;
    size_t used = 0;
    int32_t *table = NULL;
    for (int pass = 0; pass < 2; pass++) {
        used = 0;
        call.plans = take(base, &used, n * sizeof *call.plans);
        call.groups = take(base, &used, n * sizeof *call.groups);
        call.scratch = take(base, &used, (size_t)workers * sizeof *call.scratch);
        table = take(base, &used, ((size_t)mask + 1) * sizeof *table);
        call.map = take(base, &used, map_entries * sizeof *call.map);
        call.slots = take(base, &used, slots * sizeof *call.slots);
        call.shared = take(base, &used, n * sizeof *call.shared);
        if (pass == 0 && !(base = moe_pool_scratch(pool, workers, used))) return -1;
    }
    const int64_t chunks = plan_activations(&call, table, mask);
    scratch_sizes sizes;
    const int64_t cost = plan_units(&call, workers, &sizes);

    // Worker 0's scratch holds the activations too: the region's own caller is worker 0.
    uint8_t *quantised = NULL;
    for (int32_t w = 0; w < workers; w++) {
        worker_scratch *scratch = &call.scratch[w];
        uint8_t *memory = NULL;
        for (int pass = 0; pass < 2; pass++) {
            used = 0;
            scratch->panels = take(memory, &used, sizes.panels);
            scratch->gathered = take(memory, &used, sizes.gathered);
            scratch->ups = take(memory, &used, sizes.ups);
            if (w == 0) {
                quantised = take(memory, &used, (size_t)chunks * sizeof(moe_act_chunk));
                call.shared_memory = take(memory, &used, sizes.shared);
            }
            if (pass == 0 && used > 0 && !(memory = moe_pool_scratch(pool, w, used))) return -1;
        }
    }
    if (call.slot_count > 0) {
        moe_act_chunk *next = (moe_act_chunk *)(void *)quantised;
        int64_t elements = 0;
        for (int64_t s = 0; s < call.slot_count; s++) {
            call.slots[s].quantised = next;
            next += moe_chunks(call.slots[s].k);
            elements += call.slots[s].k;
        }
        run(pool, quantize_worker, &call, elements < serial_quantize_elements);
        if (call.part_count > 0) run(pool, gather_worker, &call, (int64_t)sizes.shared < serial_gather_bytes);
    }
    run(pool, compute_worker, &call, cost < serial_cost || call.unit_count < 2);
    return 0;
}
