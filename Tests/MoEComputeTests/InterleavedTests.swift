// SPDX-License-Identifier: Apache-2.0

import CMoEKernels
import MoECompute
import MoETensors
import Testing

/// Weights side by side, as kernels with a lane a row want them.
@Suite struct InterleavedTests {
    static let types: [ElementType] = [.q4_0, .q8_0, .q4K, .q5K, .q6K]

    /// Prevents: other bits than from the file. A repacked model would answer otherwise.
    @Test(arguments: types) func productsHaveTheSameBits(type: ElementType) throws {
        let pools = try [1, 3].map(ThreadPool.init(threads:))
        for (n, k) in [(16, 256), (80, 768), (48, 2304)] {
            let (weights, up) = (RandomWeights(type, n: n, k: k, seed: 41), RandomWeights(type, n: n, k: k, seed: 42))
            let x = randomActivations(rows: 140, k: k, seed: 43)
            let bias = (0..<n).map { Float($0) / 7 }
            for isa in availableISAs {
                guard let changed = RandomWeights(interleaving: weights, isa: isa) else { continue }
                let changedUp = try #require(RandomWeights(interleaving: up, isa: isa))
                for m in Array(1...9) + [16, 17, 18, 25, 57, 65, 140] {
                    let pool = pools[m % 2]
                    let plain = try product(weights, x, m: m, bias: bias, isa: "ref", pool: pool).output
                    let output = try product(changed, x, m: m, bias: bias, isa: isa, pool: pool).output
                    #expect(output.bits == plain.bits, "\(isa), n = \(n), k = \(k), m = \(m)")
                    let gated = try product(weights, x, m: m, up: up, isa: isa, pool: pool).output
                    let changedGated = try product(changed, x, m: m, up: changedUp, isa: isa, pool: pool).output
                    let half = try product(weights, x, m: m, up: changedUp, isa: isa, pool: pool).output
                    #expect(changedGated.bits == gated.bits && half.bits == gated.bits, "\(isa), gated, m = \(m)")
                }
            }
        }
    }

    /// Prevents: kernels that read beyond a matrix that has no whole groups, or by a path that knows only rows.
    @Test func whatCannotBeReadIsRefused() throws {
        let pool = try ThreadPool(threads: 1)
        let (x, isa) = (randomActivations(rows: 1, k: 512, seed: 44), availableISAs.last!)
        for (n, k) in [(8, 512), (24, 512), (32, 288)] {
            let weights = RandomWeights(.q8_0, n: 64, k: 512, seed: 45)
            var output = [Float](repeating: 0, count: n)
            var task = moe_matmul_task()
            (task.weights, task.row_bytes) = (weights.matrix.pointer, k / 32 * 34)
            (task.weight_type, task.m, task.n, task.k) = (8 + Int32(MOE_INTERLEAVED.rawValue), 1, Int32(n), Int32(k))
            (task.input_stride, task.output_stride) = (Int64(k), Int64(n))
            let refused = moe_interleaved_rows_isa(isa, 8, Int64(n), Int64(k)) == 0
            x.withUnsafeBufferPointer { x in
                output.withUnsafeMutableBufferPointer { output in
                    (task.input, task.output) = (x.baseAddress, output.baseAddress)
                    #expect((moe_matmul_isa(pool.handle, isa, &task, 1) == -1) == refused, "n = \(n), k = \(k)")
                    #expect(moe_matmul_isa(pool.handle, "ref", &task, 1) == -1)
                    #expect(moe_matmul(pool.handle, MOE_PATH_BLAS, &task, 1, nil) == -1)
                }
            }
        }
        for type in weightTypes where !Self.types.contains(type) {
            for isa in availableISAs { #expect(moe_interleaved_rows_isa(isa, type.id, 32, 512) == 0) }
        }
        #expect(moe_interleaved_rows_isa("ref", 8, 32, 512) == 0)
    }
}
