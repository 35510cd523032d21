// SPDX-License-Identifier: Apache-2.0

import CMoEKernels
import MoETensors

/// Who multiplies how many rows, and how fast each path is here: the measurement behind ``MatmulPlan``. For `doctor --verbose`.
package struct MatmulCrossover: Sendable, Codable {
    /// One element type at one number of activation rows.
    package struct Row: Sendable, Codable {
        package var type: String
        package var rows: Int
        /// Billions of operations per second, a multiplication and an addition counted as two.
        package var nativeGops: Double
        package var blasGops: Double
        /// `dot products`, `panels`, `wide panels`, `float tiles` or `BLAS`: what the plan takes for dense products of that many rows.
        package var chosen: String
        /// Of the fastest path's speed.
        package var chosenShare: Double
    }

    package var rows: [Row]

    /// Matrices per product, their size: what an expert layer with eight active experts computes. Weights come from memory.
    private static let (matrices, n, k) = (8, 1024, 2048)
    private static let counts = [1, 2, 4, 8, 16, 64, 256]
    private static let types: [ElementType] = [.f32, .f16, .bf16, .q8_0, .q4_0, .q4K, .q5K, .q6K, .iq4NL, .mxfp4]

    /// Measures for about half a minute.
    /// - Throws: ``ResourceError`` when threads or memory cannot be had.
    package static func measure(threads: Int, plan: MatmulPlan = MatmulPlan(), progress: (Int, Int) -> Void) throws
        -> MatmulCrossover
    {
        let pool = try ThreadPool(threads: threads)
        let (inputs, outputs) = (counts.max()! * k, matrices * counts.max()! * n)
        // Twice as many matrices as a product needs, and more than any cache: products alternate between the halves.
        let weightBytes = 2 * matrices * n * k * MemoryLayout<Float>.stride
        let memory = try MemoryReservation(
            bytes: weightBytes + (inputs + outputs) * MemoryLayout<Float>.stride, purpose: "products to measure")
        let input = (memory.base + weightBytes).bindMemory(to: Float.self, capacity: inputs + outputs)
        for index in 0..<inputs { input[index] = Float(index % 13) - 6 }
        var rows: [Row] = []
        for type in types {
            // Bytes that make sane scales in every format: small positive halves, exponents around 1.
            let pattern = UnsafeMutableRawBufferPointer(start: memory.base, count: weightBytes)
            for index in pattern.indices { pattern[index] = UInt8(truncatingIfNeeded: (index &* 37) % 15 + 0x20) }
            for count in counts {
                let backends: [any GEMMBackend] = [NativeBackend(), OpenBLASBackend()]
                let measured = try backends.map {
                    try speed(
                        of: $0, type: type, rows: count, memory: memory, input: input, output: input + inputs, pool: pool)
                }
                let path = plan.dense(rows: count, quantized: type.isQuantized)
                let native = String(cString: moe_kernel_path(Int32(type.rawValue), Int32(count)))
                let chosen = path == .blas ? measured[1] : measured[0]
                rows.append(
                    Row(
                        type: type.name, rows: count, nativeGops: measured[0], blasGops: measured[1],
                        chosen: path == .blas ? "BLAS" : native, chosenShare: chosen / max(measured[0], measured[1])))
                progress(rows.count, types.count * counts.count)
            }
        }
        return MatmulCrossover(rows: rows)
    }

    /// The median of a few products.
    private static func speed(
        of backend: any GEMMBackend, type: ElementType, rows: Int, memory: MemoryReservation, input: UnsafePointer<Float>,
        output: UnsafeMutablePointer<Float>, pool: ThreadPool
    ) throws -> Double {
        let rowBytes = k / type.blockElements * type.blockBytes
        var seconds: [Double] = []
        var statistics = MatmulStatistics()
        let start = ContinuousClock.now
        for repetition in 0..<15 {
            let first = memory.base + (repetition % 2) * matrices * n * rowBytes
            let tasks = (0..<matrices).map { index in
                MatmulTask(
                    weights: Matrix(
                        type: type, n: n, k: k, rowBytes: rowBytes, pointer: UnsafeRawPointer(first + index * n * rowBytes)),
                    input: input, output: output + index * rows * n, m: rows)
            }
            let elapsed = try ContinuousClock().measure {
                try tasks.withUnsafeBufferPointer {
                    try backend.matmul($0, pool: pool, statistics: &statistics)
                }
            }
            if repetition > 0 { seconds.append(elapsed / .seconds(1)) }
            if repetition > 2, ContinuousClock.now - start > .milliseconds(200) { break }
        }
        return 2 * Double(matrices * rows * n * k) / seconds.sorted()[seconds.count / 2] / 1e9
    }
}
