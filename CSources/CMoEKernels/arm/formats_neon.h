// SPDX-License-Identifier: Apache-2.0
//
// The quantised formats in registers, for dot_body.h and panel_body.h. Include inside the target attribute, after neon.h. For
// each type, of the chunk (256 weights) at w:
//   values_<type>(w, b)     the 32 integers of block b, less 2^OFFSET_<type>; b is a constant once the loops are unrolled
//   scales_<type>(w)        everything else
//   OFFSET_<type>           0 stands for no offset: some sums are corrected more cheaply than 256 integers
// The weights are then those of unpack.h, to the bit.

#define FIELD(type, field) (w + offsetof(type, field))
#define BLOCK_FIELD(type, field) (w + (size_t)b * sizeof(type) + offsetof(type, field))

typedef int8x16x2_t (*values_fn)(const uint8_t *w, int b);

/// weight = scale * q + min, or scale * sub_scale * q + min * sub_min with a sub-scale per half block. Of a format without a
/// min, min is not set; nor are the sub-scales of BLOCK32.
typedef struct chunk_scales {
    floats8 scale, min;
    int8x16_t sub_scale, sub_min;
} chunk_scales;
typedef chunk_scales (*scales_fn)(const uint8_t *w);

enum {
    OFFSET_q4_0 = 3, OFFSET_q4_1 = 0, OFFSET_q5_0 = 4, OFFSET_q5_1 = 0, OFFSET_q8_0 = 0, OFFSET_q2_k = 0, OFFSET_q3_k = 2,
    OFFSET_q4_k = 0, OFFSET_q5_k = 0, OFFSET_q6_k = 5, OFFSET_iq4_nl = 0, OFFSET_iq4_xs = 0, OFFSET_mxfp4 = 0,
};

/// The float16 at the start of each of eight blocks `bytes` apart.
MOE_INLINE floats8 halves_of_blocks(const uint8_t *p, size_t bytes) {
    uint16_t h[8];
#pragma clang loop unroll(full)
    for (size_t i = 0; i < 8; i++) memcpy(&h[i], p + i * bytes, 2);
    const uint16x8_t packed = {h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7]};
    const float16x8_t halves = vreinterpretq_f16_u16(packed);
    return (floats8){{vcvt_f32_f16(vget_low_f16(halves)), vcvt_high_f32_f16(halves)}};
}

/// a * eight bytes
MOE_INLINE floats8 scaled_bytes(float a, uint8x8_t bytes) {
    const uint16x8_t wide = vmovl_u8(bytes);
    return (floats8){{vmulq_n_f32(vcvtq_f32_u32(vmovl_u16(vget_low_u16(wide))), a),
                      vmulq_n_f32(vcvtq_f32_u32(vmovl_high_u16(wide)), a)}};
}

// ---------------------------------------------------------------------------------------------------------------------
// Blocks of 32

MOE_INLINE int8x16x2_t values_q4_0(const uint8_t *w, int b) { return nibbles(BLOCK_FIELD(moe_block_q4_0, qs)); }
MOE_INLINE chunk_scales scales_q4_0(const uint8_t *w) {
    return (chunk_scales){.scale = halves_of_blocks(w, sizeof(moe_block_q4_0))};
}

MOE_INLINE int8x16x2_t values_q4_1(const uint8_t *w, int b) { return nibbles(BLOCK_FIELD(moe_block_q4_1, qs)); }
MOE_INLINE chunk_scales scales_q4_1(const uint8_t *w) {
    const size_t bytes = sizeof(moe_block_q4_1);
    return (chunk_scales){.scale = halves_of_blocks(w, bytes), .min = halves_of_blocks(FIELD(moe_block_q4_1, m), bytes)};
}

MOE_INLINE int8x16x2_t values_q5_0(const uint8_t *w, int b) {
    return nibbles_fifth(BLOCK_FIELD(moe_block_q5_0, qs), BLOCK_FIELD(moe_block_q5_0, qh));
}
MOE_INLINE chunk_scales scales_q5_0(const uint8_t *w) {
    return (chunk_scales){.scale = halves_of_blocks(w, sizeof(moe_block_q5_0))};
}

MOE_INLINE int8x16x2_t values_q5_1(const uint8_t *w, int b) {
    return nibbles_fifth(BLOCK_FIELD(moe_block_q5_1, qs), BLOCK_FIELD(moe_block_q5_1, qh));
}
MOE_INLINE chunk_scales scales_q5_1(const uint8_t *w) {
    const size_t bytes = sizeof(moe_block_q5_1);
    return (chunk_scales){.scale = halves_of_blocks(w, bytes), .min = halves_of_blocks(FIELD(moe_block_q5_1, m), bytes)};
}

