// SPDX-License-Identifier: Apache-2.0
//
// A fork-join pool. A region is opened by a new number in `gate`; workers that spin see it at once, workers that sleep on it
// (futex) are woken. The caller is worker 0.
//
// Two kinds of region. moe_pool_run: every worker runs the task once. moe_pool_run_pieces: the task takes pieces from a
// counter until none is left, so whoever comes late has nothing to do; the caller then closes the gate when it finds no piece,
// and waits only for workers that went in. On a shared machine that saves waiting for a thread that has no core right now.
//
// Spinning is bounded in time, and there is none when there are more threads than cores: a thread that spins then only
// keeps the core from the one that it waits for.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "pool_internal.h"
#include "thread_placement.h"

/// How long a waiting thread spins: longer than the gaps between the products of one decode step, shorter than anything a
/// neighbour on a shared machine would notice.
enum { SPIN_NANOSECONDS = 40000, PAUSES_PER_CLOCK = 32, SCRATCH_GRAIN = 1 << 16 };

typedef struct moe_scratch {
    _Alignas(64) void *memory;
    size_t bytes;
} moe_scratch;

typedef struct moe_worker {
    struct moe_pool *pool;
    int32_t index;
    pthread_t thread;
} moe_worker;

// The gate: region number << 32 | closed << 31 | workers that entered << 16 | workers inside.
static const uint64_t INSIDE = 1, ENTERED = 1 << 16, CLOSED = UINT64_C(1) << 31;
enum { MAX_THREADS = 4096 };  // of 15 bits
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "futexes are halves of the gate");

struct moe_pool {
    // Written by the caller while no worker is inside, read by workers inside.
    moe_pool_task task;
    void *context;

    int32_t threads;
    int64_t spin_nanoseconds;
    moe_worker *workers;   // [threads]; workers[0] is the caller and has no thread
    moe_scratch *scratch;  // [threads + 1]
    atomic_bool stop;

    _Alignas(64) _Atomic uint64_t gate;
    atomic_uint caller_sleeps;
    _Alignas(64) atomic_uint sleepers;  // workers in, or on their way into, the futex
};

/// The halves of the gate as futexes: workers sleep on the region number, the caller on the counts.
static uint32_t *region_word(moe_pool *pool) { return (uint32_t *)&pool->gate + 1; }
static uint32_t *count_word(moe_pool *pool) { return (uint32_t *)&pool->gate; }

static uint32_t region_of(uint64_t gate) { return (uint32_t)(gate >> 32); }
static uint32_t entered_of(uint64_t gate) { return (gate >> 16) & 0x7fff; }
static uint32_t inside_of(uint64_t gate) { return gate & 0xffff; }

static void futex_wait(uint32_t *word, uint32_t expected) {
    // EINTR and EAGAIN are as good as a wake-up: every caller checks its condition again.
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, NULL, NULL, 0);
}

static void futex_wake(uint32_t *word, int count) {
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}

static inline void cpu_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static int64_t nanoseconds_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/// What a waiting thread waits for, with the value that it compares.
typedef bool (*moe_condition)(uint64_t gate, uint32_t value);
static bool new_region(uint64_t gate, uint32_t seen) { return region_of(gate) != seen; }
static bool all_entered(uint64_t gate, uint32_t workers) { return entered_of(gate) == workers; }
static bool none_inside(uint64_t gate, uint32_t unused) { return (void)unused, inside_of(gate) == 0; }

/// Spins until the condition holds; false when the time is up.
static inline bool spin(moe_pool *pool, moe_condition condition, uint32_t value) {
    if (condition(atomic_load_explicit(&pool->gate, memory_order_acquire), value)) return true;
    if (pool->spin_nanoseconds == 0) return false;
    const int64_t end = nanoseconds_now() + pool->spin_nanoseconds;
    do {
        for (int i = 0; i < PAUSES_PER_CLOCK; i++) {
            cpu_pause();
            if (condition(atomic_load_explicit(&pool->gate, memory_order_acquire), value)) return true;
        }
    } while (nanoseconds_now() < end);
    return false;
}

