// SPDX-License-Identifier: Apache-2.0
//
// How fast int8 products can be summed into int32 in registers: the upper limit of prompts on quantised weights. Measured
// with the instructions that a straightforward kernel of this CPU uses per product, without loads and scales.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "pool_internal.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

// Independent sums: enough to fill two multipliers of latency 6, few enough for 16 registers beside two operands.
enum { SUMS = 12, ROUNDS = 1 << 17 };

/// Runs `rounds` times SUMS vector steps on int32 sums. Returns something that depends on all of them.
typedef int32_t (*loop_function)(int64_t rounds);

typedef struct loop {
    const char *name;
    loop_function run;
    int32_t products;  // int8 products in one vector step
} loop;

#if !defined(__aarch64__)

static int32_t loop_plain(int64_t rounds) {
    int32_t sums[SUMS] = {0};
    int8_t a = 3;
    for (int64_t i = 0; i < rounds; i++) {
        for (int j = 0; j < SUMS; j++) {
            __asm__ volatile("" : "+r"(a));  // or the product would be computed once
            sums[j] += (int32_t)a * (int8_t)j;
        }
    }
    for (int j = 1; j < SUMS; j++) sums[0] ^= sums[j];
    return sums[0];
}

#endif

#if defined(__x86_64__)

__attribute__((target("avx2"))) static int32_t loop_avx2(int64_t rounds) {
    __m256i sums[SUMS], a = _mm256_set1_epi8(3);
    const __m256i ones = _mm256_set1_epi16(1), b = _mm256_set1_epi8(-2);
    for (int j = 0; j < SUMS; j++) sums[j] = _mm256_set1_epi32(j);
    for (int64_t i = 0; i < rounds; i++) {
#pragma clang loop unroll(full)
        for (int j = 0; j < SUMS; j++) {
            __asm__ volatile("" : "+x"(a));  // or the product would be computed once
            sums[j] = _mm256_add_epi32(sums[j], _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), ones));
        }
    }
    for (int j = 1; j < SUMS; j++) sums[0] = _mm256_xor_si256(sums[0], sums[j]);
    return _mm256_extract_epi32(sums[0], 0);
}

__attribute__((target("avx2,avxvnni"))) static int32_t loop_avxvnni(int64_t rounds) {
    __m256i sums[SUMS];
    const __m256i a = _mm256_set1_epi8(3), b = _mm256_set1_epi8(-2);
    for (int j = 0; j < SUMS; j++) sums[j] = _mm256_set1_epi32(j);
    for (int64_t i = 0; i < rounds; i++) {
#pragma clang loop unroll(full)
        for (int j = 0; j < SUMS; j++) {
            sums[j] = _mm256_dpbusd_avx_epi32(sums[j], a, b);
            __asm__ volatile("" : "+x"(sums[j]));
        }
    }
    for (int j = 1; j < SUMS; j++) sums[0] = _mm256_xor_si256(sums[0], sums[j]);
    return _mm256_extract_epi32(sums[0], 0);
}

__attribute__((target("avx512f,avx512vnni"))) static int32_t loop_avx512vnni(int64_t rounds) {
    __m512i sums[SUMS];
    const __m512i a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(-2);
    for (int j = 0; j < SUMS; j++) sums[j] = _mm512_set1_epi32(j);
    for (int64_t i = 0; i < rounds; i++) {
#pragma clang loop unroll(full)
        for (int j = 0; j < SUMS; j++) {
            sums[j] = _mm512_dpbusd_epi32(sums[j], a, b);
            __asm__ volatile("" : "+v"(sums[j]));
        }
    }
    for (int j = 1; j < SUMS; j++) sums[0] = _mm512_xor_si512(sums[0], sums[j]);
    return _mm512_reduce_add_epi32(sums[0]);
}

static loop best_loop(void) {
    const moe_cpu_features cpu = moe_cpu_detect();
    if (cpu.avx512_vnni) return (loop){"avx512vnni", loop_avx512vnni, 64};
    if (cpu.avx_vnni) return (loop){"avxvnni", loop_avxvnni, 32};
    if (cpu.avx2) return (loop){"avx2", loop_avx2, 32};
    return (loop){"plain", loop_plain, 1};
}

#elif defined(__aarch64__)

static int32_t loop_neon(int64_t rounds) {
    int32x4_t sums[SUMS];
    int8x16_t a = vdupq_n_s8(3);
    const int8x16_t b = vdupq_n_s8(-2);
    for (int j = 0; j < SUMS; j++) sums[j] = vdupq_n_s32(j);
    for (int64_t i = 0; i < rounds; i++) {
#pragma clang loop unroll(full)
        for (int j = 0; j < SUMS; j++) {
            __asm__ volatile("" : "+w"(a));  // or the product would be computed once
#if defined(__ARM_FEATURE_MATMUL_INT8)
            sums[j] = vmmlaq_s32(sums[j], a, b);
#elif defined(__ARM_FEATURE_DOTPROD)
            sums[j] = vdotq_s32(sums[j], a, b);
#else
            const int16x8_t low = vmull_s8(vget_low_s8(a), vget_low_s8(b));
            sums[j] = vpadalq_s16(sums[j], vmlal_high_s8(low, a, b));
#endif
        }
    }
    for (int j = 1; j < SUMS; j++) sums[0] = veorq_s32(sums[0], sums[j]);
    return vaddvq_s32(sums[0]);
}

static loop best_loop(void) {
#if defined(__ARM_FEATURE_MATMUL_INT8)
    return (loop){"i8mm", loop_neon, 32};
#elif defined(__ARM_FEATURE_DOTPROD)
    return (loop){"dotprod", loop_neon, 16};
#else
    return (loop){"neon", loop_neon, 16};
#endif
}

#else

static loop best_loop(void) { return (loop){"plain", loop_plain, 1}; }

#endif

typedef struct probe {
    loop_function run;
    _Atomic int32_t result;  // so that the sums cannot be left out
} probe;

static void run_loop(void *context, int32_t worker, int32_t workers) {
    (void)worker, (void)workers;
    probe *p = context;
    atomic_fetch_xor(&p->result, p->run(ROUNDS));
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

double moe_probe_int8(moe_pool *pool, int32_t repetitions) {
    enum { MOST = 64 };
    if (repetitions < 1) repetitions = 1;
    if (repetitions > MOST) repetitions = MOST;
    const loop found = best_loop();
    probe p = {.run = found.run};
    double seconds[MOST];
    for (int32_t i = 0; i < repetitions; i++) {
        const double start = seconds_now();
        moe_pool_run(pool, run_loop, &p);
        seconds[i] = seconds_now() - start;
    }
    qsort(seconds, (size_t)repetitions, sizeof *seconds, ascending);
    const double operations = 2.0 * found.products * SUMS * ROUNDS * moe_pool_threads(pool);
    return operations / seconds[repetitions / 2] / 1e9;
}

const char *moe_probe_int8_name(void) { return best_loop().name; }
