// SPDX-License-Identifier: Apache-2.0
//
// The kernels of one ISA, and the data that they pass to one another. dispatch.c fills one table per ISA: the reference
// first, then what an ISA does better.
//
// How a product of quantised weights is computed. The activations of a row are quantised once to int8, in blocks of 32 with a
// float scale. A block of 32 weights times a block of 32 activations is an exact integer; one float multiply-add per block
// adds it to a lane of the row's sum. The order is part of the contract, so that every kernel (one row or many, any ISA)
// gives the same bits:
//
//     block b adds to lane b % 8:   lane = fma(scale_b * d_b, integer_b, lane); lane = fma(min_b, dsum_b, lane)
//     sum = ((l0 + l4) + (l2 + l6)) + ((l1 + l5) + (l3 + l7))
//
// Float weights (F32, F16, BF16) use 16 lanes over the elements: element i adds to lane i % 16 by fma, lane i + 8 is added to
// lane i, then as above. The reference multiplies and adds in two roundings there (an fma without hardware is too slow); all
// other ISAs agree to the bit.
#ifndef MOE_KERNEL_TABLE_H
#define MOE_KERNEL_TABLE_H

#include "CMoEKernels.h"

#define MOE_TYPE_SLOTS 104     // type ids are below, MOE_INTERLEAVED added or not
#define MOE_CHUNK 256          // elements that kernels work on at a time: 8 blocks of 32
#define MOE_TILE_ROWS 8        // at most: activation rows of a tile of float weights, or of dot products
#define MOE_PANEL_ROWS 64      // at most: activation rows of a panel's tile
#define MOE_DOT_ROWS 8         // activation rows of one pass over a weight row
#define MOE_TILE_COLUMNS 32    // at most: weight rows of a tile

enum moe_class {
    MOE_CLASS_NONE = 0,
    MOE_CLASS_FLOAT,    // F32, F16, BF16
    MOE_CLASS_BLOCK32,  // a scale (and a min) per 32 weights
    MOE_CLASS_BLOCK16,  // an integer scale (and min) per 16 weights, a float scale per 256
};

/// Range of the integers that unpack gives: decides how products may be added in 16 bits.
enum moe_range { MOE_RANGE_U4, MOE_RANGE_U5, MOE_RANGE_S6, MOE_RANGE_S8 };

typedef struct moe_type_traits {
    uint8_t kind;    // enum moe_class
    uint8_t range;   // enum moe_range
    bool has_min;
    int8_t offset;   // the weight is scale * (q - offset)
    int16_t block_elements, block_bytes;
} moe_type_traits;

