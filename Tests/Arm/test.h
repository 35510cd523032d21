// SPDX-License-Identifier: Apache-2.0
//
// The kernels' checks without Swift, for CPUs that are emulated (Tools/test_arm.sh). Every ISA of the CPU is compared with the
// reference; what must be the same on every CPU is digested, and the script compares the digests with those of its own machine.
#ifndef MOE_ARM_TEST_H
#define MOE_ARM_TEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernel_table.h"

// Numbers: the same on every run and CPU (SplitMix64), without libm.

typedef struct numbers { uint64_t state; } numbers;
uint64_t random_bits(numbers *n);
int32_t random_below(numbers *n, int32_t end);
float random_float(numbers *n);  // -1 up to 1
void fill_random(numbers *n, float *x, int64_t count, float scale);

// Memory between pages that may not be touched: a read or write past the end, or before the start, ends the test.

/// `bytes` that end where such a page begins; 64-byte aligned if `bytes` is a multiple of 64.
void *guarded(size_t bytes);
/// `bytes` that begin where such a page ends.
void *guarded_start(size_t bytes);
/// A copy that ends where such a page begins.
void *guarded_copy(const void *source, size_t bytes);
/// Gives back all of it.
void release_guarded(void);

// Results

/// Counts a check; the first failures are printed.
void check(bool ok, const char *format, ...) __attribute__((format(printf, 2, 3)));
/// Whether all are the same bits; a NaN is any NaN.
bool same_bits(const float *a, const float *b, int64_t count);
/// The largest distance from what was expected, NaN being infinitely far.
double largest_error(const float *actual, const double *expected, int64_t count);

/// Adds values to a digest: a NaN is any NaN.
void digest_floats(uint64_t *digest, const float *x, int64_t count);
void digest_bytes(uint64_t *digest, const void *bytes, size_t count);
void print_digest(const char *what, const char *of, uint64_t digest);

// What there is to test

extern const char *isas[];  // of this CPU, "ref" first
extern int isa_count;
typedef struct named_type { const char *name; int32_t type; } named_type;
extern const named_type quantised_types[], float_types[];
extern const int quantised_type_count, float_type_count;

// Weights and activations

enum weight_mode {
    WEIGHTS_RANDOM,     // moderate scales
    WEIGHTS_LARGE,      // random integers, the largest scales
    WEIGHTS_SMALL,      // the smallest
    WEIGHTS_LOW,        // every byte but the scales 0x80
    WEIGHTS_HIGH,       // 0xff
    WEIGHTS_MIDDLE,     // 0x7f
    WEIGHTS_ANY,        // any bits at all: scales that are infinite, no numbers, subnormal
    WEIGHT_MODES,
};
/// One block's worth of bytes after the other, `bytes` in all.
void fill_weights(numbers *n, int32_t type, enum weight_mode mode, uint8_t *p, size_t bytes);

enum activation_mode {
    ACTIVATIONS_RANDOM,    // with outliers, and a block of zeros
    ACTIVATIONS_PLUS,      // all the same: integers of 127
    ACTIVATIONS_MINUS,     // -127
    ACTIVATIONS_ALTERNATE, // 127 and -127
    ACTIVATIONS_TIES,      // halfway between integers
    ACTIVATIONS_TINY,      // around the smallest that counts, and subnormal
    ACTIVATIONS_HUGE,      // up to the largest float
    ACTIVATIONS_BAD,       // some that are no numbers, or infinite
    ACTIVATION_MODES,
};
void fill_activations(numbers *n, enum activation_mode mode, float *x, int64_t k);

// The suites

void test_conversions(void);
void test_products(void);
void test_float_products(void);
void test_matmul(void);
void test_rows(void);
void test_router(void);
void test_attention(void);

#endif
