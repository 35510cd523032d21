// SPDX-License-Identifier: Apache-2.0
//
// Many activation rows, included once per ISA under its target attribute, after neon.h and formats_neon.h. Eight weight rows
// are unpacked and interleaved once, so that the lanes of a vector are weight rows (and, for i8mm, two activation rows): no
// sums across lanes, and the unpacking is paid once for all activation rows.
//
// Panel: blocks of 32 elements in the order of the sum's lanes (lane j: blocks j, j + 8, …), each block
//   two halves of 16 elements of 8 weight rows, less the format's offset, in the ISA's order
//   scale[8], min[8] float32; for BLOCK16 also sub_scale[2][8], sub_min[2][8] float32
//
// A vector of sums holds VECTOR_ROWS activation rows times 4 / VECTOR_ROWS weight rows. The includer defines, before:
//   VECTOR_ROWS                                       1 or 2
//   VECTORS                                           2 * VECTOR_ROWS: vectors of sums over the columns of a panel
//   void interleave_half(int8x16_t q[8])              16 elements of 8 rows -> the same in its order
//   void add_half(const uint8_t *half, const int8_t *const *x, int vectors, int32x4_t dots[][VECTORS])
//                                                     adds the products with the 16 elements at each x
// after which set_panel() sets a table's panels.

enum {
    COLUMNS = 8,
    ROWS = 4,
    ROW_VECTORS = ROWS / VECTOR_ROWS,                 // vectors of sums over the rows of a tile
    VECTOR_COLUMNS = 4 / VECTOR_ROWS,                 // weight rows of a vector
    HALF_BYTES = 16 * COLUMNS,
    BLOCK_QUANTS = 2 * HALF_BYTES,
    // Rows from which on a panel is used. By the instructions of the loops, packing is paid back at 3 rows; one more because a
    // panel reads eight weight rows side by side. Not measured: no machine of this kind was at hand.
    PANEL_FROM = 4,
};
_Static_assert(VECTORS == COLUMNS / VECTOR_COLUMNS, "vectors of sums over the columns of a panel");

/// What of a moe_ahead has been fetched, and by how much that grows with each of `parts` parts of the work.
typedef struct fetching {
    const uint8_t *at, *until, *end;
    size_t step;
} fetching;

MOE_INLINE fetching fetch_evenly(moe_ahead ahead, size_t parts) {
    return (fetching){ahead.memory, ahead.memory, ahead.memory + ahead.bytes, (ahead.bytes + parts - 1) / parts};
}
MOE_INLINE void fetch_part(fetching *f) {
    f->until = f->step < (size_t)(f->end - f->until) ? f->until + f->step : f->end;
    for (; f->at < f->until; f->at += 64) __builtin_prefetch(f->at, 0, 2);
}

// ---------------------------------------------------------------------------------------------------------------------
// Packing

/// For each of eight rows a float of each of eight blocks, to where they are read: at float `offset` of the floats of block j
/// of the panel, which are `step` bytes after those of block j - 1.
MOE_INLINE void store_floats(floats8 rows[COLUMNS], uint8_t *floats, size_t step, size_t offset) {
#pragma clang loop unroll(full)
    for (int part = 0; part < 4; part++) {  // of rows 4 (part / 2)..., blocks 4 (part % 2)...
        int32x4_t four[4];
#pragma clang loop unroll(full)
        for (int i = 0; i < 4; i++) four[i] = vreinterpretq_s32_f32(rows[4 * (part / 2) + i].v[part % 2]);
        transpose_four(four);
#pragma clang loop unroll(full)
        for (size_t i = 0; i < 4; i++) {
            float *target = (float *)(void *)(floats + (4 * (size_t)(part % 2) + i) * step) + offset + 4 * (part / 2);
            vst1q_f32(target, vreinterpretq_f32_s32(four[i]));
        }
    }
}

/// For each of eight rows sixteen integers, two of each of eight blocks; as store_floats, the second after the first ones.
MOE_INLINE void store_sub_scales(const int8x16_t rows[COLUMNS], uint8_t *floats, size_t step, size_t offset) {
#pragma clang loop unroll(full)
    for (int h = 0; h < 2; h++) {
        floats8 values[COLUMNS];
#pragma clang loop unroll(full)
        for (int r = 0; r < COLUMNS; r++) {
            const int8x16_t of_half = h ? vuzp2q_s8(rows[r], rows[r]) : vuzp1q_s8(rows[r], rows[r]);
            const int16x8_t wide = vmovl_s8(vget_low_s8(of_half));
            values[r] = (floats8){{vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide))), vcvtq_f32_s32(vmovl_high_s16(wide))}};
        }
        store_floats(values, floats, step, offset + COLUMNS * (size_t)h);
    }
}

