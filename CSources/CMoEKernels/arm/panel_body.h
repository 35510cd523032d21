// SPDX-License-Identifier: Apache-2.0
//
// Many activation rows, included once per ISA under its target attribute, after neon.h. Eight weight rows are unpacked and
// interleaved once, so that the lanes of a vector are weight rows (and, for i8mm, two activation rows): no sums across lanes,
// and the unpacking is paid once for all activation rows.
//
// Panel: blocks of 32 elements in the order of the sum's lanes (lane j: blocks j, j + 8, …), each block
//   two halves of 16 elements of 8 weight rows, less the format's offset, in the ISA's order
//   scale[8], min[8] float32; for BLOCK16 also sub_scale[2][8], sub_min[2][8] float32
//
// A vector of sums holds VECTOR_ROWS activation rows times 4 / VECTOR_ROWS weight rows. The includer defines, before:
//   VECTOR_ROWS                                       1 or 2
//   void interleave_half(const int8_t *q, size_t stride, int8x16_t out[8])   16 elements of 8 rows `stride` apart, in its order
//   void add_half(const uint8_t *half, const int8_t *const *x, int range, int vectors, int32x4_t dots[][VECTORS])
//                                                     adds the products with the 16 elements at each x; an exact sum
// after which set_panel() sets a table's panels.

enum {
    COLUMNS = 8,
    ROWS = 4,
    ROW_VECTORS = ROWS / VECTOR_ROWS,                 // vectors of sums over the rows of a tile
    VECTOR_COLUMNS = 4 / VECTOR_ROWS,                 // weight rows of a vector
    HALF_BYTES = 16 * COLUMNS,
    BLOCK_QUANTS = 2 * HALF_BYTES,
};
_Static_assert(VECTORS == COLUMNS / VECTOR_COLUMNS, "vectors of sums over the columns of a panel");

// ---------------------------------------------------------------------------------------------------------------------
// Packing

/// Eight rows of eight 32-bit values, `stride` bytes apart -> its columns: out[j] holds value j of rows 0...3, out[j + 8] of
/// rows 4...7.
MOE_INLINE void transpose_eight(const void *rows, size_t stride, int32x4_t out[16]) {
    const uint8_t *p = rows;
#pragma clang loop unroll(full)
    for (size_t part = 0; part < 4; part++) {  // of rows 4 (part / 2)..., values 4 (part % 2)...
        int32x4_t *columns = out + 8 * (part / 2) + 4 * (part % 2);
#pragma clang loop unroll(full)
        for (size_t i = 0; i < 4; i++) {
            columns[i] = vreinterpretq_s32_u8(load_u8(p + (4 * (part / 2) + i) * stride + 16 * (part % 2)));
        }
        transpose_four(columns);
    }
}

MOE_INLINE void store_columns(float *p, const int32x4_t columns[16], size_t j) {
    vst1q_f32(p, vreinterpretq_f32_s32(columns[j]));
    vst1q_f32(p + 4, vreinterpretq_f32_s32(columns[j + 8]));
}

/// The low and high int16 of each int32, as floats.
MOE_INLINE void store_pairs(float *p, const int32x4_t columns[16], size_t j) {
#pragma clang loop unroll(full)
    for (size_t part = 0; part < 2; part++) {
        const int32x4_t pairs = columns[j + 8 * part];
        vst1q_f32(p + 4 * part, vcvtq_f32_s32(vshrq_n_s32(vshlq_n_s32(pairs, 16), 16)));
        vst1q_f32(p + COLUMNS + 4 * part, vcvtq_f32_s32(vshrq_n_s32(pairs, 16)));
    }
}

