// SPDX-License-Identifier: Apache-2.0

import CMoEKernels
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
        // Positions cut among threads, at contexts that end before, at and after a chunk.
        Case(heads: 8, kvHeads: 1, headDim: 128, blockSize: 32, past: 1535, rows: 1),
        Case(heads: 16, kvHeads: 4, headDim: 64, blockSize: 32, past: 1536, rows: 1),
        Case(heads: 6, kvHeads: 2, headDim: 48, blockSize: 24, window: 700, past: 1700, rows: 5),
        Case(heads: 7, kvHeads: 1, headDim: 96, blockSize: 32, past: 520, rows: 3),
        Case(type: .q8_0, rows: 70),
        Case(heads: 8, kvHeads: 8, headDim: 128, blockSize: 32, type: .q8_0, past: 1100, rows: 1),
        Case(heads: 16, kvHeads: 2, headDim: 128, blockSize: 32, type: .q8_0, past: 700, rows: 2),
        Case(heads: 8, kvHeads: 1, headDim: 64, blockSize: 32, type: .q8_0, past: 100, rows: 33),
        Case(heads: 3, kvHeads: 3, headDim: 80, blockSize: 16, type: .q8_0, past: 5, rows: 40),
        Case(heads: 6, kvHeads: 2, headDim: 33, blockSize: 5, type: .q8_0, window: 17, past: 50, rows: 60),
        Case(heads: 4, kvHeads: 2, headDim: 1, blockSize: 3, type: .q8_0, window: 3, past: 2, rows: 9),
        Case(heads: 5, kvHeads: 1, headDim: 36, blockSize: 7, type: .q8_0, window: 600, past: 1201, rows: 4),
    ]

    /// Every instruction set that this machine has.
    static let isas = ["ref", "avx2", "avx512"].filter { hasKernels($0) }

    /// A sequence whose keys and values were stored in two steps, and whose queries wait.
    struct Sequence {
        let shape: Case
        let view: KVLayerView
        let table: UnsafeMutablePointer<Int32>
        let q: UnsafeMutablePointer<Float>

        init(_ shape: Case, numbers: TestNumbers, pool: ThreadPool) {
            self.shape = shape
            let total = shape.past + shape.rows
            let blocks = (total + shape.blockSize - 1) / shape.blockSize + 3
            let width = shape.kvHeads * shape.headDim
            let bytes =
                blocks * shape.kvHeads
                * KVLayerView.pageBytes(type: shape.type, blockSize: shape.blockSize, headDim: shape.headDim)
            // 0xff bytes are NaN as F32, as F16, and as a scale.
            func cache() -> UnsafeMutableRawPointer { UnsafeMutableRawPointer(numbers.filled(bytes, UInt8.max)) }
            view = KVLayerView(
                keys: cache(), values: cache(), type: shape.type, blockSize: shape.blockSize, kvHeads: shape.kvHeads,
                headDim: shape.headDim)
            table = numbers.integers((0..<blocks).map { blocks - 1 - $0 })
            let (k, v) = (numbers.floats(total * width), numbers.floats(total * width))
            let positions = numbers.integers(Array(0..<total))
            Ops.storeKV(view, k: k, v: v, positions: positions, blockTable: table, rows: shape.past, pool: pool)
            Ops.storeKV(
                view, k: k + shape.past * width, v: v + shape.past * width, positions: positions + shape.past,
                blockTable: table, rows: shape.rows, pool: pool)
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

        /// - Parameter isa: nil: the one that the engine uses.
        func attend(_ tasks: [AttentionTask], isa: String? = nil, pool: ThreadPool) throws {
            try tasks.withUnsafeBufferPointer {
                try Ops.attention(
                    view, tasks: $0, heads: shape.heads, scale: scale, window: shape.window, isa: isa, pool: pool)
            }
        }

        private func cached(_ memory: UnsafeMutableRawPointer, _ position: Int, _ head: Int, _ j: Int) -> Double {
            let block = Int(table[position / shape.blockSize])
            let slot = position % shape.blockSize
            let bytes = KVLayerView.pageBytes(type: shape.type, blockSize: shape.blockSize, headDim: shape.headDim)
            let page = memory + (block * shape.kvHeads + head) * bytes
            let index = slot * shape.headDim + j
            switch shape.type {
            case .f16: return Double(page.assumingMemoryBound(to: Float16.self)[index])
            case .f32: return Double(page.assumingMemoryBound(to: Float.self)[index])
            default:
                let scales = page + (shape.blockSize * shape.headDim + 1) / 2 * 2
                let scale = scales.assumingMemoryBound(to: Float16.self)[slot * ((shape.headDim + 31) / 32) + j / 32]
                return Double(page.assumingMemoryBound(to: Int8.self)[index]) * Double(scale)
            }
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
        let pool = try ThreadPool(threads: 2)
        let sequence = Sequence(shape, numbers: numbers, pool: pool)
        let expected = sequence.expected()
        for isa in Self.isas {
            let output = numbers.filled(shape.rows * sequence.width, Float.nan)
            try sequence.attend([sequence.task(rows: 0..<shape.rows, into: output)], isa: isa, pool: pool)
            #expect(largestError(output, expected) < 2e-6, "\(isa)")
        }
        #expect(throws: ResourceError.self) { try sequence.attend([], isa: "none", pool: pool) }
    }

    /// Prevents a silent failure: a request whose text depends on what else is in the batch, or on the number of threads.
    @Test(arguments: cases) func aRowIsTheSameAloneAndAmongOthers(shape: Case) throws {
        let numbers = TestNumbers(seed: 6)
        let pools = try [1, 3, 8].map { try ThreadPool(threads: $0) }
        let sequence = Sequence(shape, numbers: numbers, pool: pools[1])
        let count = shape.rows * sequence.width
        for isa in Self.isas {
            let (together, apart, mixed) = (
                numbers.filled(count, Float.nan), numbers.filled(count, Float.nan), numbers.filled(count, Float.nan)
            )
            try sequence.attend([sequence.task(rows: 0..<shape.rows, into: together)], isa: isa, pool: pools[0])
            for row in 0..<shape.rows {
                let task = sequence.task(rows: row..<row + 1, into: apart)
                try sequence.attend([task], isa: isa, pool: pools[1 + row % 2])
            }
            let middle = shape.rows / 3
            let tasks = [0..<middle, middle..<middle, middle..<shape.rows].map { sequence.task(rows: $0, into: mixed) }
            try sequence.attend(tasks, isa: isa, pool: pools[2])
            #expect(bitPatterns(apart, count) == bitPatterns(together, count), "\(isa)")
            #expect(bitPatterns(mixed, count) == bitPatterns(together, count), "\(isa)")
        }
    }

    /// A score that is not a number must not vanish behind others: the engine refuses its logits.
    @Test(arguments: [ElementType.f16, .f32, .q8_0]) func keysThatAreNoNumbersShow(type: ElementType) throws {
        let shape = Case(heads: 2, kvHeads: 1, headDim: 32, blockSize: 16, type: type, past: 600, rows: 2)
        let numbers = TestNumbers(seed: 8)
        let pool = try ThreadPool(threads: 2)
        let sequence = Sequence(shape, numbers: numbers, pool: pool)
        let row = numbers.floats(shape.headDim)
        row[5] = .nan
        Ops.storeKV(
            sequence.view, k: row, v: row, positions: numbers.integers([500]), blockTable: sequence.table, rows: 1,
            pool: pool)
        let output = numbers.filled(shape.rows * sequence.width, Float(0))
        try sequence.attend([sequence.task(rows: 0..<shape.rows, into: output)], pool: pool)
        #expect((0..<shape.rows * sequence.width).allSatisfy { output[$0].isNaN })
    }

    /// F16 storage rounds to nearest even, over every kind of value and remainder.
    @Test func storesHalfPrecision() throws {
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
            view, k: x, v: x, positions: numbers.integers([0]), blockTable: numbers.integers([0]), rows: 1,
            pool: try ThreadPool(threads: 1))
        for (index, value) in values.enumerated() {
            #expect(keys[index].bitPattern == Float16(value).bitPattern)
            #expect(stored[index].bitPattern == Float16(value).bitPattern)
        }
    }

    /// Q8_0 storage by its definition: the scale is the largest magnitude / 127 as float16, the integers those nearest.
    @Test(arguments: [1, 31, 32, 33, 80, 128]) func storesBytes(headDim: Int) throws {
        let numbers = TestNumbers(seed: 9)
        let pool = try ThreadPool(threads: 1)
        let page = KVLayerView.pageBytes(type: .q8_0, blockSize: 1, headDim: headDim)
        for scale: Float in [1, 1e-3, 3e-7, 0, 500, 1e8, .infinity] {
            let (k, v) = (numbers.floats(headDim, scale: scale), numbers.floats(headDim))
            let (keys, values) = (numbers.filled(page, UInt8.max), numbers.filled(page, UInt8.max))
            let view = KVLayerView(keys: keys, values: values, type: .q8_0, blockSize: 1, kvHeads: 1, headDim: headDim)
            Ops.storeKV(
                view, k: k, v: v, positions: numbers.integers([0]), blockTable: numbers.integers([0]), rows: 1, pool: pool)
            for (source, stored) in [(k, keys), (v, values)] {
                let integers = UnsafeRawPointer(stored).assumingMemoryBound(to: Int8.self)
                let scales = (UnsafeRawPointer(stored) + (headDim + 1) / 2 * 2).assumingMemoryBound(to: Float16.self)
                for start in stride(from: 0, to: headDim, by: 32) {
                    let block = start..<min(start + 32, headDim)
                    let largest = block.map { source[$0].magnitude }.reduce(0) { $1 > $0 || $1.isNaN ? $1 : $0 }
                    let step = Float(Float16(largest / 127))
                    guard step.isFinite else {
                        #expect(scales[start / 32].isNaN)
                        continue
                    }
                    #expect(Float(scales[start / 32]) == step)
                    for index in block {
                        #expect(integers[index] >= -127)
                        let error = abs(source[index] - Float(integers[index]) * step)
                        // Half a step, and what the scale itself was rounded by: 2^-11, or 2^-25 where it is subnormal.
                        #expect(error <= step / 2 * 1.0001 + 127 * max(step * 0x1p-11, 0x1p-25))
                    }
                }
            }
        }
    }
}

private func hasKernels(_ isa: String) -> Bool {
    let pool = moe_pool_create(1)
    defer { moe_pool_destroy(pool) }
    var shape = moe_attention_shape()
    return moe_attention_isa(pool, isa, &shape, nil, 0) == 0
}
