#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Packs a release for machines without a Swift toolchain: dist/moe-infer-VERSION-linux-ARCH.tar.gz and dist/SHA256SUMS. Swift's
# library is inside the binary; what it needs of the system is listed in the archive (PACKAGES) and checked. The archive is then
# unpacked and tried in an empty environment where the toolchain's libraries cannot be found.
#
#     Tools/dist.sh              builds, packs, tries
#     Tools/dist.sh --try FILE   tries an archive that is there
set -euo pipefail
cd "$(dirname "$0")/.."
scratch=${MOE_DIST_SCRATCH:-.build-dist}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() { echo "dist: $*" >&2; exit 1; }

# What the binary names as needed, by its own account.
needed() { readelf -d "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'; }

# It must run without the toolchain: nothing of Swift's may be needed, and no path may lead there.
check_binary() {
    local found
    found=$(needed "$1" | grep -E '^lib(swift|Foundation|_Foundation|dispatch|BlocksRuntime|icu)' || true)
    [ -z "$found" ] || fail "$1 needs $(tr '\n' ' ' <<<"$found")"
    found=$(readelf -d "$1" | sed -n 's/.*(R\(UN\)\?PATH).*\[\(.*\)\]/\2/p' | tr ':' '\n' | grep -v '^\$ORIGIN' || true)
    [ -z "$found" ] || fail "$1 looks for libraries in $found"
}

# "package library" for what is needed directly, as this Debian has it. Libraries of an alternative (OpenBLAS) are found by their link.
packages() {
    local library path
    needed "$1" | while read -r library; do
        path=$(ldd "$1" | awk -v name="$library" '$1 == name && $2 == "=>" { print $3; exit }')
        [ -n "$path" ] || case $library in ld-linux*) continue ;; *) fail "$library is needed and not there" ;; esac
        printf '%s %s\n' "$(owner "$path")" "$library"
    done | sort -u
}

owner() {
    local path
    # dpkg may know a file by its name before or after /usr was merged.
    for path in "$1" "$(readlink -f "$1")" "${1#/usr}" "$(readlink -f "$1" | sed 's|^/usr||')"; do
        if dpkg -S "$path" >/dev/null 2>&1; then
            dpkg -S "$path" | sed -n '1s/[:,].*//p'
            return
        fi
    done
    echo "?"
}

# Licences of what is linked in.
collect_licences() {
    local folder name file
    for folder in "$scratch"/checkouts/*/; do
        name=$(basename "$folder")
        for file in "$folder"LICENSE* "$folder"NOTICE* "$folder"Sources/*/LICENSE; do
            [ -f "$file" ] || continue
            install -D -m 644 "$file" "$1/$name/$(basename "$file")"
        done
    done
    file=$(dirname "$(dirname "$(readlink -f "$(command -v swift)")")")/share/swift/LICENSE.txt
    [ ! -f "$file" ] || install -D -m 644 "$file" "$1/swift/LICENSE.txt"
}

pack() {
    swift build -c release --static-swift-stdlib --product moe-infer --scratch-path "$scratch"
    local built="$scratch/release/moe-infer" version name stage
    version=$("$built" --version)
    name="moe-infer-$version-linux-$(uname -m)"
    stage="$work/stage"
    local root="$stage/$name"
    install -D -m 755 "$built" "$root/bin/moe-infer"
    strip --strip-unneeded "$root/bin/moe-infer"
    check_binary "$root/bin/moe-infer"

    install -m 644 README.md LICENSE "$root/"
    install -D -m 644 docs/serving.md "$root/docs/serving.md"
    cp -r packaging "$root/packaging"
    collect_licences "$root/licences"
    mkdir -p "$root/share/bash-completion/completions" "$root/share/zsh/site-functions" "$root/share/fish/vendor_completions.d"
    "$root/bin/moe-infer" --generate-completion-script bash >"$root/share/bash-completion/completions/moe-infer"
    "$root/bin/moe-infer" --generate-completion-script zsh >"$root/share/zsh/site-functions/_moe-infer"
    "$root/bin/moe-infer" --generate-completion-script fish >"$root/share/fish/vendor_completions.d/moe-infer.fish"
    {
        "$root/bin/moe-infer" --help
        "$root/bin/moe-infer" --help | awk '/^SUBCOMMANDS:/ { on = 1; next } /^$/ { on = 0 } on && /^  [a-z]/ { print $1 }' |
            while read -r command; do printf '\n\n── moe-infer %s ──\n\n' "$command"; "$root/bin/moe-infer" "$command" --help; done
    } >"$root/share/HELP"
    {
        echo "Needed at run time: Debian package, library. C library: $(objdump -T "$root/bin/moe-infer" | grep -o 'GLIBC_[0-9.]*' | sort -Vu | tail -1) or later."
        packages "$root/bin/moe-infer"
        echo "Used if it is there (pre-tokenizers of some models): libpcre2-8-0 libpcre2-8.so.0"
    } >"$root/PACKAGES"
    ! grep -q '^?' "$root/PACKAGES" || fail "no Debian package has: $(grep '^?' "$root/PACKAGES")"

    mkdir -p dist
    local archive="dist/$name.tar.gz"
    # The same files give the same archive.
    tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}" \
        -C "$stage" -cf - "$name" | gzip -9n >"$archive"
    (cd dist && sha256sum "$name.tar.gz" >SHA256SUMS)
    cat "$root/PACKAGES"
    try "$archive"
    echo "dist: $archive, $(du -h "$archive" | cut -f1); binary $(du -h "$root/bin/moe-infer" | cut -f1)"
}

# Unpacks and runs it with nothing of this machine's environment, the toolchain's folder covered.
try() {
    local folder binary toolchain hide
    folder="$work/unpacked"
    mkdir "$folder"
    tar -xzf "$1" -C "$folder" --strip-components=1
    binary="$folder/bin/moe-infer"
    check_binary "$binary"
    toolchain=$(command -v swift >/dev/null && dirname "$(dirname "$(readlink -f "$(command -v swift)")")" || true)
    hide=(unshare --mount --propagation private)
    [ "$(id -u)" -eq 0 ] || hide=(unshare --mount --map-root-user --propagation private)
    # In the namespace only: the toolchain's libraries are an empty folder.
    "${hide[@]}" /bin/bash -euo pipefail -c '
        if [ -n "$2" ]; then mount -t tmpfs none "$2/lib"; [ -z "$(ls -A "$2/lib")" ]; fi
        exec env -i PATH=/usr/bin:/bin "$(command -v python3)" "$3" "$1"
    ' try "$binary" "$toolchain" "$PWD/Tools/dist_smoke.py" || fail "$1 does not work outside of this checkout"
}

case "${1:-}" in
    --try) try "${2:?which archive?}" ;;
    "") pack ;;
    *) fail "usage: Tools/dist.sh [--try ARCHIVE]" ;;
esac
