// SPDX-License-Identifier: Apache-2.0
//
// The dot product of one row of quantised weights with one row of quantised activations, included once per ISA under its
// target attribute, after neon.h. The includer defines, before:
//   int32x4_t block_products(int range, int8x16x2_t w, int8x16x2_t x)   four numbers that add up to the 32 products
//   int32x4_t half_products(int8x16_t w, int8x16_t x)                   the same for 16 products, |w| <= 63
//   ISA                                                                 its name, for `doctor`
//   SET_TABLE                                                           the function that fills the table
//
// A format is two functions: the integers of block b of a chunk in registers, and the step that multiplies the eight sums of a
// chunk by their scales. `b` is a constant once the loops are unrolled.

#define FIELD(type, field) (w + offsetof(type, field))

/// The 32 integers of block b of the chunk at w, as unpack.h defines them.
typedef int8x16x2_t (*values_fn)(const uint8_t *w, int b);

/// Four blocks at a time: there are not registers for more.
MOE_INLINE ints8 sum_blocks(values_fn values, const int range, const uint8_t *w, const moe_act_chunk *x) {
    int32x4_t sums[8];
#pragma clang loop unroll(full)
    for (int b = 0; b < 8; b++) sums[b] = block_products(range, values(w, b), load_values(x->q + 32 * b));
    return (ints8){sum_four(sums), sum_four(sums + 4)};
}

/// The eight sums of scale * (q - 2^log2_offset), with a scale per half block.
MOE_INLINE ints8 sum_scaled_halves(values_fn values, const int log2_offset, int8x16_t scales, const uint8_t *w,
                                   const moe_act_chunk *x) {
    const int16x8_t wide[2] = {vmovl_s8(vget_low_s8(scales)), vmovl_s8(vget_high_s8(scales))};
    int32x4_t sums[4];
#pragma clang loop unroll(full)
    for (int i = 0; i < 4; i++) {
        int32x4_t halves[4];
#pragma clang loop unroll(full)
        for (int j = 0; j < 2; j++) {
            const int8x16x2_t q = values(w, 2 * i + j), activations = load_values(x->q + 32 * (2 * i + j));
            halves[2 * j] = half_products(q.val[0], activations.val[0]);
            halves[2 * j + 1] = half_products(q.val[1], activations.val[1]);
        }
        sums[i] = sum_four(halves);
        if (log2_offset) {
            const int32x4_t offset = vshlq_s32(vmovl_s16(vld1_s16(x->sum16 + 4 * i)), vdupq_n_s32(log2_offset));
            sums[i] = vsubq_s32(sums[i], offset);
        }
        sums[i] = vmulq_s32(sums[i], i % 2 ? vmovl_high_s16(wide[i / 2]) : vmovl_s16(vget_low_s16(wide[i / 2])));
    }
    return (ints8){vpaddq_s32(sums[0], sums[1]), vpaddq_s32(sums[2], sums[3])};
}

/// lanes += scale * d * integers
MOE_INLINE floats8 add_products(floats8 lanes, floats8 scale, const moe_act_chunk *x, ints8 integers) {
    return multiply_add(multiply(scale, load_floats8(x->d)), convert(integers), lanes);
}

/// lanes += min * dsum
MOE_INLINE floats8 add_mins(floats8 lanes, floats8 min, const moe_act_chunk *x) {
    return multiply_add(min, load_floats8(x->dsum), lanes);
}

/// integers - 2^log2_offset * (sum of the activations); bias32 is -128 times that sum.
MOE_INLINE ints8 without_offset(ints8 integers, const moe_act_chunk *x, const int log2_offset) {
    const int32x4_t shift = vdupq_n_s32(log2_offset - 7);
    return (ints8){vaddq_s32(integers.low, vshlq_s32(vld1q_s32(x->bias32), shift)),
                   vaddq_s32(integers.high, vshlq_s32(vld1q_s32(x->bias32 + 4), shift))};
}

