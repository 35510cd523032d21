// SPDX-License-Identifier: Apache-2.0
//
// Kernels of the table: conversions, dot products, panels, tiles of float weights.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test.h"

static const moe_kernels *reference(void) { return moe_kernels_named("ref"); }

/// The blocks of lengths to try: every remainder of a chunk for blocks of 32.
static int32_t most_blocks(int32_t type) { return moe_type_block_elements(type) == 256 ? 3 : 17; }

// ---------------------------------------------------------------------------------------------------------------------
// Conversions

static void test_quantize(void) {
    numbers n = {1};
    uint64_t digest = 0;
    for (int mode = 0; mode < ACTIVATION_MODES; mode++) {
        for (int64_t k = 32; k <= 32 * 18; k += 32) {
            const size_t bytes = (size_t)moe_chunks(k) * sizeof(moe_act_chunk);
            float *x = guarded((size_t)k * sizeof *x);
            fill_activations(&n, mode, x, k);
            moe_act_chunk *expected = guarded(bytes);
            reference()->quantize(x, k, expected);
            for (int i = 1; i < isa_count; i++) {
                moe_act_chunk *found = guarded(bytes);
                memset(found, 0x55, bytes);
                moe_kernels_named(isas[i])->quantize(x, k, found);
                bool same = true;
                for (int64_t c = 0; c < moe_chunks(k); c++) {
                    same = same && same_bits(found[c].d, expected[c].d, 8) && same_bits(found[c].dsum, expected[c].dsum, 8) &&
                        memcmp(found[c].q, expected[c].q, sizeof found[c].q) == 0 &&
                        memcmp(found[c].bias32, expected[c].bias32, sizeof found[c].bias32) == 0 &&
                        memcmp(found[c].bias16, expected[c].bias16, sizeof found[c].bias16) == 0 &&
                        memcmp(found[c].sum16, expected[c].sum16, sizeof found[c].sum16) == 0;
                }
                check(same, "%s quantize, activations %d, k %d", isas[i], mode, (int)k);
            }
            for (int64_t c = 0; c < moe_chunks(k); c++) {
                digest_floats(&digest, expected[c].d, 16);  // and dsum, which follows
                digest_bytes(&digest, expected[c].q, sizeof expected[c].q);
                digest_bytes(&digest, expected[c].bias32, sizeof(moe_act_chunk) - offsetof(moe_act_chunk, bias32));
            }
            release_guarded();
        }
    }
    print_digest("quantize", "activations", digest);
}

static bool same_chunk(const moe_type_traits *traits, const moe_chunk *a, const moe_chunk *b) {
    const bool subs = traits->kind == MOE_CLASS_BLOCK16;
    return memcmp(a->q, b->q, sizeof a->q) == 0 && same_bits(a->scale, b->scale, 8) &&
        (!traits->has_min || same_bits(a->min, b->min, 8)) &&
        (!subs || memcmp(a->sub_scale, b->sub_scale, sizeof a->sub_scale) == 0) &&
        (!subs || !traits->has_min || memcmp(a->sub_min, b->sub_min, sizeof a->sub_min) == 0);
}

static void test_unpack(const named_type *named, const uint8_t *row, int32_t blocks, int mode) {
    const moe_type_traits *traits = moe_traits(named->type);
    const int32_t count = traits->block_elements == 256 ? 8 : blocks;
    if (count > 8 || (traits->block_elements == 256 && blocks != 1)) return;
    moe_chunk expected = {0};
    reference()->unpack[named->type](row, count, &expected);
    for (int i = 1; i < isa_count; i++) {
        moe_chunk found = {0};
        moe_kernels_named(isas[i])->unpack[named->type](row, count, &found);
        check(same_chunk(traits, &found, &expected), "%s unpack %s, weights %d, %d blocks", isas[i], named->name, mode, count);
    }
}

