// SPDX-License-Identifier: Apache-2.0
//
// What the kernels of this target see of the pool beyond the public header: scratch memory per worker, and the shared
// counter by which workers take pieces of work.
#ifndef MOE_POOL_INTERNAL_H
#define MOE_POOL_INTERNAL_H

#include <stdatomic.h>

#include "CMoEKernels.h"

/// Scratch of one worker: at least `bytes`, 64-byte aligned, contents undefined. Grown on demand and kept; NULL when memory
/// cannot be had. The pointer is valid until the same worker asks again. One extra place, worker == moe_pool_threads(pool),
/// is for memory that all workers share in a region: the caller asks for it before moe_pool_run.
void *moe_pool_scratch(moe_pool *pool, int32_t worker, size_t bytes);

/// Runs a task that takes pieces of work (moe_work_take) until none is left. Returns when every piece is done. Unlike
/// moe_pool_run it does not wait for workers that come too late to find a piece: the task may run on worker 0 alone.
void moe_pool_run_pieces(moe_pool *pool, moe_pool_task task, void *context);

/// Pieces of work that workers take one after the other until none is left. On a cache line of its own.
typedef struct moe_work_counter {
    _Alignas(64) atomic_int_fast64_t next;
} moe_work_counter;

/// The next piece, or a number past the last.
static inline int64_t moe_work_take(moe_work_counter *counter) {
    return atomic_fetch_add_explicit(&counter->next, 1, memory_order_relaxed);
}

/// Pieces first..<first + count.
typedef struct moe_work_run {
    int64_t first, count;
} moe_work_run;

/// The next run of pieces; count 0: there are none. Runs become shorter as fewer pieces are left (guided self-scheduling,
/// Polychronopoulos and Kuck 1987): where a piece takes a microsecond, taking it and beginning to read anew cost a third of that. A
/// worker takes three quarters of its share, so that one at half the speed of the others still does not keep them waiting.
static inline moe_work_run moe_work_take_run(moe_work_counter *counter, int64_t pieces, int32_t workers) {
    int64_t first = atomic_load_explicit(&counter->next, memory_order_relaxed);
    while (first < pieces) {
        const int64_t share = 3 * (pieces - first) / (4 * workers), count = share > 1 ? share : 1;
        if (atomic_compare_exchange_weak_explicit(&counter->next, &first, first + count, memory_order_relaxed,
                                                  memory_order_relaxed)) {
            return (moe_work_run){first, count};
        }
    }
    return (moe_work_run){0, 0};
}

#endif
