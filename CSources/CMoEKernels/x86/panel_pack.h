// SPDX-License-Identifier: Apache-2.0
//
// Packing without unpacking: the types of which models are made go from their blocks straight into a panel. The bytes of
// COLUMNS rows are transposed as they lie, nibbles and all, and taken apart afterwards, for all rows at once: a few
// instructions per 32 weights, so that a panel pays from three activation rows on. Included by panel_body.h, in terms of
//   vectors    transpose, transpose_quarters (rows of 16 bytes -> four vectors), store_panel
//   bytes      bytes_of, sum, common, low_nibbles, high_nibbles, both, bits_left, bits_right (shifts of 16-bit words), lookup
//   weights    panel_offset(type): what the products want added to them
//   rows       halves_of_rows (low and high float16 of each int32 -> floats), row_halves_NAME (eight scales of a row's chunk)
// Same values in the same places as interleave() gives: tests compare products, which must not change by a bit.
//
// Every function: one chunk of COLUMNS rows at w, `stride` bytes apart -> eight blocks of the panel, `step` bytes apart; or its first
// `blocks`.

/// Weights with `offset` added -> as the panels of their type want them.
MOE_INLINE panel_vector shifted(panel_vector v, int32_t type, int offset) {
    return sum(v, bytes_of(panel_offset(type) - offset));
}

MOE_INLINE void store_block(uint8_t *block, const panel_vector v[8], int32_t type, int offset) {
    for (int g = 0; g < 8; g++) store_panel(block + 4 * COLUMNS * g, shifted(v[g], type, offset));
}

/// The first `blocks` scales (or mins) of each row, by `of_row` for all eight or as the float16 that their blocks, `bytes` apart, begin
/// with -> one vector per block, `step` apart.
MOE_INLINE void store_scales(const uint8_t *w, size_t stride, size_t bytes, size_t blocks, __m256 (*of_row)(const uint8_t *),
                             uint8_t *out, size_t step) {
    if (blocks < 8) {  // what follows them may not be there
        for (size_t j = 0; j < blocks; j++) {
            uint16_t halves[COLUMNS];
            for (size_t r = 0; r < COLUMNS; r++) memcpy(&halves[r], w + r * stride + j * bytes, 2);
            store_halves(out + j * step, halves);
        }
        return;
    }
    _Alignas(64) float scales[COLUMNS][8];
    for (size_t r = 0; r < COLUMNS; r++) _mm256_store_ps(scales[r], of_row(w + r * stride));
    panel_vector v[8];
    transpose(scales, 8 * sizeof(float), v);
    for (size_t j = 0; j < 8; j++) store_panel(out + j * step, v[j]);
}

MOE_INLINE void direct_q8_0(const uint8_t *w, size_t stride, size_t blocks, uint8_t *panel, size_t step) {
    const size_t bytes = sizeof(moe_block_q8_0);
    for (size_t j = 0; j < blocks; j++) {
        panel_vector v[8];
        transpose(w + offsetof(moe_block_q8_0, qs) + j * bytes, stride, v);
        store_block(panel + j * step, v, MOE_TYPE_Q8_0, 0);
    }
    store_scales(w, stride, bytes, blocks, row_halves_q8_0, panel + 32 * COLUMNS, step);
}

/// A block's sixteen bytes: first the low nibbles, then the high ones.
MOE_INLINE void nibble_block(const uint8_t *qs, size_t stride, panel_vector v[8]) {
    panel_vector packed[4];
    transpose_quarters(qs, stride, packed);
    for (int g = 0; g < 4; g++) {
        v[g] = low_nibbles(packed[g]);
        v[g + 4] = high_nibbles(packed[g]);
    }
}

MOE_INLINE void nibble_blocks(const uint8_t *qs, size_t stride, size_t bytes, size_t blocks, int32_t type, uint8_t *panel,
                              size_t step) {
    for (size_t j = 0; j < blocks; j++) {
        panel_vector v[8];
        nibble_block(qs + j * bytes, stride, v);
        store_block(panel + j * step, v, type, moe_traits_table[type].offset);
    }
}

MOE_INLINE void direct_q4_0(const uint8_t *w, size_t stride, size_t blocks, uint8_t *panel, size_t step) {
    const size_t bytes = sizeof(moe_block_q4_0);
    nibble_blocks(w + offsetof(moe_block_q4_0, qs), stride, bytes, blocks, MOE_TYPE_Q4_0, panel, step);
    store_scales(w, stride, bytes, blocks, row_halves_q4_0, panel + 32 * COLUMNS, step);
}

MOE_INLINE __m256 row_halves_q4_1(const uint8_t *w) { return halves_of_blocks(w, sizeof(moe_block_q4_1)); }

