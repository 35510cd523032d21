// SPDX-License-Identifier: Apache-2.0
// The C interface to BLAS. pkg-config decides which library is linked (Package.swift, MOE_BLAS_LINK); only the standard
// CBLAS part may be used: Debian's OpenBLAS 0.3.21 declares batch and bfloat16 functions that it does not export.
#ifndef MOE_COPENBLAS_SHIM_H
#define MOE_COPENBLAS_SHIM_H
#include <cblas.h>
#endif