// In the header, so that code for one type folds its traits.
#define MOE_TRAITS_Q4_0 {MOE_CLASS_BLOCK32, MOE_RANGE_U4, false, 8, 32, 18}
#define MOE_TRAITS_Q8_0 {MOE_CLASS_BLOCK32, MOE_RANGE_S8, false, 0, 32, 34}
#define MOE_TRAITS_Q4_K {MOE_CLASS_BLOCK32, MOE_RANGE_U4, true, 0, 256, 144}
#define MOE_TRAITS_Q5_K {MOE_CLASS_BLOCK32, MOE_RANGE_U5, true, 0, 256, 176}
#define MOE_TRAITS_Q6_K {MOE_CLASS_BLOCK16, MOE_RANGE_S6, false, 0, 256, 210}
static const moe_type_traits moe_traits_table[MOE_TYPE_SLOTS] = {
    [MOE_TYPE_F32] = {MOE_CLASS_FLOAT, 0, false, 0, 1, 4},
    [MOE_TYPE_F16] = {MOE_CLASS_FLOAT, 0, false, 0, 1, 2},
    [MOE_TYPE_BF16] = {MOE_CLASS_FLOAT, 0, false, 0, 1, 2},
    [MOE_TYPE_Q4_0] = MOE_TRAITS_Q4_0,
    [MOE_TYPE_Q4_1] = {MOE_CLASS_BLOCK32, MOE_RANGE_U4, true, 0, 32, 20},
    [MOE_TYPE_Q5_0] = {MOE_CLASS_BLOCK32, MOE_RANGE_U5, false, 16, 32, 22},
    [MOE_TYPE_Q5_1] = {MOE_CLASS_BLOCK32, MOE_RANGE_U5, true, 0, 32, 24},
    [MOE_TYPE_Q8_0] = MOE_TRAITS_Q8_0,
    [MOE_TYPE_Q2_K] = {MOE_CLASS_BLOCK16, MOE_RANGE_S6, true, 0, 256, 84},
    [MOE_TYPE_Q3_K] = {MOE_CLASS_BLOCK16, MOE_RANGE_S6, false, 0, 256, 110},
    [MOE_TYPE_Q4_K] = MOE_TRAITS_Q4_K,
    [MOE_TYPE_Q5_K] = MOE_TRAITS_Q5_K,
    [MOE_TYPE_Q6_K] = MOE_TRAITS_Q6_K,
    [MOE_TYPE_IQ4_NL] = {MOE_CLASS_BLOCK32, MOE_RANGE_S8, false, 0, 32, 18},
    [MOE_TYPE_IQ4_XS] = {MOE_CLASS_BLOCK32, MOE_RANGE_S8, false, 0, 256, 136},
    [MOE_TYPE_MXFP4] = {MOE_CLASS_BLOCK32, MOE_RANGE_S8, false, 0, 32, 17},
    [MOE_INTERLEAVED + MOE_TYPE_Q4_0] = MOE_TRAITS_Q4_0,
    [MOE_INTERLEAVED + MOE_TYPE_Q8_0] = MOE_TRAITS_Q8_0,
    [MOE_INTERLEAVED + MOE_TYPE_Q4_K] = MOE_TRAITS_Q4_K,
    [MOE_INTERLEAVED + MOE_TYPE_Q5_K] = MOE_TRAITS_Q5_K,
    [MOE_INTERLEAVED + MOE_TYPE_Q6_K] = MOE_TRAITS_Q6_K,
};

/// NULL when the type is unknown.
static inline const moe_type_traits *moe_traits(int32_t type) {
    if (type < 0 || type >= MOE_TYPE_SLOTS || moe_traits_table[type].kind == MOE_CLASS_NONE) return NULL;
    return &moe_traits_table[type];
}

/// X(NAME, function suffix): all quantised types.
#define MOE_QUANTISED_TYPES(X)                                                                                          \
    X(Q4_0, q4_0) X(Q4_1, q4_1) X(Q5_0, q5_0) X(Q5_1, q5_1) X(Q8_0, q8_0) X(Q2_K, q2_k) X(Q3_K, q3_k) X(Q4_K, q4_k)    \
    X(Q5_K, q5_k) X(Q6_K, q6_k) X(IQ4_NL, iq4_nl) X(IQ4_XS, iq4_xs) X(MXFP4, mxfp4)

/// 256 weights unpacked: integers, and scales per block of 32. BLOCK32: weight = scale * (q - offset) + min.
/// BLOCK16: weight = scale * sub_scale * q + min * sub_min.
typedef struct moe_chunk {
    int8_t q[MOE_CHUNK];
    float scale[8], min[8];
    int16_t sub_scale[16], sub_min[16];
} moe_chunk;

/// 256 quantised activations. Missing elements of a row's last chunk are zero.
typedef struct moe_act_chunk {
    _Alignas(64) int8_t q[MOE_CHUNK];  // -127...127
    float d[8];                        // scale per block of 32
    float dsum[8];                     // d * sum of q over the block
    int32_t bias32[8];                 // -128 * sum of q over the block
    int32_t bias16[16];                // -128 * sum of q over each half block
    int16_t sum16[16];                 // sum of q over each half block
} moe_act_chunk;
_Static_assert(sizeof(moe_act_chunk) == 448, "whole cache lines");

static inline int64_t moe_chunks(int64_t k) { return (k + MOE_CHUNK - 1) / MOE_CHUNK; }

/// Blocks of activations whose largest magnitude is below this are zero: the reciprocal of the scale would not be finite.
#define MOE_SMALLEST_MAXIMUM 1e-30f

