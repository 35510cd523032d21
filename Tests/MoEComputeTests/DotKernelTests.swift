// SPDX-License-Identifier: Apache-2.0

import CMoEKernels
import MoECompute
import MoETensors
import MoETestSupport
import Testing

/// One activation row: the dot kernels.
@Suite struct DotKernelTests {
    private static let lengths = [1, 2, 3, 8, 9, 16]

    /// Prevents: an ISA that is slightly off on some lengths. Integers are exact and the order of the float sums is fixed, so
    /// quantised types have no tolerance.
    @Test(arguments: quantizedTypes) func everyISAGivesTheReferencesBits(type: ElementType) throws {
        let pool = try ThreadPool(threads: 1)
        for blocks in Self.lengths {
            let k = blocks * type.blockElements
            let weights = RandomWeights(type, n: 5, k: k, seed: UInt64(k))
            let x = randomActivations(rows: 1, k: k, seed: 3)
            let expected = try product(weights, x, m: 1, isa: "ref", pool: pool).output
            for isa in availableISAs {
                let output = try product(weights, x, m: 1, isa: isa, pool: pool).output
                #expect(output.bits == expected.bits, "\(isa), k = \(k)")
            }
        }
    }

    /// Float weights: the reference rounds products that the others do not; they agree among themselves to the bit.
    @Test(arguments: [ElementType.f32, .f16, .bf16]) func floatWeightsAgree(type: ElementType) throws {
        let pool = try ThreadPool(threads: 1)
        for k in [1, 7, 16, 17, 100, 515] {
            let weights = RandomWeights(type, n: 6, k: k, seed: UInt64(k))
            let x = randomActivations(rows: 1, k: k, seed: 4)
            var first: [UInt32]?
            for isa in availableISAs {
                let output = try product(weights, x, m: 1, isa: isa, pool: pool).output
                for column in 0..<6 {
                    let products = zip(weights.row(column), x).map { Double($0) * Double($1) }
                    let magnitude = products.reduce(0) { $0 + abs($1) }
                    #expect(abs(Double(output[column]) - products.reduce(0, +)) <= 1e-6 * magnitude, "\(isa), k = \(k)")
                }
                if isa == "ref" { continue }
                #expect(output.bits == first ?? output.bits, "\(isa), k = \(k)")
                first = output.bits
            }
        }
    }

    /// The error against float activations is that of rounding each to 1/127 of its block's largest, and no more.
    @Test(arguments: quantizedTypes) func errorIsThatOfQuantisingActivations(type: ElementType) throws {
        let pool = try ThreadPool(threads: 1)
        let k = 768
        let weights = RandomWeights(type, n: 16, k: k, seed: 8)
        let x = randomActivations(rows: 1, k: k, seed: 9)
        let output = try product(weights, x, m: 1, isa: nil, pool: pool).output
        for column in 0..<16 {
            let row = weights.row(column)
            var exact = 0.0
            var bound = 1e-6
            for block in stride(from: 0, to: k, by: 32) {
                let largest = x[block..<block + 32].reduce(0) { max($0, abs($1)) }
                for i in block..<block + 32 {
                    exact += Double(row[i]) * Double(x[i])
                    bound += Double(abs(row[i])) * (Double(largest) * 0.5001 / 127 + 1e-6 * Double(abs(x[i])))
                }
            }
            // The terms scale * q and min are rounded apart, so that what cancels in a weight does not in the sum.
            #expect(abs(Double(output[column]) - exact) <= bound + 1e-4, "column \(column)")
        }
    }

    /// A value that is not a number stays one: it must not turn into a plausible result, nor crash.
    @Test(arguments: weightTypes) func notANumberPropagates(type: ElementType) throws {
        let pool = try ThreadPool(threads: 1)
        let weights = RandomWeights(type, n: 3, k: 512, seed: 11)
        for bad in [Float.nan, .infinity, -.infinity] {
            var x = randomActivations(rows: 2, k: 512, seed: 12)
            x[300] = bad
            for isa in availableISAs {
                let output = try product(weights, x, m: 2, isa: isa, pool: pool).output
                #expect(output[0..<3].allSatisfy { !$0.isFinite }, "\(isa), \(bad)")
                #expect(output[3...].allSatisfy { $0.isFinite }, "\(isa), \(bad)")
            }
        }
    }

    /// Scales from a hostile file: any bit pattern in the blocks is computed with, to NaN if need be.
    @Test(arguments: quantizedTypes) func anyBytesAreSafe(type: ElementType) throws {
        let pool = try ThreadPool(threads: 2)
        var generator = SplitMix64(state: 77)
        let bytes = (0..<17 * 2 * type.blockBytes).map { _ in UInt8.random(in: 0...255, using: &generator) | 0x7c }
        let x = randomActivations(rows: 9, k: 2 * type.blockElements, seed: 1)
        for isa in availableISAs {
            var output = [Float](repeating: 0, count: 9 * 17)
            var task = moe_matmul_task()
            let result = bytes.withUnsafeBytes { bytes in
                x.withUnsafeBufferPointer { x in
                    output.withUnsafeMutableBufferPointer { output in
                        task.weights = bytes.baseAddress
                        task.input = x.baseAddress
                        task.output = output.baseAddress
                        task.row_bytes = 2 * type.blockBytes
                        task.input_stride = Int64(2 * type.blockElements)
                        task.output_stride = 17
                        task.weight_type = type.id
                        (task.m, task.n, task.k) = (9, 17, Int32(2 * type.blockElements))
                        return moe_matmul_isa(pool.handle, isa, &task, 1)
                    }
                }
            }
            #expect(result == 0)
        }
    }
}
