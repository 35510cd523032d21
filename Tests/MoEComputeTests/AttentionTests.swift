// SPDX-License-Identifier: Apache-2.0

import Glibc
import MoECompute
import MoETensors
import Testing

/// Attention over a paged cache against plain loops in double precision, and bit by bit between ways of cutting the work.
/// Positions that no row may see hold NaN, so reading one of them shows.
@Suite struct AttentionTests {
    struct Case: Sendable, CustomTestStringConvertible {
        var heads = 4, kvHeads = 2, headDim = 16, blockSize = 8
        var type = ElementType.f16
        var window = 0, past = 0, rows = 1

        var testDescription: String {
            "\(heads)/\(kvHeads) heads of \(headDim), blocks of \(blockSize), \(type.name), window \(window), \(past)+\(rows)"
        }
    }

    static let cases = [
        Case(rows: 70),
        Case(heads: 8, kvHeads: 1, headDim: 64, blockSize: 32, past: 100, rows: 33),
        Case(heads: 3, kvHeads: 3, headDim: 80, blockSize: 16, type: .f32, past: 5, rows: 40),
        Case(heads: 6, kvHeads: 2, headDim: 20, blockSize: 5, window: 17, past: 50, rows: 60),
        Case(heads: 12, kvHeads: 12, headDim: 128, blockSize: 32, past: 300, rows: 1),
        Case(heads: 64, kvHeads: 1, headDim: 32, blockSize: 32, type: .f32, window: 40, rows: 129),
        Case(heads: 40, kvHeads: 1, headDim: 12, blockSize: 7, window: 3, past: 2, rows: 31),
        Case(heads: 4, kvHeads: 4, headDim: 8, blockSize: 3, window: 1, rows: 9),
        Case(heads: 2, kvHeads: 1, headDim: 64, blockSize: 64, past: 2047, rows: 2),
    ]

    /// A sequence whose keys and values were stored in two steps, and whose queries wait.
    struct Sequence {
        let shape: Case
        let view: KVLayerView
        let table: UnsafeMutablePointer<Int32>
        let q: UnsafeMutablePointer<Float>

        init(_ shape: Case, numbers: TestNumbers) {
            self.shape = shape
            let total = shape.past + shape.rows
            let blocks = (total + shape.blockSize - 1) / shape.blockSize + 3
            let width = shape.kvHeads * shape.headDim
            let elements = blocks * shape.blockSize * width
            func cache() -> UnsafeMutableRawPointer {
                shape.type == .f16
                    ? UnsafeMutableRawPointer(numbers.filled(elements, Float16.nan))
                    : UnsafeMutableRawPointer(numbers.filled(elements, Float.nan))
            }
            view = KVLayerView(
                keys: cache(), values: cache(), type: shape.type, blockSize: shape.blockSize, kvHeads: shape.kvHeads,
                headDim: shape.headDim)
            table = numbers.integers((0..<blocks).map { blocks - 1 - $0 })
            let (k, v) = (numbers.floats(total * width), numbers.floats(total * width))
            let positions = numbers.integers(Array(0..<total))
            Ops.storeKV(view, k: k, v: v, positions: positions, blockTable: table, rows: shape.past)
            Ops.storeKV(
                view, k: k + shape.past * width, v: v + shape.past * width, positions: positions + shape.past,
                blockTable: table, rows: shape.rows)
            q = numbers.floats(shape.rows * shape.heads * shape.headDim, scale: 3)
        }

        var width: Int { shape.heads * shape.headDim }
        var scale: Float { 1 / Float(shape.headDim).squareRoot() }

        func task(rows: Range<Int>, into output: UnsafeMutablePointer<Float>) -> AttentionTask {
            AttentionTask(
                q: q + rows.lowerBound * width, output: output + rows.lowerBound * width, blockTable: table,
                rows: rows.count,
                firstPosition: shape.past + rows.lowerBound)
        }

        func attend(_ tasks: [AttentionTask], pool: ThreadPool) throws {
            try tasks.withUnsafeBufferPointer {
                try Ops.attention(view, tasks: $0, heads: shape.heads, scale: scale, window: shape.window, pool: pool)
            }
        }

