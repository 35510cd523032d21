// SPDX-License-Identifier: Apache-2.0
//
// How a panel is packed, for any width of vector. Whoever includes this has defined, for COLUMNS weight rows:
//   panel_vector                            COLUMNS groups of 4 bytes, or COLUMNS floats
//   transpose(rows, stride, out[8])         COLUMNS rows of 32 bytes -> eight vectors: the i-th 4 bytes of every row
//   store_panel(p, v), store_pairs(f, v)    a vector; the low and high int16 of each int32, as 2 * COLUMNS floats
// and what panel_pack.h names.

#include "panel_pack.h"

/// One chunk of every row -> its eight blocks of the panel, `chunks` blocks apart.
MOE_INLINE void interleave(int32_t type, const moe_chunk *unpacked, uint8_t *panel, size_t block_bytes, size_t chunks) {
    const size_t stride = sizeof(moe_chunk);
    panel_vector scale[8], min[8], v[8];
    transpose(unpacked->scale, stride, scale);
    transpose(unpacked->min, stride, min);
    for (size_t j = 0; j < 8; j++) {
        uint8_t *block = panel + j * chunks * block_bytes;
        transpose(unpacked->q + 32 * j, stride, v);
        store_block(block, v, type, moe_traits(type)->offset);
        store_panel(block + 32 * COLUMNS, scale[j]);
        store_panel(block + 36 * COLUMNS, min[j]);
    }
    if (moe_traits(type)->kind != MOE_CLASS_BLOCK16) return;
    panel_vector sub_scale[8], sub_min[8];
    transpose(unpacked->sub_scale, stride, sub_scale);
    transpose(unpacked->sub_min, stride, sub_min);
    for (size_t j = 0; j < 8; j++) {
        float *floats = (float *)(panel + j * chunks * block_bytes + 40 * COLUMNS);
        store_pairs(floats, sub_scale[j]);
        store_pairs(floats + 2 * COLUMNS, sub_min[j]);
    }
}

static void pack(int32_t type, moe_unpack_fn unpack, const uint8_t *rows, size_t row_bytes, int32_t n, int64_t k,
                 moe_ahead ahead, uint8_t *panel) {
    const moe_type_traits *traits = moe_traits(type);
    const size_t block_bytes = moe_panel_block_bytes(traits, COLUMNS);
    const size_t chunk_bytes = (size_t)(MOE_CHUNK / traits->block_elements * traits->block_bytes);
    const size_t chunks = (size_t)moe_chunks(k);
    _Alignas(64) moe_chunk unpacked[COLUMNS];
    bool cleared = false;
    moe_fetching fetch = fetching(ahead, chunks);
    for (size_t c = 0; c < chunks; c++) {
        const int64_t left = k / 32 - (int64_t)c * 8;
        fetch_part(&fetch);
        if (n == COLUMNS && direct(type, rows + c * chunk_bytes, row_bytes, left < 8 ? (size_t)left : 8, panel + c * block_bytes,
                                   chunks * block_bytes)) {
            continue;
        }
        if (!cleared) memset(unpacked, 0, sizeof unpacked);
        cleared = true;
        for (size_t r = 0; r < (size_t)n; r++) {
            unpack(rows + r * row_bytes + c * chunk_bytes, left < 8 ? (int32_t)left : 8, &unpacked[r]);
        }
        interleave(type, unpacked, panel + c * block_bytes, block_bytes, chunks);
    }
}
