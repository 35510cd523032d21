// SPDX-License-Identifier: Apache-2.0
//
// How fast memory can be read: the upper limit of decoding.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "pool_internal.h"

enum { PIECE_BYTES = 1 << 20 };

typedef struct probe {
    const uint64_t *words;
    int64_t pieces;
    moe_work_counter counter;
    _Atomic uint64_t result;  // so that the reads cannot be left out
} probe;

static void read_pieces(void *context, int32_t worker, int32_t workers) {
    (void)worker, (void)workers;
    probe *p = context;
    uint64_t lanes[16] = {0};
    int64_t piece;
    while ((piece = moe_work_take(&p->counter)) < p->pieces) {
        const uint64_t *words = p->words + piece * (PIECE_BYTES / 8);
        for (int64_t i = 0; i < PIECE_BYTES / 8; i += 16) {
            for (int j = 0; j < 16; j++) lanes[j] ^= words[i + j];
        }
    }
    for (int j = 1; j < 16; j++) lanes[0] ^= lanes[j];
    atomic_fetch_xor(&p->result, lanes[0]);
}

static double seconds_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double moe_probe_bandwidth(moe_pool *pool, size_t bytes, int32_t repetitions) {
    enum { MOST = 64 };
    if (repetitions < 1) repetitions = 1;
    if (repetitions > MOST) repetitions = MOST;
    probe p = {.pieces = (int64_t)(bytes / PIECE_BYTES)};
    if (p.pieces < 1) p.pieces = 1;
    const size_t size = (size_t)p.pieces * PIECE_BYTES;
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return 0;
    madvise(memory, size, MADV_HUGEPAGE);
    memset(memory, 1, size);  // a page that was never written is the one page of zeros
    p.words = memory;

    double seconds[MOST];
    for (int32_t i = 0; i < repetitions; i++) {
        atomic_store(&p.counter.next, 0);
        const double start = seconds_now();
        moe_pool_run_pieces(pool, read_pieces, &p);
        seconds[i] = seconds_now() - start;
    }
    munmap(memory, size);
    qsort(seconds, (size_t)repetitions, sizeof *seconds, ascending);
    return (double)size / seconds[repetitions / 2] / 1e9;
}
