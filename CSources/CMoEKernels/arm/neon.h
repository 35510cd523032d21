// SPDX-License-Identifier: Apache-2.0
//
// Helpers of the NEON kernels. Include inside the target attribute, after <arm_neon.h>, blocks.h and kernel_table.h. Everything
// here is in every 64-bit ARM CPU, the conversions of float16 included.

#define MOE_INLINE static inline __attribute__((always_inline))

MOE_INLINE uint32_t load_u32(const void *p) {
    uint32_t value;
    memcpy(&value, p, sizeof value);
    return value;
}

MOE_INLINE uint8x16_t load_u8(const void *p) { return vld1q_u8(p); }
MOE_INLINE int8x16_t load_s8(const void *p) { return vld1q_s8(p); }

/// 32 int8: the first 16, the last 16.
MOE_INLINE int8x16x2_t load_values(const void *p) {
    const int8_t *q = p;
    return (int8x16x2_t){{vld1q_s8(q), vld1q_s8(q + 16)}};
}

/// The low `shift` bits of a, above them b; of that the bits of `mask`.
#define MOE_INSERT(a, b, shift, mask) vreinterpretq_s8_u8(vandq_u8(vsliq_n_u8(a, b, shift), vdupq_n_u8(mask)))

// What unpack.h leaves to an ISA.
#define MOE_UNPACK_HELPERS 1

MOE_INLINE float moe_load_half(const uint8_t *p) {
    __fp16 half;
    memcpy(&half, p, sizeof half);
    return (float)half;
}

/// 32 values from 16 bytes: the low nibbles, then the high ones.
MOE_INLINE int8x16x2_t nibbles(const uint8_t *qs) {
    const uint8x16_t packed = load_u8(qs);
    const uint8x16_t low = vandq_u8(packed, vdupq_n_u8(15)), high = vshrq_n_u8(packed, 4);
    return (int8x16x2_t){{vreinterpretq_s8_u8(low), vreinterpretq_s8_u8(high)}};
}

/// 16 in each of the bytes from 16 `half` on whose bit of the 32 in every four bytes of `bits` is set.
MOE_INLINE int8x16_t fifth_bits(uint8x16_t bits, int half) {
    static const uint8_t order[32] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1,
                                      2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3};
    const uint8x16_t select = vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201u));
    const uint8x16_t set = vtstq_u8(vqtbl1q_u8(bits, load_u8(order + 16 * half)), select);
    return vreinterpretq_s8_u8(vandq_u8(set, vdupq_n_u8(16)));
}

MOE_INLINE int8x16x2_t nibbles_fifth(const uint8_t *qs, const uint8_t *qh) {
    const int8x16x2_t four = nibbles(qs);
    const uint8x16_t bits = vreinterpretq_u8_u32(vdupq_n_u32(load_u32(qh)));
    return (int8x16x2_t){{vorrq_s8(four.val[0], fifth_bits(bits, 0)), vorrq_s8(four.val[1], fifth_bits(bits, 1))}};
}

MOE_INLINE int8x16x2_t nibbles_codebook(const uint8_t *qs, const int8_t *codebook) {
    const int8x16_t values = load_s8(codebook);
    const int8x16x2_t indices = nibbles(qs);
    return (int8x16x2_t){{vqtbl1q_s8(values, vreinterpretq_u8_s8(indices.val[0])),
                          vqtbl1q_s8(values, vreinterpretq_u8_s8(indices.val[1]))}};
}

MOE_INLINE void store_values(int8_t *q, int8x16x2_t values) {
    vst1q_s8(q, values.val[0]);
    vst1q_s8(q + 16, values.val[1]);
}

MOE_INLINE void moe_nibbles(const uint8_t *qs, int8_t *q) { store_values(q, nibbles(qs)); }
MOE_INLINE void moe_nibbles_fifth(const uint8_t *qs, const uint8_t *qh, int8_t *q) { store_values(q, nibbles_fifth(qs, qh)); }
MOE_INLINE void moe_nibbles_codebook(const uint8_t *qs, const int8_t *codebook, int8_t *q) {
    store_values(q, nibbles_codebook(qs, codebook));
}

/// Eight floats, one per block of a chunk.
typedef struct { float32x4_t v[2]; } floats8;

MOE_INLINE floats8 splat8(float x) { return (floats8){{vdupq_n_f32(x), vdupq_n_f32(x)}}; }

/// ((l0 + l4) + (l2 + l6)) + ((l1 + l5) + (l3 + l7))
MOE_INLINE float sum_of_lanes(floats8 lanes) {
    const float32x4_t four = vaddq_f32(lanes.v[0], lanes.v[1]);
    const float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
    return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}

/// The sums of four vectors.
MOE_INLINE int32x4_t sum_four(const int32x4_t v[4]) {
    return vpaddq_s32(vpaddq_s32(v[0], v[1]), vpaddq_s32(v[2], v[3]));
}

/// Rows a, b, c, d of four 32-bit values -> its columns.
MOE_INLINE void transpose_four(int32x4_t r[4]) {
    const int32x4_t ab_even = vtrn1q_s32(r[0], r[1]), ab_odd = vtrn2q_s32(r[0], r[1]);
    const int32x4_t cd_even = vtrn1q_s32(r[2], r[3]), cd_odd = vtrn2q_s32(r[2], r[3]);
    r[0] = vreinterpretq_s32_s64(vtrn1q_s64(vreinterpretq_s64_s32(ab_even), vreinterpretq_s64_s32(cd_even)));
    r[1] = vreinterpretq_s32_s64(vtrn1q_s64(vreinterpretq_s64_s32(ab_odd), vreinterpretq_s64_s32(cd_odd)));
    r[2] = vreinterpretq_s32_s64(vtrn2q_s64(vreinterpretq_s64_s32(ab_even), vreinterpretq_s64_s32(cd_even)));
    r[3] = vreinterpretq_s32_s64(vtrn2q_s64(vreinterpretq_s64_s32(ab_odd), vreinterpretq_s64_s32(cd_odd)));
}
