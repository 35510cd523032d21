// SPDX-License-Identifier: Apache-2.0
//
// The quantised formats: how each block becomes integers and scales. Written once in portable C; included by the reference
// and again inside each ISA's target attribute, where the compiler vectorises it. The source must include blocks.h and
// kernel_table.h first. An ISA may define MOE_UNPACK_HELPERS and its own versions of the first four functions.
//
// Every function: `blocks` blocks of 32 from src into c, which holds zeros.

#define MOE_FIELD(type, field) (src + offsetof(type, field))

#ifndef MOE_UNPACK_HELPERS
static inline float moe_load_half(const uint8_t *p) {
    uint16_t half;
    memcpy(&half, p, sizeof half);
    return moe_float_from_half(half);
}

/// 32 values: low nibbles are the first 16, high nibbles the last 16.
static inline void moe_nibbles(const uint8_t *qs, int8_t *q) {
    for (int i = 0; i < 16; i++) {
        q[i] = (int8_t)(qs[i] & 15);
        q[i + 16] = (int8_t)(qs[i] >> 4);
    }
}

/// The same, with 16 added where the value's bit of the 32 at qh is set.
static inline void moe_nibbles_fifth(const uint8_t *qs, const uint8_t *qh, int8_t *q) {
    moe_nibbles(qs, q);
    for (int i = 0; i < 32; i++) q[i] |= (int8_t)((qh[i / 8] >> i % 8 & 1) << 4);
}

/// The same as moe_nibbles, as indices into a codebook.
static inline void moe_nibbles_codebook(const uint8_t *qs, const int8_t *codebook, int8_t *q) {
    for (int i = 0; i < 16; i++) {
        q[i] = codebook[qs[i] & 15];
        q[i + 16] = codebook[qs[i] >> 4];
    }
}
#endif

static inline void moe_unpack_q4_0(const uint8_t *src, int32_t blocks, moe_chunk *c) {
    for (int32_t b = 0; b < blocks; b++, src += sizeof(moe_block_q4_0)) {
        c->scale[b] = moe_load_half(src);
        moe_nibbles(MOE_FIELD(moe_block_q4_0, qs), c->q + 32 * b);
    }
}

static inline void moe_unpack_q4_1(const uint8_t *src, int32_t blocks, moe_chunk *c) {
    for (int32_t b = 0; b < blocks; b++, src += sizeof(moe_block_q4_1)) {
        c->scale[b] = moe_load_half(src);
        c->min[b] = moe_load_half(MOE_FIELD(moe_block_q4_1, m));
        moe_nibbles(MOE_FIELD(moe_block_q4_1, qs), c->q + 32 * b);
    }
}

static inline void moe_unpack_q5_0(const uint8_t *src, int32_t blocks, moe_chunk *c) {
    for (int32_t b = 0; b < blocks; b++, src += sizeof(moe_block_q5_0)) {
        c->scale[b] = moe_load_half(src);
        moe_nibbles_fifth(MOE_FIELD(moe_block_q5_0, qs), MOE_FIELD(moe_block_q5_0, qh), c->q + 32 * b);
    }
}

static inline void moe_unpack_q5_1(const uint8_t *src, int32_t blocks, moe_chunk *c) {
    for (int32_t b = 0; b < blocks; b++, src += sizeof(moe_block_q5_1)) {
        c->scale[b] = moe_load_half(src);
        c->min[b] = moe_load_half(MOE_FIELD(moe_block_q5_1, m));
        moe_nibbles_fifth(MOE_FIELD(moe_block_q5_1, qs), MOE_FIELD(moe_block_q5_1, qh), c->q + 32 * b);
    }
}

static inline void moe_unpack_q8_0(const uint8_t *src, int32_t blocks, moe_chunk *c) {
    for (int32_t b = 0; b < blocks; b++, src += sizeof(moe_block_q8_0)) {
        c->scale[b] = moe_load_half(src);
        memcpy(c->q + 32 * b, MOE_FIELD(moe_block_q8_0, qs), 32);
    }
}

static inline void moe_unpack_iq4_nl(const uint8_t *src, int32_t blocks, moe_chunk *c) {
    static const int8_t codebook[16] = MOE_CODEBOOK_IQ4;
    for (int32_t b = 0; b < blocks; b++, src += sizeof(moe_block_iq4_nl)) {
        c->scale[b] = moe_load_half(src);
        moe_nibbles_codebook(MOE_FIELD(moe_block_iq4_nl, qs), codebook, c->q + 32 * b);
    }
}