// The sleeper announces itself before it looks a last time, and the waker changes the gate before it looks for sleepers, both
// sequentially consistent: either the waker sees the sleeper, or the futex sees the new value and does not sleep.

static void worker_wait(moe_pool *pool, uint32_t seen) {
    if (spin(pool, new_region, seen)) return;
    atomic_fetch_add(&pool->sleepers, 1);
    while (!new_region(atomic_load(&pool->gate), seen)) futex_wait(region_word(pool), seen);
    atomic_fetch_sub(&pool->sleepers, 1);
}

static void caller_wait(moe_pool *pool, moe_condition condition, uint32_t value) {
    if (spin(pool, condition, value)) return;
    atomic_store(&pool->caller_sleeps, 1);
    uint64_t gate;
    while (!condition(gate = atomic_load(&pool->gate), value)) futex_wait(count_word(pool), (uint32_t)gate);
    atomic_store(&pool->caller_sleeps, 0);
}

static void wake_caller(moe_pool *pool) {
    if (atomic_load(&pool->caller_sleeps)) futex_wake(count_word(pool), 1);
}

/// Goes into the open region, unless it is closed. *seen becomes the region's number either way.
static bool enter(moe_pool *pool, uint32_t *seen) {
    uint64_t gate = atomic_load(&pool->gate);
    do {
        *seen = region_of(gate);
        if (gate & CLOSED) return false;
    } while (!atomic_compare_exchange_weak(&pool->gate, &gate, gate + INSIDE + ENTERED));
    return true;
}

static void *worker_main(void *argument) {
    moe_worker *worker = argument;
    moe_pool *pool = worker->pool;
    char name[16];
    snprintf(name, sizeof name, "moe-%d", (int)worker->index);
    pthread_setname_np(pthread_self(), name);

    uint32_t seen = 0;
    for (;;) {
        worker_wait(pool, seen);
        if (!enter(pool, &seen)) {
            // Asked only where the gate is closed, as the last region is from the start: a worker that came late to the
            // region before could otherwise find the last one open, run a task that is over, and wait for a region after it.
            if (atomic_load(&pool->stop)) return NULL;
            continue;
        }
        pool->task(pool->context, worker->index, pool->threads);
        atomic_fetch_sub(&pool->gate, INSIDE);
        wake_caller(pool);
    }
}

/// Begins the next region, open or closed, for the workers that spin, and wakes those that sleep.
static void begin_region(moe_pool *pool, uint64_t closed) {
    const uint64_t next = region_of(atomic_load(&pool->gate)) + UINT64_C(1);
    atomic_store(&pool->gate, next << 32 | closed);
    if (atomic_load(&pool->sleepers) != 0) futex_wake(region_word(pool), INT_MAX);
}

static void run(moe_pool *pool, moe_pool_task task, void *context, bool every_worker) {
    if (pool->threads == 1) {
        task(context, 0, 1);
        return;
    }
    pool->task = task;
    pool->context = context;
    begin_region(pool, 0);
    task(context, 0, pool->threads);
    if (every_worker) caller_wait(pool, all_entered, (uint32_t)pool->threads - 1);
    atomic_fetch_or(&pool->gate, CLOSED);
    caller_wait(pool, none_inside, 0);
}

void moe_pool_run(moe_pool *pool, moe_pool_task task, void *context) { run(pool, task, context, true); }
void moe_pool_run_pieces(moe_pool *pool, moe_pool_task task, void *context) { run(pool, task, context, false); }

static void *aligned_zeroed(size_t bytes) {
    void *memory = NULL;
    if (posix_memalign(&memory, 64, bytes) != 0) return NULL;
    return memset(memory, 0, bytes);
}

moe_pool *moe_pool_create(int32_t threads) {
    const moe_thread_placement anywhere = {0};
    return moe_pool_create_placed(threads, &anywhere);
}

