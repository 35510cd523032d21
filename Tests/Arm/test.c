// SPDX-License-Identifier: Apache-2.0
//
// kernel_tests [ISA]: runs all checks; fails when one fails, or when ISA is given and is not the best that this CPU is found to
// have. `kernel_tests --active` prints the ISA in use.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include "test.h"

#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "half.h"

uint64_t random_bits(numbers *n) {
    uint64_t z = n->state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}
int32_t random_below(numbers *n, int32_t end) { return (int32_t)(random_bits(n) % (uint64_t)end); }
float random_float(numbers *n) { return (float)(int64_t)(random_bits(n) >> 40) / 8388608.0f - 1.0f; }
void fill_random(numbers *n, float *x, int64_t count, float scale) {
    for (int64_t i = 0; i < count; i++) x[i] = random_float(n) * scale;
}

// ---------------------------------------------------------------------------------------------------------------------

typedef struct mapping { void *start; size_t bytes; } mapping;
enum { MOST_MAPPINGS = 4096 };
static mapping mappings[MOST_MAPPINGS];
static int mapping_count;

/// Whole pages, at least one, between two that may not be touched.
static uint8_t *map_between_guards(size_t bytes, size_t *mapped) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    *mapped = (bytes / page + 1) * page;
    const size_t all = *mapped + 2 * page;
    uint8_t *start = mmap(NULL, all, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED || mapping_count == MOST_MAPPINGS || mprotect(start + page, *mapped, PROT_READ | PROT_WRITE) != 0) {
        fprintf(stderr, "kernel_tests: no memory for %zu bytes\n", bytes);
        exit(1);
    }
    mappings[mapping_count++] = (mapping){start, all};
    return start + page;
}

void *guarded(size_t bytes) {
    size_t mapped;
    uint8_t *start = map_between_guards(bytes, &mapped);
    return start + mapped - bytes;
}
void *guarded_start(size_t bytes) {
    size_t mapped;
    return map_between_guards(bytes, &mapped);
}
void *guarded_copy(const void *source, size_t bytes) { return memcpy(guarded(bytes), source, bytes); }
void release_guarded(void) {
    while (mapping_count > 0) {
        mapping_count--;
        munmap(mappings[mapping_count].start, mappings[mapping_count].bytes);
    }
}

// ---------------------------------------------------------------------------------------------------------------------

static int64_t checks, failures;

void check(bool ok, const char *format, ...) {
    checks++;
    if (ok) return;
    if (++failures > 20) return;
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "kernel_tests: ");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
}

static uint32_t canonical_bits(float x) { return x != x ? 0x7fc00000 : moe_bits_from_float(x); }

bool same_bits(const float *a, const float *b, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        if (canonical_bits(a[i]) != canonical_bits(b[i])) return false;
    }
    return true;
}

double largest_error(const float *actual, const double *expected, int64_t count) {
    double worst = 0;
    for (int64_t i = 0; i < count; i++) {
        const double error = fabs((double)actual[i] - expected[i]);
        if (!(error <= worst)) worst = error == error ? error : INFINITY;
    }
    return worst;
}

void digest_bytes(uint64_t *digest, const void *bytes, size_t count) {
    const uint8_t *p = bytes;
    for (size_t i = 0; i < count; i++) *digest = (*digest ^ p[i]) * 0x100000001b3u;
}
void digest_floats(uint64_t *digest, const float *x, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        const uint32_t bits = canonical_bits(x[i]);
        digest_bytes(digest, &bits, sizeof bits);
    }
}
void print_digest(const char *what, const char *of, uint64_t digest) {
    printf("digest %s %s %016llx\n", what, of, (unsigned long long)digest);
}

// ---------------------------------------------------------------------------------------------------------------------

const char *isas[8];
int isa_count;

#define NAMED(NAME, name) {#NAME, MOE_TYPE_##NAME},
const named_type quantised_types[] = {MOE_QUANTISED_TYPES(NAMED)};
const named_type float_types[] = {NAMED(F32, f32) NAMED(F16, f16) NAMED(BF16, bf16)};
const int quantised_type_count = sizeof quantised_types / sizeof quantised_types[0];
const int float_type_count = sizeof float_types / sizeof float_types[0];

/// Byte offsets of the float16 in a block; -1: none.
static void half_offsets(int32_t type, int offsets[2]) {
    offsets[0] = offsets[1] = -1;
    switch (type) {
        case MOE_TYPE_Q4_0: case MOE_TYPE_Q5_0: case MOE_TYPE_Q8_0: case MOE_TYPE_IQ4_NL: case MOE_TYPE_IQ4_XS:
        case MOE_TYPE_F16: offsets[0] = 0; break;
        case MOE_TYPE_Q4_1: case MOE_TYPE_Q5_1: case MOE_TYPE_Q4_K: case MOE_TYPE_Q5_K: offsets[0] = 0; offsets[1] = 2; break;
        case MOE_TYPE_Q2_K: offsets[0] = 80; offsets[1] = 82; break;
        case MOE_TYPE_Q3_K: offsets[0] = 108; break;
        case MOE_TYPE_Q6_K: offsets[0] = 208; break;
        default: break;
    }
}

