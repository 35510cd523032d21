// SPDX-License-Identifier: Apache-2.0
//
// AMX (tile registers and their multiplier, Intel Sapphire Rapids on): many activation rows. The panels of panel_avx512.h, with
// signed weights, are the second operand as they lie: a tile of 8 groups of 4 elements, 16 weight rows wide. The first operand is 32
// elements of up to 16 activation rows, gathered once for all panels. One instruction gives the integers of a block of 32 for
// 16 x 16 sums; scales are applied as in the other kernels, so every bit agrees with them.
#if defined(__x86_64__)
#include <immintrin.h>
#include <stddef.h>

#include "../blocks.h"
#include "../kernel_table.h"
#include "tables_x86.h"

#pragma clang attribute push(                                                                                          \
    __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni,amx-tile,amx-int8"))), apply_to = function)
#pragma STDC FP_CONTRACT OFF

#include "avx2.h"
#define WEIGHT_SHIFT 0
#include "panel_avx512.h"

// Rows of a tile, and of a call.
enum { ROWS = 16, MOST_ROWS = MOE_PANEL_ROWS };

// ---------------------------------------------------------------------------------------------------------------------
// Activations side by side

/// 16 activation rows' block of 32. Rows that are missing are zero.
typedef struct gathered_block {
    _Alignas(64) int8_t q[ROWS][32];
    float d[ROWS], dsum[ROWS];
} gathered_block;

