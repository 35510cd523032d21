// SPDX-License-Identifier: Apache-2.0

import Benchmark
import MoECompute
import MoETensors

/// Products, attention and router kernels alone, on the threads that an engine would use. `make bench-kernels`; not a part of the
/// package that others import (see Package.swift).

/// Weights of one element type, more than any cache holds, and activations: products take other matrices each time.
private final class Products: @unchecked Sendable {
    static let (n, k, experts) = (1024, 2048, 8)
    let pool: ThreadPool
    private let memory: MemoryReservation
    private let type: ElementType
    private let rows: Int
    private let input: UnsafeMutablePointer<Float>
    private var next = 0
    private let matrices: Int

    var rowBytes: Int { Self.k / type.blockElements * type.blockBytes }
    /// Of one product.
    var bytes: Int { Self.experts * Self.n * rowBytes }

    init(_ type: ElementType, rows: Int) throws {
        (self.type, self.rows) = (type, rows)
        pool = try ThreadPool(threads: ComputeDiagnosis.usableCores())
        let rowBytes = Self.k / type.blockElements * type.blockBytes
        matrices = max(2 * Self.experts, (256 << 20) / (Self.n * rowBytes) / Self.experts * Self.experts)
        let (weightBytes, inputs) = (matrices * Self.n * rowBytes, rows * Self.k)
        memory = try MemoryReservation(
            bytes: (weightBytes + 63) / 64 * 64
                + (inputs + Self.experts * rows * Self.n) * MemoryLayout<Float>.stride,
            purpose: "benchmark")
        // Bytes that make sane scales in every format.
        let pattern = UnsafeMutableRawBufferPointer(start: memory.base, count: weightBytes)
        for index in pattern.indices { pattern[index] = UInt8(truncatingIfNeeded: (index &* 37) % 15 + 0x20) }
        input = (memory.base + (weightBytes + 63) / 64 * 64).bindMemory(
            to: Float.self, capacity: inputs + Self.experts * rows * Self.n)
        for index in 0..<inputs { input[index] = Float(index % 13) - 6 }
    }

    func run(_ backend: any GEMMBackend) {
        let output = input + rows * Self.k
        let tasks = (0..<Self.experts).map { expert in
            let weights = memory.base + ((next + expert) % matrices) * Self.n * rowBytes
            return MatmulTask(
                weights: Matrix(type: type, n: Self.n, k: Self.k, rowBytes: rowBytes, pointer: UnsafeRawPointer(weights)),
                input: input, output: output + expert * rows * Self.n, m: rows)
        }
        next = (next + Self.experts) % matrices
        var statistics = MatmulStatistics()
        try! tasks.withUnsafeBufferPointer { try backend.matmul($0, pool: pool, statistics: &statistics) }
    }
}

private func products() {
    let types: [ElementType] = [.f32, .f16, .bf16, .q8_0, .q4_0, .q4_1, .q4K, .q5K, .q6K, .iq4NL, .iq4XS, .mxfp4]
    for type in types {
        for rows in [1, 4, 16, 64, 256] {
            add("product \(type.name) rows \(rows)", NativeBackend(), type, rows: rows)
        }
    }
    for rows in [64, 256] { add("product F32 rows \(rows) BLAS", OpenBLASBackend(), .f32, rows: rows) }
}

/// The weights are made when the benchmark runs: those of all together would not fit into memory.
private func add(_ name: String, _ backend: some GEMMBackend, _ type: ElementType, rows: Int) {
    Benchmark(
        name,
        closure: { (benchmark, products: Products) in
            for _ in benchmark.scaledIterations { products.run(backend) }
        }, setup: { try Products(type, rows: rows) })
}

private func routers() {
    let (rows, experts, k) = (512, 64, 8)
    let logits = (0..<rows * experts).map { Float(($0 * 7919) % 1013) / 100 }
    Benchmark("top-\(k) of \(experts), \(rows) rows") { benchmark in
        var indices = [Int32](repeating: 0, count: rows * k)
        var values = [Float](repeating: 0, count: rows * k)
        for _ in benchmark.scaledIterations {
            logits.withUnsafeBufferPointer { logits in
                indices.withUnsafeMutableBufferPointer { indices in
                    values.withUnsafeMutableBufferPointer { values in
                        Ops.topK(
                            logits.baseAddress!, rows: rows, count: experts, k: k, indices: indices.baseAddress!,
                            values: values.baseAddress!, pool: nil)
                    }
                }
            }
        }
        blackHole(values)
    }
    Benchmark("router entropy of \(experts), \(rows) rows") { benchmark in
        var bits = [Float](repeating: 0, count: rows)
        for _ in benchmark.scaledIterations {
            logits.withUnsafeBufferPointer { logits in
                bits.withUnsafeMutableBufferPointer {
                    Ops.entropy(
                        logits.baseAddress!, rows: rows, count: experts, into: $0.baseAddress!, pool: nil)
                }
            }
        }
        blackHole(bits)
    }
}

let benchmarks: @Sendable () -> Void = {
    Benchmark.defaultConfiguration.metrics = [.wallClock, .throughput]
    Benchmark.defaultConfiguration.maxDuration = .milliseconds(300)
    Benchmark.defaultConfiguration.warmupIterations = 2
    products()
    routers()
}
