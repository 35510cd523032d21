// SPDX-License-Identifier: Apache-2.0
//
// The parts of the x86 tables: one function per file of kernels.
#ifndef MOE_TABLES_X86_H
#define MOE_TABLES_X86_H

#include "../kernel_table.h"

void moe_set_dot_avx2(moe_kernels *table);     // quantised rows, few activations: Q2_K and Q3_K
void moe_set_few_avx2(moe_kernels *table);     // the same: the other types
void moe_set_interleaved_avx2(moe_kernels *table);  // the same: interleaved rows
void moe_set_panel_avx2(moe_kernels *table);   // quantised rows, many activations
void moe_set_float_avx2(moe_kernels *table);   // F32, F16, BF16
void moe_set_convert_avx2(moe_kernels *table); // dequantise, unpack, quantise activations

void moe_set_few_avx512vnni(moe_kernels *table);
void moe_set_interleaved_avx512vnni(moe_kernels *table);
void moe_set_panel_avx512vnni(moe_kernels *table);
void moe_set_quantize_avx512vnni(moe_kernels *table);

#endif
