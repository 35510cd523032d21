#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Grammars against others' truth: documents of every schema of the JSON-Schema-Test-Suite must be valid by Python's jsonschema.
# Usage: Tools/test_grammar.sh [GGUF file with a byte-level vocabulary] [mutations per grammar]
set -euo pipefail
cd "$(dirname "$0")/.."
vocabulary=${1:-}
rounds=${2:-}
[ -n "$vocabulary" ] || vocabulary=../shared/data/tokenizers/ggml-vocab-qwen2.gguf
cache=.cache/grammar
mkdir -p "$cache"
if [ ! -x "$cache/venv/bin/python" ]; then
  python3 -m venv "$cache/venv"
  "$cache/venv/bin/pip" -q install 'jsonschema==4.26.0' gguf pyyaml requests tqdm regex
fi
python=$cache/venv/bin/python
# The last release on PyPI whose source package carries the suite as a folder.
if [ ! -d "$cache/suite" ]; then
  "$cache/venv/bin/pip" -q download --disable-pip-version-check --no-deps --no-binary jsonschema -d "$cache" jsonschema==4.9.1
  mkdir -p "$cache/suite"
  tar xzf "$cache"/jsonschema-4.9.1.tar.gz -C "$cache/suite" --strip-components=2 jsonschema-4.9.1/json
fi
if [ -f "$vocabulary" ]; then
  [ -s "$cache/vocabulary.hex" ] || "$python" Tools/grammar/oracle.py vocabulary "$cache/vocabulary.hex" --gguf "$vocabulary"
  export MOE_GRAMMAR_VOCABULARY=$PWD/$cache/vocabulary.hex
else
  echo "no vocabulary at $vocabulary: single bytes are the tokens, and nothing is measured"
fi
"$python" Tools/grammar/oracle.py make "$cache/cases.jsonl" --suite "$cache/suite"
export MOE_GRAMMAR_CASES=$PWD/$cache/cases.jsonl MOE_GRAMMAR_ANSWERS=$PWD/$cache/answers.jsonl MOE_GRAMMAR_ROUNDS=${rounds:-2000}
rm -f "$cache/answers.jsonl"
swift test -c release --filter MoEGrammarTests
"$python" Tools/grammar/oracle.py judge "$cache/cases.jsonl" "$cache/answers.jsonl"
# Random grammars against Python's recursive expressions.
"$python" Tools/grammar/oracle.py make-gbnf "$cache/gbnf.jsonl"
MOE_GRAMMAR_CASES=$PWD/$cache/gbnf.jsonl MOE_GRAMMAR_ANSWERS=$PWD/$cache/gbnf-answers.jsonl swift test -c release --skip-build --filter GrammarOracleTests
"$python" Tools/grammar/oracle.py judge-gbnf "$cache/gbnf.jsonl" "$cache/gbnf-answers.jsonl"
