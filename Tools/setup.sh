#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs the Debian packages that the build needs. Without root it says exactly what to install, and fails.
set -euo pipefail

command -v swift >/dev/null || { echo "setup: no Swift toolchain found (swift.org, 6.2 or later)" >&2; exit 1; }

missing=()
command -v pkg-config >/dev/null || missing+=(pkg-config)
have() { command -v pkg-config >/dev/null && pkg-config --exists "$1"; }
have openblas || missing+=(libopenblas-dev)
have lapacke || missing+=(liblapacke-dev)
[ ${#missing[@]} -eq 0 ] && exit 0

exec "$(dirname "$0")/install_packages.sh" setup "${missing[@]}"
