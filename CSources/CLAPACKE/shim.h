// SPDX-License-Identifier: Apache-2.0
// The C interface to LAPACK, for calibration's least squares. pkg-config names the library. The header's complex types are C++'s or
// C99's by default, which Swift's importer cannot see; plain structures stand in, and no complex function is called.
#ifndef MOE_CLAPACKE_SHIM_H
#define MOE_CLAPACKE_SHIM_H
#define LAPACK_COMPLEX_STRUCTURE
#include <lapacke.h>
#endif
