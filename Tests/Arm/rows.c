// SPDX-License-Identifier: Apache-2.0
//
// Row operations of every ISA against loops in double precision.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "half.h"
#include "test.h"

enum { ROWS = 3 };

static void test_norm(numbers *n, const char *isa, int32_t d) {
    const int32_t stride = d + 3;
    const size_t bytes = (size_t)((ROWS - 1) * stride + d) * sizeof(float);
    float *x = guarded(bytes), *y = guarded((size_t)(ROWS * d) * sizeof *y), *weight = guarded((size_t)d * sizeof *weight);
    double expected[ROWS * 1024];
    fill_random(n, x, (ROWS - 1) * stride + d, 3);
    fill_random(n, weight, d, 1);
    for (int32_t r = 0; r < ROWS; r++) {
        double sum = 0;
        for (int32_t i = 0; i < d; i++) sum += (double)x[r * stride + i] * (double)x[r * stride + i];
        const double root = sqrt(sum / d + 1e-5);
        for (int32_t i = 0; i < d; i++) expected[r * d + i] = (double)x[r * stride + i] / root * (double)weight[i];
    }
    moe_rms_norm(NULL, x, stride, weight, 1e-5f, y, d, ROWS, d);
    check(largest_error(y, expected, ROWS * d) < 3e-6, "%s rms_norm of %d", isa, d);
    moe_rms_norm(NULL, x, stride, weight, 1e-5f, x, stride, ROWS, d);  // in place
    for (int32_t r = 0; r < ROWS; r++) check(same_bits(x + r * stride, y + r * d, d), "%s rms_norm of %d in place", isa, d);
}

static void test_elementwise(numbers *n, const char *isa, int32_t d) {
    const size_t bytes = (size_t)d * sizeof(float);
    float *gate = guarded(bytes), *up = guarded(bytes), *out = guarded(bytes);
    double expected[2048];
    fill_random(n, gate, d, 20);
    fill_random(n, up, d, 1);
    for (int32_t i = 0; i < d; i++) expected[i] = (double)gate[i] / (1 + exp(-(double)gate[i])) * (double)up[i];
    moe_swiglu(NULL, gate, up, out, d);
    check(largest_error(out, expected, d) < 5e-6, "%s swiglu of %d", isa, d);
    for (int32_t i = 0; i < d; i++) expected[i] = (double)out[i] + (double)up[i];
    moe_add(NULL, out, up, d);
    check(largest_error(out, expected, d) < 5e-6, "%s add of %d", isa, d);

    float *two = guarded(2 * bytes);
    fill_random(n, two, 2 * d, 30);
    for (int32_t r = 0; r < 2; r++) {
        double top = -INFINITY, sum = 0;
        for (int32_t i = 0; i < d; i++) top = fmax(top, (double)two[r * d + i]);
        for (int32_t i = 0; i < d; i++) sum += expected[r * d + i] = exp((double)two[r * d + i] - top);
        for (int32_t i = 0; i < d; i++) expected[r * d + i] /= sum;
    }
    moe_softmax(two, d, 2, d);
    check(largest_error(two, expected, 2 * d) < 5e-7, "%s softmax of %d", isa, d);
}

static void test_ends(const char *isa) {
    static const float ends[] = {-1e30f, -1000, -200, -104, -88, -87.4f, -0.0f, 0, 88, 89, 104, 1e30f, NAN, INFINITY};
    enum { COUNT = sizeof ends / sizeof ends[0] };
    float gate[COUNT], up[COUNT];
    for (int i = 0; i < COUNT; i++) gate[i] = ends[i], up[i] = 1;
    moe_swiglu(NULL, gate, up, gate, COUNT);
    for (int i = 0; i < COUNT; i++) {
        if (i < 6) check(fabsf(gate[i]) < 1e-30f, "%s swiglu(%g) = %g", isa, (double)ends[i], (double)gate[i]);
        else check(same_bits(&gate[i], &ends[i], 1) || (ends[i] == 0 && gate[i] == 0), "%s swiglu(%g) = %g", isa,
                   (double)ends[i], (double)gate[i]);
    }
}

static void test_rope(numbers *n, const char *isa, int32_t head_dim, int32_t rotary, bool neox) {
    enum { HEADS = 3, POSITIONS = 8, COUNT = 5 };
    static const int32_t positions[COUNT] = {4, 0, 7, 7, 2};
    const int32_t half = rotary / 2, width = HEADS * head_dim;
    float *x = guarded((size_t)(COUNT * width) * sizeof *x);
    float *cosines = guarded((size_t)(POSITIONS * half) * sizeof *x), *sines = guarded((size_t)(POSITIONS * half) * sizeof *x);
    fill_random(n, x, COUNT * width, 1);
    fill_random(n, cosines, POSITIONS * half, 1);
    fill_random(n, sines, POSITIONS * half, 1);
    double expected[COUNT * HEADS * 128];
    for (int32_t i = 0; i < COUNT * width; i++) expected[i] = (double)x[i];
    for (int32_t r = 0; r < COUNT * HEADS; r++) {
        for (int32_t p = 0; p < half; p++) {
            double *a = expected + r * head_dim + (neox ? p : 2 * p), *b = neox ? a + half : a + 1;
            const int32_t angle = positions[r / HEADS] * half + p;
            const double c = (double)cosines[angle], s = (double)sines[angle], first = *a;
            *a = first * c - *b * s;
            *b = *b * c + first * s;
        }
    }
    moe_rope(NULL, x, width, positions, cosines, sines, COUNT, HEADS, head_dim, rotary, neox);
    check(largest_error(x, expected, COUNT * width) < 5e-7, "%s rope of %d of %d", isa, rotary, head_dim);
}

