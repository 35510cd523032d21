// SPDX-License-Identifier: Apache-2.0
//
// Row kernels for NEON. The loops are those of the reference, which the compiler vectorises for any 64-bit ARM CPU; the
// conversion to float16 is the CPU's own.

#if defined(__aarch64__)
#include <arm_neon.h>
#include <math.h>
#include <string.h>

#include "../half.h"
#include "../row_kernels_body.h"

static void to_half(const float *x, uint16_t *y, int64_t count) {
    int64_t i = 0;
    for (; i + 8 <= count; i += 8) {
        const float16x8_t halves = vcvt_high_f16_f32(vcvt_f16_f32(vld1q_f32(x + i)), vld1q_f32(x + i + 4));
        vst1q_u16(y + i, vreinterpretq_u16_f16(halves));
    }
    for (; i < count; i++) y[i] = moe_half_from_float(x[i]);
}

const moe_row_kernels moe_row_kernels_neon = {rms_norm, swiglu, add, scale, add_scaled, rope, softmax, to_half,
                                             to_bytes};
#endif
