#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Depends on this package by a git tag, as a stranger would, builds the examples against it and generates text. This is what
# proves that the manifest holds nothing a tagged dependency may not have (unsafeFlags, local paths).
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
model="$root/CSources/CMoEDemoModel/demo.gguf"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The working tree, committed and tagged in a repository of its own.
mkdir "$work/moe-infer"
git -C "$root" ls-files -z --cached --others --exclude-standard |
    tar cf - -C "$root" --null --ignore-failed-read -T - 2>/dev/null | tar xf - -C "$work/moe-infer"
git -C "$work/moe-infer" init -q
git -C "$work/moe-infer" add -A
git -C "$work/moe-infer" -c user.name=test -c user.email=test@localhost commit -qm "consumer test"
git -C "$work/moe-infer" tag 1.0.0

mkdir -p "$work/consumer/Sources"
cp -r "$root/Examples/Minimal/Sources/Minimal" "$root/Examples/CustomPolicy/Sources/CustomPolicy" "$work/consumer/Sources/"
cat >"$work/consumer/Package.swift" <<EOF
// swift-tools-version: 6.2
import PackageDescription
let package = Package(
    name: "Consumer",
    dependencies: [.package(url: "file://$work/moe-infer", from: "1.0.0")],
    targets: ["Minimal", "CustomPolicy"].map {
        .executableTarget(name: \$0, dependencies: [.product(name: "MoEInfer", package: "moe-infer")])
    })
EOF
cd "$work/consumer"
swift build -c release 2>&1 | tail -3
for example in Minimal CustomPolicy; do
    text=$(.build/release/$example "$model" "The city was")
    echo "$text"
    [ "$(wc -w <<<"$text")" -gt 10 ] || { echo "consumer: $example generated nothing" >&2; exit 1; }
done
echo "consumer: ok"
