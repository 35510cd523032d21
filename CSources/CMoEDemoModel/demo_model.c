// SPDX-License-Identifier: Apache-2.0
#include "CMoEDemoModel.h"

#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wc23-extensions"
static const unsigned char model[] __attribute__((aligned(64))) = {
#embed "demo.gguf"
};
#pragma clang diagnostic pop

const void *moe_demo_model_bytes(void) { return model; }
size_t moe_demo_model_size(void) { return sizeof model; }
