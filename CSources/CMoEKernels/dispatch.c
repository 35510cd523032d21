// SPDX-License-Identifier: Apache-2.0
//
// What the CPU can do, and the table of kernels for it: the reference first, then overrides per ISA.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__linux__)
#if defined(__aarch64__)
#include <sys/auxv.h>
#elif defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

#include "kernel_table.h"

// Bits of the kernel's interface (arch/arm64/include/uapi/asm/hwcap.h), which older C libraries do not name.
enum { ARM_HWCAP_ASIMDDP = 1 << 20, ARM_HWCAP2_I8MM = 1 << 13 };

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
#if defined(__linux__)
    unsigned a, b, c, d;
    features.amx_int8 = __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & bit_AMXTILE) && (d & bit_AMXINT8);
#endif
#elif defined(__aarch64__)
    features.neon = true;  // part of the architecture
#if defined(__linux__)
    features.dotprod = (getauxval(AT_HWCAP) & ARM_HWCAP_ASIMDDP) != 0;
    features.i8mm = (getauxval(AT_HWCAP2) & ARM_HWCAP2_I8MM) != 0;
#endif
#endif
    return features;
}

#if defined(__x86_64__)
/// Asks Linux for the tile registers, which it gives a process, with all its threads, on demand only: 8 KiB for each thread's switches.
static bool tiles_permitted(void) {
#if defined(__linux__)
    // arch/x86/include/uapi/asm/prctl.h, and the number of the state component.
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };
    return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
#else
    return false;
#endif
}
#endif

// Tables from worst to best: those that this CPU runs.
enum { MOST_TABLES = 5 };
static moe_kernels tables[MOST_TABLES];
static int available;
static const moe_kernels *active;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static const moe_kernels *find(const char *isa) {
    for (int i = 0; i < available; i++) {
        if (strcmp(tables[i].isa, isa) == 0) return &tables[i];
    }
    return NULL;
}

/// The next better table: the one before, with what `set` overrides.
static void add_table(void (*set)(moe_kernels *table)) {
    if (available > 0) tables[available] = tables[available - 1];
    set(&tables[available++]);
}

static void build(void) {
    add_table(moe_kernels_set_ref);
#if defined(__x86_64__)
    const moe_cpu_features cpu = moe_cpu_detect();
    if (cpu.avx2 && cpu.fma && cpu.f16c) {
        add_table(moe_kernels_set_avx2);
        if (cpu.avx512f && cpu.avx512bw && cpu.avx512vl) {
            add_table(moe_kernels_set_avx512);
            if (cpu.avx512_vnni) {
                add_table(moe_kernels_set_avx512vnni);
                if (cpu.amx_int8 && tiles_permitted()) add_table(moe_kernels_set_avx512amx);
            }
        }
    }
#elif defined(__aarch64__)
    const moe_cpu_features cpu = moe_cpu_detect();
    if (cpu.neon) {
        add_table(moe_kernels_set_neon);
        if (cpu.dotprod) {
            add_table(moe_kernels_set_neon_dotprod);
            if (cpu.i8mm) add_table(moe_kernels_set_neon_i8mm);
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
    return moe_traits(type) && type < MOE_INTERLEAVED ? moe_kernels_active()->names[type] : "";
}

const char *moe_kernel_path(int32_t type, int32_t rows) {
    const moe_type_traits *traits = moe_traits(type);
    if (!traits) return "";
    if (traits->kind == MOE_CLASS_FLOAT) return "float tiles";
    const moe_kernels *kernels = moe_kernels_active();
    const moe_panels *panels = moe_panels_for(kernels, type, rows);
    return panels == NULL ? "dot products" : panels == &kernels->wide ? "wide panels" : "panels";
}

void moe_dequantize_row(int32_t type, const void *src, float *dst, int64_t k) {
    if (moe_traits(type) && type < MOE_INTERLEAVED) moe_kernels_active()->dequantize[type](src, dst, k);
}

void moe_dequantize_row_ref(int32_t type, const void *src, float *dst, int64_t k) {
    if (moe_traits(type) && type < MOE_INTERLEAVED) moe_kernels_named("ref")->dequantize[type](src, dst, k);
}

bool moe_dequantize_row_isa(const char *isa, int32_t type, const void *src, float *dst, int64_t k) {
    const moe_kernels *table = moe_kernels_named(isa);
    if (!table || !moe_traits(type) || type >= MOE_INTERLEAVED) return false;
    table->dequantize[type](src, dst, k);
    return true;
}
