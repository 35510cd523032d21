// SPDX-License-Identifier: Apache-2.0
// Sums for calibration: dot products of expert outputs, and normal equations. Portable C: calibration is bound by the model's
// own products, not by these.

#include "CMoEKernels.h"

// Where the CPU has an fma anyway, as on ARM, the compiler would use it, and the sums would not be those of other CPUs.
#pragma STDC FP_CONTRACT OFF

enum { LANES = 8, BLOCK = 256 };

/// Float products in eight running sums per block of 256, blocks added in double: a fixed order, so the same on every ISA.
static double dot(const float *x, const float *y, int32_t width) {
    double total = 0;
    for (int32_t start = 0; start < width; start += BLOCK) {
        const int32_t end = width - start < BLOCK ? width : start + BLOCK;
        float lanes[LANES] = {0};
        int32_t i = start;
        for (; i + LANES <= end; i += LANES)
            for (int32_t lane = 0; lane < LANES; lane++) lanes[lane] += x[i + lane] * y[i + lane];
        for (; i < end; i++) lanes[0] += x[i] * y[i];
        for (int32_t lane = 0; lane < LANES; lane++) total += (double)lanes[lane];
    }
    return total;
}

void moe_gram(const float *const *rows, int32_t count, int32_t width, double *gram) {
    for (int32_t i = 0; i < count; i++)
        for (int32_t j = 0; j <= i; j++)
            gram[i * count + j] = gram[j * count + i] = dot(rows[i], rows[j], width);
}

void moe_add_outer(double *sum, const double *x, const double *y, int32_t rows, int32_t columns) {
    for (int32_t i = 0; i < rows; i++) {
        double *row = sum + (int64_t)i * columns;
        const double factor = x[i];
        for (int32_t j = 0; j < columns; j++) row[j] += factor * y[j];
    }
}
