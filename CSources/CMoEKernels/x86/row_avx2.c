// SPDX-License-Identifier: Apache-2.0
//
// Row kernels compiled for AVX2, FMA and F16C.

#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "../half.h"

#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)

#include "../row_kernels_body.h"

static void to_half(const float *x, uint16_t *y, int64_t count) {
    int64_t i = 0;
    for (; i + 8 <= count; i += 8) {
        const __m128i half = _mm256_cvtps_ph(_mm256_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        _mm_storeu_si128((__m128i *)(y + i), half);
    }
    for (; i < count; i++) y[i] = moe_half_from_float(x[i]);
}

#pragma clang attribute pop

const moe_row_kernels moe_row_kernels_avx2 = {rms_norm, swiglu, add, scale, add_scaled, rope, softmax, to_half,
                                             to_bytes};
#endif
