// SPDX-License-Identifier: Apache-2.0
//
// The router's kernels: every ISA gives the reference's bits, on every CPU.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test.h"

enum { ROWS = 40, WIDTH = 67 };

typedef struct router_case {
    int32_t n, k;
    const float *logits, *scores, *ranked, *input, *direction, *norms;
    moe_learned_gate gate;
} router_case;

typedef struct router_results {
    float values[ROWS * 300];  // every float that the kernels give
    int32_t counts[ROWS * 300];
    int64_t value_count, integer_count;
} router_results;

static const struct { float temperature, p; } prefixes[] = {{1, 0.3f}, {1, 0.9f}, {0.5f, 0.8f}, {2, 0.5f}, {100, 0.5f}};

/// Random rows: the first ones finite, then ties, equal numbers, large numbers, infinities and NaN.
static float logit(numbers *n, int32_t row) {
    const float x = random_float(n) * 4;
    if (row < ROWS / 2) return x;
    switch (row % 5) {
        case 0: return rintf(x);
        case 1: return 2;
        case 2: return x * 40;
        case 3: return random_below(n, 4) == 0 ? -INFINITY : x;
        default: return random_below(n, 6) == 0 ? (random_below(n, 2) ? NAN : INFINITY) : x;
    }
}

static float *floats(numbers *n, int64_t count, float scale) {
    float *x = guarded((size_t)count * sizeof *x);
    fill_random(n, x, count, scale);
    return x;
}

static router_case make_case(int32_t experts, int32_t k) {
    numbers n = {(uint64_t)(experts * 1000 + k)};
    router_case c = {.n = experts, .k = k};
    float *logits = guarded((size_t)(ROWS * experts) * sizeof *logits);
    float *scores = floats(&n, ROWS * experts, 0.5f), *ranked = floats(&n, ROWS * k, 1), *norms = floats(&n, ROWS, 30);
    for (int32_t i = 0; i < ROWS * experts; i++) logits[i] = logit(&n, i / experts), scores[i] += 0.5f;
    for (int32_t row = 0; row < ROWS; row++) norms[row] = fabsf(norms[row]);
    norms[ROWS / 2] = 0;
    int32_t indices[ROWS * 64];
    moe_top_k("ref", NULL, scores, experts, ROWS, experts, k, indices, ranked);
    c.logits = logits, c.scores = scores, c.ranked = ranked, c.norms = norms;
    c.input = floats(&n, ROWS * WIDTH, 2);
    c.direction = floats(&n, WIDTH, 1);

    const int32_t heads = k > 4 ? k - 2 : k;
    const int64_t width = moe_gate_width(experts, k), used = moe_gate_features_count(experts, k);
    float *weights = floats(&n, heads * width, 0.125f);
    for (int64_t i = 0; i < heads * width; i++) {
        weights[i] = i % width == 0 ? weights[i] + 0.3f : i % width < used ? weights[i] : 0;
    }
    c.gate = (moe_learned_gate){.expert_log_norms = floats(&n, experts, 1), .weights = weights,
                                .thresholds = floats(&n, heads, 1), .temperature = 1.4f, .n = experts, .k = k,
                                .minimum = k - heads};
    return c;
}

static void run(const router_case *c, const char *isa, int32_t first, int32_t rows, router_results *r) {
    const float *logits = c->logits + first * c->n, *input = c->input + first * WIDTH, *norms = c->norms + first;
    const int64_t features = moe_gate_features_count(c->n, c->k);
    r->value_count = r->integer_count = 0;
#define VALUES(count) (r->value_count += (count), r->values + r->value_count - (count))
#define INTEGERS(count) (r->integer_count += (count), r->counts + r->integer_count - (count))
    float *top = guarded((size_t)(rows * c->k) * sizeof *top), *all = guarded((size_t)(rows * features) * sizeof *all);
    float *scratch = guarded((size_t)moe_gate_scratch(c->n, c->k) * sizeof *scratch);
    bool ok = moe_top_k(isa, NULL, logits, c->n, rows, c->n, c->k, INTEGERS(rows * c->k), top);
    memcpy(VALUES(rows * c->k), top, (size_t)(rows * c->k) * sizeof *top);
    ok = ok && moe_row_norms(isa, NULL, input, WIDTH, rows, WIDTH, VALUES(rows));
    ok = ok && moe_row_products(isa, NULL, input, WIDTH, rows, WIDTH, c->direction, VALUES(rows));
    ok = ok && moe_router_entropy(isa, NULL, logits, c->n, rows, c->n, VALUES(rows));
    ok = ok && moe_gate_features(isa, NULL, &c->gate, logits, c->n, norms, rows, all, features);
    // Too many to keep all of every shape.
    for (int32_t row = 0; row < rows; row++) {
        for (int64_t f = 0; f < features; f += features > 150 ? 7 : 1) *VALUES(1) = all[row * features + f];
    }
    ok = ok && moe_gate_counts(isa, NULL, &c->gate, logits, c->n, norms, NULL, rows, scratch, INTEGERS(rows));
    ok = ok && moe_gate_counts(isa, NULL, &c->gate, logits, c->n, norms, input, rows, scratch, INTEGERS(rows));
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
        ok = ok && moe_top_p_counts(isa, NULL, c->scores + first * c->n, c->n, c->n, c->ranked + first * c->k, c->k, c->k, rows,
                                    prefixes[i].temperature, prefixes[i].p, 1, INTEGERS(rows));
    }
    check(ok, "%s has no router kernels", isa);
}

void test_router(void) {
    static const int32_t shapes[][2] = {{1, 1}, {7, 3}, {7, 7}, {16, 8}, {31, 12}, {32, 32}, {33, 1}, {61, 16}, {64, 8},
                                        {64, 20}, {128, 8}, {160, 6}, {256, 8}};
    static router_results expected, found;
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        const int32_t n = shapes[s][0], k = shapes[s][1];
        const router_case c = make_case(n, k);
        run(&c, "ref", 0, ROWS, &expected);
        for (int i = 1; i < isa_count; i++) {
            run(&c, isas[i], 0, ROWS, &found);
            check(found.value_count == expected.value_count && same_bits(found.values, expected.values, expected.value_count),
                  "%s router, %d of %d: values", isas[i], k, n);
            check(memcmp(found.counts, expected.counts, (size_t)expected.integer_count * sizeof *found.counts) == 0,
                  "%s router, %d of %d: integers", isas[i], k, n);
        }
        uint64_t digest = 0;
        digest_floats(&digest, expected.values, expected.value_count);
        digest_bytes(&digest, expected.counts, (size_t)expected.integer_count * sizeof *expected.counts);
        char of[32];
        snprintf(of, sizeof of, "%d/%d", k, n);
        print_digest("router", of, digest);
        // The last row alone, where everything ends at once.
        const int64_t last_ranking = (int64_t)(ROWS - 1) * k;
        run(&c, isas[isa_count - 1], ROWS - 1, 1, &found);
        check(memcmp(found.counts, expected.counts + last_ranking, (size_t)k * sizeof *found.counts) == 0,
              "%s router, %d of %d: a row alone", isas[isa_count - 1], k, n);
        release_guarded();
    }
}
