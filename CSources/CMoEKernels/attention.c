// SPDX-License-Identifier: Apache-2.0
//
// Paged KV cache, and attention cut into pieces for the workers. The arithmetic of a piece is in attention_body.h.
//
// A piece is some rows of one sequence with some query heads of one kv head. Where there are too few of them for the workers, or
// one would hold the others up, the positions that a row sees are cut too, at chunks; the last piece of a row to be done puts
// the chunks together. Neither changes a bit of the result.

#include "attention_kernel.h"

#include <stdatomic.h>
#include <string.h>

#include "kernel_table.h"
#include "pool_internal.h"
#include "row_kernels.h"
#include "row_split.h"

typedef struct store_context {
    const moe_row_kernels *kernels;
    const float *source[2];  // k, v
    int64_t stride[2];
    char *cache[2];
    const int32_t *positions, *block_table;
    moe_kv_layout layout;
    int32_t kv_type, block_size, kv_heads, head_dim;
} store_context;

static void store_range(const void *context, int64_t first, int64_t end, int32_t worker) {
    (void)worker;
    const store_context *c = context;
    for (int64_t row = first; row < end; row++) {
        const int32_t position = c->positions[row], slot = position % c->block_size;
        const int64_t block = c->block_table[position / c->block_size];
        for (int32_t head = 0; head < c->kv_heads; head++) {
            const int64_t page = (block * c->kv_heads + head) * c->layout.page_bytes;
            for (int i = 0; i < 2; i++) {
                const float *x = c->source[i] + row * c->stride[i] + (int64_t)head * c->head_dim;
                char *target = c->cache[i] + page + slot * c->layout.row_bytes;
                char *scales = c->cache[i] + page + c->layout.scales_at + slot * c->layout.scale_bytes;
                switch (c->kv_type) {
                case MOE_TYPE_F16: c->kernels->to_half(x, (uint16_t *)(void *)target, c->head_dim); break;
                case MOE_TYPE_Q8_0:
                    c->kernels->to_bytes(x, (int8_t *)target, (uint16_t *)(void *)scales, c->head_dim);
                    break;
                default: memcpy(target, x, (size_t)c->head_dim * sizeof *x);
                }
            }
        }
    }
}

void moe_kv_store(moe_pool *pool, int32_t kv_type, void *k_cache, void *v_cache, const float *k, int64_t k_stride,
                  const float *v, int64_t v_stride, const int32_t *positions, const int32_t *block_table, int32_t rows,
                  int32_t block_size, int32_t kv_heads, int32_t head_dim) {
    const store_context context = {
        moe_row_kernels_best(), {k, v}, {k_stride, v_stride}, {k_cache, v_cache}, positions, block_table,
        moe_kv_layout_of(kv_type, block_size, head_dim), kv_type, block_size, kv_heads, head_dim};
    moe_split_range(pool, rows, moe_rows_of(MOE_GRAIN_COPY, 2 * (int64_t)kv_heads * head_dim), store_range, &context);
}

// ---------------------------------------------------------------------------------------------------------------------

enum {
    SMALL_WORK = 1 << 16,   // multiplications below which waking the workers costs more than it saves
    SMALL_PIECE = 1 << 15,  // no piece need be smaller
    PIECES_PER_WORKER = 4,  // no piece should be more than a worker's share divided by this
    FEWEST_QUERIES = 32,    // query vectors below which a piece of many is not made smaller
    MOST_SPLIT_ROWS = 16,   // rows of a task whose positions may be cut
};

/// Bytes of records of a task above which its positions are not cut.
static const double most_record_bytes = 64 << 20;

/// How one task is cut: by rows, then heads, then positions.
typedef struct task_plan {
    int64_t first_piece, first_group;
    int32_t piece_rows, row_pieces;
    int32_t piece_kv_heads, kv_pieces;
    int32_t first_chunk, chunks;          // seen by any of its rows
    int32_t piece_chunks, chunk_pieces;
    float *partials;
} task_plan;

/// How all tasks are cut.
typedef struct attention_plan {
    const moe_attention_shape *shape;
    const moe_attention_task *tasks;
    moe_attention_kernel kernel;
    moe_pool *pool;
    size_t scratch_bytes;
    task_plan *plans;     // [count]
    atomic_int *waiting;  // [groups]: pieces of the same queries that are not done, where positions are cut
    int64_t pieces, groups;
    int32_t count;
    int32_t queries;                   // at most, of a piece
    int32_t piece_heads, head_pieces;  // of the query heads of one kv head
    moe_work_counter counter;
} attention_plan;

static bool find_kernel(const char *isa, moe_attention_kernel *kernel) {
    const moe_kernels *table = isa == NULL ? moe_kernels_active() : moe_kernels_named(isa);
    if (table == NULL) return false;
    *kernel = moe_attention_ref;
#if defined(__x86_64__)
    if (strncmp(table->isa, "avx512", 6) == 0) *kernel = moe_attention_avx512;
    else if (strcmp(table->isa, "avx2") == 0) *kernel = moe_attention_avx2;
#elif defined(__aarch64__)
    if (strncmp(table->isa, "neon", 4) == 0) *kernel = moe_attention_neon;
#endif
    return true;
}

