// swift-tools-version: 6.2
// SPDX-License-Identifier: Apache-2.0

import PackageDescription

/// The BLAS that is linked: a pkg-config name. `openblas` (default) swaps among Debian's OpenBLAS variants; `blas` follows
/// the `libblas.so.3` alternative (OpenBLAS, BLIS, netlib, ATLAS). At run time `MOE_BLAS_LIBRARY` overrides either.
let blas = Context.environment["MOE_BLAS_LINK"] ?? "openblas"

let swiftSettings: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
]

let cSettings: [CSetting] = [.define("NDEBUG", .when(configuration: .release))]

/// Whether this manifest is read for a package that depends on this one (from its repository, where it has no folder, or from a
/// checkout): then the server is off unless asked for, so that who imports the library does not fetch and build a web stack.
let isDependency = Context.packageDirectory == "/" || Context.packageDirectory.contains("/checkouts/")

let server = TargetDependencyCondition.when(traits: ["Server"])

let package = Package(
    name: "moe-infer",
    products: [
        .library(name: "MoEInfer", targets: ["MoEInfer"]),
        .library(name: "MoEServer", targets: ["MoEServer"]),
        .executable(name: "moe-infer", targets: ["moe-infer"]),
    ],
    traits: [
        .trait(name: "Server", description: "The HTTP server: moe-infer serve, and the library MoEServer."),
        .default(enabledTraits: isDependency ? [] : ["Server"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.5.0"),
        .package(url: "https://github.com/apple/swift-configuration", from: "1.0.0"),
        .package(url: "https://github.com/apple/swift-crypto", from: "3.0.0"),
        .package(url: "https://github.com/apple/swift-http-types", from: "1.3.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.6.0"),
        .package(url: "https://github.com/apple/swift-metrics", from: "2.5.0"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.80.0"),
        .package(url: "https://github.com/apple/swift-nio-extras", from: "1.24.0"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.30.0"),
        .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.15.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.6.0"),
    ],
    targets: [
        .systemLibrary(
            name: "COpenBLAS", path: "CSources/COpenBLAS", pkgConfig: blas,
            providers: [.apt(["libopenblas-dev"])]),
        .systemLibrary(
            name: "CLAPACKE", path: "CSources/CLAPACKE", pkgConfig: "lapacke",
            providers: [.apt(["liblapacke-dev"])]),
        .target(
            name: "CMoEKernels", dependencies: ["COpenBLAS"], path: "CSources/CMoEKernels",
            cSettings: cSettings, linkerSettings: [.linkedLibrary("m"), .linkedLibrary("dl"), .linkedLibrary("pthread")]),
        .target(name: "CMoEDemoModel", path: "CSources/CMoEDemoModel", exclude: ["demo.gguf"]),

        .target(name: "MoEJSON", swiftSettings: swiftSettings),
        .target(name: "MoETensors", dependencies: ["MoEJSON"], swiftSettings: swiftSettings),
        .target(name: "MoECompute", dependencies: ["CMoEKernels", "CLAPACKE", "MoETensors"], swiftSettings: swiftSettings),
        .target(
            name: "CPCRE2", path: "CSources/CPCRE2", cSettings: cSettings,
            linkerSettings: [.linkedLibrary("dl"), .linkedLibrary("pthread")]),
        .target(name: "MoETokenizer", dependencies: ["CPCRE2", "MoEJSON"], swiftSettings: swiftSettings),
        .target(name: "MoEJinja", dependencies: ["MoEJSON"], swiftSettings: swiftSettings),
        .target(name: "MoEChat", dependencies: ["MoEJinja", "MoEJSON"], swiftSettings: swiftSettings),
        .target(name: "MoETerminal", swiftSettings: swiftSettings),
        .target(name: "MoEGrammar", dependencies: ["MoEJSON"], swiftSettings: swiftSettings),
        .target(name: "MoEModel", dependencies: ["MoECompute", "MoETensors"], swiftSettings: swiftSettings),
        .target(
            name: "MoEInfer",
            dependencies: [
                "MoEModel", "MoETokenizer", "MoEChat", "MoEJinja", "MoEJSON", "MoEGrammar", "MoECompute", "MoETensors",
                .product(name: "Crypto", package: "swift-crypto"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "Configuration", package: "swift-configuration"),
            ],
            swiftSettings: swiftSettings),
        .target(
            name: "MoEServer",
            dependencies: [
                "MoEInfer", "MoEChat", "MoEGrammar", "MoEJSON",
                .product(name: "Configuration", package: "swift-configuration"),
                .product(name: "Crypto", package: "swift-crypto"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "CoreMetrics", package: "swift-metrics", condition: server),
                .product(name: "NIOHTTPTypes", package: "swift-nio-extras", condition: server),
                .product(name: "Hummingbird", package: "hummingbird", condition: server),
                .product(name: "HummingbirdCore", package: "hummingbird", condition: server),
                .product(name: "HummingbirdTLS", package: "hummingbird", condition: server),
                .product(name: "HTTPTypes", package: "swift-http-types", condition: server),
                .product(name: "NIOCore", package: "swift-nio", condition: server),
                .product(name: "NIOHTTP1", package: "swift-nio", condition: server),
                .product(name: "NIOPosix", package: "swift-nio", condition: server),
                .product(name: "NIOSSL", package: "swift-nio-ssl", condition: server),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle", condition: server),
                .product(name: "UnixSignals", package: "swift-service-lifecycle", condition: server),
            ],
            resources: [.embedInCode("Web"), .embedInCode("OpenAPI/openapi.json")],
            swiftSettings: swiftSettings),
        .executableTarget(
            name: "moe-infer",
            dependencies: [
                "MoEInfer", "MoETerminal", "CMoEDemoModel", .target(name: "MoEServer", condition: server),
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: swiftSettings),

        .target(
            name: "MoETestSupport", dependencies: ["MoETensors"], path: "Tests/MoETestSupport",
            swiftSettings: swiftSettings),
        .testTarget(
            name: "MoEJSONTests", dependencies: ["MoEJSON", "MoETestSupport"], swiftSettings: swiftSettings),
        .testTarget(name: "MoETerminalTests", dependencies: ["MoETerminal"], swiftSettings: swiftSettings),
        .testTarget(
            name: "MoETensorsTests", dependencies: ["MoETensors", "MoETestSupport"], swiftSettings: swiftSettings),
        .testTarget(
            name: "MoEComputeTests", dependencies: ["MoECompute", "MoETensors", "CMoEKernels", "MoETestSupport"],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "MoETokenizerTests", dependencies: ["MoETokenizer", "MoETensors", "MoETestSupport"],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "MoEJinjaTests", dependencies: ["MoEJinja", "MoEJSON", "MoETestSupport"], swiftSettings: swiftSettings),
        .testTarget(
            name: "MoEChatTests", dependencies: ["MoEChat", "MoEJinja", "MoEJSON", "MoETestSupport"],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "MoEGrammarTests", dependencies: ["MoEGrammar", "MoEJSON", "MoETestSupport"], swiftSettings: swiftSettings
        ),
        .testTarget(
            name: "MoEModelTests", dependencies: ["MoEModel", "MoECompute", "MoETensors", "MoETestSupport"],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "MoEInferTests",
            dependencies: ["MoEInfer", "MoEModel", "MoETokenizer", "MoECompute", "MoETensors", "MoETestSupport"],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "MoEServerTests",
            dependencies: [
                "MoEServer", "MoEInfer", "MoEChat", "MoEJSON", "MoETestSupport",
                .product(name: "CoreMetrics", package: "swift-metrics"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
            ],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "CommandLineTests", dependencies: ["moe-infer", "MoETestSupport"], swiftSettings: swiftSettings),
    ],
    swiftLanguageModes: [.v6],
    cLanguageStandard: .gnu17
)

// Micro-benchmarks of the kernels (`make bench-kernels`): in this package, because they call what it does not publish, but only
// when asked for, because who imports it shall not fetch a benchmark library.
if Context.environment["MOE_BENCHMARKS"] != nil {
    package.dependencies.append(.package(url: "https://github.com/ordo-one/benchmark", from: "1.38.0", traits: []))
    package.targets.append(
        .executableTarget(
            name: "Kernels",
            dependencies: ["MoECompute", "MoETensors", .product(name: "Benchmark", package: "benchmark")],
            path: "Benchmarks/Kernels", swiftSettings: swiftSettings,
            plugins: [.plugin(name: "BenchmarkPlugin", package: "benchmark")]))
}

// Encodes texts in bulk for Tools/tokenizers (`make test-tokenizers`, `make bench-tokenizers`); nobody else builds it.
if Context.environment["MOE_TOKENIZER_DRIVER"] != nil {
    package.targets.append(
        .executableTarget(
            name: "tokenizer-driver", dependencies: ["MoEInfer", "MoETokenizer"], path: "Benchmarks/Tokenizers",
            swiftSettings: swiftSettings))
}
