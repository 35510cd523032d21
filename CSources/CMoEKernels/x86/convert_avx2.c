// SPDX-License-Identifier: Apache-2.0
//
// AVX2: quantising activations, and the portable unpacking and dequantising compiled for this ISA.
#if defined(__x86_64__)
#include <float.h>
#include <immintrin.h>
#include <math.h>
#include <stddef.h>

#include "../blocks.h"
#include "../kernel_table.h"
#include "tables_x86.h"

#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#pragma STDC FP_CONTRACT OFF

#include "avx2.h"
#include "../unpack.h"

MOE_INLINE void quantize_block(const float *x, moe_act_chunk *out, int b) {
    const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
    __m256 v[4], maximum = _mm256_setzero_ps(), finite = _mm256_castsi256_ps(_mm256_set1_epi32(-1));
    for (int i = 0; i < 4; i++) {
        v[i] = _mm256_loadu_ps(x + 8 * i);
        const __m256 a = _mm256_and_ps(v[i], magnitude);
        finite = _mm256_and_ps(finite, _mm256_cmp_ps(a, _mm256_set1_ps(FLT_MAX), _CMP_LE_OQ));
        maximum = _mm256_max_ps(maximum, a);
    }
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(maximum), _mm256_extractf128_ps(maximum, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    const float largest = _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
    const bool valid = _mm256_movemask_ps(finite) == 0xff;
    const bool zero = !valid || largest < MOE_SMALLEST_MAXIMUM;

    const __m256 inverse = _mm256_set1_ps(zero ? 0 : 127.0f / largest);
    __m256i q[4], sums[2];
    for (int i = 0; i < 4; i++) {
        q[i] = zero ? _mm256_setzero_si256() : _mm256_cvtps_epi32(_mm256_mul_ps(v[i], inverse));
    }
    for (int i = 0; i < 2; i++) sums[i] = _mm256_add_epi32(q[2 * i], q[2 * i + 1]);
    __m256i s = _mm256_hadd_epi32(sums[0], sums[1]);
    s = _mm256_hadd_epi32(s, s);
    const __m128i both = _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
    const int32_t first = _mm_cvtsi128_si32(both), second = _mm_extract_epi32(both, 1);

    const __m256i words = _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3]));
    const __m256i bytes = _mm256_permutevar8x32_epi32(words, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    _mm256_store_si256((__m256i *)(out->q + 32 * b), bytes);
    out->d[b] = !valid ? NAN : zero ? 0 : largest / 127.0f;
    out->dsum[b] = out->d[b] * (float)(first + second);
    out->bias32[b] = -128 * (first + second);
    out->bias16[2 * b] = -128 * first;
    out->bias16[2 * b + 1] = -128 * second;
    out->sum16[2 * b] = (int16_t)first;
    out->sum16[2 * b + 1] = (int16_t)second;
}

static void quantize(const float *x, int64_t k, moe_act_chunk *out) {
    for (int64_t base = 0; base < k; base += MOE_CHUNK, out++) {
        const int64_t left = (k - base) / 32;
        if (left < 8) memset(out, 0, sizeof *out);
        for (int b = 0; b < 8 && b < left; b++) quantize_block(x + base + 32 * b, out, b);
    }
}

#define DEFINE_QUANTISED(NAME, name)                                                                        \
    static void unpack_##name(const uint8_t *src, int32_t blocks, moe_chunk *out) {                         \
        moe_unpack_chunk(moe_unpack_##name, src, blocks, out);                                              \
    }                                                                                                       \
    static void dequantize_##name(const void *src, float *dst, int64_t k) {                                 \
        const moe_type_traits traits = moe_traits_table[MOE_TYPE_##NAME];                                   \
        const int64_t chunk_bytes = MOE_CHUNK / traits.block_elements * traits.block_bytes;                 \
        const uint8_t *row = src;                                                                           \
        moe_chunk chunk = {0};                                                                              \
        int64_t base = 0;                                                                                   \
        for (; base + MOE_CHUNK <= k; base += MOE_CHUNK, row += chunk_bytes) {                              \
            moe_unpack_##name(row, 8, &chunk);                                                              \
            moe_chunk_values(traits, &chunk, 8, dst + base);                                                \
        }                                                                                                   \
        if (base < k) {                                                                                     \
            unpack_##name(row, (int32_t)((k - base) / 32), &chunk);                                         \
            moe_chunk_values(traits, &chunk, (int32_t)((k - base) / 32), dst + base);                       \
        }                                                                                                   \
    }

MOE_QUANTISED_TYPES(DEFINE_QUANTISED)

static void dequantize_f32(const void *src, float *dst, int64_t k) { memcpy(dst, src, (size_t)k * sizeof(float)); }

static void dequantize_f16(const void *src, float *dst, int64_t k) {
    const uint8_t *row = src;
    int64_t i = 0;
    for (; i + 8 <= k; i += 8) _mm256_storeu_ps(dst + i, _mm256_cvtph_ps(load128(row + 2 * i)));
    for (; i < k; i++) dst[i] = moe_load_half(row + 2 * i);
}

static void dequantize_bf16(const void *src, float *dst, int64_t k) {
    const uint8_t *row = src;
    int64_t i = 0;
    for (; i + 8 <= k; i += 8) {
        const __m256i wide = _mm256_slli_epi32(_mm256_cvtepu16_epi32(load128(row + 2 * i)), 16);
        _mm256_storeu_ps(dst + i, _mm256_castsi256_ps(wide));
    }
    for (; i < k; i++) {
        uint16_t value;
        memcpy(&value, row + 2 * i, sizeof value);
        dst[i] = moe_float_from_bits((uint32_t)value << 16);
    }
}

#pragma clang attribute pop

void moe_set_convert_avx2(moe_kernels *table) {
    table->quantize = quantize;
#define SET_QUANTISED(NAME, name)                            \
    table->dequantize[MOE_TYPE_##NAME] = dequantize_##name;  \
    table->unpack[MOE_TYPE_##NAME] = unpack_##name;
    MOE_QUANTISED_TYPES(SET_QUANTISED)
    table->dequantize[MOE_TYPE_F32] = dequantize_f32;
    table->dequantize[MOE_TYPE_F16] = dequantize_f16;
    table->dequantize[MOE_TYPE_BF16] = dequantize_bf16;
}

void moe_kernels_set_avx2(moe_kernels *table) {
    table->isa = "avx2";
    moe_set_convert_avx2(table);
    moe_set_dot_avx2(table);
    moe_set_few_avx2(table);
    moe_set_interleaved_avx2(table);
    moe_set_panel_avx2(table);
    moe_set_float_avx2(table);
}
#endif
