// SPDX-License-Identifier: Apache-2.0
//
// Few activation rows times interleaved weights, for any width of vector. Include after interleaved_weights.h, with these defined:
//   row_chunk                                256 elements of an activation row
//   prepared(type, w)                        a block's weights as the products want them
//   add_block(lane, type, w, x, j)           adds a block's products to the sum's lane j of every row
//   sums_of_lanes(l)                         eight lanes, added in the order that kernel_table.h gives

/// GROUP weight rows times m activation rows (a constant). out[row * m + i].
MOE_INLINE void group_of_rows(const few_type type, const uint8_t *rows, const uint8_t *gathered, int m, int64_t k, float *out) {
    const int64_t chunks = k / MOE_CHUNK;
    const row_chunk *x = (const row_chunk *)(const void *)gathered;
    floats lanes[8][MOE_DOT_ROWS];
    for (int j = 0; j < 8; j++) {
        for (int i = 0; i < m; i++) lanes[j][i] = floats_of(ints_of(0));
    }
    for (int64_t c = 0; c < chunks; c++, rows += type.halves + type.words, x += m) {
        const uint8_t *halves = rows, *words = rows + type.halves;
        // The hardware does not foresee far enough.
        for (size_t line = 0; line < type.halves + type.words; line += 64) _mm_prefetch((const char *)rows + line + 4096, _MM_HINT_T0);
        const chunk_scales scales = type.scales(halves, words);
#pragma clang loop unroll(full)
        for (int step = 0; step < type.steps; step++) {
#pragma clang loop unroll(full)
            for (int which = 0; which < 8 / type.steps; which++) {
                const block_weights w = prepared(type, type.block(&scales, halves, words, step, which));
                const int j = type.number(step, which);
                for (int i = 0; i < m; i++) lanes[j][i] = add_block(lanes[j][i], type, &w, x + i, j);
            }
        }
    }
    for (int i = 0; i < m; i++) {
        floats l[8];
        float sums[GROUP];
        for (int j = 0; j < 8; j++) l[j] = lanes[j][i];
        memcpy(sums, &(floats){sums_of_lanes(l)}, sizeof sums);
        for (int r = 0; r < GROUP; r++) out[r * m + i] = sums[r];
    }
}

#define ROWS(m) \
    case m: group_of_rows(type, rows, gathered, m, k, out); break;
/// moe_few_fn of a type.
#define DEFINE_FEW(NAME, name, ...)                                                                                              \
    static void few_##name(const uint8_t *rows, size_t row_bytes, int32_t n, size_t readable, const uint8_t *gathered, int32_t m, \
                           int64_t k, float *out) {                                                                              \
        (void)readable;                                                                                                          \
        const few_type type = FEW_TYPE(NAME, name, __VA_ARGS__);                                                                 \
        for (int32_t j = 0; j < n; j += GROUP) {                                                                                 \
            switch (m) { ROWS(1) ROWS(2) ROWS(3) ROWS(4) ROWS(5) ROWS(6) ROWS(7) ROWS(8) }                                       \
            rows += GROUP * row_bytes;                                                                                           \
            out += GROUP * m;                                                                                                    \
        }                                                                                                                        \
    }
FEW_TYPES(DEFINE_FEW)
