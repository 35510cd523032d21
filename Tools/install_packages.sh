#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# install_packages.sh WHO PACKAGE…: installs Debian packages. Without root it says exactly what to install, and fails.
set -euo pipefail
who=$1
shift

if ! command -v apt-get >/dev/null; then
    echo "$who: please install, by this system's package manager: $*" >&2
    exit 1
fi
install="apt-get install -y --no-install-recommends $*"
if [ "$(id -u)" -eq 0 ]; then
    run() { DEBIAN_FRONTEND=noninteractive "$@"; }
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    run() { sudo -n env DEBIAN_FRONTEND=noninteractive "$@"; }
else
    echo "$who: root is needed to install packages; please run:  sudo $install" >&2
    exit 1
fi
echo "$who: installing $*" >&2
run apt-get update -qq >&2
run $install >&2
