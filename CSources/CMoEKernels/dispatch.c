// SPDX-License-Identifier: Apache-2.0
//
// What the CPU can do, and the table of kernels for it: the reference first, then overrides per ISA.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel_table.h"

int32_t moe_type_block_elements(int32_t type) {
    const moe_type_traits *traits = moe_traits(type);
    return traits ? traits->block_elements : 0;
}

int32_t moe_type_block_bytes(int32_t type) {
    const moe_type_traits *traits = moe_traits(type);
    return traits ? traits->block_bytes : 0;
}

size_t moe_row_bytes(int32_t type, int64_t k) {
    const moe_type_traits *traits = moe_traits(type);
    if (!traits || k < 0 || k % traits->block_elements != 0) return 0;
    size_t bytes;
    const size_t blocks = (size_t)(k / traits->block_elements);
    return __builtin_mul_overflow(blocks, (size_t)traits->block_bytes, &bytes) ? 0 : bytes;
}

moe_cpu_features moe_cpu_detect(void) {
    moe_cpu_features features = {0};
#if defined(__x86_64__)
    __builtin_cpu_init();
    features.avx2 = __builtin_cpu_supports("avx2");
    features.fma = __builtin_cpu_supports("fma");
    features.f16c = __builtin_cpu_supports("f16c");
    features.avx512f = __builtin_cpu_supports("avx512f");
    features.avx512bw = __builtin_cpu_supports("avx512bw");
    features.avx512vl = __builtin_cpu_supports("avx512vl");
    features.avx512_vnni = __builtin_cpu_supports("avx512vnni");
    features.avx512_bf16 = __builtin_cpu_supports("avx512bf16");
    features.avx_vnni = __builtin_cpu_supports("avxvnni");
#elif defined(__aarch64__)
    features.neon = true;
#if defined(__ARM_FEATURE_DOTPROD)
    features.dotprod = true;
#endif
#if defined(__ARM_FEATURE_MATMUL_INT8)
    features.i8mm = true;
#endif
#endif
    return features;
}

// Tables from worst to best; the last `available` that this CPU runs.
enum { TABLE_REF, TABLE_AVX2, TABLE_AVX512, TABLE_AVX512VNNI, TABLE_COUNT };
static moe_kernels tables[TABLE_COUNT];
static int available;
static const moe_kernels *active;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static const moe_kernels *find(const char *isa) {
    for (int i = 0; i < available; i++) {
        if (strcmp(tables[i].isa, isa) == 0) return &tables[i];
    }
    return NULL;
}

static void build(void) {
    moe_kernels_set_ref(&tables[TABLE_REF]);
    available = 1;
#if defined(__x86_64__)
    const moe_cpu_features cpu = moe_cpu_detect();
    if (cpu.avx2 && cpu.fma && cpu.f16c) {
        tables[TABLE_AVX2] = tables[TABLE_REF];
        moe_kernels_set_avx2(&tables[TABLE_AVX2]);
        available = TABLE_AVX2 + 1;
        if (cpu.avx512f && cpu.avx512bw && cpu.avx512vl) {
            tables[TABLE_AVX512] = tables[TABLE_AVX2];
            moe_kernels_set_avx512(&tables[TABLE_AVX512]);
            available = TABLE_AVX512 + 1;
            if (cpu.avx512_vnni) {
                tables[TABLE_AVX512VNNI] = tables[TABLE_AVX512];
                moe_kernels_set_avx512vnni(&tables[TABLE_AVX512VNNI]);
                available = TABLE_AVX512VNNI + 1;
            }
        }
    }
#endif
    active = &tables[available - 1];
    const char *wanted = getenv("MOE_ISA");
    if (!wanted || !*wanted) return;
    const moe_kernels *chosen = find(wanted);
    if (chosen) {
        active = chosen;
    } else {
        fprintf(stderr, "moe-infer: MOE_ISA=%s is not available here, using %s\n", wanted, active->isa);
    }
}

const moe_kernels *moe_kernels_active(void) {
    pthread_once(&once, build);
    return active;
}

const moe_kernels *moe_kernels_named(const char *isa) {
    pthread_once(&once, build);
    return isa ? find(isa) : &tables[available - 1];
}

bool moe_kernels_limit(const char *isa) {
    const moe_kernels *table = moe_kernels_named(isa);
    if (table) active = table;
    return table != NULL;
}

const char *moe_kernel_name(int32_t type) {
    return moe_traits(type) ? moe_kernels_active()->names[type] : "";
}

int32_t moe_panel_from(int32_t type) {
    const moe_type_traits *traits = moe_traits(type);
    const moe_kernels *kernels = moe_kernels_active();
    return traits && traits->kind != MOE_CLASS_FLOAT && kernels->panel_columns > 0 ? kernels->panel_from[type] : 0;
}

void moe_dequantize_row(int32_t type, const void *src, float *dst, int64_t k) {
    if (moe_traits(type)) moe_kernels_active()->dequantize[type](src, dst, k);
}

void moe_dequantize_row_ref(int32_t type, const void *src, float *dst, int64_t k) {
    if (moe_traits(type)) moe_kernels_named("ref")->dequantize[type](src, dst, k);
}

bool moe_dequantize_row_isa(const char *isa, int32_t type, const void *src, float *dst, int64_t k) {
    const moe_kernels *table = moe_kernels_named(isa);
    if (!table || !moe_traits(type)) return false;
    table->dequantize[type](src, dst, k);
    return true;
}