/// One chunk of every row -> its eight blocks of the panel, `step` bytes apart.
MOE_INLINE void pack_chunk(values_fn values, scales_fn scales, const int log2_offset, const moe_type_traits traits,
                           const uint8_t *const w[COLUMNS], uint8_t *panel, size_t step) {
    const int8x16_t offset = vdupq_n_s8(log2_offset ? (int8_t)(1 << log2_offset) : 0);
#pragma clang loop unroll(full)
    for (int b = 0; b < 8; b++) {
        int8x16_t q[2][COLUMNS];
#pragma clang loop unroll(full)
        for (int r = 0; r < COLUMNS; r++) {
            const int8x16x2_t block = values(w[r], b);
            for (int h = 0; h < 2; h++) q[h][r] = log2_offset ? vsubq_s8(block.val[h], offset) : block.val[h];
        }
#pragma clang loop unroll(full)
        for (int h = 0; h < 2; h++) {
            interleave_half(q[h]);
            for (int i = 0; i < 8; i++) vst1q_s8((int8_t *)panel + (size_t)b * step + HALF_BYTES * h + 16 * i, q[h][i]);
        }
    }
    floats8 scale[COLUMNS], min[COLUMNS];
    int8x16_t sub_scale[COLUMNS], sub_min[COLUMNS];
    for (int r = 0; r < COLUMNS; r++) {
        const chunk_scales s = scales(w[r]);
        scale[r] = s.scale;
        min[r] = s.min;
        sub_scale[r] = s.sub_scale;
        sub_min[r] = s.sub_min;
    }
    uint8_t *floats = panel + BLOCK_QUANTS;
    store_floats(scale, floats, step, 0);
    if (traits.has_min) store_floats(min, floats, step, COLUMNS);
    if (traits.kind == MOE_CLASS_BLOCK16) {
        store_sub_scales(sub_scale, floats, step, 2 * COLUMNS);
        if (traits.has_min) store_sub_scales(sub_min, floats, step, 4 * COLUMNS);
    }
}

MOE_INLINE void pack_rows(values_fn values, scales_fn scales, const int log2_offset, const moe_type_traits traits,
                          const uint8_t *rows, size_t row_bytes, int32_t n, int64_t k, moe_ahead ahead, uint8_t *panel) {
    const size_t block_bytes = moe_panel_block_bytes(&traits, COLUMNS);
    const size_t chunk_bytes = (size_t)(MOE_CHUNK / traits.block_elements * traits.block_bytes);
    const size_t chunks = (size_t)moe_chunks(k), whole = (size_t)(k / MOE_CHUNK);
    fetching fetch = fetch_evenly(ahead, chunks);
    const uint8_t *w[COLUMNS];
    // What stands for rows that are not there is computed with, and not used.
    for (int32_t r = 0; r < COLUMNS; r++) w[r] = rows + (size_t)(r < n ? r : n - 1) * row_bytes;
    for (size_t c = 0; c < chunks; c++, panel += block_bytes) {
        fetch_part(&fetch);
        uint8_t rest[COLUMNS][8 * 34];
        for (int r = 0; c == whole && r < COLUMNS; r++) w[r] = completed(traits, w[r], k % MOE_CHUNK, rest[r]);
        pack_chunk(values, scales, log2_offset, traits, w, panel, chunks * block_bytes);
        for (int r = 0; r < COLUMNS; r++) w[r] += chunk_bytes;
    }
}

#define DEFINE_PACK(NAME, name)                                                                                           \
    static void pack_##name(const uint8_t *rows, size_t row_bytes, int32_t n, int64_t k, moe_ahead ahead, uint8_t *panel) { \
        pack_rows(values_##name, scales_##name, OFFSET_##name, moe_traits_table[MOE_TYPE_##NAME], rows, row_bytes, n, k,  \
                  ahead, panel);                                                                                          \
    }
MOE_QUANTISED_TYPES(DEFINE_PACK)

