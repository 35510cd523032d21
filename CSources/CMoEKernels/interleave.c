// SPDX-License-Identifier: Apache-2.0
//
// Weights of several rows side by side, as kernels with a lane a row want them: CMoEKernels.h says how they lie. No byte is added and
// none changed, so that a matrix takes the same place.
#include <string.h>

#include "blocks.h"
#include "kernel_table.h"

/// Where a block has its float16 scales, and the rest.
typedef struct parts {
    size_t halves_at, halves, words_at, words;
} parts;

static parts parts_of(int32_t type) {
    switch (type) {
        case MOE_TYPE_Q4_0: case MOE_TYPE_Q8_0:
            return (parts){0, 1, 2, ((size_t)moe_traits_table[type].block_bytes - 2) / 4};
        case MOE_TYPE_Q4_K: case MOE_TYPE_Q5_K:
            return (parts){0, 2, 4, ((size_t)moe_traits_table[type].block_bytes - 4) / 4};
        case MOE_TYPE_Q6_K: return (parts){208, 1, 0, 52};
        default: return (parts){0};
    }
}

/// Which word of a block comes at a place: in the order of use, so that memory is read as a stream. Of Q6_K (ql, qh, scales) that is the
/// scales, then for each half its part of qh and its part of ql.
static size_t word_at(int32_t type, size_t place) {
    if (type != MOE_TYPE_Q6_K) return place;
    if (place < 4) return 48 + place;
    const size_t half = (place - 4) / 24, in_half = (place - 4) % 24;
    return in_half < 8 ? 32 + 8 * half + in_half : 16 * half + in_half - 8;
}

int32_t moe_interleaved_rows(int32_t type, int64_t n, int64_t k) { return moe_interleaved_group(moe_kernels_active(), type, n, k); }

int32_t moe_interleaved_rows_isa(const char *isa, int32_t type, int64_t n, int64_t k) {
    const moe_kernels *kernels = moe_kernels_named(isa);
    return kernels ? moe_interleaved_group(kernels, type, n, k) : 0;
}

void moe_interleave(int32_t type, int32_t group_rows, const void *rows, int64_t n, int64_t k, void *out) {
    const size_t count = (size_t)group_rows;
    const parts parts = parts_of(type);
    const size_t block_bytes = (size_t)moe_traits_table[type].block_bytes, row_bytes = moe_row_bytes(type, k);
    const size_t blocks = MOE_CHUNK / (size_t)moe_traits_table[type].block_elements;
    const uint8_t *group = rows;
    uint8_t *to = out;
    for (int64_t row = 0; row < n; row += group_rows, group += count * row_bytes) {
        for (const uint8_t *chunk = group; chunk < group + row_bytes; chunk += blocks * block_bytes) {
            for (size_t at = 0; at < blocks * parts.halves; at++) {
                const uint8_t *from = chunk + at / parts.halves * block_bytes + parts.halves_at + at % parts.halves * 2;
                for (size_t r = 0; r < count; r++, to += 2) memcpy(to, from + r * row_bytes, 2);
            }
            for (size_t at = 0; at < blocks * parts.words; at++) {
                const uint8_t *from = chunk + at / parts.words * block_bytes + parts.words_at + 4 * word_at(type, at % parts.words);
                for (size_t r = 0; r < count; r++, to += 4) memcpy(to, from + r * row_bytes, 4);
            }
        }
    }
}