MOE_INLINE int8x16x2_t values_q8_0(const uint8_t *w, int b) { return load_values(BLOCK_FIELD(moe_block_q8_0, qs)); }
MOE_INLINE chunk_scales scales_q8_0(const uint8_t *w) {
    return (chunk_scales){.scale = halves_of_blocks(w, sizeof(moe_block_q8_0))};
}

static const int8_t codebook_iq4[16] = MOE_CODEBOOK_IQ4;
static const int8_t codebook_mxfp4[16] = MOE_CODEBOOK_MXFP4;

MOE_INLINE int8x16x2_t values_iq4_nl(const uint8_t *w, int b) {
    return nibbles_codebook(BLOCK_FIELD(moe_block_iq4_nl, qs), codebook_iq4);
}
MOE_INLINE chunk_scales scales_iq4_nl(const uint8_t *w) {
    return (chunk_scales){.scale = halves_of_blocks(w, sizeof(moe_block_iq4_nl))};
}

MOE_INLINE int8x16x2_t values_mxfp4(const uint8_t *w, int b) {
    return nibbles_codebook(BLOCK_FIELD(moe_block_mxfp4, qs), codebook_mxfp4);
}
/// moe_e8m0_half_to_float of the eight exponents.
MOE_INLINE chunk_scales scales_mxfp4(const uint8_t *w) {
    chunk_scales scales = {0};
#pragma clang loop unroll(full)
    for (size_t i = 0; i < 2; i++) {
        const uint8_t *p = w + 4 * i * sizeof(moe_block_mxfp4);
        const size_t bytes = sizeof(moe_block_mxfp4);
        const uint32x4_t e = {p[0], p[bytes], p[2 * bytes], p[3 * bytes]};
        const uint32x4_t subnormal = vshlq_u32(vdupq_n_u32(0x00200000), vreinterpretq_s32_u32(e));
        const uint32x4_t normal = vshlq_n_u32(vsubq_u32(e, vdupq_n_u32(1)), 23);
        scales.scale.v[i] = vreinterpretq_f32_u32(vbslq_u32(vcltq_u32(e, vdupq_n_u32(2)), subnormal, normal));
    }
    return scales;
}

// ---------------------------------------------------------------------------------------------------------------------
// Blocks of 256

MOE_INLINE int8x16x2_t values_iq4_xs(const uint8_t *w, int b) {
    return nibbles_codebook(FIELD(moe_block_iq4_xs, qs) + 16 * b, codebook_iq4);
}
MOE_INLINE chunk_scales scales_iq4_xs(const uint8_t *w) {
    static const int32_t by_fours[8] = {0, -4, -8, -12, -16, -20, -24, -28};
    static const int32_t by_twos[8] = {0, -2, -4, -6, -8, -10, -12, -14};
    uint16_t high;
    memcpy(&high, FIELD(moe_block_iq4_xs, scales_h), sizeof high);
    const uint32x4_t fours = vdupq_n_u32(load_u32(FIELD(moe_block_iq4_xs, scales_l))), twos = vdupq_n_u32(high);
    chunk_scales scales = {0};
#pragma clang loop unroll(full)
    for (int i = 0; i < 2; i++) {
        const uint32x4_t low = vandq_u32(vshlq_u32(fours, vld1q_s32(by_fours + 4 * i)), vdupq_n_u32(15));
        const uint32x4_t top = vandq_u32(vshlq_u32(twos, vld1q_s32(by_twos + 4 * i)), vdupq_n_u32(3));
        const int32x4_t scale = vsubq_s32(vreinterpretq_s32_u32(vorrq_u32(low, vshlq_n_u32(top, 4))), vdupq_n_s32(32));
        scales.scale.v[i] = vmulq_n_f32(vcvtq_f32_s32(scale), moe_load_half(w));
    }
    return scales;
}

/// v >> count, where count is a constant once inlined.
MOE_INLINE uint8x16_t shifted_right(uint8x16_t v, int count) { return count ? v >> vdupq_n_u8((uint8_t)count) : v; }