void fill_weights(numbers *n, int32_t type, enum weight_mode mode, uint8_t *p, size_t bytes) {
    static const uint8_t fixed[WEIGHT_MODES] = {[WEIGHTS_LOW] = 0x80, [WEIGHTS_HIGH] = 0xff, [WEIGHTS_MIDDLE] = 0x7f};
    for (size_t i = 0; i < bytes; i++) p[i] = fixed[mode] ? fixed[mode] : (uint8_t)random_bits(n);
    if (mode == WEIGHTS_ANY) return;
    const bool large = mode == WEIGHTS_LARGE, small = mode == WEIGHTS_SMALL;
    int offsets[2];
    half_offsets(type, offsets);
    const size_t block = (size_t)moe_type_block_bytes(type);
    for (size_t at = 0; at + block <= bytes; at += block) {
        for (int i = 0; i < 2; i++) {
            if (offsets[i] < 0) continue;
            // Magnitudes of 2^-7 to 2^-5, or the largest, or subnormal; either sign.
            uint16_t half = large ? 0x7bff : (uint16_t)(small ? random_below(n, 0x400) : 0x2000 + random_below(n, 0x800));
            half |= (uint16_t)(random_bits(n) & 0x8000);
            memcpy(p + at + offsets[i], &half, sizeof half);
        }
        const float value = random_float(n) * (large ? FLT_MAX : small ? 1e-39f : 1);
        const uint16_t top = (uint16_t)(moe_bits_from_float(value) >> 16);
        if (type == MOE_TYPE_F32) memcpy(p + at, &value, sizeof value);
        if (type == MOE_TYPE_BF16) memcpy(p + at, &top, sizeof top);
        const int32_t exponent = large ? 250 + random_below(n, 6) : small ? random_below(n, 4) : 118 + random_below(n, 7);
        if (type == MOE_TYPE_MXFP4) p[at] = (uint8_t)exponent;
    }
}

void fill_activations(numbers *n, enum activation_mode mode, float *x, int64_t k) {
    for (int64_t i = 0; i < k; i++) {
        const float value = random_float(n);
        switch (mode) {
            case ACTIVATIONS_RANDOM: x[i] = i / 32 % 7 == 1 ? 0 : i % 71 == 3 ? value * 20 : value; break;
            case ACTIVATIONS_PLUS: x[i] = 0.75f; break;
            case ACTIVATIONS_MINUS: x[i] = -0.75f; break;
            case ACTIVATIONS_ALTERNATE: x[i] = i % 2 ? -3 : 3; break;
            case ACTIVATIONS_TIES: x[i] = i % 32 == 0 ? 127 : (float)random_below(n, 253) - 126.5f; break;
            case ACTIVATIONS_TINY: x[i] = value * (i / 32 % 3 == 0 ? 2e-30f : i / 32 % 3 == 1 ? 5e-31f : 1e-40f); break;
            case ACTIVATIONS_HUGE: x[i] = i % 50 == 7 ? -FLT_MAX : value * FLT_MAX; break;
            default: {
                const float bad[] = {NAN, INFINITY, -INFINITY, -NAN};
                x[i] = random_below(n, 100) == 0 ? bad[random_below(n, 4)] : value;
            }
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------------

static void find_isas(const char *best) {
    static const char *const all[] = {"ref", "avx2", "avx512", "avx512vnni", "avx512amx", "neon", "neon_dotprod", "neon_i8mm"};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (moe_kernels_named(all[i])) isas[isa_count++] = all[i];
    }
    check(moe_kernels_active() == moe_kernels_named(isas[isa_count - 1]), "the active table is not the best");
    check(!moe_kernels_named("sse") && !moe_kernels_limit("sse"), "there is a table of an unknown name");
    if (best) check(strcmp(isas[isa_count - 1], best) == 0, "best ISA: %s, expected %s", isas[isa_count - 1], best);
    const moe_cpu_features cpu = moe_cpu_detect();
#if defined(__aarch64__)
    check(cpu.neon && cpu.dotprod == (moe_kernels_named("neon_dotprod") != NULL), "dotprod is not as detected");
    check(cpu.i8mm == (moe_kernels_named("neon_i8mm") != NULL), "i8mm is not as detected");
    check(!cpu.avx2, "avx2 on ARM");
    const char *probe = cpu.i8mm ? "i8mm" : cpu.dotprod ? "dotprod" : "neon";
    check(strcmp(moe_probe_int8_name(), probe) == 0, "int8 is probed by %s", moe_probe_int8_name());
#else
    check(!cpu.neon && !cpu.dotprod && !cpu.i8mm, "NEON on another CPU");
#endif
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "--active") == 0) {
        printf("%s\n", moe_kernels_active()->isa);
        return 0;
    }
    find_isas(argc > 1 ? argv[1] : NULL);
    moe_pool *pool = moe_pool_create(1);
    check(pool && moe_probe_int8(pool, 1) > 0, "int8 cannot be probed");
    moe_pool_destroy(pool);
    test_conversions();
    test_products();
    test_float_products();
    test_matmul();
    test_rows();
    test_router();
    test_attention();
    printf("ISAs:");
    for (int i = 0; i < isa_count; i++) printf(" %s", isas[i]);
    printf("; %lld checks, %lld failed\n", (long long)checks, (long long)failures);
    return failures > 0;
}
