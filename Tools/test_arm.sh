#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs the checks of Tests/Arm on emulated 64-bit ARM CPUs: without dot products of bytes, with them, and with products of
# int8 matrices. Then on this machine: what must be the same on every CPU is. Installs Debian's qemu-user and the C library
# for ARM. On a 64-bit ARM machine nothing is emulated.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
sysroot=/usr/aarch64-linux-gnu

install_emulator() {
    local missing=()
    command -v qemu-aarch64 >/dev/null || missing+=(qemu-user)
    [ -e $sysroot/include/stdio.h ] || missing+=(libc6-dev-arm64-cross)
    if ! compgen -G "/usr/lib/gcc-cross/aarch64-linux-gnu/*/crtbegin.o" >/dev/null; then
        # Its name holds a version, which is not the same in every Debian.
        command -v apt-cache >/dev/null && missing+=("$(apt-cache search --names-only '^libgcc-[0-9]+-dev-arm64-cross$' |
            cut -d ' ' -f 1 | sort -V | tail -1)")
    fi
    [ ${#missing[@]} -eq 0 ] || "$root/Tools/install_packages.sh" test-arm "${missing[@]}"
}

# build FOLDER FLAG…: compiles the kernels and the checks, and links them to FOLDER/kernel_tests.
build() {
    local folder=$work/$1 source=$root/CSources/CMoEKernels tests=$root/Tests/Arm
    shift
    mkdir -p "$folder"
    local flags=("$@" -std=gnu17 -O2 -Wall -Wextra -Werror "-I$source" "-I$source/include" "-I$tests/stub")
    find "$source" "$tests" -name '*.c' -print0 |
        xargs -0 -P "$(nproc)" -I{} sh -c 'file=$1; shift; clang "$@" -c "$file" -o "$0/$(echo "$file" | tr / _).o"' \
            "$folder" {} "${flags[@]}"
    clang "$@" -fuse-ld=lld "$folder"/*.o -lm -ldl -lpthread -o "$folder/kernel_tests"
}

# same_digests A B: prints what differs.
same_digests() { diff <(grep '^digest' "$1") <(grep '^digest' "$2"); }

build here
if [ "$(uname -m)" = aarch64 ]; then
    "$work/here/kernel_tests" | grep -v '^digest'
    exit
fi

install_emulator
build arm --target=aarch64-linux-gnu
emulate() { qemu-aarch64 -L $sysroot "$@"; }
for cpu in cortex-a57:neon cortex-a76:neon_dotprod max:neon_i8mm; do
    emulate -cpu "${cpu%:*}" "$work/arm/kernel_tests" "${cpu#*:}" >"$work/${cpu#*:}" ||
        { echo "test-arm: failed on ${cpu%:*}" >&2; exit 1; }
    echo "${cpu%:*}: $(tail -1 "$work/${cpu#*:}")"
    chosen=$(MOE_ISA=neon emulate -cpu "${cpu%:*}" "$work/arm/kernel_tests" --active)
    [ "$chosen" = neon ] || { echo "test-arm: MOE_ISA=neon gives $chosen" >&2; exit 1; }
done
"$work/here/kernel_tests" >"$work/native" || { echo "test-arm: failed on this machine" >&2; exit 1; }
echo "this machine: $(tail -1 "$work/native")"
for isa in neon neon_dotprod neon_i8mm; do
    same_digests "$work/$isa" "$work/native" || { echo "test-arm: $isa and this machine differ" >&2; exit 1; }
done
echo "test-arm: ok, $(grep -c '^digest' "$work/native") digests are the same"
