// SPDX-License-Identifier: Apache-2.0
//
// Dot products of one row of quantised weights with few rows of quantised activations, included once per ISA under its target
// attribute, after neon.h and formats_neon.h. The includer defines, before:
//   int32x4_t block_products(int range, int8x16x2_t w, int8x16x2_t x)   four numbers that add up to the 32 products
//   int32x4_t half_products(int8x16_t w, int8x16_t x)                   the same for 16 products, 0 <= w <= 63
//   ISA                                                                 its name, for `doctor`
//   SET_TABLE                                                           the function that fills the table

enum { ROWS = 4 };  // activation rows that share the unpacking of half a chunk: their sums and it fit in registers

/// Sums of four blocks of BLOCK32, from block `first` on, with one chunk of activations.
MOE_INLINE int32x4_t sums_of_blocks(const moe_type_traits traits, const int log2_offset, const int8x16x2_t q[4], int first,
                                    const moe_act_chunk *x) {
    int32x4_t products[4];
#pragma clang loop unroll(full)
    for (int b = 0; b < 4; b++) products[b] = block_products(traits.range, q[b], load_values(x->q + 32 * (first + b)));
    const int32x4_t sums = sum_four(products);
    if (!log2_offset) return sums;
    // bias32 is -128 times the sum of the activations.
    return vaddq_s32(sums, vshlq_s32(vld1q_s32(x->bias32 + first), vdupq_n_s32(log2_offset - 7)));
}

/// Four of sixteen int8.
MOE_INLINE int32x4_t quarter(int8x16_t bytes, int i) {
    const int16x8_t half = i < 2 ? vmovl_s8(vget_low_s8(bytes)) : vmovl_high_s8(bytes);
    return i % 2 ? vmovl_high_s16(half) : vmovl_s16(vget_low_s16(half));
}

/// The same for BLOCK16, with its integer scales.
MOE_INLINE int32x4_t sums_of_halves(const int log2_offset, int8x16_t sub_scale, const int8x16x2_t q[4], int first,
                                    const moe_act_chunk *x) {
    int32x4_t sums[2];
#pragma clang loop unroll(full)
    for (int pair = 0; pair < 2; pair++) {
        const int block = first + 2 * pair;
        int32x4_t products[4];
#pragma clang loop unroll(full)
        for (int h = 0; h < 4; h++) {
            products[h] = half_products(q[2 * pair + h / 2].val[h % 2], load_s8(x->q + 32 * block + 16 * h));
        }
        sums[pair] = sum_four(products);
        if (log2_offset) {
            const int32x4_t of_activations = vmovl_s16(vld1_s16(x->sum16 + 2 * block));
            sums[pair] = vsubq_s32(sums[pair], vshlq_s32(of_activations, vdupq_n_s32(log2_offset)));
        }
        sums[pair] = vmulq_s32(sums[pair], quarter(sub_scale, block / 2));
    }
    return vpaddq_s32(sums[0], sums[1]);
}

/// sub_min times the sums of the activations, of four blocks.
MOE_INLINE int32x4_t sums_of_mins(int8x16_t sub_min, int first, const moe_act_chunk *x) {
    const int16x8_t mins = first ? vmovl_high_s8(sub_min) : vmovl_s8(vget_low_s8(sub_min));
    const int16x8_t sums = vld1q_s16(x->sum16 + 2 * first);
    return vpaddq_s32(vmull_s16(vget_low_s16(mins), vget_low_s16(sums)), vmull_high_s16(mins, sums));
}

/// Adds the products of the chunk at w with chunk `c` of m activation rows to their lanes.
MOE_INLINE void step(values_fn values, scales_fn scales, const int log2_offset, const moe_type_traits traits, const uint8_t *w,
                     const moe_act_chunk *const *x, int64_t c, const int m, floats8 *lanes) {
    const chunk_scales s = scales(w);
#pragma clang loop unroll(full)
    for (int half = 0; half < 2; half++) {
        const int first = 4 * half;
        int8x16x2_t q[4];
#pragma clang loop unroll(full)
        for (int b = 0; b < 4; b++) q[b] = values(w, first + b);
#pragma clang loop unroll(full)
        for (int i = 0; i < m; i++) {
            const moe_act_chunk *a = x[i] + c;
            const float32x4_t d = vld1q_f32(a->d + first);
            float32x4_t sum = lanes[i].v[half];
            const int32x4_t integers = traits.kind == MOE_CLASS_BLOCK32
                ? sums_of_blocks(traits, log2_offset, q, first, a)
                : sums_of_halves(log2_offset, s.sub_scale, q, first, a);
            sum = vfmaq_f32(sum, vmulq_f32(s.scale.v[half], d), vcvtq_f32_s32(integers));
            if (traits.has_min && traits.kind == MOE_CLASS_BLOCK32) {
                sum = vfmaq_f32(sum, s.min.v[half], vld1q_f32(a->dsum + first));
            } else if (traits.has_min) {
                const float32x4_t mins = vcvtq_f32_s32(sums_of_mins(s.sub_min, first, a));
                sum = vfmaq_f32(sum, vmulq_f32(s.min.v[half], d), mins);
            }
            lanes[i].v[half] = sum;
        }
    }
}

