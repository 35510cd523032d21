// swift-tools-version: 6.2
// SPDX-License-Identifier: Apache-2.0

import PackageDescription

let package = Package(
    name: "Minimal",
    dependencies: [
        // In your own package: .package(url: "https://…/moe-infer", from: "0.1.0")
        .package(name: "moe-infer", path: "../..")
    ],
    targets: [
        .executableTarget(name: "Minimal", dependencies: [.product(name: "MoEInfer", package: "moe-infer")])
    ]
)