static int32_t divided(int64_t a, int64_t b) { return (int32_t)((a + b - 1) / b); }
static int32_t least(int64_t a, int64_t b) { return (int32_t)(a < b ? a : b); }

/// Multiplications of a query head with what the task's last row sees.
static double head_work(const moe_attention_shape *shape, const moe_attention_task *task) {
    const double seen = (double)task->first_position + task->rows;
    return (shape->window > 0 && seen > shape->window ? shape->window : seen) * shape->head_dim;
}

/// How many parts `whole` is cut into so that each is at most `most` of `work`, as far as its `units` allow.
static int32_t parts_of(double work, double most, int32_t units) {
    const double wanted = work / most;
    return wanted < units ? (int32_t)wanted + 1 : units;
}

/// Cuts with a number of query heads per piece, so that no piece is more than `most` multiplications, as far as it can be.
/// Positions are cut before kv heads: heads of the same positions are one run of memory.
static void cut(attention_plan *plan, int32_t piece_heads, double most) {
    const moe_attention_shape *shape = plan->shape;
    plan->piece_heads = piece_heads;
    plan->head_pieces = divided(shape->heads / shape->kv_heads, piece_heads);
    plan->pieces = plan->groups = 0;
    for (int32_t t = 0; t < plan->count; t++) {
        const moe_attention_task *task = &plan->tasks[t];
        task_plan *p = &plan->plans[t];
        const int64_t end = (int64_t)task->first_position + task->rows;
        const int64_t begin = shape->window > 0 && task->first_position >= shape->window
                                  ? (int64_t)task->first_position - shape->window + 1 : 0;
        *p = (task_plan){.first_piece = plan->pieces, .first_group = plan->groups};
        if (task->rows < 1) continue;
        p->piece_rows = least(task->rows, plan->queries / piece_heads);
        p->row_pieces = divided(task->rows, p->piece_rows);
        p->piece_kv_heads = plan->head_pieces > 1 ? 1 : least(shape->kv_heads, plan->queries / (p->piece_rows * piece_heads));
        p->first_chunk = (int32_t)(begin / MOE_ATTENTION_CHUNK);
        p->chunks = divided(end, MOE_ATTENTION_CHUNK) - p->first_chunk;
        p->piece_chunks = p->chunks;
        double work = head_work(shape, task) * p->piece_rows * piece_heads * p->piece_kv_heads;
        const double records = (double)task->rows * shape->heads * p->chunks * (double)moe_attention_record(shape->head_dim);
        if (task->rows <= MOST_SPLIT_ROWS && work > most && records * sizeof(float) <= most_record_bytes) {
            p->piece_chunks = divided(p->chunks, parts_of(work, most, p->chunks));
            work = work / p->chunks * p->piece_chunks;
        }
        if (work > most) p->piece_kv_heads = divided(p->piece_kv_heads, parts_of(work, most, p->piece_kv_heads));
        p->kv_pieces = divided(shape->kv_heads, p->piece_kv_heads);
        p->chunk_pieces = divided(p->chunks, p->piece_chunks);
        const int64_t groups = (int64_t)p->row_pieces * p->kv_pieces * plan->head_pieces;
        plan->groups += groups;
        plan->pieces += groups * p->chunk_pieces;
    }
}

/// Piece `index` of the plan; its group is what is done when all its chunks are. Row pieces of the same heads follow one
/// another, so that they find the keys in the cache; the last rows, which see most, come first, so that the work ends evenly.
static moe_attention_piece piece_at(const attention_plan *plan, int64_t index, int64_t *group_index) {
    int32_t low = 0, high = plan->count;  // task low begins at or before index, task high after it
    while (high - low > 1) {
        const int32_t middle = low + (high - low) / 2;
        if (plan->plans[middle].first_piece <= index) low = middle;
        else high = middle;
    }
    const moe_attention_task *task = &plan->tasks[low];
    const task_plan *p = &plan->plans[low];
    const int64_t within = index - p->first_piece, queries = within / p->chunk_pieces;
    const int64_t row_piece = p->row_pieces - 1 - queries % p->row_pieces, heads = queries / p->row_pieces;
    *group_index = p->first_group + queries;

    moe_attention_piece piece = {.shape = plan->shape, .task = task};
    piece.kv_head = (int32_t)(heads / plan->head_pieces) * p->piece_kv_heads;
    piece.kv_heads = least(plan->shape->kv_heads - piece.kv_head, p->piece_kv_heads);
    piece.skipped = (int32_t)(heads % plan->head_pieces) * plan->piece_heads;
    piece.heads = least(plan->shape->heads / plan->shape->kv_heads - piece.skipped, plan->piece_heads);
    piece.first_row = (int32_t)row_piece * p->piece_rows;
    piece.rows = least(task->rows - piece.first_row, p->piece_rows);
    piece.first_chunk = p->first_chunk + (int32_t)(within % p->chunk_pieces) * p->piece_chunks;
    piece.end_chunk = least(piece.first_chunk + p->piece_chunks, p->first_chunk + p->chunks);
    if (p->chunk_pieces > 1) {
        piece.partials = p->partials;
        piece.partial_chunk = p->first_chunk;
        piece.partial_chunks = p->chunks;
    }
    return piece;
}