/// Starts one worker, on its CPU if it has one. Returns 0, or an error number.
static int start(moe_worker *worker, const moe_thread_placement *placement) {
    pthread_attr_t attributes;
    int error = pthread_attr_init(&attributes);
    if (error != 0) return error;
    if (placement->cpus != NULL) error = moe_set_thread_cpu(&attributes, placement->cpus[worker->index]);
    if (error == 0) error = pthread_create(&worker->thread, &attributes, worker_main, worker);
    pthread_attr_destroy(&attributes);
    return error;
}

moe_pool *moe_pool_create_placed(int32_t threads, const moe_thread_placement *placement) {
    if (threads < 1 || threads > MAX_THREADS || (placement->cpus != NULL && placement->cpu_count < threads)) {
        errno = EINVAL;
        return NULL;
    }
    moe_pool *pool = aligned_zeroed(sizeof *pool);
    if (pool == NULL) return NULL;
    pool->workers = calloc((size_t)threads, sizeof *pool->workers);
    pool->scratch = aligned_zeroed(((size_t)threads + 1) * sizeof *pool->scratch);
    pool->threads = 1;
    if (pool->workers == NULL || pool->scratch == NULL) {
        moe_pool_destroy(pool);
        return NULL;
    }
    atomic_init(&pool->gate, CLOSED);
    atomic_init(&pool->caller_sleeps, 0);
    atomic_init(&pool->sleepers, 0);
    atomic_init(&pool->stop, false);
    pool->spin_nanoseconds = threads <= moe_allowed_cpus() ? SPIN_NANOSECONDS : 0;

    // A new thread inherits the memory policy of the one that starts it, which gets its own back.
    moe_memory_policy policy;
    int error = moe_push_memory_policy(placement, &policy);
    if (error != 0) {
        moe_pool_destroy(pool);
        errno = error;
        return NULL;
    }
    // Signals belong to the program's own threads.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int32_t started = 1;
    for (; started < threads; started++) {
        moe_worker *worker = &pool->workers[started];
        worker->pool = pool;
        worker->index = started;
        if ((error = start(worker, placement)) != 0) break;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    moe_pop_memory_policy(&policy);

    // No region has been opened yet, so no worker reads `threads` before it enters one.
    pool->threads = started;
    if (started < threads) {
        moe_pool_destroy(pool);
        errno = error;
        return NULL;
    }
    return pool;
}

void moe_pool_destroy(moe_pool *pool) {
    if (pool == NULL) return;
    if (pool->threads > 1) {
        atomic_store(&pool->stop, true);
        begin_region(pool, CLOSED);
        for (int32_t i = 1; i < pool->threads; i++) pthread_join(pool->workers[i].thread, NULL);
    }
    if (pool->scratch != NULL) {
        for (int32_t i = 0; i <= pool->threads; i++) free(pool->scratch[i].memory);
    }
    free(pool->scratch);
    free(pool->workers);
    free(pool);
}

int32_t moe_pool_threads(const moe_pool *pool) { return pool->threads; }

void *moe_pool_scratch(moe_pool *pool, int32_t worker, size_t bytes) {
    moe_scratch *scratch = &pool->scratch[worker];
    if (bytes <= scratch->bytes && scratch->memory != NULL) return scratch->memory;
    if (bytes > SIZE_MAX / 2) return NULL;
    // Half as much again where it grows, so that what grows with the context is rarely allocated anew.
    const size_t more = scratch->bytes + scratch->bytes / 2, wanted = bytes > more ? bytes : more;
    const size_t rounded = (wanted / SCRATCH_GRAIN + 1) * SCRATCH_GRAIN;
    free(scratch->memory);
    scratch->memory = NULL;
    scratch->bytes = 0;
    if (posix_memalign(&scratch->memory, 64, rounded) != 0) {
        scratch->memory = NULL;
        return NULL;
    }
    scratch->bytes = rounded;
    return scratch->memory;
}
