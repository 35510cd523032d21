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

if ! command -v apt-get >/dev/null; then
    echo "setup: please install, by this system's package manager: ${missing[*]}" >&2
    exit 1
fi
install="apt-get install -y --no-install-recommends ${missing[*]}"
if [ "$(id -u)" -eq 0 ]; then
    run() { DEBIAN_FRONTEND=noninteractive "$@"; }
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    run() { sudo -n env DEBIAN_FRONTEND=noninteractive "$@"; }
else
    echo "setup: root is needed to install packages; please run:  sudo $install" >&2
    exit 1
fi
echo "setup: installing ${missing[*]}" >&2
run apt-get update -qq >&2
run $install >&2