/// One chunk of every row -> its eight blocks of the panel, `chunks` blocks apart.
MOE_INLINE void interleave(bool block16, const moe_chunk *unpacked, int offset, uint8_t *panel, size_t block_bytes,
                           size_t chunks) {
    const size_t stride = sizeof(moe_chunk);
    const int8x16_t offsets = vdupq_n_s8((int8_t)offset);
    int32x4_t scale[16], min[16];
    transpose_eight(unpacked->scale, stride, scale);
    transpose_eight(unpacked->min, stride, min);
    for (size_t j = 0; j < 8; j++) {
        uint8_t *block = panel + j * chunks * block_bytes;
        for (size_t half = 0; half < 2; half++) {
            int8x16_t q[8];
            interleave_half(unpacked->q + 32 * j + 16 * half, stride, q);
            for (int i = 0; i < 8; i++) vst1q_s8((int8_t *)block + HALF_BYTES * half + 16 * i, vsubq_s8(q[i], offsets));
        }
        float *floats = (float *)(void *)(block + BLOCK_QUANTS);
        store_columns(floats, scale, j);
        store_columns(floats + COLUMNS, min, j);
    }
    if (!block16) return;
    int32x4_t sub_scale[16], sub_min[16];
    transpose_eight(unpacked->sub_scale, stride, sub_scale);
    transpose_eight(unpacked->sub_min, stride, sub_min);
    for (size_t j = 0; j < 8; j++) {
        float *floats = (float *)(void *)(panel + j * chunks * block_bytes + BLOCK_QUANTS) + 2 * COLUMNS;
        store_pairs(floats, sub_scale, j);
        store_pairs(floats + 2 * COLUMNS, sub_min, j);
    }
}

/// Fetches the part'th of `parts` equal parts of memory into cache.
MOE_INLINE void prefetch_part(const uint8_t *p, size_t bytes, size_t part, size_t parts) {
    const size_t end = bytes * (part + 1) / parts;
    for (size_t at = bytes * part / parts; at < end; at += 64) __builtin_prefetch(p + at, 0, 2);
}