/// The float16 at the start of each of eight blocks `bytes` apart.
MOE_INLINE floats8 halves_of_blocks(const uint8_t *p, size_t bytes) {
    uint16_t h[8];
#pragma clang loop unroll(full)
    for (size_t i = 0; i < 8; i++) memcpy(&h[i], p + i * bytes, 2);
    const uint16x8_t packed = {h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7]};
    const float16x8_t halves = vreinterpretq_f16_u16(packed);
    return (floats8){vcvt_f32_f16(vget_low_f16(halves)), vcvt_high_f32_f16(halves)};
}

// ---------------------------------------------------------------------------------------------------------------------
// Blocks of 32

#define BLOCK(type) (w + (size_t)b * sizeof(type))
#define BLOCK_FIELD(type, field) (BLOCK(type) + offsetof(type, field))

MOE_INLINE int8x16x2_t values_q4_0(const uint8_t *w, int b) { return nibbles(BLOCK_FIELD(moe_block_q4_0, qs)); }
MOE_INLINE floats8 step_q4_0(floats8 lanes, const uint8_t *w, const moe_act_chunk *x) {
    const ints8 sums = sum_blocks(values_q4_0, MOE_RANGE_U4, w, x);
    return add_products(lanes, halves_of_blocks(w, sizeof(moe_block_q4_0)), x, without_offset(sums, x, 3));
}

MOE_INLINE int8x16x2_t values_q4_1(const uint8_t *w, int b) { return nibbles(BLOCK_FIELD(moe_block_q4_1, qs)); }
MOE_INLINE floats8 step_q4_1(floats8 lanes, const uint8_t *w, const moe_act_chunk *x) {
    const size_t bytes = sizeof(moe_block_q4_1);
    lanes = add_products(lanes, halves_of_blocks(w, bytes), x, sum_blocks(values_q4_1, MOE_RANGE_U4, w, x));
    return add_mins(lanes, halves_of_blocks(FIELD(moe_block_q4_1, m), bytes), x);
}

MOE_INLINE int8x16x2_t values_q5_0(const uint8_t *w, int b) {
    return nibbles_fifth(BLOCK_FIELD(moe_block_q5_0, qs), BLOCK_FIELD(moe_block_q5_0, qh));
}
MOE_INLINE floats8 step_q5_0(floats8 lanes, const uint8_t *w, const moe_act_chunk *x) {
    const ints8 sums = sum_blocks(values_q5_0, MOE_RANGE_U5, w, x);
    return add_products(lanes, halves_of_blocks(w, sizeof(moe_block_q5_0)), x, without_offset(sums, x, 4));
}

MOE_INLINE int8x16x2_t values_q5_1(const uint8_t *w, int b) {
    return nibbles_fifth(BLOCK_FIELD(moe_block_q5_1, qs), BLOCK_FIELD(moe_block_q5_1, qh));
}
MOE_INLINE floats8 step_q5_1(floats8 lanes, const uint8_t *w, const moe_act_chunk *x) {
    const size_t bytes = sizeof(moe_block_q5_1);
    lanes = add_products(lanes, halves_of_blocks(w, bytes), x, sum_blocks(values_q5_1, MOE_RANGE_U5, w, x));
    return add_mins(lanes, halves_of_blocks(FIELD(moe_block_q5_1, m), bytes), x);
}

MOE_INLINE int8x16x2_t values_q8_0(const uint8_t *w, int b) { return load_values(BLOCK_FIELD(moe_block_q8_0, qs)); }
MOE_INLINE floats8 step_q8_0(floats8 lanes, const uint8_t *w, const moe_act_chunk *x) {
    const ints8 sums = sum_blocks(values_q8_0, MOE_RANGE_S8, w, x);
    return add_products(lanes, halves_of_blocks(w, sizeof(moe_block_q8_0)), x, sums);
}

static const int8_t codebook_iq4[16] = MOE_CODEBOOK_IQ4;
static const int8_t codebook_mxfp4[16] = MOE_CODEBOOK_MXFP4;

MOE_INLINE int8x16x2_t values_iq4_nl(const uint8_t *w, int b) {
    return nibbles_codebook(BLOCK_FIELD(moe_block_iq4_nl, qs), codebook_iq4);
}
MOE_INLINE floats8 step_iq4_nl(floats8 lanes, const uint8_t *w, const moe_act_chunk *x) {
    const ints8 sums = sum_blocks(values_iq4_nl, MOE_RANGE_S8, w, x);
    return add_products(lanes, halves_of_blocks(w, sizeof(moe_block_iq4_nl)), x, sums);
}