MOE_INLINE void direct_q4_1(const uint8_t *w, size_t stride, size_t blocks, uint8_t *panel, size_t step) {
    const size_t bytes = sizeof(moe_block_q4_1);
    nibble_blocks(w + offsetof(moe_block_q4_1, qs), stride, bytes, blocks, MOE_TYPE_Q4_1, panel, step);
    store_scales(w, stride, bytes, blocks, row_halves_q4_1, panel + 32 * COLUMNS, step);
    store_scales(w + offsetof(moe_block_q4_1, m), stride, bytes, blocks, row_halves_q4_1, panel + 36 * COLUMNS, step);
}

MOE_INLINE void codebook_block(const uint8_t *qs, size_t stride, const int8_t *codebook, int32_t type, uint8_t *block) {
    panel_vector v[8];
    nibble_block(qs, stride, v);
    for (int g = 0; g < 8; g++) v[g] = lookup(v[g], codebook);
    store_block(block, v, type, 0);
}

MOE_INLINE void direct_iq4_nl(const uint8_t *w, size_t stride, size_t blocks, uint8_t *panel, size_t step) {
    static const int8_t codebook[16] = MOE_CODEBOOK_IQ4;
    const size_t bytes = sizeof(moe_block_iq4_nl);
    for (size_t j = 0; j < blocks; j++) {
        codebook_block(w + offsetof(moe_block_iq4_nl, qs) + j * bytes, stride, codebook, MOE_TYPE_IQ4_NL, panel + j * step);
    }
    store_scales(w, stride, bytes, blocks, row_halves_q4_0, panel + 32 * COLUMNS, step);  // the same layout
}

MOE_INLINE __m256 row_exponents(const uint8_t *w) { return exponents_of_blocks(w, sizeof(moe_block_mxfp4)); }

MOE_INLINE void direct_mxfp4(const uint8_t *w, size_t stride, uint8_t *panel, size_t step) {
    static const int8_t codebook[16] = MOE_CODEBOOK_MXFP4;
    const size_t bytes = sizeof(moe_block_mxfp4);
    for (size_t j = 0; j < 8; j++) {
        codebook_block(w + offsetof(moe_block_mxfp4, qs) + j * bytes, stride, codebook, MOE_TYPE_MXFP4, panel + j * step);
    }
    store_scales(w, stride, bytes, 8, row_exponents, panel + 32 * COLUMNS, step);
}

MOE_INLINE void direct_iq4_xs(const uint8_t *w, size_t stride, uint8_t *panel, size_t step) {
    static const int8_t codebook[16] = MOE_CODEBOOK_IQ4;
    for (size_t j = 0; j < 8; j++) {
        codebook_block(w + offsetof(moe_block_iq4_xs, qs) + 16 * j, stride, codebook, MOE_TYPE_IQ4_XS, panel + j * step);
    }
    store_scales(w, stride, 0, 8, scales_iq4_xs, panel + 32 * COLUMNS, step);
}

/// Scales and mins of Q4_K and Q5_K. A row's first 16 bytes are d, dmin and the twelve bytes that scales_and_mins reads.
MOE_INLINE void direct_scales_k(const uint8_t *w, size_t stride, uint8_t *panel, size_t step) {
    panel_vector head[4], bytes[4];
    transpose_quarters(w, stride, head);
    const panel_vector six = bytes_of(0x3f), four = bytes_of(0x0f), two = bytes_of(0x30);
    bytes[0] = common(head[1], six);
    bytes[1] = both(common(head[3], four), common(bits_right(head[1], 2), two));
    bytes[2] = common(head[2], six);
    bytes[3] = both(common(bits_right(head[3], 4), four), common(bits_right(head[2], 2), two));
    for (size_t j = 0; j < 8; j++) {
        uint8_t *block = panel + j * step + 32 * COLUMNS;
        store_scaled_byte(block, head[0], false, bytes[j / 4], (int)(j % 4));
        store_scaled_byte(block + 4 * COLUMNS, head[0], true, bytes[2 + j / 4], (int)(j % 4));
    }
}

/// 32 bytes hold two blocks: low nibbles and high nibbles.
MOE_INLINE void direct_q4_k(const uint8_t *w, size_t stride, uint8_t *panel, size_t step) {
    for (size_t pair = 0; pair < 4; pair++) {
        panel_vector packed[8], v[8];
        transpose(w + offsetof(moe_block_q4_k, qs) + 32 * pair, stride, packed);
        for (int g = 0; g < 8; g++) v[g] = low_nibbles(packed[g]);
        store_block(panel + 2 * pair * step, v, MOE_TYPE_Q4_K, 0);
        for (int g = 0; g < 8; g++) v[g] = high_nibbles(packed[g]);
        store_block(panel + (2 * pair + 1) * step, v, MOE_TYPE_Q4_K, 0);
    }
    direct_scales_k(w, stride, panel, step);
}

