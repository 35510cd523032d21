// SPDX-License-Identifier: Apache-2.0
//
// The router's kernels compiled for AVX2.

#if defined(__x86_64__)
#include <immintrin.h>

#include "../router_kernels.h"

#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)

#include "../router_lanes.h"

INLINE uint32_t lane_bits(ints mask) {
    __m256 half[2];
    memcpy(half, &mask, sizeof half);
    return (uint32_t)_mm256_movemask_ps(half[0]) | (uint32_t)_mm256_movemask_ps(half[1]) << 8;
}

#define NAME moe_router_kernels_avx2
#include "../router_body.h"

#pragma clang attribute pop
#endif