MOE_INLINE int8x16x2_t values_mxfp4(const uint8_t *w, int b) {
    return nibbles_codebook(BLOCK_FIELD(moe_block_mxfp4, qs), codebook_mxfp4);
}
MOE_INLINE floats8 step_mxfp4(floats8 lanes, const uint8_t *w, const moe_act_chunk *x) {
    float scale[8];
#pragma clang loop unroll(full)
    for (int b = 0; b < 8; b++) scale[b] = moe_e8m0_half_to_float(BLOCK(moe_block_mxfp4)[0]);
    return add_products(lanes, load_floats8(scale), x, sum_blocks(values_mxfp4, MOE_RANGE_S8, w, x));
}

// ---------------------------------------------------------------------------------------------------------------------
// Blocks of 256

MOE_INLINE int8x16x2_t values_iq4_xs(const uint8_t *w, int b) {
    return nibbles_codebook(FIELD(moe_block_iq4_xs, qs) + 16 * b, codebook_iq4);
}
MOE_INLINE floats8 step_iq4_xs(floats8 lanes, const uint8_t *w, const moe_act_chunk *x) {
    static const int32_t by_fours[8] = {0, -4, -8, -12, -16, -20, -24, -28};
    static const int32_t by_twos[8] = {0, -2, -4, -6, -8, -10, -12, -14};
    uint16_t high;
    memcpy(&high, FIELD(moe_block_iq4_xs, scales_h), sizeof high);
    const uint32x4_t fours = vdupq_n_u32(load_u32(FIELD(moe_block_iq4_xs, scales_l))), twos = vdupq_n_u32(high);
    int32x4_t scale[2];
#pragma clang loop unroll(full)
    for (int i = 0; i < 2; i++) {
        const uint32x4_t low = vandq_u32(vshlq_u32(fours, vld1q_s32(by_fours + 4 * i)), vdupq_n_u32(15));
        const uint32x4_t top = vandq_u32(vshlq_u32(twos, vld1q_s32(by_twos + 4 * i)), vdupq_n_u32(3));
        scale[i] = vsubq_s32(vreinterpretq_s32_u32(vorrq_u32(low, vshlq_n_u32(top, 4))), vdupq_n_s32(32));
    }
    const floats8 d = splat8(moe_load_half(w));
    const ints8 sums = sum_blocks(values_iq4_xs, MOE_RANGE_S8, w, x);
    return add_products(lanes, multiply(d, convert((ints8){scale[0], scale[1]})), x, sums);
}

/// Bytes 16 h... of the four-bit values of block b in Q4_K and Q5_K: in the low nibbles of 32 bytes, or in the high ones. The
/// rest of each byte is of the next block, or zero.
MOE_INLINE uint8x16_t nibbles_k(const uint8_t *qs, int b, int h) {
    const uint8x16_t packed = load_u8(qs + 32 * (b / 2) + 16 * h);
    return b % 2 ? vshrq_n_u8(packed, 4) : packed;
}

/// v >> count, where count is a constant once inlined.
MOE_INLINE uint8x16_t shifted_right(uint8x16_t v, int count) { return count ? v >> vdupq_n_u8((uint8_t)count) : v; }

MOE_INLINE int8x16x2_t values_q4_k(const uint8_t *w, int b) {
    int8x16x2_t q;
#pragma clang loop unroll(full)
    for (int h = 0; h < 2; h++) {
        const uint8x16_t low = nibbles_k(FIELD(moe_block_q4_k, qs), b, h);
        q.val[h] = vreinterpretq_s8_u8(b % 2 ? low : vandq_u8(low, vdupq_n_u8(15)));
    }
    return q;
}

MOE_INLINE int8x16x2_t values_q5_k(const uint8_t *w, int b) {
    int8x16x2_t q;
#pragma clang loop unroll(full)
    for (int h = 0; h < 2; h++) {
        const uint8x16_t low = nibbles_k(FIELD(moe_block_q5_k, qs), b, h);
        q.val[h] = MOE_INSERT(low, shifted_right(load_u8(FIELD(moe_block_q5_k, qh) + 16 * h), b), 4, 31);
    }
    return q;
}

