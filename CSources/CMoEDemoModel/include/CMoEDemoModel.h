// SPDX-License-Identifier: Apache-2.0
// The embedded model: a GGUF file in the program's read-only data. Only the executable links it.
#ifndef CMOEDEMOMODEL_H
#define CMOEDEMOMODEL_H

#include <stddef.h>

/// The file's bytes, 64-byte aligned, valid for the life of the process. See Tools/train for where it comes from.
const void *moe_demo_model_bytes(void);
size_t moe_demo_model_size(void);

#endif