static void pack(int32_t type, moe_unpack_fn unpack, const uint8_t *rows, size_t row_bytes, int32_t n, int64_t k,
                 moe_ahead ahead, uint8_t *panel) {
    (void)unpack;
    switch (type) {
#define PACK(NAME, name) \
    case MOE_TYPE_##NAME: pack_##name(rows, row_bytes, n, k, ahead, panel); break;
        MOE_QUANTISED_TYPES(PACK)
        default: break;
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

MOE_INLINE void half_dots(const uint8_t *half, const moe_act_chunk *const *x, int first, const int vectors,
                          int32x4_t dots[ROW_VECTORS][VECTORS]) {
    const int8_t *q[ROWS];
    for (int i = 0; i < vectors * VECTOR_ROWS; i++) q[i] = x[i]->q + first;
    add_half(half, q, vectors, dots);
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
    half_dots(block, x, 32 * j, vectors, dots);
    half_dots(block + HALF_BYTES, x, 32 * j + 16, vectors, dots);
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
    half_dots(block, x, 32 * j, vectors, dots);
    for (int r = 0; r < vectors; r++) {
        d[r] = ROW_FLOATS(d, j);
        for (int c = 0; c < VECTORS; c++) integers[r][c] = vmulq_f32(of_columns(sub_scale, c), vcvtq_f32_s32(dots[r][c]));
    }
    clear(vectors, dots);
    half_dots(block + HALF_BYTES, x, 32 * j + 16, vectors, dots);
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
                           int64_t k, moe_ahead ahead, float *out) {
    const size_t block_bytes = moe_panel_block_bytes(&traits, COLUMNS);
    const int64_t chunks = moe_chunks(k);
    const int vectors = (rows + VECTOR_ROWS - 1) / VECTOR_ROWS;
    fetching fetch = fetch_evenly(ahead, (size_t)(8 * chunks));
    float32x4_t lanes[8][ROW_VECTORS][VECTORS];
    for (int j = 0; j < 8; j++) {
        float32x4_t sums[ROW_VECTORS][VECTORS];
        for (int r = 0; r < vectors; r++) {
            for (int c = 0; c < VECTORS; c++) sums[r][c] = vdupq_n_f32(0);
        }
        const moe_act_chunk *chunk[ROWS];
        for (int i = 0; i < vectors * VECTOR_ROWS; i++) chunk[i] = x[i < rows ? i : rows - 1];
        for (int64_t c = 0; c < chunks; c++, panel += block_bytes) {
            fetch_part(&fetch);
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

// One body per combination of traits that matters here, shared by the types that have it.
#define DEFINE_PANEL(name, NAME)                                                                                          \
    static void panel_##name(const uint8_t *packed, const moe_act_chunk *const *x, int32_t m, int64_t k, moe_ahead ahead, \
                             float *out) {                                                                                \
        switch (m) {                                                                                                      \
            case 1: panel_rows(moe_traits_table[MOE_TYPE_##NAME], packed, x, 1, k, ahead, out); break;                    \
            case 2: panel_rows(moe_traits_table[MOE_TYPE_##NAME], packed, x, 2, k, ahead, out); break;                    \
            case 3: panel_rows(moe_traits_table[MOE_TYPE_##NAME], packed, x, 3, k, ahead, out); break;                    \
            default: panel_rows(moe_traits_table[MOE_TYPE_##NAME], packed, x, 4, k, ahead, out); break;                   \
        }                                                                                                                 \
    }
DEFINE_PANEL(block32, Q8_0)
DEFINE_PANEL(block32_min, Q4_K)
DEFINE_PANEL(block16, Q6_K)
DEFINE_PANEL(block16_min, Q2_K)

static void panel(int32_t type, const uint8_t *packed, int32_t n, moe_panel_input x, int32_t m, int64_t k,
                  moe_ahead ahead, float *out) {
    (void)n;  // the columns after it are written too
    const moe_type_traits *traits = moe_traits(type);
    if (traits->kind == MOE_CLASS_BLOCK16) (traits->has_min ? panel_block16_min : panel_block16)(packed, x.rows, m, k, ahead, out);
    else (traits->has_min ? panel_block32_min : panel_block32)(packed, x.rows, m, k, ahead, out);
}

static void set_panel(moe_kernels *table) {
    table->panels = (moe_panels){.pack = pack, .multiply = panel, .columns = COLUMNS, .rows = ROWS, .unit_bytes = MOE_UNIT_BYTES};
    memset(table->panels.from, PANEL_FROM, sizeof table->panels.from);
}
