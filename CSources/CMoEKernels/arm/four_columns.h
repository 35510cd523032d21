// SPDX-License-Identifier: Apache-2.0
//
// The order of a panel's integers for kernels whose vectors are four weight rows: for each group of 4 elements, 4 bytes of
// each of 8 rows. Include before panel_body.h.

#define VECTOR_ROWS 1
enum { VECTORS = 2 };

MOE_INLINE void interleave_half(const int8_t *q, size_t stride, int8x16_t out[8]) {
#pragma clang loop unroll(full)
    for (size_t part = 0; part < 2; part++) {
        int32x4_t groups[4];
#pragma clang loop unroll(full)
        for (size_t i = 0; i < 4; i++) groups[i] = vreinterpretq_s32_s8(load_s8(q + (4 * part + i) * stride));
        transpose_four(groups);
#pragma clang loop unroll(full)
        for (size_t i = 0; i < 4; i++) out[2 * i + part] = vreinterpretq_s8_s32(groups[i]);
    }
}
