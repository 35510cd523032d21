#include "CMoEKernels.h"
int moe_placeholder;
