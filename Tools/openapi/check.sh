#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check.sh BINARY [--model FILE]: compares a server's answers with the description that it publishes, which must be what describe.py
# writes. jsonschema comes from PyPI, into .cache.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
python3 Tools/openapi/describe.py --check
environment=.cache/openapi/venv
[ -x "$environment/bin/python" ] || python3 -m venv "$environment"
"$environment/bin/python" -c 'import jsonschema' 2>/dev/null ||
    "$environment/bin/pip" install --quiet --disable-pip-version-check 'jsonschema==4.26.0'
exec "$environment/bin/python" Tools/openapi/check.py "$@"
