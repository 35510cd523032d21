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
    uint64_t (*read_piece)(const uint64_t *words);
    moe_work_counter counter;
    _Atomic uint64_t result;  // so that the reads cannot be left out
} probe;

/// A plain loop leaves memory waiting: on an Emerald Rapids it got 12 to 18 GB/s of the 22 to 29 that there are with fetching ahead.
static inline __attribute__((always_inline)) uint64_t read_piece(const uint64_t *words) {
    enum { AHEAD = 4096 / 8, LINE = 64 / 8 };
    uint64_t lanes[16] = {0};
    for (int64_t i = 0; i < PIECE_BYTES / 8; i += 16) {
        for (int j = 0; j < 16; j += LINE) __builtin_prefetch(words + i + AHEAD + j);
        for (int j = 0; j < 16; j++) lanes[j] ^= words[i + j];
    }
    for (int j = 1; j < 16; j++) lanes[0] ^= lanes[j];
    return lanes[0];
}

#if defined(__x86_64__)
static __attribute__((target("avx2"))) uint64_t read_piece_avx2(const uint64_t *words) { return read_piece(words); }
#endif
static uint64_t read_piece_plain(const uint64_t *words) { return read_piece(words); }

static void read_pieces(void *context, int32_t worker, int32_t workers) {
    (void)worker, (void)workers;
    probe *p = context;
    uint64_t result = 0;
    for (int64_t piece; (piece = moe_work_take(&p->counter)) < p->pieces;) {
        result ^= p->read_piece(p->words + piece * (PIECE_BYTES / 8));
    }
    atomic_fetch_xor(&p->result, result);
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
    probe p = {.pieces = (int64_t)(bytes / PIECE_BYTES), .read_piece = read_piece_plain};
#if defined(__x86_64__)
    if (moe_cpu_detect().avx2) p.read_piece = read_piece_avx2;
#endif
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
