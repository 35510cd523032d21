#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What `make run` shows: the embedded model under its own dynamic routing, on a prompt of each kind of text that it knows, or on
# PROMPT. EXPERTS=1: with each token's number of experts.
set -euo pipefail
binary=${1:?usage: Tools/demo.sh BINARY}
options=(--max-tokens "${TOKENS:-120}")
# Small models repeat themselves; a sum must not be sampled.
text=(--temperature 0.7 --top-p 0.95 --frequency-penalty 0.4 --seed "${SEED:-1}")
[ -z "${EXPERTS:-}" ] || options+=(--show-experts)

continue_text() {
  local sampling=("${text[@]}")
  case $1 in Problem:*) sampling=() ;; esac
  printf '%s' "$1"
  "$binary" generate "$1" "${options[@]}" "${sampling[@]}"
}

if [ -n "${PROMPT:-}" ]; then
  continue_text "$PROMPT"
  exit
fi
first=1
for prompt in \
  $'It was a cold evening in November, and the young lady' \
  $'class Stack:\n    """A list of items."""\n\n    def __init__(self):\n' \
  $'Problem: What is 347 + 586?\nSolution:\n' \
  $'KING HENRY:\nMy lord, what news from France?\n\n' \
  $'The history of the city begins'; do
  [ "$first" = 1 ] || printf '\n────────\n'
  first=0
  continue_text "$prompt"
done