static inline void moe_unpack_mxfp4(const uint8_t *src, int32_t blocks, moe_chunk *c) {
    static const int8_t codebook[16] = MOE_CODEBOOK_MXFP4;
    for (int32_t b = 0; b < blocks; b++, src += sizeof(moe_block_mxfp4)) {
        c->scale[b] = moe_e8m0_half_to_float(src[0]);
        moe_nibbles_codebook(MOE_FIELD(moe_block_mxfp4, qs), codebook, c->q + 32 * b);
    }
}

static inline void moe_unpack_iq4_xs(const uint8_t *src, int32_t blocks, moe_chunk *c) {
    static const int8_t codebook[16] = MOE_CODEBOOK_IQ4;
    (void)blocks;
    const float d = moe_load_half(src);
    uint16_t high;
    memcpy(&high, MOE_FIELD(moe_block_iq4_xs, scales_h), sizeof high);
    const uint8_t *low = MOE_FIELD(moe_block_iq4_xs, scales_l), *qs = MOE_FIELD(moe_block_iq4_xs, qs);
    for (int b = 0; b < 8; b++) {
        const int scale = (low[b / 2] >> 4 * (b % 2) & 15) | (high >> 2 * b & 3) << 4;
        c->scale[b] = d * (float)(scale - 32);
        moe_nibbles_codebook(qs + 16 * b, codebook, c->q + 32 * b);
    }
}

/// Eight 6-bit scales and eight 6-bit mins in 12 bytes: the first four of each whole, with the top two bits of the last four.
static inline void moe_scales_6bit(const uint8_t *s, uint8_t *scales, uint8_t *mins) {
    for (int i = 0; i < 4; i++) {
        scales[i] = s[i] & 63;
        mins[i] = s[i + 4] & 63;
        scales[i + 4] = (s[i + 8] & 15) | (s[i] >> 6) << 4;
        mins[i + 4] = (s[i + 8] >> 4) | (s[i + 4] >> 6) << 4;
    }
}

static inline void moe_scale_min_k(const uint8_t *src, const uint8_t *packed, moe_chunk *c) {
    uint8_t scales[8], mins[8];
    moe_scales_6bit(packed, scales, mins);
    const float d = moe_load_half(src), dmin = moe_load_half(src + 2);
    for (int b = 0; b < 8; b++) {
        c->scale[b] = d * (float)scales[b];
        c->min[b] = -(dmin * (float)mins[b]);
    }
}

static inline void moe_unpack_q4_k(const uint8_t *src, int32_t blocks, moe_chunk *c) {
    (void)blocks;
    moe_scale_min_k(src, MOE_FIELD(moe_block_q4_k, scales), c);
    const uint8_t *qs = MOE_FIELD(moe_block_q4_k, qs);
    for (int pair = 0; pair < 4; pair++) {
        for (int i = 0; i < 32; i++) {
            c->q[64 * pair + i] = (int8_t)(qs[32 * pair + i] & 15);
            c->q[64 * pair + 32 + i] = (int8_t)(qs[32 * pair + i] >> 4);
        }
    }
}

static inline void moe_unpack_q5_k(const uint8_t *src, int32_t blocks, moe_chunk *c) {
    (void)blocks;
    moe_scale_min_k(src, MOE_FIELD(moe_block_q5_k, scales), c);
    const uint8_t *qs = MOE_FIELD(moe_block_q5_k, qs), *qh = MOE_FIELD(moe_block_q5_k, qh);
    for (int pair = 0; pair < 4; pair++) {
        for (int i = 0; i < 32; i++) {
            const int high = qh[i] >> 2 * pair;
            c->q[64 * pair + i] = (int8_t)((qs[32 * pair + i] & 15) | (high & 1) << 4);
            c->q[64 * pair + 32 + i] = (int8_t)((qs[32 * pair + i] >> 4) | (high & 2) << 3);
        }
    }
}