static void test_dequantize(const named_type *named) {
    numbers n = {2};
    uint64_t digest = 0;
    const int32_t type = named->type;
    for (int mode = 0; mode < WEIGHT_MODES; mode++) {
        for (int32_t blocks = 1; blocks <= (moe_type_block_elements(type) == 1 ? 35 : most_blocks(type)); blocks++) {
            const int64_t k = (int64_t)blocks * moe_type_block_elements(type);
            const size_t bytes = moe_row_bytes(type, k);
            uint8_t *row = guarded(bytes);
            fill_weights(&n, type, mode, row, bytes);
            float *expected = guarded((size_t)k * sizeof *expected);
            reference()->dequantize[type](row, expected, k);
            digest_floats(&digest, expected, k);
            const uint8_t *early = memcpy(guarded_start(bytes), row, bytes);
            for (int i = 1; i < isa_count; i++) {
                float *found = guarded((size_t)k * sizeof *found);
                memset(found, 0x55, (size_t)k * sizeof *found);
                moe_kernels_named(isas[i])->dequantize[type](i % 2 ? row : early, found, k);
                check(same_bits(found, expected, k), "%s dequantize %s, weights %d, k %d", isas[i], named->name, mode, (int)k);
            }
            if (moe_type_block_elements(type) > 1) test_unpack(named, row, blocks, mode);
            release_guarded();
        }
    }
    print_digest("dequantize", named->name, digest);
}

/// Every float16 there is.
static void test_all_halves(void) {
    enum { ALL = 1 << 16 };
    uint16_t *halves = malloc(ALL * sizeof *halves);
    float *expected = malloc(ALL * sizeof *expected), *found = malloc(ALL * sizeof *found);
    for (int32_t i = 0; i < ALL; i++) halves[i] = (uint16_t)i;
    reference()->dequantize[MOE_TYPE_F16](halves, expected, ALL);
    for (int i = 1; i < isa_count; i++) {
        moe_kernels_named(isas[i])->dequantize[MOE_TYPE_F16](halves, found, ALL);
        check(same_bits(found, expected, ALL), "%s: float16 to float", isas[i]);
    }
    free(halves), free(expected), free(found);
}

void test_conversions(void) {
    test_quantize();
    for (int t = 0; t < quantised_type_count; t++) test_dequantize(&quantised_types[t]);
    for (int t = 0; t < float_type_count; t++) test_dequantize(&float_types[t]);
    test_all_halves();
}

// ---------------------------------------------------------------------------------------------------------------------
// Quantised weights

enum { WEIGHT_ROWS = MOE_TILE_COLUMNS, ACTIVATION_ROWS = MOE_TILE_ROWS };

/// A tile of weights and activations, and what the reference makes of it.
typedef struct tile_case {
    const named_type *named;
    int64_t k;
    size_t row_bytes;
    int weight_mode, activation_mode;
    const uint8_t *weights;
    const moe_act_chunk *x[ACTIVATION_ROWS];
    float expected[ACTIVATION_ROWS][WEIGHT_ROWS];
} tile_case;

/// Row j, of which `readable` bytes may be read, by one activation row and by several.
static void test_dot(const tile_case *c, const char *isa, int j, const uint8_t *row, size_t readable) {
    const moe_dot_fn dot = moe_kernels_named(isa)->dot[c->named->type];
    const moe_dots_fn dots = moe_kernels_named(isa)->dots[c->named->type];
    for (int i = 0; i < 2; i++) {
        const float found = dot(row, readable, c->x[i], c->k);
        check(same_bits(&found, &c->expected[i][j], 1), "%s dot %s, weights %d, activations %d, k %d: %g, not %g", isa,
              c->named->name, c->weight_mode, c->activation_mode, (int)c->k, (double)found, (double)c->expected[i][j]);
    }
    const int32_t m = 1 + j / 3 % MOE_DOT_ROWS;
    float *found = guarded((size_t)m * sizeof *found);
    if (dots) dots(row, readable, c->x, m, c->k, found);
    for (int32_t i = 0; i < m && dots; i++) {
        check(same_bits(&found[i], &c->expected[i][j], 1), "%s dots %s, weights %d, activations %d, k %d, row %d of %d", isa,
              c->named->name, c->weight_mode, c->activation_mode, (int)c->k, i, m);
    }
}