/// lanes += d * scales * integers + dmin * mins * sums of activations; `packed` holds the 6-bit scales and mins.
MOE_INLINE floats8 add_block_k(floats8 lanes, const uint8_t *w, const uint8_t *packed, const moe_act_chunk *x, ints8 sums) {
    const uint32_t a = load_u32(packed), b = load_u32(packed + 4), c = load_u32(packed + 8);
    const uint32_t six = 0x3f3f3f3f, four = 0x0f0f0f0f, two = 0x30303030;
    const uint32x2_t scales = {a & six, (c & four) | (a >> 2 & two)}, mins = {b & six, (c >> 4 & four) | (b >> 2 & two)};
    const int16x8_t scales16 = vreinterpretq_s16_u16(vmovl_u8(vreinterpret_u8_u32(scales)));
    const int16x8_t mins16 = vreinterpretq_s16_u16(vmovl_u8(vreinterpret_u8_u32(mins)));
    const ints8 wide_scales = {vmovl_s16(vget_low_s16(scales16)), vmovl_high_s16(scales16)};
    const ints8 wide_mins = {vmovl_s16(vget_low_s16(mins16)), vmovl_high_s16(mins16)};
    const floats8 scale = multiply(splat8(moe_load_half(w)), convert(wide_scales));
    const floats8 min = multiply(splat8(-moe_load_half(w + 2)), convert(wide_mins));
    return add_mins(add_products(lanes, scale, x, sums), min, x);
}

MOE_INLINE floats8 step_q4_k(floats8 lanes, const uint8_t *w, const moe_act_chunk *x) {
    return add_block_k(lanes, w, FIELD(moe_block_q4_k, scales), x, sum_blocks(values_q4_k, MOE_RANGE_U4, w, x));
}

MOE_INLINE floats8 step_q5_k(floats8 lanes, const uint8_t *w, const moe_act_chunk *x) {
    return add_block_k(lanes, w, FIELD(moe_block_q5_k, scales), x, sum_blocks(values_q5_k, MOE_RANGE_U5, w, x));
}

MOE_INLINE int8x16x2_t values_q6_k(const uint8_t *w, int b) {
    const int half = b / 4, j = b % 4;
    int8x16x2_t q;
#pragma clang loop unroll(full)
    for (int h = 0; h < 2; h++) {
        const uint8x16_t packed = load_u8(w + 64 * half + 32 * (j % 2) + 16 * h);
        const uint8x16_t high = load_u8(FIELD(moe_block_q6_k, qh) + 32 * half + 16 * h);
        q.val[h] = MOE_INSERT(shifted_right(packed, 4 * (j / 2)), shifted_right(high, 2 * j), 4, 63);
    }
    return q;
}
MOE_INLINE floats8 step_q6_k(floats8 lanes, const uint8_t *w, const moe_act_chunk *x) {
    const ints8 sums = sum_scaled_halves(values_q6_k, 5, load_s8(FIELD(moe_block_q6_k, scales)), w, x);
    return add_products(lanes, splat8(moe_load_half(FIELD(moe_block_q6_k, d))), x, sums);
}

/// Sixteen two-bit values of block b in Q2_K and Q3_K; above them lie those of other blocks.
MOE_INLINE uint8x16_t pairs_k(const uint8_t *qs, int b, int h) {
    return shifted_right(load_u8(qs + 32 * (b / 4) + 16 * h), 2 * (b % 4));
}

