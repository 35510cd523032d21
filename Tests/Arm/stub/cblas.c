// SPDX-License-Identifier: Apache-2.0
#include "cblas.h"

#include <stdlib.h>

void cblas_sgemm(int order, int ta, int tb, int m, int n, int k, float alpha, const float *a, int lda, const float *b, int ldb,
                 float beta, float *c, int ldc) {
    if (order != 101) abort();
    for (int i = 0; i < m; i++) {
        for (int j = 0; j < n; j++) {
            float sum = 0;
            for (int e = 0; e < k; e++) {
                sum += (ta == 112 ? a[e * lda + i] : a[i * lda + e]) * (tb == 112 ? b[j * ldb + e] : b[e * ldb + j]);
            }
            c[i * ldc + j] = alpha * sum + (beta == 0 ? 0 : beta * c[i * ldc + j]);
        }
    }
}
