// SPDX-License-Identifier: Apache-2.0
//
// Rows, or elements, of one call over the workers of a pool.
#ifndef MOE_ROW_SPLIT_H
#define MOE_ROW_SPLIT_H

#include "pool_internal.h"

/// Elements that a worker must get before it is worth waking: a few microseconds of work.
enum { MOE_GRAIN_COPY = 1 << 14, MOE_GRAIN_EXP = 1 << 12 };

/// Works on first..<end. `worker` is less than the pool's threads: for memory of its own.
typedef void (*moe_range_function)(const void *context, int64_t first, int64_t end, int32_t worker);

/// Runs function over 0..<total, in pieces of at least `grain` on several workers when there are enough for two; else at once
/// on the calling thread, as worker 0. pool may be NULL.
void moe_split_range(moe_pool *pool, int64_t total, int64_t grain, moe_range_function function, const void *context);

/// Rows of `width` that make up `elements`.
static inline int64_t moe_rows_of(int64_t elements, int64_t width) {
    return width > 0 ? (elements + width - 1) / width : elements;
}

#endif