/// All weight rows times 1 to MOE_DOT_ROWS activation rows, gathered; nothing after them may be read or written.
static void test_few(const tile_case *c, const char *isa) {
    const int32_t type = c->named->type, n = WEIGHT_ROWS;
    const moe_few *few = &moe_kernels_named(isa)->few;
    if (!few->multiply[type]) return;
    const size_t readable = (size_t)n * c->row_bytes;
    const uint8_t *rows = guarded_copy(c->weights, readable);
    for (int32_t m = 1; m <= MOE_DOT_ROWS; m++) {
        uint8_t *gathered = guarded(moe_few_bytes(m, c->k));
        few->gather[type](c->x, m, c->k, gathered);
        float *out = guarded((size_t)(n * m) * sizeof *out);
        few->multiply[type](rows, c->row_bytes, n, readable, gathered, m, c->k, out);
        for (int32_t i = 0; i < m * n; i++) {
            check(same_bits(&out[i], &c->expected[i % m][i / m], 1), "%s few %s, weights %d, activations %d, k %d, weight row %d, row %d of %d",
                  isa, c->named->name, c->weight_mode, c->activation_mode, (int)c->k, i / m, i % m, m);
        }
    }
}

static void test_dots(const tile_case *c, const char *isa) {
    const moe_kernels *kernels = moe_kernels_named(isa);
    check(kernels->dots[c->named->type] || kernels->few.multiply[c->named->type], "%s has no products of a row with several for %s", isa,
          c->named->name);
    for (int j = 0; j < WEIGHT_ROWS; j += 3) {
        // A row alone before a page that may not be read, or at the start of its pages; and where it lies among others.
        const uint8_t *row = c->weights + (size_t)j * c->row_bytes;
        test_dot(c, isa, j, memcpy((j == 0 ? guarded_start : guarded)(c->row_bytes), row, c->row_bytes), c->row_bytes);
        test_dot(c, isa, j, row, (size_t)(WEIGHT_ROWS - j) * c->row_bytes);
    }
    test_few(c, isa);
}

static void test_panel(const tile_case *c, const char *isa, const moe_panels *panels, int32_t n) {
    const moe_kernels *kernels = moe_kernels_named(isa);
    const int32_t type = c->named->type, columns = panels->columns;
    if (panels->from[type] == MOE_NEVER) return;
    const uint8_t *rows = guarded_copy(c->weights, (size_t)n * c->row_bytes);
    uint8_t *panel = guarded(moe_panel_bytes(moe_traits(type), columns, c->k));
    panels->pack(type, kernels->unpack[type], rows, c->row_bytes, n, c->k, (moe_ahead){rows, (size_t)n * c->row_bytes}, panel);
    // More rows than there are: the same ones again.
    const moe_act_chunk *x[MOE_PANEL_ROWS];
    for (int32_t i = 0; i < MOE_PANEL_ROWS; i++) x[i] = c->x[i % ACTIVATION_ROWS];
    for (int32_t m = 1; m <= panels->rows; m += m < 18 ? 1 : 23) {
        const size_t bytes = ((size_t)(m - 1) * MOE_TILE_COLUMNS + (size_t)columns) * sizeof(float);
        float *out = guarded(bytes);
        memset(out, 0x55, bytes);
        moe_panel_input input = {.rows = x};
        if (panels->gather[type]) {
            uint8_t *gathered = guarded(moe_gathered_bytes(panels, m, c->k));
            panels->gather[type](x, m, c->k, gathered);
            input.gathered = gathered;
        }
        panels->multiply(type, panel, n, input, m, c->k, (moe_ahead){rows, 100}, out);
        for (int32_t i = 0; i < m; i++) {
            check(same_bits(out + i * MOE_TILE_COLUMNS, c->expected[i % ACTIVATION_ROWS], n),
                  "%s panel %s, weights %d, activations %d, k %d, %d columns, row %d of %d", isa, c->named->name,
                  c->weight_mode, c->activation_mode, (int)c->k, n, i, m);
        }
    }
}