/// x: k floats -> moe_chunks(k) chunks. A block with a value that is not finite gives NaN.
typedef void (*moe_quantize_fn)(const float *x, int64_t k, moe_act_chunk *out);
typedef void (*moe_dequantize_fn)(const void *src, float *dst, int64_t k);
/// The dot product of one weight row with one activation row. `readable`: bytes from `row` on that may be read, at least the
/// row's; where that is a whole number of chunks the last, incomplete one need not be copied.
typedef float (*moe_dot_fn)(const uint8_t *row, size_t readable, const moe_act_chunk *x, int64_t k);
/// The same for m <= MOE_DOT_ROWS activation rows at once, which share the unpacking: out[i] = row . x[i].
typedef void (*moe_dots_fn)(const uint8_t *row, size_t readable, const moe_act_chunk *const *x, int32_t m, int64_t k,
                            float *out);
/// out[j * m + i] = row j . x[i] for n weight rows and m <= MOE_DOT_ROWS activation rows, gathered.
typedef void (*moe_few_fn)(const uint8_t *rows, size_t row_bytes, int32_t n, size_t readable, const uint8_t *gathered, int32_t m,
                           int64_t k, float *out);
/// `blocks` (1...8) blocks of 32 -> out; the rest of out is zero.
typedef void (*moe_unpack_fn)(const uint8_t *src, int32_t blocks, moe_chunk *out);
/// Float weights: out[i * MOE_TILE_COLUMNS + j] = x[i] . row j, for i < m <= MOE_TILE_ROWS, j < n <= MOE_TILE_COLUMNS.
typedef void (*moe_float_tile_fn)(const uint8_t *rows, size_t row_bytes, int32_t n, const float *const *x, int32_t m,
                                  int64_t k, float *out);
/// Memory that is read next. The panel kernels fetch it into cache while they work, evenly: a panel reads many rows side by
/// side, which the hardware does not foresee.
typedef struct moe_ahead {
    const uint8_t *memory;
    size_t bytes;
} moe_ahead;

/// The part'th of `parts` equal parts.
static inline moe_ahead moe_ahead_part(moe_ahead whole, int32_t part, int32_t parts) {
    const size_t begin = whole.bytes * (size_t)part / (size_t)parts, end = whole.bytes * (size_t)(part + 1) / (size_t)parts;
    return (moe_ahead){whole.memory + begin, end - begin};
}

/// Interleaves `n` (<= columns) weight rows for moe_panel_fn.
typedef void (*moe_pack_fn)(int32_t type, moe_unpack_fn unpack, const uint8_t *rows, size_t row_bytes, int32_t n, int64_t k,
                            moe_ahead ahead, uint8_t *panel);
/// Activation rows of a panel: where they are, or gathered.
typedef union moe_panel_input {
    const moe_act_chunk *const *rows;
    const uint8_t *gathered;
} moe_panel_input;
/// Lays m activation rows side by side, for moe_panel_fn (moe_gathered_bytes) or moe_few_fn; a multiple of 64 bytes.
typedef void (*moe_gather_fn)(const moe_act_chunk *const *x, int32_t m, int64_t k, uint8_t *gathered);
/// The same tile as moe_float_tile_fn, from a packed panel of n weight rows; m <= rows. Columns from n on may be written.
typedef void (*moe_panel_fn)(int32_t type, const uint8_t *panel, int32_t n, moe_panel_input x, int32_t m, int64_t k,
                             moe_ahead ahead, float *out);

#define MOE_NEVER UINT8_MAX  // of moe_panels.from
/// Bytes of packed weights, or float weights, that a unit works through once per group of activation rows: about half an L2.
#define MOE_UNIT_BYTES ((size_t)384 * 1024)

/// A way to multiply many activation rows: weight rows are interleaved, a panel at a time, for kernels that use each of them for
/// several activation rows.
typedef struct moe_panels {
    moe_pack_fn pack;
    moe_gather_fn gather[MOE_TYPE_SLOTS];  // NULL: multiply reads the activations where they are
    moe_panel_fn multiply;
    int32_t columns, rows;                 // 0: there is none
    int32_t gathered_rows;                 // gathered activations: tiles of so many rows,
    size_t gathered_block_bytes;           // and at most so many bytes of a tile's block of 32
    size_t unit_bytes;                     // of packed weights that stay in cache while activations pass over them
    uint8_t from[MOE_TYPE_SLOTS];          // activation rows from which on it beats what needs fewer, measured
} moe_panels;

