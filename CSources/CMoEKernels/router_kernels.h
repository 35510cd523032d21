// SPDX-License-Identifier: Apache-2.0
//
// The router's kernels of one ISA, some rows at a time: what router.c splits over the workers. Each is complete in ref/ and
// compiled again in x86/ and arm/; the loops are written once, in router_body.h, and give the same bits for every ISA.
#ifndef MOE_ROUTER_KERNELS_H
#define MOE_ROUTER_KERNELS_H

#include "CMoEKernels.h"

/// Rows that share a vector where a row has one number only (its sums, before their logarithm).
enum { MOE_ROUTER_ROWS = 16 };

typedef struct moe_router_kernels {
    /// The k best of x[n], best first, ties to the lower index, NaN last; values may be NULL.
    void (*top_k)(const float *x, int32_t n, int32_t k, int32_t *indices, float *values);
    /// Euclidean norm of x[d].
    float (*norm)(const float *x, int32_t d);
    /// Product of x[d] and y[d].
    float (*product)(const float *x, const float *y, int32_t d);
    /// bits[rows]: entropy of softmax(x[n]) of each of `rows` <= MOE_ROUTER_ROWS rows.
    void (*entropy)(const float *x, int64_t stride, int32_t rows, int32_t n, float *bits);
    /// The features of `rows` <= MOE_ROUTER_ROWS rows, see moe_learned_gate: F floats each, f_stride apart, nothing else is
    /// touched.
    void (*features)(const moe_learned_gate *gate, const float *x, int64_t stride, const float *norms, int32_t rows, float *f,
                     int64_t f_stride);
    /// How many experts a row of features gets; f[moe_gate_width], zero from F on. offset: what each head's product gets added.
    int32_t (*heads)(const moe_learned_gate *gate, const float *f, float offset);
    /// See moe_top_p_counts.
    int32_t (*top_p)(const float *scores, int32_t n, const float *ranked, int32_t limit, float inverse, float p);
} moe_router_kernels;

extern const moe_router_kernels moe_router_kernels_ref;
extern const moe_router_kernels moe_router_kernels_avx2;
extern const moe_router_kernels moe_router_kernels_avx512;
extern const moe_router_kernels moe_router_kernels_neon;

#endif
