// SPDX-License-Identifier: Apache-2.0
//
// Paged KV cache, and attention cut into pieces for the workers. The arithmetic of a piece is in attention_body.h.

#include "attention_kernel.h"

#include <string.h>

#include "kernel_table.h"
#include "pool_internal.h"
#include "row_kernels.h"

void moe_kv_store(int32_t kv_type, void *k_cache, void *v_cache, const float *k, int64_t k_stride, const float *v,
                  int64_t v_stride, const int32_t *positions, const int32_t *block_table, int32_t rows, int32_t block_size,
                  int32_t kv_heads, int32_t head_dim) {
    const moe_row_kernels *kernels = moe_row_kernels_best();
    const int64_t width = (int64_t)kv_heads * head_dim;
    for (int64_t row = 0; row < rows; row++) {
        const int32_t position = positions[row];
        const int64_t block = block_table[position / block_size];
        const int64_t offset = (block * block_size + position % block_size) * width;
        if (kv_type == MOE_TYPE_F16) {
            kernels->to_half(k + row * k_stride, (uint16_t *)k_cache + offset, width);
            kernels->to_half(v + row * v_stride, (uint16_t *)v_cache + offset, width);
        } else {
            memcpy((float *)k_cache + offset, k + row * k_stride, (size_t)width * sizeof(float));
            memcpy((float *)v_cache + offset, v + row * v_stride, (size_t)width * sizeof(float));
        }
    }
}

/// Multiplications below which waking the workers costs more than it saves.
enum { SMALL_WORK = 1 << 17 };

/// How all tasks are cut: pieces of task t are starts[t]..<starts[t + 1].
typedef struct attention_plan {
    const moe_attention_shape *shape;
    const moe_attention_task *tasks;
    moe_attention_fn kernel;
    moe_pool *pool;
    size_t scratch_bytes;
    int64_t *starts;
    int32_t count;
    int32_t piece_heads;  // query heads of a piece
    int32_t head_pieces;  // pieces of the heads of one kv head
    int32_t piece_rows;
    moe_work_counter counter;
} attention_plan;

static moe_attention_fn best_kernel(void) {
#if defined(__x86_64__)
    const char *isa = moe_kernels_active()->isa;
    if (strncmp(isa, "avx512", 6) == 0) return moe_attention_avx512;
    if (strcmp(isa, "avx2") == 0) return moe_attention_avx2;
#elif defined(__aarch64__)
    if (strncmp(moe_kernels_active()->isa, "neon", 4) == 0) return moe_attention_neon;
#endif
    return moe_attention_ref;
}

/// Sets the piece sizes for a number of query heads per piece. Returns how many pieces there are.
static int64_t cut(attention_plan *plan, int32_t piece_heads) {
    const int32_t group = plan->shape->heads / plan->shape->kv_heads;
    plan->piece_heads = piece_heads;
    plan->head_pieces = (group + piece_heads - 1) / piece_heads;
    plan->piece_rows = MOE_ATTENTION_QUERIES / piece_heads;
    int64_t pieces = 0;
    for (int32_t t = 0; t < plan->count; t++) {
        plan->starts[t] = pieces;
        const int64_t row_pieces = ((int64_t)plan->tasks[t].rows + plan->piece_rows - 1) / plan->piece_rows;
        pieces += row_pieces * plan->shape->kv_heads * plan->head_pieces;
    }
    plan->starts[plan->count] = pieces;
    return pieces;
}

/// Piece `index` of the plan. Row pieces of the same heads follow one another, so that they find the keys in the cache; the
/// last rows, which see most, come first, so that the work ends evenly.
static moe_attention_piece piece_at(const attention_plan *plan, int64_t index) {
    int32_t low = 0, high = plan->count;  // starts[low] <= index < starts[high]
    while (high - low > 1) {
        const int32_t middle = low + (high - low) / 2;
        if (plan->starts[middle] <= index) low = middle;
        else high = middle;
    }
    const moe_attention_task *task = &plan->tasks[low];
    const int32_t group = plan->shape->heads / plan->shape->kv_heads;
    const int64_t row_pieces = ((int64_t)task->rows + plan->piece_rows - 1) / plan->piece_rows;
    const int64_t within = index - plan->starts[low];
    const int64_t row_piece = row_pieces - 1 - within % row_pieces, heads = within / row_pieces;

    moe_attention_piece piece = {.shape = plan->shape, .task = task};
    piece.kv_head = (int32_t)(heads / plan->head_pieces);
    const int32_t skipped = (int32_t)(heads % plan->head_pieces) * plan->piece_heads;
    piece.first_head = piece.kv_head * group + skipped;
    piece.heads = group - skipped < plan->piece_heads ? group - skipped : plan->piece_heads;
    piece.first_row = (int32_t)row_piece * plan->piece_rows;
    piece.rows = task->rows - piece.first_row < plan->piece_rows ? task->rows - piece.first_row : plan->piece_rows;
    return piece;
}

static void run_pieces(void *context, int32_t worker, int32_t workers) {
    (void)workers;
    attention_plan *plan = context;
    float *scratch = moe_pool_scratch(plan->pool, worker, plan->scratch_bytes);
    for (;;) {
        const int64_t index = moe_work_take(&plan->counter);
        if (index >= plan->starts[plan->count]) return;
        const moe_attention_piece piece = piece_at(plan, index);
        plan->kernel(&piece, scratch);
    }
}

int32_t moe_attention(moe_pool *pool, const moe_attention_shape *shape, const moe_attention_task *tasks, int32_t count) {
    if (count < 1) return 0;
    const int32_t threads = moe_pool_threads(pool);
    attention_plan plan = {.shape = shape, .tasks = tasks, .kernel = best_kernel(), .pool = pool, .count = count};
    plan.scratch_bytes = moe_attention_scratch(shape->head_dim) * sizeof(float);
    plan.starts = moe_pool_scratch(pool, threads, ((size_t)count + 1) * sizeof *plan.starts);
    if (plan.starts == NULL) return -1;

    double work = 0;
    for (int32_t t = 0; t < count; t++) {
        const double seen = (double)tasks[t].first_position + tasks[t].rows;
        work += seen * tasks[t].rows * shape->heads * shape->head_dim;
    }
    const int32_t workers = work < SMALL_WORK ? 1 : threads;
    for (int32_t w = 0; w < workers; w++) {
        if (moe_pool_scratch(pool, w, plan.scratch_bytes) == NULL) return -1;
    }

    // Heads that share keys share their unpacking too, unless workers would then go without.
    const int32_t group = shape->heads / shape->kv_heads;
    int32_t piece_heads = group < MOE_ATTENTION_QUERIES ? group : MOE_ATTENTION_QUERIES;
    while (cut(&plan, piece_heads) < workers && piece_heads > 1) piece_heads = (piece_heads + 1) / 2;

    if (workers == 1) run_pieces(&plan, 0, 1);
    else moe_pool_run_pieces(pool, run_pieces, &plan);
    return 0;
}