/// Whole panels, and one of another width every time.
static void test_panels(const tile_case *c, const char *isa, const moe_panels *panels, int32_t number) {
    if (panels->columns == 0) return;
    test_panel(c, isa, panels, panels->columns);
    test_panel(c, isa, panels, 1 + number % panels->columns);
}

static void test_tile(numbers *n, const named_type *named, int32_t blocks, int weight_mode, int activation_mode,
                      uint64_t *digest) {
    tile_case c = {.named = named, .k = (int64_t)blocks * moe_type_block_elements(named->type),
                   .weight_mode = weight_mode, .activation_mode = activation_mode};
    c.row_bytes = moe_row_bytes(named->type, c.k);
    uint8_t *weights = guarded(WEIGHT_ROWS * c.row_bytes);
    fill_weights(n, named->type, weight_mode, weights, WEIGHT_ROWS * c.row_bytes);
    c.weights = weights;
    float *row = guarded((size_t)c.k * sizeof *row);
    for (int i = 0; i < ACTIVATION_ROWS; i++) {
        // One row of ordinary numbers between others: they must not meet.
        fill_activations(n, i == 1 ? ACTIVATIONS_RANDOM : activation_mode, row, c.k);
        moe_act_chunk *x = guarded((size_t)moe_chunks(c.k) * sizeof *x);
        reference()->quantize(row, c.k, x);
        c.x[i] = x;
        for (int j = 0; j < WEIGHT_ROWS; j++) {
            c.expected[i][j] = reference()->dot[named->type](weights + (size_t)j * c.row_bytes, c.row_bytes, x, c.k);
        }
        digest_floats(digest, c.expected[i], WEIGHT_ROWS);
    }
    for (int i = 1; i < isa_count; i++) {
        test_dots(&c, isas[i]);
        test_panels(&c, isas[i], &moe_kernels_named(isas[i])->panels, blocks + weight_mode + activation_mode);
        test_panels(&c, isas[i], &moe_kernels_named(isas[i])->wide, blocks + weight_mode + activation_mode);
    }
    release_guarded();
}

