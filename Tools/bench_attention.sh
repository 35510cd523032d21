#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Attention of decode and prefill against memory and BLAS in the same run: Tools/bench_attention.sh [threads] [repetitions] [filter]
# The filter picks cases by name, as in "decode olmoe q8_0 8192". CC names a clang.
set -euo pipefail
cd "$(dirname "$0")/.."
kernels=CSources/CMoEKernels
program=$(mktemp -d)/attention
trap 'rm -rf "$(dirname "$program")"' EXIT
# shellcheck disable=SC2046
"${CC:-clang}" -std=gnu17 -O2 -DNDEBUG -I"$kernels/include" -ICSources/COpenBLAS $(pkg-config --cflags openblas) \
  -o "$program" Benchmarks/attention.c $(find "$kernels" -name '*.c') $(pkg-config --libs openblas) -lm -ldl -lpthread
"$program" "$@"