static void test_combine(numbers *n, const char *isa, int32_t d, bool accumulate) {
    enum { TOKENS = 5, PAIRS = 11 };
    static const int32_t offsets[TOKENS + 1] = {0, 2, 2, 3, 8, 11};
    float *outputs = guarded((size_t)(PAIRS * d) * sizeof *outputs), *out = guarded((size_t)(TOKENS * d) * sizeof *out);
    float weights[PAIRS];
    int32_t slots[PAIRS];
    double expected[TOKENS * 128];
    fill_random(n, outputs, PAIRS * d, 1);
    fill_random(n, out, TOKENS * d, 1);
    fill_random(n, weights, PAIRS, 1);
    for (int32_t s = 0; s < PAIRS; s++) slots[s] = (s * 7 + 3) % PAIRS;
    for (int32_t t = 0; t < TOKENS; t++) {
        for (int32_t i = 0; i < d; i++) {
            double sum = accumulate ? (double)out[t * d + i] : 0;
            for (int32_t s = offsets[t]; s < offsets[t + 1]; s++) sum += (double)weights[s] * (double)outputs[slots[s] * d + i];
            expected[t * d + i] = sum;
        }
    }
    moe_combine(NULL, outputs, offsets, slots, weights, out, d, TOKENS, d, accumulate);
    check(largest_error(out, expected, TOKENS * d) < 3e-6, "%s combine of %d", isa, d);
    for (int32_t i = 0; i < d; i++) expected[i] = (double)out[i] + (double)outputs[i] / (1 + exp(-(double)weights[0]));
    moe_add_gated(NULL, weights, outputs, out, 1, d);
    check(largest_error(out, expected, d) < 1e-6, "%s add_gated of %d", isa, d);
}

/// float32 to float16: every kind of value, and every length.
static void test_to_half(numbers *n, const char *isa) {
    enum { COUNT = 4096 };
    uint16_t *k_cache = guarded(COUNT * sizeof *k_cache), *v_cache = guarded(COUNT * sizeof *v_cache);
    float *x = guarded(COUNT * sizeof *x);
    const int32_t position = 0, block = 0;
    for (int32_t count = COUNT; count > 0; count = count > 40 ? count / 2 - 3 : count - 1) {
        for (int32_t i = 0; i < count; i++) {
            // Any bits; or within float16's range, or between two of its neighbours.
            const uint32_t bits = (uint32_t)random_bits(n);
            x[i] = moe_float_from_bits(i % 3 == 0 ? bits : 0x33000000 + bits % 0x15000000);
            if (i % 3 == 2) x[i] = moe_float_from_bits(moe_bits_from_float(x[i]) & ~0xfffu);
        }
        uint16_t *k = k_cache + COUNT - count, *v = v_cache + COUNT - count;
        moe_kv_store(NULL, MOE_TYPE_F16, k, v, x, count, x, count, &position, &block, 1, 1, 1, count);
        for (int32_t i = 0; i < count; i++) {
            const uint16_t expected = moe_half_from_float(x[i]);
            const bool bad = (expected & 0x7fff) > 0x7c00;
            check(k[i] == v[i] && (bad ? (k[i] & 0x7fff) > 0x7c00 : k[i] == expected), "%s float16 of %a: %04x, not %04x", isa,
                  (double)x[i], k[i], expected);
        }
    }
}

/// Sums for calibration: the same on every CPU.
static void test_gram(void) {
    enum { COUNT = 5, WIDTH = 700 };
    numbers n = {10};
    float values[COUNT][WIDTH];
    const float *rows[COUNT];
    double gram[COUNT * COUNT], outer[COUNT * COUNT] = {0};
    for (int i = 0; i < COUNT; i++) {
        fill_random(&n, values[i], WIDTH, 2);
        rows[i] = values[i];
    }
    moe_gram(rows, COUNT, WIDTH, gram);
    for (int i = 0; i < COUNT; i++) {
        double sum = 0;
        for (int e = 0; e < WIDTH; e++) sum += (double)values[i][e] * (double)values[0][e];
        check(fabs(gram[i * COUNT] - sum) < 1e-4 && gram[i] == gram[i * COUNT], "gram: %g, not %g", gram[i * COUNT], sum);
    }
    for (int i = 0; i < COUNT; i++) moe_add_outer(outer, gram + COUNT * i, gram + i, COUNT, COUNT);
    uint64_t digest = 0;
    digest_bytes(&digest, gram, sizeof gram);
    digest_bytes(&digest, outer, sizeof outer);
    print_digest("gram", "floats", digest);
}

void test_rows(void) {
    test_gram();
    static const int32_t lengths[] = {1, 2, 3, 4, 5, 7, 8, 15, 16, 31, 33, 64, 100, 257, 1024};
    for (int i = 0; i < isa_count; i++) {
        check(moe_kernels_limit(isas[i]), "%s cannot be chosen", isas[i]);
        numbers n = {7};
        for (size_t l = 0; l < sizeof lengths / sizeof lengths[0]; l++) {
            test_norm(&n, isas[i], lengths[l]);
            test_elementwise(&n, isas[i], lengths[l]);
            if (lengths[l] <= 100) {
                test_combine(&n, isas[i], lengths[l], false);
                test_combine(&n, isas[i], lengths[l], true);
            }
            release_guarded();
        }
        test_ends(isas[i]);
        static const int32_t shapes[][2] = {{64, 64}, {80, 32}, {6, 4}, {128, 128}, {10, 0}, {14, 14}};
        for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
            test_rope(&n, isas[i], shapes[s][0], shapes[s][1], false);
            test_rope(&n, isas[i], shapes[s][0], shapes[s][1], true);
        }
        test_to_half(&n, isas[i]);
        release_guarded();
    }
    moe_kernels_limit(NULL);
}