MOE_INLINE void direct_q5_k(const uint8_t *w, size_t stride, uint8_t *panel, size_t step) {
    const panel_vector sixteen = bytes_of(16);
    panel_vector fifth[8];  // bit b of a byte is block b's
    transpose(w + offsetof(moe_block_q5_k, qh), stride, fifth);
    for (size_t pair = 0; pair < 4; pair++) {
        panel_vector packed[8], v[8];
        transpose(w + offsetof(moe_block_q5_k, qs) + 32 * pair, stride, packed);
        for (int g = 0; g < 8; g++) {
            v[g] = both(low_nibbles(packed[g]), common(bits_left(fifth[g], 4), sixteen));
        }
        store_block(panel + 2 * pair * step, v, MOE_TYPE_Q5_K, 0);
        for (int g = 0; g < 8; g++) {
            v[g] = both(high_nibbles(packed[g]), common(bits_left(fifth[g], 3), sixteen));
            fifth[g] = bits_right(fifth[g], 2);
        }
        store_block(panel + (2 * pair + 1) * step, v, MOE_TYPE_Q5_K, 0);
    }
    direct_scales_k(w, stride, panel, step);
}

MOE_INLINE void direct_q6_k(const uint8_t *w, size_t stride, uint8_t *panel, size_t step) {
    const panel_vector top = bytes_of(0x30);
    for (size_t half = 0; half < 2; half++) {
        panel_vector high[8];
        transpose(w + offsetof(moe_block_q6_k, qh) + 32 * half, stride, high);
        for (size_t part = 0; part < 2; part++) {
            panel_vector packed[8], v[8];
            transpose(w + 64 * half + 32 * part, stride, packed);
            for (int g = 0; g < 8; g++) {
                v[g] = both(low_nibbles(packed[g]), common(bits_left(high[g], 4), top));
            }
            store_block(panel + (4 * half + part) * step, v, MOE_TYPE_Q6_K, 32);
            for (int g = 0; g < 8; g++) {
                v[g] = both(high_nibbles(packed[g]), common(high[g], top));
                high[g] = bits_right(high[g], 2);
            }
            store_block(panel + (4 * half + part + 2) * step, v, MOE_TYPE_Q6_K, 32);
        }
    }
    panel_vector scales[4];
    transpose_quarters(w + offsetof(moe_block_q6_k, scales), stride, scales);
    uint16_t d[COLUMNS];
    for (size_t r = 0; r < COLUMNS; r++) memcpy(&d[r], w + r * stride + offsetof(moe_block_q6_k, d), 2);
    for (size_t j = 0; j < 8; j++) {
        uint8_t *block = panel + j * step + 32 * COLUMNS;
        store_halves(block, d);
        store_signed_bytes(block + 8 * COLUMNS, scales[j / 2], (int)(j % 2));
    }
}

/// Packs a chunk of COLUMNS rows when the type is one of the above; the last of a row may have fewer than eight blocks, and the rest of
/// the panel's eight count nothing then.
MOE_INLINE bool direct(int32_t type, const uint8_t *w, size_t stride, size_t blocks, uint8_t *panel, size_t step) {
    if (blocks < 8) {
        // Of what is not there, only the scale and the min: whatever lies in its place is an integer.
        for (size_t j = blocks; j < 8; j++) memset(panel + j * step + 32 * COLUMNS, 0, 8 * COLUMNS);
    }
    switch (type) {
        case MOE_TYPE_Q8_0: direct_q8_0(w, stride, blocks, panel, step); return true;
        case MOE_TYPE_Q4_0: direct_q4_0(w, stride, blocks, panel, step); return true;
        case MOE_TYPE_Q4_1: direct_q4_1(w, stride, blocks, panel, step); return true;
        case MOE_TYPE_IQ4_NL: direct_iq4_nl(w, stride, blocks, panel, step); return true;
        default: break;
    }
    if (blocks < 8) return false;
    switch (type) {
        case MOE_TYPE_Q4_K: direct_q4_k(w, stride, panel, step); return true;
        case MOE_TYPE_Q5_K: direct_q5_k(w, stride, panel, step); return true;
        case MOE_TYPE_Q6_K: direct_q6_k(w, stride, panel, step); return true;
        case MOE_TYPE_IQ4_XS: direct_iq4_xs(w, stride, panel, step); return true;
        case MOE_TYPE_MXFP4: direct_mxfp4(w, stride, panel, step); return true;
        default: return false;
    }
}