void test_products(void) {
    numbers n = {3};
    for (int t = 0; t < quantised_type_count; t++) {
        const named_type *named = &quantised_types[t];
        uint64_t digest = 0;
        for (int32_t blocks = 1; blocks <= most_blocks(named->type); blocks++) {
            test_tile(&n, named, blocks, WEIGHTS_RANDOM, ACTIVATIONS_RANDOM, &digest);
        }
        // Extremes: of every kind with every other, at a length with a rest.
        for (int w = 0; w < WEIGHT_MODES; w++) {
            for (int a = 0; a < ACTIVATION_MODES; a++) {
                test_tile(&n, named, moe_type_block_elements(named->type) == 256 ? 2 : 11, w, a, &digest);
            }
        }
        print_digest("products", named->name, digest);
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Float weights

/// Tiles of n x m of the weights by an ISA: every product is the one of the first ISA that has an fma.
static void test_float_tile(const named_type *named, const char *isa, const uint8_t *weights, size_t row_bytes,
                            const float *const *x, int64_t k, float expected[ACTIVATION_ROWS][WEIGHT_ROWS], bool first) {
    const moe_float_tile_fn tile = moe_kernels_named(isa)->float_tile[named->type];
    for (int32_t n = WEIGHT_ROWS; n > 0; n = n > 9 ? n - 9 : n - 1) {
        const size_t bytes = (size_t)(n - 1) * row_bytes + moe_row_bytes(named->type, k);
        const uint8_t *rows = guarded_copy(weights, bytes);
        for (int32_t m = ACTIVATION_ROWS; m > 0; m--) {
            const size_t out_bytes = ((size_t)(m - 1) * MOE_TILE_COLUMNS + (size_t)n) * sizeof(float);
            float *out = guarded(out_bytes);
            memset(out, 0x55, out_bytes);
            tile(rows, row_bytes, n, x, m, k, out);
            for (int32_t i = 0; i < m; i++) {
                const float *row = out + i * MOE_TILE_COLUMNS;
                if (first && n == WEIGHT_ROWS && m == ACTIVATION_ROWS) memcpy(expected[i], row, WEIGHT_ROWS * sizeof *row);
                check(same_bits(row, expected[i], n), "%s tile %s, k %d, %d x %d, row %d", isa, named->name, (int)k, n, m, i);
            }
        }
    }
}

static void check_float_products(const named_type *named, const char *isa, const uint8_t *weights, size_t row_bytes,
                                 const float *const *x, int64_t k, float found[ACTIVATION_ROWS][WEIGHT_ROWS]) {
    float *row = malloc((size_t)k * sizeof *row);
    for (int j = 0; j < WEIGHT_ROWS; j++) {
        reference()->dequantize[named->type](weights + (size_t)j * row_bytes, row, k);
        for (int i = 0; i < ACTIVATION_ROWS; i++) {
            double exact = 0, magnitude = 0;
            for (int64_t e = 0; e < k; e++) {
                exact += (double)row[e] * (double)x[i][e];
                magnitude += fabs((double)row[e] * (double)x[i][e]);
            }
            const bool ok = isfinite(exact) ? fabs((double)found[i][j] - exact) <= 1e-6 * magnitude : !isfinite(found[i][j]);
            check(ok, "%s tile %s, k %d: %g, not %g", isa, named->name, (int)k, (double)found[i][j], exact);
        }
    }
    free(row);
}

void test_float_products(void) {
    static const int32_t lengths[] = {1, 2, 7, 15, 16, 17, 31, 32, 33, 100, 203, 515};
    for (int t = 0; t < float_type_count; t++) {
        const named_type *named = &float_types[t];
        numbers n = {4};
        uint64_t digest = 0;
        for (size_t l = 0; l < sizeof lengths / sizeof lengths[0]; l++) {
            const int64_t k = lengths[l];
            const size_t row_bytes = moe_row_bytes(named->type, k) + (l % 2 ? 3 : 0);  // odd addresses
            uint8_t *weights = guarded(WEIGHT_ROWS * row_bytes);
            for (size_t j = 0; j < WEIGHT_ROWS; j++) {
                fill_weights(&n, named->type, WEIGHTS_RANDOM, weights + j * row_bytes, moe_row_bytes(named->type, k));
            }
            const float *x[ACTIVATION_ROWS];
            for (int i = 0; i < ACTIVATION_ROWS; i++) {
                float *row = guarded((size_t)k * sizeof *row);
                // Rows with what is no number between ordinary ones: they must not meet.
                fill_activations(&n, i % 5 == 2 ? ACTIVATIONS_BAD : ACTIVATIONS_RANDOM, row, k);
                x[i] = row;
            }
            float expected[2][ACTIVATION_ROWS][WEIGHT_ROWS];  // with two roundings, with one
            for (int i = 0; i < isa_count; i++) {
                const bool first = i < 2;
                test_float_tile(named, isas[i], weights, row_bytes, x, k, expected[i > 0], first);
                if (first) check_float_products(named, isas[i], weights, row_bytes, x, k, expected[i > 0]);
            }
            if (isa_count > 1) digest_floats(&digest, expected[1][0], ACTIVATION_ROWS * WEIGHT_ROWS);
            release_guarded();
        }
        print_digest("tile", named->name, digest);
    }
}
