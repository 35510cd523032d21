// SPDX-License-Identifier: Apache-2.0
//
// The router's kernels in portable C.

#include "../router_lanes.h"

static inline uint32_t lane_bits(const ints mask) {
    uint32_t bits = 0;
    for (int i = 0; i < 16; i++) bits |= (uint32_t)(mask[i] < 0) << i;
    return bits;
}

#define NAME moe_router_kernels_ref
#include "../router_body.h"