static inline void moe_unpack_q2_k(const uint8_t *src, int32_t blocks, moe_chunk *c) {
    (void)blocks;
    const float d = moe_load_half(MOE_FIELD(moe_block_q2_k, d)), dmin = moe_load_half(MOE_FIELD(moe_block_q2_k, dmin));
    const uint8_t *qs = MOE_FIELD(moe_block_q2_k, qs);
#pragma clang loop unroll(full)  // constant shifts
    for (int b = 0; b < 8; b++) {
        c->scale[b] = d;
        c->min[b] = -dmin;
        for (int i = 0; i < 32; i++) c->q[32 * b + i] = (int8_t)(qs[32 * (b / 4) + i] >> 2 * (b % 4) & 3);
    }
    for (int i = 0; i < 16; i++) {
        c->sub_scale[i] = src[i] & 15;
        c->sub_min[i] = src[i] >> 4;
    }
}

static inline void moe_unpack_q3_k(const uint8_t *src, int32_t blocks, moe_chunk *c) {
    (void)blocks;
    const float d = moe_load_half(MOE_FIELD(moe_block_q3_k, d));
    const uint8_t *qs = MOE_FIELD(moe_block_q3_k, qs), *scales = MOE_FIELD(moe_block_q3_k, scales);
#pragma clang loop unroll(full)  // constant shifts
    for (int b = 0; b < 8; b++) {
        c->scale[b] = d;
        for (int i = 0; i < 32; i++) {
            const uint8_t low = qs[32 * (b / 4) + i] >> 2 * (b % 4) & 3, high = src[i] >> b & 1;
            c->q[32 * b + i] = (int8_t)((low | high << 2) - 4);  // hmask: a clear bit subtracts 4
        }
    }
    for (int i = 0; i < 16; i++) {
        const int low = scales[i % 8] >> 4 * (i / 8) & 15, high = scales[8 + i % 4] >> 2 * (i / 4) & 3;
        c->sub_scale[i] = (int16_t)((low | high << 4) - 32);
    }
}

static inline void moe_unpack_q6_k(const uint8_t *src, int32_t blocks, moe_chunk *c) {
    (void)blocks;
    const float d = moe_load_half(MOE_FIELD(moe_block_q6_k, d));
    const uint8_t *qh = MOE_FIELD(moe_block_q6_k, qh);
    const uint8_t *scales = MOE_FIELD(moe_block_q6_k, scales);
    for (int b = 0; b < 8; b++) c->scale[b] = d;
    for (int half = 0; half < 2; half++) {
        const uint8_t *low = src + 64 * half, *high = qh + 32 * half;
        int8_t *q = c->q + 128 * half;
        for (int i = 0; i < 32; i++) {
            q[i] = (int8_t)(((low[i] & 15) | (high[i] & 3) << 4) - 32);
            q[i + 32] = (int8_t)(((low[i + 32] & 15) | (high[i] >> 2 & 3) << 4) - 32);
            q[i + 64] = (int8_t)(((low[i] >> 4) | (high[i] >> 4 & 3) << 4) - 32);
            q[i + 96] = (int8_t)(((low[i + 32] >> 4) | (high[i] >> 6) << 4) - 32);
        }
    }
    for (int i = 0; i < 16; i++) c->sub_scale[i] = (int8_t)scales[i];
}

/// Eight blocks, or the fewer that are left, of a row whose block b lies at block b's offset.
static inline __attribute__((always_inline)) void moe_unpack_chunk(
    void (*unpack)(const uint8_t *, int32_t, moe_chunk *), const uint8_t *src, int32_t blocks, moe_chunk *c) {
    if (blocks < 8) memset(c, 0, sizeof *c);
    unpack(src, blocks, c);
}

/// The values of a chunk, in the reference decoder's order of operations (which decides the sign of zeros).
static inline __attribute__((always_inline)) void moe_chunk_values(const moe_type_traits traits, const moe_chunk *c,
                                                                   int32_t blocks, float *dst) {
    for (int32_t b = 0; b < blocks; b++) {
        if (traits.kind == MOE_CLASS_BLOCK32) {
            const float scale = c->scale[b], min = c->min[b];
            for (int i = 0; i < 32; i++) {
                const float value = scale * (float)(c->q[32 * b + i] - traits.offset);
                dst[32 * b + i] = traits.has_min ? value + min : value;
            }
        } else {
            for (int half = 2 * b; half < 2 * b + 2; half++) {
                const float scale = c->scale[b] * (float)c->sub_scale[half], min = c->min[b] * (float)c->sub_min[half];
                for (int i = 16 * half; i < 16 * half + 16; i++) {
                    const float value = scale * (float)c->q[i];
                    dst[i] = traits.has_min ? value + min : value;
                }
            }
        }
    }
}
