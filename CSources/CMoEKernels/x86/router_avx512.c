// SPDX-License-Identifier: Apache-2.0
//
// The router's kernels compiled for AVX-512.

#if defined(__x86_64__)
#include <immintrin.h>

#include "../router_kernels.h"

#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx2,fma,f16c"))), apply_to = function)

#include "../router_lanes.h"

INLINE uint32_t lane_bits(ints mask) {
    __m512i all;
    memcpy(&all, &mask, sizeof all);
    return _mm512_cmplt_epi32_mask(all, _mm512_setzero_si512());
}

#define NAME moe_router_kernels_avx512
#include "../router_body.h"

#pragma clang attribute pop
#endif
