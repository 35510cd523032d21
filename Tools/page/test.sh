#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Tests the page in headless Chromium, with a driver (Selenium, in an environment of its own under .cache):
#     Tools/page/test.sh [--mock | --server BINARY] [--shots FOLDER] [TEST…]
# With --mock only against the stand-in; else also against `BINARY serve` (default: the release build).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

missing=()
command -v chromium >/dev/null || missing+=(chromium)
command -v chromedriver >/dev/null || missing+=(chromium-driver)
[ ${#missing[@]} -eq 0 ] || Tools/install_packages.sh test-page "${missing[@]}"

environment=.cache/page/venv
requirements=Tools/page/requirements.txt
if ! cmp -s "$requirements" "$environment/requirements.txt"; then
    python3 -c 'import ensurepip' 2>/dev/null || { echo "test-page: please install python3-venv" >&2; exit 1; }
    rm -rf "$environment"
    mkdir -p .cache/page
    python3 -m venv "$environment"
    "$environment/bin/pip" install --quiet --disable-pip-version-check --no-input -r "$requirements"
    cp "$requirements" "$environment/requirements.txt"
fi
exec "$environment/bin/python" Tools/page/test_page.py "$@"