static void run_pieces(void *context, int32_t worker, int32_t workers) {
    (void)workers;
    attention_plan *plan = context;
    float *scratch = moe_pool_scratch(plan->pool, worker, plan->scratch_bytes);
    for (;;) {
        const int64_t index = moe_work_take(&plan->counter);
        if (index >= plan->pieces) return;
        int64_t group;
        const moe_attention_piece piece = piece_at(plan, index, &group);
        plan->kernel.run(&piece, scratch);
        if (piece.partials == NULL) continue;
        const int last = atomic_fetch_sub_explicit(&plan->waiting[group], 1, memory_order_acq_rel) == 1;
        if (last) plan->kernel.finish(&piece, scratch);
    }
}

/// Bytes that the pieces of cut positions share: what each group waits for, and the records of the chunks. They are at `memory`,
/// or only counted where that is NULL.
static size_t share(attention_plan *plan, char *memory) {
    const size_t record = moe_attention_record(plan->shape->head_dim), heads = (size_t)plan->shape->heads;
    const size_t waiting = ((size_t)plan->groups * sizeof *plan->waiting + 63) / 64 * 64;
    size_t floats = 0;
    if (memory != NULL) plan->waiting = (atomic_int *)(void *)memory;
    for (int32_t t = 0; t < plan->count; t++) {
        task_plan *p = &plan->plans[t];
        if (p->chunk_pieces <= 1) continue;
        if (memory != NULL) {
            p->partials = (float *)(void *)(memory + waiting) + floats;
            const int64_t groups = (int64_t)p->row_pieces * p->kv_pieces * plan->head_pieces;
            for (int64_t g = 0; g < groups; g++) atomic_init(&plan->waiting[p->first_group + g], p->chunk_pieces);
        }
        floats += (size_t)plan->tasks[t].rows * heads * (size_t)p->chunks * record;
    }
    return floats > 0 ? waiting + floats * sizeof(float) : 0;
}

static int32_t attend(moe_pool *pool, moe_attention_kernel kernel, const moe_attention_shape *shape,
                      const moe_attention_task *tasks, int32_t count) {
    if (count < 1) return 0;
    const int32_t threads = moe_pool_threads(pool);
    attention_plan plan = {.shape = shape, .tasks = tasks, .kernel = kernel, .pool = pool, .count = count};
    plan.plans = moe_pool_scratch(pool, threads, (size_t)count * sizeof *plan.plans);
    if (plan.plans == NULL) return -1;

    double work = 0;
    for (int32_t t = 0; t < count; t++) work += head_work(shape, &tasks[t]) * tasks[t].rows * shape->heads;
    const int32_t workers = work < SMALL_WORK ? 1 : threads;

    // Queries that share keys share their reading too, unless workers would then go without.
    const int32_t group = shape->heads / shape->kv_heads;
    double most = workers > 1 ? work / workers / PIECES_PER_WORKER : work;
    most = most < SMALL_PIECE ? SMALL_PIECE : most;
    int32_t piece_heads = least(group, MOE_ATTENTION_QUERIES);
    plan.queries = MOE_ATTENTION_QUERIES;
    for (cut(&plan, piece_heads, most); plan.pieces < workers; cut(&plan, piece_heads, most)) {
        if (plan.queries / 2 >= FEWEST_QUERIES && plan.queries / 2 >= piece_heads) plan.queries /= 2;
        else if (piece_heads > 1) piece_heads = (piece_heads + 1) / 2;
        else break;
    }

    plan.scratch_bytes = (moe_attention_scratch(shape->head_dim) * sizeof(float) + 63) / 64 * 64;
    const size_t shared_bytes = share(&plan, NULL);
    for (int32_t w = 0; w < workers; w++) {
        char *scratch = moe_pool_scratch(pool, w, plan.scratch_bytes + (w == 0 ? shared_bytes : 0));
        if (scratch == NULL) return -1;
        if (w == 0 && shared_bytes > 0) share(&plan, scratch + plan.scratch_bytes);
    }
    if (workers == 1) run_pieces(&plan, 0, 1);
    else moe_pool_run_pieces(pool, run_pieces, &plan);
    return 0;
}

int32_t moe_attention(moe_pool *pool, const moe_attention_shape *shape, const moe_attention_task *tasks, int32_t count) {
    return moe_attention_isa(pool, NULL, shape, tasks, count);
}

int32_t moe_attention_isa(moe_pool *pool, const char *isa, const moe_attention_shape *shape, const moe_attention_task *tasks,
                          int32_t count) {
    moe_attention_kernel kernel;
    return find_kernel(isa, &kernel) ? attend(pool, kernel, shape, tasks, count) : -1;
}