/// A tile after the other, each in the order of a panel's blocks.
static void gather(const moe_act_chunk *const *x, int32_t m, int64_t k, uint8_t *gathered) {
    gathered_block *out = (gathered_block *)(void *)gathered;
    const int64_t chunks = moe_chunks(k);
    for (int32_t first = 0; first < m; first += ROWS, out += 8 * chunks) {
        const int32_t rows = m - first < ROWS ? m - first : ROWS;
        if (rows < ROWS) memset(out, 0, (size_t)chunks * 8 * sizeof *out);
        _Alignas(64) float scales[2][ROWS][8] = {0};
        for (int64_t c = 0; c < chunks; c++) {
            gathered_block *const blocks = out + c;
            for (int32_t i = 0; i < rows; i++) {
                const moe_act_chunk *chunk = &x[first + i][c];
                for (int j = 0; j < 8; j++) {
                    _mm256_store_si256((__m256i *)blocks[j * chunks].q[i], load256(chunk->q + 32 * j));
                }
                _mm256_store_ps(scales[0][i], _mm256_loadu_ps(chunk->d));
                _mm256_store_ps(scales[1][i], _mm256_loadu_ps(chunk->dsum));
            }
            __m512i d[8], dsum[8];
            transpose(scales[0], 8 * sizeof(float), d);
            transpose(scales[1], 8 * sizeof(float), dsum);
            for (int j = 0; j < 8; j++) {
                _mm512_store_si512(blocks[j * chunks].d, d[j]);
                _mm512_store_si512(blocks[j * chunks].dsum, dsum[j]);
            }
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Products

// Tile registers.
#define TILE_X 0    // [rows][32] activations
#define TILE_W 1    // [8][16][4] weights
#define TILE_SUM 2  // [rows][16] int32

/// What LDTILECFG reads (Intel's manual, volume 1, 18.3).
typedef struct tile_configuration {
    _Alignas(64) uint8_t palette;
    uint8_t start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_configuration;
_Static_assert(sizeof(tile_configuration) == 64, "as the instruction reads it");

MOE_INLINE void configure(void) {
    tile_configuration c = {.palette = 1};
    c.rows[TILE_X] = c.rows[TILE_SUM] = ROWS;
    c.rows[TILE_W] = 8;
    c.row_bytes[TILE_X] = 32;
    c.row_bytes[TILE_W] = c.row_bytes[TILE_SUM] = 64;
    _tile_loadconfig(&c);
}

/// The integers of a block.
typedef struct products {
    _Alignas(64) int32_t sums[ROWS][COLUMNS];
} products;

MOE_INLINE void multiply(const uint8_t *block, const gathered_block *x, products *out) {
    _tile_loadd(TILE_X, x->q, 32);
    _tile_loadd(TILE_W, block, 64);
    _tile_zero(TILE_SUM);
    _tile_dpbssd(TILE_SUM, TILE_X, TILE_W);
    _tile_stored(TILE_SUM, out->sums, 64);
}

/// A block that is multiplied, and where the lane's sums go after it.
typedef struct position {
    const uint8_t *block;
    const gathered_block *x;
    __m512 *lane;  // NULL: the lane goes on
    bool few;      // half of the rows count
} position;

/// Applies the scales of a block, for `rows` rows (a constant).
MOE_INLINE void add_rows(const position *at, bool has_min, int rows, const products *products, __m512 *sums) {
    const __m512 scale = _mm512_load_ps(at->block + 512), min = _mm512_load_ps(at->block + 576);
#pragma clang loop unroll(full)
    for (int i = 0; i < rows; i++) {
        const __m512 both = _mm512_mul_ps(scale, _mm512_set1_ps(at->x->d[i]));
        sums[i] = _mm512_fmadd_ps(both, _mm512_cvtepi32_ps(_mm512_load_si512(products->sums[i])), sums[i]);
        if (has_min) sums[i] = _mm512_fmadd_ps(min, _mm512_set1_ps(at->x->dsum[i]), sums[i]);
    }
}

MOE_INLINE void add_block(const position *at, bool has_min, const products *products, __m512 *sums) {
    if (!at->block) return;
    if (at->few) add_rows(at, has_min, ROWS / 2, products, sums);
    else add_rows(at, has_min, ROWS, products, sums);
    if (!at->lane) return;
#pragma clang loop unroll(full)
    for (int i = 0; i < ROWS; i++) {
        at->lane[i] = sums[i];
        sums[i] = _mm512_setzero_ps();
    }
}

/// `parts` panels of 16 columns for m activation rows, a tile of them after the other. A lane at a time for all rows: its part of the
/// weights stays in the first-level cache. The scales of a block are applied while the multiplier works on the next one.
MOE_INLINE void panel_rows(bool has_min, const uint8_t *panel, int parts, const gathered_block *x, int32_t m, int64_t k,
                           moe_ahead ahead, float *out) {
    const moe_type_traits *traits = moe_traits(MOE_TYPE_Q8_0);  // all of them have a panel's block of the same size
    const size_t block_bytes = moe_panel_block_bytes(traits, COLUMNS), part_bytes = moe_panel_bytes(traits, COLUMNS, k);
    const int64_t chunks = moe_chunks(k);
    const int32_t tiles = (m + ROWS - 1) / ROWS;
    __m512 lanes[MOST_ROWS / ROWS][PARTS][8][ROWS];
    __m512 sums[ROWS];
    products under_way[2];
    position before = {NULL, NULL, NULL, false};
    int parity = 0;
    moe_fetching fetch = fetching(ahead, (size_t)(8 * tiles * parts));
#pragma clang loop unroll(full)
    for (int i = 0; i < ROWS; i++) sums[i] = _mm512_setzero_ps();
    configure();
    for (int j = 0; j < 8; j++) {
        // The last chunk may have fewer than eight blocks.
        const int64_t count = chunks - ((chunks - 1) * 8 + j >= k / 32);
        for (int32_t tile = 0; tile < tiles; tile++) {
            const bool few = m - tile * ROWS <= ROWS / 2;
            for (int p = 0; p < parts; p++) {
                const uint8_t *block = panel + (size_t)p * part_bytes + (size_t)(j * chunks) * block_bytes;
                const gathered_block *activations = x + (tile * 8 + j) * chunks;
                fetch_part(&fetch);
                for (int64_t c = 0; c < count; c++, block += block_bytes, activations++) {
                    multiply(block, activations, &under_way[parity]);
                    parity ^= 1;
                    add_block(&before, has_min, &under_way[parity], sums);
                    before = (position){block, activations, c + 1 == count ? lanes[tile][p][j] : NULL, few};
                }
                for (int i = 0; count == 0 && i < ROWS; i++) lanes[tile][p][j][i] = _mm512_setzero_ps();
            }
        }
    }
    add_block(&before, has_min, &under_way[parity ^ 1], sums);
    _tile_release();
    for (int32_t i = 0; i < m; i++) {
        for (int p = 0; p < parts; p++) {
            __m512 l[8];
            for (int j = 0; j < 8; j++) l[j] = lanes[i / ROWS][p][j][i % ROWS];
            _mm512_storeu_ps(out + i * MOE_TILE_COLUMNS + COLUMNS * p, sums_of_lanes(l));
        }
    }
}

static void panel(int32_t type, const uint8_t *packed, int32_t n, moe_panel_input input, int32_t m, int64_t k, moe_ahead ahead,
                  float *out) {
    const gathered_block *x = (const gathered_block *)(const void *)input.gathered;
    const int parts = n > COLUMNS ? 2 : 1;
    if (moe_traits(type)->has_min) panel_rows(true, packed, parts, x, m, k, ahead, out);
    else panel_rows(false, packed, parts, x, m, k, ahead, out);
}

#pragma clang attribute pop

void moe_kernels_set_avx512amx(moe_kernels *table) {
    table->isa = "avx512amx";
    table->wide = (moe_panels){
        .pack = pack_parts, .multiply = panel, .columns = PARTS * COLUMNS, .rows = MOST_ROWS,
        // Gathering is paid for by many columns; who has AMX has a second-level cache of 2 MiB.
        .unit_bytes = 3 * MOE_UNIT_BYTES, .gathered_rows = ROWS, .gathered_block_bytes = sizeof(gathered_block),
    };
    // Measured (Xeon of the Emerald Rapids family, a virtual machine). Blocks of 16 take two products where the others take one, and
    // gain nothing. Interleaved weights make two passes of few rows as fast.
    for (int type = 0; type < MOE_TYPE_SLOTS; type++) {
        const moe_type_traits *traits = moe_traits(type);
        table->wide.from[type] = traits && traits->kind == MOE_CLASS_BLOCK32
            ? (type < MOE_INTERLEAVED ? 12 : 2 * MOE_DOT_ROWS + 1) : MOE_NEVER;
        table->wide.gather[type] = gather;
    }
}
#endif
