// SPDX-License-Identifier: Apache-2.0
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include "thread_placement.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

// Of linux/mempolicy.h, which not every system has where it has these calls.
enum { POLICY_INTERLEAVE = 3 };

int32_t moe_allowed_cpus(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
    const long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (int32_t)online : 1;
}

static int only(int32_t cpu, cpu_set_t *set) {
    if (cpu < 0 || cpu >= CPU_SETSIZE) return EINVAL;
    CPU_ZERO(set);
    CPU_SET(cpu, set);
    return 0;
}

int moe_set_thread_cpu(pthread_attr_t *attributes, int32_t cpu) {
    cpu_set_t set;
    const int error = only(cpu, &set);
    return error != 0 ? error : pthread_attr_setaffinity_np(attributes, sizeof set, &set);
}

// The kernel counts one bit less than it is told.
static long set_policy(int mode, const unsigned long *nodes) {
    return syscall(SYS_set_mempolicy, mode, nodes, (unsigned long)MOE_MOST_NODES + 1);
}
static long get_policy(int *mode, unsigned long *nodes) {
    return syscall(SYS_get_mempolicy, mode, nodes, (unsigned long)MOE_MOST_NODES, NULL, 0UL);
}

int moe_push_memory_policy(const moe_thread_placement *placement, moe_memory_policy *before) {
    *before = (moe_memory_policy){0};
    if (placement->nodes == NULL) return 0;
    unsigned long nodes[MOE_NODE_WORDS] = {0};
    const int bits = 8 * (int)sizeof *nodes;
    for (int32_t i = 0; i < placement->node_count; i++) {
        const int32_t node = placement->nodes[i];
        if (node < 0 || node >= MOE_MOST_NODES) return EINVAL;
        nodes[node / bits] |= 1UL << (node % bits);
    }
    if (get_policy(&before->mode, before->nodes) != 0 || set_policy(POLICY_INTERLEAVE, nodes) != 0) return errno;
    before->changed = true;
    return 0;
}

void moe_pop_memory_policy(const moe_memory_policy *before) {
    if (before->changed) set_policy(before->mode, before->nodes);
}

int32_t moe_thread_place(const moe_thread_placement *placement) {
    pthread_setname_np(pthread_self(), "moe-0");
    if (placement->cpus != NULL && placement->cpu_count > 0) {
        cpu_set_t set;
        const int error = only(placement->cpus[0], &set);
        if (error != 0) return error;
        if (sched_setaffinity(0, sizeof set, &set) != 0) return errno;
    }
    moe_memory_policy before;
    return moe_push_memory_policy(placement, &before);
}

int32_t moe_thread_memory_policy(uint64_t *nodes) {
    unsigned long words[MOE_NODE_WORDS] = {0};
    int mode = 0;
    *nodes = 0;
    if (get_policy(&mode, words) != 0) return -1;
    memcpy(nodes, words, sizeof *nodes);
    return mode;
}

int32_t moe_thread_cpu(int32_t *allowed) {
    *allowed = moe_allowed_cpus();
    return sched_getcpu();
}