/// Sixteen four-bit values of block b in Q4_K and Q5_K: in the low nibbles of 32 bytes, or in the high ones. Above the low ones
/// lies the next block.
MOE_INLINE uint8x16_t nibbles_k(const uint8_t *qs, int b, int h) {
    return shifted_right(load_u8(qs + 32 * (b / 2) + 16 * h), 4 * (b % 2));
}

/// Eight 6-bit scales and eight 6-bit mins: see moe_scales_6bit.
MOE_INLINE chunk_scales scales_k(const uint8_t *w, const uint8_t *packed) {
    const uint32_t a = load_u32(packed), b = load_u32(packed + 4), c = load_u32(packed + 8);
    const uint32_t six = 0x3f3f3f3f, four = 0x0f0f0f0f, two = 0x30303030;
    const uint32x2_t scales = {a & six, (c & four) | (a >> 2 & two)}, mins = {b & six, (c >> 4 & four) | (b >> 2 & two)};
    return (chunk_scales){.scale = scaled_bytes(moe_load_half(w), vreinterpret_u8_u32(scales)),
                          .min = scaled_bytes(-moe_load_half(w + 2), vreinterpret_u8_u32(mins))};
}

MOE_INLINE int8x16x2_t values_q4_k(const uint8_t *w, int b) {
    int8x16x2_t q;
#pragma clang loop unroll(full)
    for (int h = 0; h < 2; h++) {
        const uint8x16_t low = nibbles_k(FIELD(moe_block_q4_k, qs), b, h);
        q.val[h] = vreinterpretq_s8_u8(b % 2 ? low : vandq_u8(low, vdupq_n_u8(15)));
    }
    return q;
}
MOE_INLINE chunk_scales scales_q4_k(const uint8_t *w) { return scales_k(w, FIELD(moe_block_q4_k, scales)); }

MOE_INLINE int8x16x2_t values_q5_k(const uint8_t *w, int b) {
    int8x16x2_t q;
#pragma clang loop unroll(full)
    for (int h = 0; h < 2; h++) {
        const uint8x16_t low = nibbles_k(FIELD(moe_block_q5_k, qs), b, h);
        q.val[h] = MOE_INSERT(low, shifted_right(load_u8(FIELD(moe_block_q5_k, qh) + 16 * h), b), 4, 31);
    }
    return q;
}
MOE_INLINE chunk_scales scales_q5_k(const uint8_t *w) { return scales_k(w, FIELD(moe_block_q5_k, scales)); }

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
MOE_INLINE chunk_scales scales_q6_k(const uint8_t *w) {
    return (chunk_scales){.scale = splat8(moe_load_half(FIELD(moe_block_q6_k, d))),
                          .sub_scale = load_s8(FIELD(moe_block_q6_k, scales))};
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
MOE_INLINE chunk_scales scales_q2_k(const uint8_t *w) {
    const uint8x16_t packed = load_u8(w);
    return (chunk_scales){.scale = splat8(moe_load_half(FIELD(moe_block_q2_k, d))),
                          .min = splat8(-moe_load_half(FIELD(moe_block_q2_k, dmin))),
                          .sub_scale = vreinterpretq_s8_u8(vandq_u8(packed, vdupq_n_u8(15))),
                          .sub_min = vreinterpretq_s8_u8(vshrq_n_u8(packed, 4))};
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
/// Sixteen 6-bit scales, less 32.
MOE_INLINE chunk_scales scales_q3_k(const uint8_t *w) {
    const uint8_t *p = FIELD(moe_block_q3_k, scales);
    const uint32_t a = load_u32(p), b = load_u32(p + 4), c = load_u32(p + 8);
    const uint32_t four = 0x0f0f0f0f, two = 0x30303030;
    const uint32x4_t scales = {(a & four) | (c << 4 & two), (b & four) | (c << 2 & two), (a >> 4 & four) | (c & two),
                               (b >> 4 & four) | (c >> 2 & two)};
    return (chunk_scales){.scale = splat8(moe_load_half(FIELD(moe_block_q3_k, d))),
                          .sub_scale = vsubq_s8(vreinterpretq_s8_u32(scales), vdupq_n_s8(32))};
}

// ---------------------------------------------------------------------------------------------------------------------

/// The last chunk of a row that ends within it (types with blocks of 32), completed with zeros: `rest` holds it after.
MOE_INLINE const uint8_t *completed(const moe_type_traits traits, const uint8_t *w, int64_t elements, uint8_t rest[8 * 34]) {
    memset(rest, 0, 8 * 34);
    return memcpy(rest, w, (size_t)(elements / traits.block_elements * traits.block_bytes));
}
