// SPDX-License-Identifier: Apache-2.0
//
// CPUs and NUMA nodes of threads, by the system calls themselves: libnuma is not needed for three of them.
#ifndef MOE_THREAD_PLACEMENT_H
#define MOE_THREAD_PLACEMENT_H

#include <pthread.h>

#include "CMoEKernels.h"

enum { MOE_MOST_NODES = 1024, MOE_NODE_WORDS = MOE_MOST_NODES / (8 * (int)sizeof(unsigned long)) };

/// A thread's memory policy, to be restored.
typedef struct moe_memory_policy {
    bool changed;
    int mode;
    unsigned long nodes[MOE_NODE_WORDS];
} moe_memory_policy;

/// CPUs that the calling thread may run on.
int32_t moe_allowed_cpus(void);
/// A thread that is started with the attributes runs on this CPU only. Returns 0, or an error number.
int moe_set_thread_cpu(pthread_attr_t *attributes, int32_t cpu);
/// Gives the calling thread the placement's memory policy, if it names one. Returns 0, or an error number, with nothing changed.
int moe_push_memory_policy(const moe_thread_placement *placement, moe_memory_policy *before);
void moe_pop_memory_policy(const moe_memory_policy *before);

#endif