        private func cached(_ memory: UnsafeMutableRawPointer, _ position: Int, _ head: Int, _ j: Int) -> Double {
            let block = Int(table[position / shape.blockSize])
            let slot = block * shape.blockSize + position % shape.blockSize
            let index = (slot * shape.kvHeads + head) * shape.headDim + j
            return shape.type == .f16
                ? Double(memory.assumingMemoryBound(to: Float16.self)[index])
                : Double(memory.assumingMemoryBound(to: Float.self)[index])
        }

        func expected() -> [Double] {
            var result: [Double] = []
            for row in 0..<shape.rows {
                let position = shape.past + row
                let seen = max(0, shape.window > 0 ? position - shape.window + 1 : 0)...position
                for head in 0..<shape.heads {
                    let kvHead = head / (shape.heads / shape.kvHeads)
                    let scores = seen.map { p in
                        (0..<shape.headDim).reduce(0.0) {
                            $0 + Double(q[row * width + head * shape.headDim + $1]) * cached(view.keys, p, kvHead, $1)
                        } * Double(scale)
                    }
                    let weights = scores.map { exp($0 - scores.max()!) }
                    let total = weights.reduce(0, +)
                    for j in 0..<shape.headDim {
                        result.append(
                            zip(seen, weights).reduce(0) { $0 + $1.1 * cached(view.values, $1.0, kvHead, j) } / total)
                    }
                }
            }
            return result
        }
    }

    @Test(arguments: cases) func agreesWithPlainLoops(shape: Case) throws {
        let numbers = TestNumbers(seed: 5)
        let sequence = Sequence(shape, numbers: numbers)
        let output = numbers.filled(shape.rows * sequence.width, Float.nan)
        try sequence.attend([sequence.task(rows: 0..<shape.rows, into: output)], pool: ThreadPool(threads: 2))
        #expect(largestError(output, sequence.expected()) < 2e-6)
    }

    /// Prevents a silent failure: a request whose text depends on what else is in the batch.
    @Test(arguments: cases) func aRowIsTheSameAloneAndAmongOthers(shape: Case) throws {
        let numbers = TestNumbers(seed: 6)
        let sequence = Sequence(shape, numbers: numbers)
        let count = shape.rows * sequence.width
        let (together, apart, mixed) = (
            numbers.filled(count, Float.nan), numbers.filled(count, Float.nan), numbers.filled(count, Float.nan)
        )
        try sequence.attend([sequence.task(rows: 0..<shape.rows, into: together)], pool: ThreadPool(threads: 1))
        let pool = try ThreadPool(threads: 3)
        for row in 0..<shape.rows { try sequence.attend([sequence.task(rows: row..<row + 1, into: apart)], pool: pool) }
        let middle = shape.rows / 3
        let tasks = [0..<middle, middle..<middle, middle..<shape.rows].map { sequence.task(rows: $0, into: mixed) }
        try sequence.attend(tasks, pool: pool)
        #expect(bitPatterns(apart, count) == bitPatterns(together, count))
        #expect(bitPatterns(mixed, count) == bitPatterns(together, count))
    }

    /// F16 storage rounds to nearest even, over every kind of value and remainder.
    @Test func storesHalfPrecision() {
        let numbers = TestNumbers(seed: 7)
        let values: [Float] = [
            0, -0.0, 1, -2.5, 65504, 65519, 65520, -1e9, 6.1e-5, 5.96e-8, 2.98e-8, 2.9802322e-8, 1e-9, 1.0004883, 1.0014648,
            .infinity, -.infinity,
        ]
        let x = numbers.floats(values.count)
        for (index, value) in values.enumerated() { x[index] = value }
        let (keys, stored) = (numbers.filled(values.count, Float16.nan), numbers.filled(values.count, Float16.nan))
        let view = KVLayerView(keys: keys, values: stored, type: .f16, blockSize: 1, kvHeads: 1, headDim: values.count)
        Ops.storeKV(
            view, k: x, v: x, positions: numbers.integers([0]), blockTable: numbers.integers([0]), rows: 1)
        for (index, value) in values.enumerated() {
            #expect(keys[index].bitPattern == Float16(value).bitPattern)
            #expect(stored[index].bitPattern == Float16(value).bitPattern)
        }
    }
}
