// SPDX-License-Identifier: Apache-2.0
//
// AVX-512 VNNI: quantising activations, eight blocks at a time. A decode step quantises a few rows before each product, while the
// other workers wait: what counts is how long one chunk takes.
#if defined(__x86_64__)
#include <float.h>
#include <immintrin.h>
#include <math.h>
#include <stddef.h>

#include "../blocks.h"
#include "../kernel_table.h"
#include "tables_x86.h"

#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni"))), apply_to = function)
#pragma STDC FP_CONTRACT OFF

#include "avx2.h"
#include "avx512.h"

/// Lanes 4i + j and 4j + i change places.
MOE_INLINE __m512i swapped_order(void) { return _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15); }

/// The maxima of the 128-bit parts of four vectors, part i of vector i.
MOE_INLINE __m512 largest_parts(const __m512 v[4]) {
    const __m512 a = _mm512_max_ps(_mm512_shuffle_f32x4(v[0], v[1], 0x44), _mm512_shuffle_f32x4(v[0], v[1], 0xee));
    const __m512 b = _mm512_max_ps(_mm512_shuffle_f32x4(v[2], v[3], 0x44), _mm512_shuffle_f32x4(v[2], v[3], 0xee));
    return _mm512_max_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
}

/// What element b of eight is, in lane b of eight: part i of `v` holds elements i and 4 + i, in its lanes 0 and 2.
MOE_INLINE __m256 in_order(__m512 v) {
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 2, 6, 10, 14, 0, 0, 0, 0, 0, 0, 0, 0);
    return _mm512_castps512_ps256(_mm512_permutexvar_ps(order, v));
}

MOE_INLINE void quantize_chunk(const float *x, int32_t blocks, moe_act_chunk *out) {
    const __m512 limit = _mm512_set1_ps(FLT_MAX);
    __m512 v[16], maxima[8];
    uint32_t infinite = 0;  // bit b: block b has a value that is not finite
    for (int b = 0; b < 8; b++) {
        const __mmask16 own = b < blocks ? 0xffff : 0;
        v[2 * b] = _mm512_maskz_loadu_ps(own, x + 32 * b);
        v[2 * b + 1] = _mm512_maskz_loadu_ps(own, x + 32 * b + 16);
        const __m512 first = _mm512_abs_ps(v[2 * b]), second = _mm512_abs_ps(v[2 * b + 1]);
        const __mmask16 finite = _mm512_mask_cmp_ps_mask(_mm512_cmp_ps_mask(first, limit, _CMP_LE_OQ), second, limit, _CMP_LE_OQ);
        infinite |= (uint32_t)(finite != 0xffff) << b;
        maxima[b] = _mm512_max_ps(first, second);
    }
    const __m512 low = largest_parts(maxima), high = largest_parts(maxima + 4);
    const __m512 halves = _mm512_max_ps(_mm512_shuffle_ps(low, high, 0x44), _mm512_shuffle_ps(low, high, 0xee));
    const __m256 largest = in_order(_mm512_max_ps(halves, _mm512_shuffle_ps(halves, halves, 0xb1)));
    const __mmask8 zero = (__mmask8)(_mm256_cmp_ps_mask(largest, _mm256_set1_ps(MOE_SMALLEST_MAXIMUM), _CMP_LT_OQ) | infinite);
    const __m256 scale = _mm256_set1_ps(127.0f);
    _Alignas(32) float inverse[8];
    _mm256_store_ps(inverse, _mm256_maskz_div_ps((__mmask8)~zero, scale, largest));

    __m512i sums[4];
    for (int i = 0; i < 4; i++) {
        __m512i q[4];
        for (int j = 0; j < 4; j++) {
            const int b = 2 * i + j / 2;
            const __mmask16 own = infinite >> b & 1 ? 0 : 0xffff;
            q[j] = _mm512_maskz_cvtps_epi32(own, _mm512_mul_ps(v[4 * i + j], _mm512_set1_ps(inverse[b])));
        }
        const __m512i words = _mm512_packs_epi16(_mm512_packs_epi32(q[0], q[1]), _mm512_packs_epi32(q[2], q[3]));
        const __m512i bytes = _mm512_permutexvar_epi32(swapped_order(), words);
        _mm512_store_si512(out->q + 64 * i, bytes);
        sums[i] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_set1_epi8(1), bytes);
    }
    // Each part of sums[i] is a half block.
    const __m512i half_sums = _mm512_permutexvar_epi32(swapped_order(), sum_lanes(sums[0], sums[1], sums[2], sums[3]));
    const __m512i pairs = _mm512_add_epi32(half_sums, _mm512_srli_epi64(half_sums, 32));
    const __m256i block_sums = _mm512_cvtepi64_epi32(pairs);

    const __m256 nan = _mm256_set1_ps(NAN);
    const __m256 d = _mm256_mask_mov_ps(_mm256_maskz_div_ps((__mmask8)~zero, largest, scale), (__mmask8)infinite, nan);
    _mm256_store_ps(out->d, d);
    _mm256_store_ps(out->dsum, _mm256_mul_ps(d, _mm256_cvtepi32_ps(block_sums)));
    _mm256_store_si256((__m256i *)(void *)out->bias32, _mm256_sub_epi32(_mm256_setzero_si256(), _mm256_slli_epi32(block_sums, 7)));
    _mm512_storeu_si512(out->bias16, _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_slli_epi32(half_sums, 7)));
    _mm256_store_si256((__m256i *)(void *)out->sum16, _mm512_cvtepi32_epi16(half_sums));
}

static void quantize(const float *x, int64_t k, moe_act_chunk *out) {
    for (; k >= MOE_CHUNK; k -= MOE_CHUNK, x += MOE_CHUNK) quantize_chunk(x, 8, out++);
    if (k > 0) quantize_chunk(x, (int32_t)(k / 32), out);
}

#pragma clang attribute pop

void moe_set_quantize_avx512vnni(moe_kernels *table) { table->quantize = quantize; }
#endif
