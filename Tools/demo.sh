#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What `make run` shows: the embedded model under its own dynamic routing, on a prompt of each kind of text that it knows, or on
# PROMPT. EXPERTS=1: with each token's number of experts.
set -euo pipefail
binary=${1:?usage: Tools/demo.sh BINARY}
options=(--max-tokens "${TOKENS:-120}" --temperature 0.7 --top-p 0.9 --seed "${SEED:-7}")
[ -z "${EXPERTS:-}" ] || options+=(--show-experts)

continue_text() {
  printf '%s' "$1"
  "$binary" generate "$1" "${options[@]}"
}

if [ -n "${PROMPT:-}" ]; then
  continue_text "$PROMPT"
  exit
fi
first=1
for prompt in \
  $'The young lady was walking in the garden when' \
  $'def read_lines(path):\n    """Return the lines of a file."""\n' \
  $'Problem: What is 347 + 586?\nSolution:\n' \
  $'KING HENRY:\nMy lord, what news from France?\n\n' \
  $'The history of the city begins'; do
  [ "$first" = 1 ] || printf '\n────────\n'
  first=0
  continue_text "$prompt"
done