MOE_INLINE int8x16x2_t values_q2_k(const uint8_t *w, int b) {
    int8x16x2_t q;
#pragma clang loop unroll(full)
    for (int h = 0; h < 2; h++) {
        q.val[h] = vreinterpretq_s8_u8(vandq_u8(pairs_k(FIELD(moe_block_q2_k, qs), b, h), vdupq_n_u8(3)));
    }
    return q;
}
MOE_INLINE floats8 step_q2_k(floats8 lanes, const uint8_t *w, const moe_act_chunk *x) {
    const uint8x16_t packed = load_u8(w);
    const uint8x16_t scales = vandq_u8(packed, vdupq_n_u8(15)), mins = vshrq_n_u8(packed, 4);
    const ints8 sums = sum_scaled_halves(values_q2_k, 0, vreinterpretq_s8_u8(scales), w, x);
    const int16x8_t mins_low = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(mins)));
    const int16x8_t mins_high = vreinterpretq_s16_u16(vmovl_high_u8(mins));
    const int16x8_t sum_low = vld1q_s16(x->sum16), sum_high = vld1q_s16(x->sum16 + 8);
    const ints8 min_sums = {
        vpaddq_s32(vmull_s16(vget_low_s16(mins_low), vget_low_s16(sum_low)), vmull_high_s16(mins_low, sum_low)),
        vpaddq_s32(vmull_s16(vget_low_s16(mins_high), vget_low_s16(sum_high)), vmull_high_s16(mins_high, sum_high))};
    lanes = add_products(lanes, splat8(moe_load_half(FIELD(moe_block_q2_k, d))), x, sums);
    return add_products(lanes, splat8(-moe_load_half(FIELD(moe_block_q2_k, dmin))), x, min_sums);
}

/// The sixteen 6-bit scales of Q3_K, less 32.
MOE_INLINE int8x16_t scales_q3_k(const uint8_t *p) {
    const uint32_t a = load_u32(p), b = load_u32(p + 4), c = load_u32(p + 8);
    const uint32_t four = 0x0f0f0f0f, two = 0x30303030;
    const uint32x4_t scales = {(a & four) | (c << 4 & two), (b & four) | (c << 2 & two), (a >> 4 & four) | (c & two),
                               (b >> 4 & four) | (c >> 2 & two)};
    return vsubq_s8(vreinterpretq_s8_u32(scales), vdupq_n_s8(32));
}

MOE_INLINE int8x16x2_t values_q3_k(const uint8_t *w, int b) {
    int8x16x2_t q;
#pragma clang loop unroll(full)
    for (int h = 0; h < 2; h++) {
        const uint8x16_t low = pairs_k(FIELD(moe_block_q3_k, qs), b, h);
        q.val[h] = MOE_INSERT(low, shifted_right(load_u8(w + 16 * h), b), 2, 7);
    }
    return q;
}
MOE_INLINE floats8 step_q3_k(floats8 lanes, const uint8_t *w, const moe_act_chunk *x) {
    const ints8 sums = sum_scaled_halves(values_q3_k, 2, scales_q3_k(FIELD(moe_block_q3_k, scales)), w, x);
    return add_products(lanes, splat8(moe_load_half(FIELD(moe_block_q3_k, d))), x, sums);
}

// ---------------------------------------------------------------------------------------------------------------------

/// Runs `step` over the chunks of a row; the last, incomplete one (of types with blocks of 32) is completed with zeros.
MOE_INLINE float over_chunks(floats8 (*step)(floats8, const uint8_t *, const moe_act_chunk *), const moe_type_traits traits,
                             const uint8_t *row, const moe_act_chunk *x, int64_t k) {
    const size_t chunk_bytes = (size_t)(MOE_CHUNK / traits.block_elements * traits.block_bytes);
    floats8 lanes = splat8(0);
    const moe_act_chunk *end = x + k / MOE_CHUNK;
    for (; x < end; x++, row += chunk_bytes) lanes = step(lanes, row, x);
    if (traits.block_elements < MOE_CHUNK && k % MOE_CHUNK) {
        uint8_t rest[8 * 34] = {0};
        memcpy(rest, row, (size_t)(k % MOE_CHUNK / traits.block_elements * traits.block_bytes));
        lanes = step(lanes, rest, x);
    }
    return sum_of_lanes(lanes);
}

#define DEFINE_DOT(NAME, name)                                                                \
    static float dot_##name(const uint8_t *row, const moe_act_chunk *x, int64_t k) {          \
        return over_chunks(step_##name, moe_traits_table[MOE_TYPE_##NAME], row, x, k);        \
    }
MOE_QUANTISED_TYPES(DEFINE_DOT)

void SET_TABLE(moe_kernels *table) {
#define SET_DOT(NAME, name)              \
    table->names[MOE_TYPE_##NAME] = ISA; \
    table->dot[MOE_TYPE_##NAME] = dot_##name;
    MOE_QUANTISED_TYPES(SET_DOT)
}
