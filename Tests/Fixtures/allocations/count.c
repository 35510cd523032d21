// SPDX-License-Identifier: Apache-2.0
//
// LD_PRELOAD: counts allocations and says how many at exit, as one line of standard error. Built by AllocationTests.
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
static atomic_long count;

static void counted(void) { atomic_fetch_add_explicit(&count, 1, memory_order_relaxed); }

void *malloc(size_t bytes) { return counted(), __libc_malloc(bytes); }
void *calloc(size_t number, size_t bytes) { return counted(), __libc_calloc(number, bytes); }
void *realloc(void *memory, size_t bytes) { return counted(), __libc_realloc(memory, bytes); }
void *aligned_alloc(size_t alignment, size_t bytes) { return counted(), __libc_memalign(alignment, bytes); }
int posix_memalign(void **memory, size_t alignment, size_t bytes) {
    counted();
    *memory = __libc_memalign(alignment, bytes);
    return *memory ? 0 : 12;
}

__attribute__((destructor)) static void report(void) {
    char line[64];
    const int length = snprintf(line, sizeof line, "allocations %ld\n", (long)count);
    if (write(2, line, (size_t)length) < 0) _exit(1);
}
