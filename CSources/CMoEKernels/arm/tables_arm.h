// SPDX-License-Identifier: Apache-2.0
//
// The parts of the ARM tables: one function per file of kernels.
#ifndef MOE_TABLES_ARM_H
#define MOE_TABLES_ARM_H

#include "../kernel_table.h"

void moe_set_dot_neon(moe_kernels *table);      // quantised rows
void moe_set_float_neon(moe_kernels *table);    // F32, F16, BF16
void moe_set_convert_neon(moe_kernels *table);  // dequantise, unpack, quantise activations

void moe_set_dot_dotprod(moe_kernels *table);    // the same, few activations
void moe_set_panel_dotprod(moe_kernels *table);  // many activations

void moe_set_panel_i8mm(moe_kernels *table);

#endif
