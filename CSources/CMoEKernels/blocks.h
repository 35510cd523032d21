// SPDX-License-Identifier: Apache-2.0
//
// The quantised blocks as they lie in a GGUF file: sizes and field order are the file format (ggml's `ggml-common.h`; the
// reference decoder is the `gguf` Python package). Values are little-endian. Blocks in a file may lie at any address, so they
// are only read through memcpy or unaligned loads; the structs say where the fields are.
#ifndef MOE_BLOCKS_H
#define MOE_BLOCKS_H

#include <stdint.h>

#include "half.h"

// A value of a block is scale * q, or scale * q + min; d, m and dmin are float16 (moe_float_from_half).

typedef struct { uint16_t d; uint8_t qs[16]; } moe_block_q4_0;                        // 32 values d * (q - 8)
typedef struct { uint16_t d, m; uint8_t qs[16]; } moe_block_q4_1;                     // 32 values d * q + m
typedef struct { uint16_t d; uint8_t qh[4], qs[16]; } moe_block_q5_0;                 // 32 values d * (q - 16)
typedef struct { uint16_t d, m; uint8_t qh[4], qs[16]; } moe_block_q5_1;              // 32 values d * q + m
typedef struct { uint16_t d; int8_t qs[32]; } moe_block_q8_0;                         // 32 values d * q
typedef struct { uint8_t scales[16], qs[64]; uint16_t d, dmin; } moe_block_q2_k;      // 256; 4-bit scale and min per 16
typedef struct { uint8_t hmask[32], qs[64], scales[12]; uint16_t d; } moe_block_q3_k; // 256; 6-bit scale per 16
typedef struct { uint16_t d, dmin; uint8_t scales[12], qs[128]; } moe_block_q4_k;     // 256; 6-bit scale and min per 32
typedef struct { uint16_t d, dmin; uint8_t scales[12], qh[32], qs[128]; } moe_block_q5_k;
typedef struct { uint8_t ql[128], qh[64]; int8_t scales[16]; uint16_t d; } moe_block_q6_k; // 256; 8-bit scale per 16
typedef struct { uint16_t d; uint8_t qs[16]; } moe_block_iq4_nl;                      // 32 values d * codebook[q]
typedef struct { uint16_t d, scales_h; uint8_t scales_l[4], qs[128]; } moe_block_iq4_xs; // 256; 6-bit scale per 32
typedef struct { uint8_t e, qs[16]; } moe_block_mxfp4;                                // 32 values 2^(e-128) * codebook[q]

_Static_assert(sizeof(moe_block_q4_0) == 18, "Q4_0");
_Static_assert(sizeof(moe_block_q4_1) == 20, "Q4_1");
_Static_assert(sizeof(moe_block_q5_0) == 22, "Q5_0");
_Static_assert(sizeof(moe_block_q5_1) == 24, "Q5_1");
_Static_assert(sizeof(moe_block_q8_0) == 34, "Q8_0");
_Static_assert(sizeof(moe_block_q2_k) == 84, "Q2_K");
_Static_assert(sizeof(moe_block_q3_k) == 110, "Q3_K");
_Static_assert(sizeof(moe_block_q4_k) == 144, "Q4_K");
_Static_assert(sizeof(moe_block_q5_k) == 176, "Q5_K");
_Static_assert(sizeof(moe_block_q6_k) == 210, "Q6_K");
_Static_assert(sizeof(moe_block_iq4_nl) == 18, "IQ4_NL");
_Static_assert(sizeof(moe_block_iq4_xs) == 136, "IQ4_XS");
_Static_assert(sizeof(moe_block_mxfp4) == 17, "MXFP4");

/// The values that the 4-bit indices of IQ4_NL and IQ4_XS stand for.
#define MOE_CODEBOOK_IQ4 {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113}
/// Twice the values of E2M1, the 4-bit float of the OCP microscaling formats.
#define MOE_CODEBOOK_MXFP4 {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12}

/// Half of the power of two that an E8M0 exponent stands for (the codebook is doubled). Exponent 255, NaN in the OCP format,
/// is 2^127 here, as in the reference decoder.
static inline float moe_e8m0_half_to_float(uint8_t e) {
    return moe_float_from_bits(e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23);
}

#endif