#define MOE_FEW_BYTES 768  // of MOE_CHUNK elements of two gathered activation rows

/// A way to multiply up to MOE_DOT_ROWS activation rows that is better than dot products.
typedef struct moe_few {
    moe_gather_fn gather[MOE_TYPE_SLOTS];
    moe_few_fn multiply[MOE_TYPE_SLOTS];  // NULL: dot products
} moe_few;

typedef struct moe_kernels {
    const char *isa;
    moe_quantize_fn quantize;
    moe_few few;
    int32_t interleaved_rows;                      // of a group, where few rows gain by interleaved weights; else 0
    moe_panels panels, wide;                       // for many rows, and for still more
    const char *names[MOE_TYPE_SLOTS];             // who computes few rows
    moe_dequantize_fn dequantize[MOE_TYPE_SLOTS];
    moe_unpack_fn unpack[MOE_TYPE_SLOTS];          // quantised types
    moe_dot_fn dot[MOE_TYPE_SLOTS];                // quantised types
    moe_dots_fn dots[MOE_TYPE_SLOTS];              // the same; NULL: `dot`, row by row
    moe_float_tile_fn float_tile[MOE_TYPE_SLOTS];  // float types
} moe_kernels;

/// Whether these panels are what m activation rows take.
static inline bool moe_panels_serve(const moe_panels *panels, int32_t type, int32_t m) {
    return panels->columns > 0 && panels->from[type] != MOE_NEVER && m >= panels->from[type];
}

/// The panels for m activation rows; NULL: few rows at a time.
static inline const moe_panels *moe_panels_for(const moe_kernels *kernels, int32_t type, int32_t m) {
    if (moe_panels_serve(&kernels->wide, type, m)) return &kernels->wide;
    return moe_panels_serve(&kernels->panels, type, m) ? &kernels->panels : NULL;
}

/// Rows of a group of a matrix [n, k] that is interleaved for these kernels; 0: they have none for it.
static inline int32_t moe_interleaved_group(const moe_kernels *kernels, int32_t type, int64_t n, int64_t k) {
    const int32_t rows = kernels->interleaved_rows;
    if (type < 0 || type >= MOE_INTERLEAVED || !moe_traits(MOE_INTERLEAVED + type) || rows == 0) return 0;
    return n % rows == 0 && k % MOE_CHUNK == 0 ? rows : 0;
}

/// The table in use, and one by name (see moe_kernels_limit); NULL when the CPU cannot run it.
const moe_kernels *moe_kernels_active(void);
const moe_kernels *moe_kernels_named(const char *isa);

// Each sets its own entries and leaves the rest.
void moe_kernels_set_ref(moe_kernels *table);
void moe_kernels_set_avx2(moe_kernels *table);
void moe_kernels_set_avx512(moe_kernels *table);
void moe_kernels_set_avx512vnni(moe_kernels *table);
void moe_kernels_set_avx512amx(moe_kernels *table);
void moe_kernels_set_neon(moe_kernels *table);
void moe_kernels_set_neon_dotprod(moe_kernels *table);
void moe_kernels_set_neon_i8mm(moe_kernels *table);

/// Bytes of one interleaved block of `columns` weight rows: 32 integers and the scales of each.
static inline size_t moe_panel_block_bytes(const moe_type_traits *traits, int32_t columns) {
    const size_t floats = traits->kind == MOE_CLASS_BLOCK16 ? 6 : 2;
    return (size_t)columns * (32 + 4 * floats);
}
/// Bytes of m gathered activation rows.
static inline size_t moe_gathered_bytes(const moe_panels *panels, int32_t m, int64_t k) {
    const size_t tiles = ((size_t)m + (size_t)panels->gathered_rows - 1) / (size_t)panels->gathered_rows;
    return tiles * (size_t)moe_chunks(k) * 8 * panels->gathered_block_bytes;
}
static inline size_t moe_few_bytes(int32_t m, int64_t k) {
    return (size_t)(m + 1) / 2 * (size_t)moe_chunks(k) * MOE_FEW_BYTES;
}
static inline size_t moe_panel_bytes(const moe_type_traits *traits, int32_t columns, int64_t k) {
    return (size_t)moe_chunks(k) * 8 * moe_panel_block_bytes(traits, columns);
}

#endif