static void pack(int32_t type, moe_unpack_fn unpack, const uint8_t *rows, size_t row_bytes, int32_t n, int64_t k,
                 size_t ahead_bytes, uint8_t *panel) {
    const moe_type_traits *traits = moe_traits(type);
    const size_t block_bytes = moe_panel_block_bytes(traits, COLUMNS);
    const size_t chunk_bytes = (size_t)(MOE_CHUNK / traits->block_elements * traits->block_bytes);
    const size_t chunks = (size_t)moe_chunks(k);
    moe_chunk unpacked[COLUMNS];
    memset(unpacked, 0, sizeof unpacked);
    for (size_t c = 0; c < chunks; c++) {
        const int64_t left = k / 32 - (int64_t)c * 8;
        prefetch_part(rows + (size_t)n * row_bytes, ahead_bytes, c, chunks);
        for (size_t r = 0; r < (size_t)n; r++) {
            unpack(rows + r * row_bytes + c * chunk_bytes, left < 8 ? (int32_t)left : 8, &unpacked[r]);
        }
        interleave(traits->kind == MOE_CLASS_BLOCK16, unpacked, traits->offset, panel + c * block_bytes, block_bytes, chunks);
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Products

/// A float per weight row, as vector c of a row's sums has them.
MOE_INLINE float32x4_t of_columns(const float *p, int c) {
    if (VECTOR_ROWS == 1) return vld1q_f32(p + 4 * c);
    const float32x2_t two = vld1_f32(p + 2 * c);
    return vcombine_f32(two, two);
}

/// A float per activation row; b is of the second row, if a vector has one.
MOE_INLINE float32x4_t of_rows(float a, float b) {
    return VECTOR_ROWS == 1 ? vdupq_n_f32(a) : vcombine_f32(vdup_n_f32(a), vdup_n_f32(b));
}

/// sums += column * row * integers, for each vector.
MOE_INLINE void add_scaled_vectors(const int vectors, const float *scale, const float32x4_t *d,
                                   float32x4_t integers[ROW_VECTORS][VECTORS], float32x4_t sums[ROW_VECTORS][VECTORS]) {
#pragma clang loop unroll(full)
    for (int c = 0; c < VECTORS; c++) {
        const float32x4_t columns = of_columns(scale, c);
#pragma clang loop unroll(full)
        for (int r = 0; r < vectors; r++) sums[r][c] = vfmaq_f32(sums[r][c], vmulq_f32(columns, d[r]), integers[r][c]);
    }
}

/// A number of the chunks of the activation rows that vector r of sums holds.
#define ROW_FLOATS(field, index) \
    of_rows((float)x[VECTOR_ROWS * r]->field[index], (float)x[VECTOR_ROWS * r + VECTOR_ROWS - 1]->field[index])

MOE_INLINE void half_dots(const uint8_t *half, const moe_act_chunk *const *x, int first, const int range, const int vectors,
                          int32x4_t dots[ROW_VECTORS][VECTORS]) {
    const int8_t *q[ROWS];
    for (int i = 0; i < vectors * VECTOR_ROWS; i++) q[i] = x[i]->q + first;
    add_half(half, q, range, vectors, dots);
}

MOE_INLINE void clear(const int vectors, int32x4_t dots[ROW_VECTORS][VECTORS]) {
    for (int r = 0; r < vectors; r++) {
        for (int c = 0; c < VECTORS; c++) dots[r][c] = vdupq_n_s32(0);
    }
}

MOE_INLINE void add_block32(const uint8_t *block, const moe_act_chunk *const *x, int j, const moe_type_traits traits,
                            const int vectors, float32x4_t sums[ROW_VECTORS][VECTORS]) {
    const float *floats = (const float *)(const void *)(block + BLOCK_QUANTS);
    int32x4_t dots[ROW_VECTORS][VECTORS];
    float32x4_t integers[ROW_VECTORS][VECTORS], d[ROW_VECTORS];
    clear(vectors, dots);
    half_dots(block, x, 32 * j, traits.range, vectors, dots);
    half_dots(block + HALF_BYTES, x, 32 * j + 16, traits.range, vectors, dots);
    for (int r = 0; r < vectors; r++) {
        d[r] = ROW_FLOATS(d, j);
        for (int c = 0; c < VECTORS; c++) integers[r][c] = vcvtq_f32_s32(dots[r][c]);
    }
    add_scaled_vectors(vectors, floats, d, integers, sums);
    if (!traits.has_min) return;
    for (int c = 0; c < VECTORS; c++) {
        const float32x4_t min = of_columns(floats + COLUMNS, c);
        for (int r = 0; r < vectors; r++) sums[r][c] = vfmaq_f32(sums[r][c], min, ROW_FLOATS(dsum, j));
    }
}

/// a[column] * x[row] + b[column] * y[row]: integers below 2^24, exact in float.
MOE_INLINE float32x4_t two_products(float32x4_t a, float32x4_t x, float32x4_t b, float32x4_t y) {
    return vfmaq_f32(vmulq_f32(a, x), b, y);
}

MOE_INLINE void add_block16(const uint8_t *block, const moe_act_chunk *const *x, int j, const moe_type_traits traits,
                            const int vectors, float32x4_t sums[ROW_VECTORS][VECTORS]) {
    const float *floats = (const float *)(const void *)(block + BLOCK_QUANTS);
    const float *sub_scale = floats + 2 * COLUMNS, *sub_min = floats + 4 * COLUMNS;
    int32x4_t dots[ROW_VECTORS][VECTORS];
    float32x4_t integers[ROW_VECTORS][VECTORS], d[ROW_VECTORS];
    clear(vectors, dots);
    half_dots(block, x, 32 * j, traits.range, vectors, dots);
    for (int r = 0; r < vectors; r++) {
        d[r] = ROW_FLOATS(d, j);
        for (int c = 0; c < VECTORS; c++) integers[r][c] = vmulq_f32(of_columns(sub_scale, c), vcvtq_f32_s32(dots[r][c]));
    }
    clear(vectors, dots);
    half_dots(block + HALF_BYTES, x, 32 * j + 16, traits.range, vectors, dots);
    for (int r = 0; r < vectors; r++) {
        for (int c = 0; c < VECTORS; c++) {
            integers[r][c] = vfmaq_f32(integers[r][c], of_columns(sub_scale + COLUMNS, c), vcvtq_f32_s32(dots[r][c]));
        }
    }
    add_scaled_vectors(vectors, floats, d, integers, sums);
    if (!traits.has_min) return;
    for (int r = 0; r < vectors; r++) {
        const float32x4_t first = ROW_FLOATS(sum16, 2 * j), second = ROW_FLOATS(sum16, 2 * j + 1);
        for (int c = 0; c < VECTORS; c++) {
            integers[r][c] = two_products(of_columns(sub_min, c), first, of_columns(sub_min + COLUMNS, c), second);
        }
    }
    add_scaled_vectors(vectors, floats + COLUMNS, d, integers, sums);
}

/// One vector's sums to the rows of a tile; the second row of a vector only if there is one.
MOE_INLINE void store_vector(float *out, int rows, int r, int c, float32x4_t v) {
    float *target = out + VECTOR_ROWS * r * MOE_TILE_COLUMNS + VECTOR_COLUMNS * c;
    if (VECTOR_ROWS == 1) {
        vst1q_f32(target, v);
    } else {
        vst1_f32(target, vget_low_f32(v));
        if (VECTOR_ROWS * r + 1 < rows) vst1_f32(target + MOE_TILE_COLUMNS, vget_high_f32(v));
    }
}

MOE_INLINE void panel_rows(const moe_type_traits traits, const uint8_t *panel, const moe_act_chunk *const *x, const int rows,
                           int64_t k, float *out) {
    const size_t block_bytes = moe_panel_block_bytes(&traits, COLUMNS);
    const int64_t chunks = moe_chunks(k);
    const int vectors = (rows + VECTOR_ROWS - 1) / VECTOR_ROWS;
    float32x4_t lanes[8][ROW_VECTORS][VECTORS];
    for (int j = 0; j < 8; j++) {
        float32x4_t sums[ROW_VECTORS][VECTORS];
        for (int r = 0; r < vectors; r++) {
            for (int c = 0; c < VECTORS; c++) sums[r][c] = vdupq_n_f32(0);
        }
        const moe_act_chunk *chunk[ROWS];
        for (int i = 0; i < vectors * VECTOR_ROWS; i++) chunk[i] = x[i < rows ? i : rows - 1];
        for (int64_t c = 0; c < chunks; c++, panel += block_bytes) {
            if (traits.kind == MOE_CLASS_BLOCK32) add_block32(panel, chunk, j, traits, vectors, sums);
            else add_block16(panel, chunk, j, traits, vectors, sums);
            for (int i = 0; i < vectors * VECTOR_ROWS; i++) chunk[i]++;
        }
        for (int r = 0; r < vectors; r++) {
            for (int c = 0; c < VECTORS; c++) lanes[j][r][c] = sums[r][c];
        }
    }
    for (int r = 0; r < vectors; r++) {
        for (int c = 0; c < VECTORS; c++) {
            float32x4_t four[4];
            for (int j = 0; j < 4; j++) four[j] = vaddq_f32(lanes[j][r][c], lanes[j + 4][r][c]);
            store_vector(out, rows, r, c, vaddq_f32(vaddq_f32(four[0], four[2]), vaddq_f32(four[1], four[3])));
        }
    }
}

MOE_INLINE void panel_of(const moe_type_traits traits, const uint8_t *panel, const moe_act_chunk *const *x, int32_t m,
                         int64_t k, float *out) {
    switch (m) {
        case 1: panel_rows(traits, panel, x, 1, k, out); break;
        case 2: panel_rows(traits, panel, x, 2, k, out); break;
        case 3: panel_rows(traits, panel, x, 3, k, out); break;
        default: panel_rows(traits, panel, x, 4, k, out); break;
    }
}

// One body per combination of traits that matters here, shared by the types that have it.
#define DEFINE_PANEL(name, NAME)                                                                                  \
    static void panel_##name(const uint8_t *panel, const moe_act_chunk *const *x, int32_t m, int64_t k, float *out) { \
        panel_of(moe_traits_table[MOE_TYPE_##NAME], panel, x, m, k, out);                                         \
    }
DEFINE_PANEL(block32, Q5_0)
DEFINE_PANEL(block32_min, Q5_K)
DEFINE_PANEL(s8, Q8_0)
DEFINE_PANEL(block16, Q6_K)
DEFINE_PANEL(block16_min, Q2_K)

static void panel(int32_t type, const uint8_t *packed, const moe_act_chunk *const *x, int32_t m, int64_t k, float *out) {
    const moe_type_traits *traits = moe_traits(type);
    if (traits->kind == MOE_CLASS_BLOCK16) (traits->has_min ? panel_block16_min : panel_block16)(packed, x, m, k, out);
    else if (traits->range == MOE_RANGE_S8) panel_s8(packed, x, m, k, out);
    else (traits->has_min ? panel_block32_min : panel_block32)(packed, x, m, k, out);
}

static void set_panel(moe_kernels *table) {
    table->pack = pack;
    table->panel = panel;
    table->panel_columns = COLUMNS;
    table->panel_rows = ROWS;
    table->panel_from = 3;
}
