#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes .venv from Tools/requirements.txt, by pip. Does nothing when it is there already and made from the same list.
# Only for golden data, training and comparisons: moe-infer itself needs no Python.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python="${PYTHON:-python3}"
wanted="$(sha256sum Tools/requirements.txt | cut -d' ' -f1)"
[ "$(cat .venv/ready 2>/dev/null)" = "$wanted" ] && exit 0

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
    || { echo "python_env: Python 3.11 or later is needed (PYTHON=… names another)" >&2; exit 1; }
"$python" -c 'import ensurepip' 2>/dev/null || { echo "python_env: please install python3-venv" >&2; exit 1; }
echo "python_env: installing into .venv (several minutes; PyTorch is large)" >&2
[ -x .venv/bin/python ] || "$python" -m venv .venv
rm -f .venv/ready
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input -r Tools/requirements.txt
echo "$wanted" >.venv/ready