/// Lanes b < blocks of `after`, the others of `before`.
MOE_INLINE floats8 first_lanes(floats8 before, floats8 after, int blocks) {
    static const uint32_t order[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    const uint32x4_t count = vdupq_n_u32((uint32_t)blocks);
    return (floats8){{vbslq_f32(vcgtq_u32(count, vld1q_u32(order)), after.v[0], before.v[0]),
                      vbslq_f32(vcgtq_u32(count, vld1q_u32(order + 4)), after.v[1], before.v[1])}};
}

/// Of the last, incomplete chunk (of types with blocks of 32) only the row's own blocks count; what is read for the others is
/// what lies behind the row, or zeros where that may not be read.
MOE_INLINE void over_chunks(values_fn values, scales_fn scales, const int log2_offset, const moe_type_traits traits,
                            const uint8_t *row, size_t readable, const moe_act_chunk *const *x, const int m, int64_t k,
                            float *out) {
    const size_t chunk_bytes = (size_t)(MOE_CHUNK / traits.block_elements * traits.block_bytes);
    const int64_t chunks = k / MOE_CHUNK;
    floats8 lanes[ROWS];
    for (int i = 0; i < m; i++) lanes[i] = splat8(0);
    for (int64_t c = 0; c < chunks; c++, row += chunk_bytes) step(values, scales, log2_offset, traits, row, x, c, m, lanes);
    if (traits.block_elements < MOE_CHUNK && k % MOE_CHUNK) {
        uint8_t rest[8 * 34];
        floats8 whole[ROWS];
        for (int i = 0; i < m; i++) whole[i] = lanes[i];
        if (readable < (size_t)(chunks + 1) * chunk_bytes) row = completed(traits, row, k % MOE_CHUNK, rest);
        step(values, scales, log2_offset, traits, row, x, chunks, m, whole);
        for (int i = 0; i < m; i++) lanes[i] = first_lanes(lanes[i], whole[i], (int)(k % MOE_CHUNK / traits.block_elements));
    }
    for (int i = 0; i < m; i++) out[i] = sum_of_lanes(lanes[i]);
}

#define OVER_CHUNKS(NAME, name, m) \
    over_chunks(values_##name, scales_##name, OFFSET_##name, moe_traits_table[MOE_TYPE_##NAME], row, readable, x, m, k, out)

/// The two kernels of a type: one activation row, and up to MOE_DOT_ROWS, in groups as equal as can be.
#define DEFINE_DOTS(NAME, name)                                                                                           \
    static float dot_##name(const uint8_t *row, size_t readable, const moe_act_chunk *activations, int64_t k) {           \
        const moe_act_chunk *const *x = &activations;                                                                     \
        float sum, *out = &sum;                                                                                           \
        OVER_CHUNKS(NAME, name, 1);                                                                                       \
        return sum;                                                                                                       \
    }                                                                                                                     \
    static void dots_##name(const uint8_t *row, size_t readable, const moe_act_chunk *const *x, int32_t m, int64_t k,     \
                            float *out) {                                                                                 \
        for (int32_t groups = (m + ROWS - 1) / ROWS, rows; groups > 0; groups--, x += rows, out += rows, m -= rows) {     \
            switch (rows = (m + groups - 1) / groups) {                                                                   \
                case 1: OVER_CHUNKS(NAME, name, 1); break;                                                                \
                case 2: OVER_CHUNKS(NAME, name, 2); break;                                                                \
                case 3: OVER_CHUNKS(NAME, name, 3); break;                                                                \
                default: OVER_CHUNKS(NAME, name, 4); break;                                                               \
            }                                                                                                             \
        }                                                                                                                 \
    }
MOE_QUANTISED_TYPES(DEFINE_DOTS)

void SET_TABLE(moe_kernels *table) {
#define SET_DOT(NAME, name)                   \
    table->names[MOE_TYPE_##NAME] = ISA;      \
    table->dot[MOE_TYPE_##NAME] = dot_##name; \
    table->dots[MOE_TYPE_##NAME] = dots_##name;
    MOE_QUANTISED_TYPES(SET_DOT)
}
