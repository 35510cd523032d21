// SPDX-License-Identifier: Apache-2.0

import Glibc
import MoECompute
import MoETensors
import Testing

/// Every row operation against plain loops in double precision, at lengths that leave every kind of remainder, and bit by bit
/// between numbers of threads. `MOE_ISA=ref swift test` runs the same on the portable kernels.
@Suite struct RowOpsTests {
    static let lengths = [1, 2, 7, 8, 15, 16, 31, 33, 64, 100, 257, 1024]

    @Test(arguments: lengths) func rmsNorm(d: Int) throws {
        let (numbers, pool) = (TestNumbers(seed: UInt64(d)), try ThreadPool(threads: 1))
        let (rows, stride, outputStride) = (3, d + 3, d + 1)
        let (x, weight) = (numbers.floats(rows * stride, scale: 3), numbers.floats(d))
        let output = numbers.filled(rows * outputStride, Float.nan)
        Ops.rmsNorm(
            x, stride: stride, weight: weight, epsilon: 1e-5, into: output, outputStride: outputStride, rows: rows,
            count: d,
            pool: pool)
        for row in 0..<rows {
            let values = (0..<d).map { Double(x[row * stride + $0]) }
            let root = (values.reduce(0) { $0 + $1 * $1 } / Double(d) + 1e-5).squareRoot()
            let expected = values.indices.map { values[$0] / root * Double(weight[$0]) }
            #expect(largestError(output + row * outputStride, expected) < 3e-6)
            #expect(output[row * outputStride + d].isNaN)
        }
        // In place, as for the norms of queries and keys.
        Ops.rmsNorm(
            x, stride: stride, weight: weight, epsilon: 1e-5, into: x, outputStride: stride, rows: rows, count: d,
            pool: pool)
        for row in 0..<rows {
            #expect(bitPatterns(x + row * stride, d) == bitPatterns(output + row * outputStride, d))
        }
    }

    @Test(arguments: lengths) func swiglu(count: Int) throws {
        let (numbers, pool) = (TestNumbers(seed: UInt64(count)), try ThreadPool(threads: 1))
        let (gate, up) = (numbers.floats(count, scale: 20), numbers.floats(count))
        let expected = (0..<count).map { Double(gate[$0]) / (1 + exp(-Double(gate[$0]))) * Double(up[$0]) }
        let output = numbers.filled(count, Float.nan)
        Ops.swiglu(gate: gate, up: up, into: output, count: count, pool: pool)
        #expect(largestError(output, expected) < 5e-6)
        let upCopy = numbers.floats(count)
        upCopy.update(from: up, count: count)
        Ops.swiglu(gate: gate, up: upCopy, into: upCopy, count: count, pool: pool)
        Ops.swiglu(gate: gate, up: up, into: gate, count: count, pool: pool)
        #expect(bitPatterns(gate, count) == bitPatterns(output, count))
        #expect(bitPatterns(upCopy, count) == bitPatterns(output, count))
    }

    /// silu is exp at heart: where exp over- or underflows it must still be 0 or the identity.
    @Test func swigluAtTheEnds() throws {
        let numbers = TestNumbers(seed: 1)
        let values: [Float] = [-1e30, -1000, -200, -104, -88, -87.4, -0.0, 0, 88, 89, 104, 1e30, .nan, .infinity]
        let gate = numbers.filled(values.count, Float(0))
        for (index, value) in values.enumerated() { gate[index] = value }
        let up = numbers.filled(values.count, Float(1))
        Ops.swiglu(gate: gate, up: up, into: gate, count: values.count, pool: try ThreadPool(threads: 1))
        for index in 0...5 { #expect(abs(gate[index]) < 1e-30) }
        #expect(gate[6] == 0 && gate[7] == 0)
        for index in 8...11 { #expect(gate[index] == values[index]) }
        #expect(gate[12].isNaN)
        #expect(gate[13] == .infinity)
    }

    @Test(arguments: [(64, 64), (80, 32), (6, 4), (128, 128), (10, 0)], [true, false])
    func rope(dimensions: (head: Int, rotary: Int), neox: Bool) throws {
        let numbers = TestNumbers(seed: UInt64(dimensions.head))
        let (rows, heads, half) = (5, 3, dimensions.rotary / 2)
        let width = heads * dimensions.head
        let x = numbers.floats(rows * width)
        let positions = numbers.integers([4, 0, 7, 7, 2])
        let (cosines, sines) = (numbers.floats(8 * half), numbers.floats(8 * half))
        var expected = (0..<rows * width).map { Double(x[$0]) }
        for row in 0..<rows {
            for head in 0..<heads {
                for pair in 0..<half {
                    let base = row * width + head * dimensions.head
                    let (i, j) = neox ? (base + pair, base + pair + half) : (base + 2 * pair, base + 2 * pair + 1)
                    let angle = Int(positions[row]) * half + pair
                    let (c, s, a, b) = (Double(cosines[angle]), Double(sines[angle]), expected[i], expected[j])
                    expected[i] = a * c - b * s
                    expected[j] = b * c + a * s
                }
            }
        }
        Ops.rope(
            x, positions: positions, cos: cosines, sin: sines, rows: rows, heads: heads, headDim: dimensions.head,
            rotaryDim: dimensions.rotary, neox: neox, pool: try ThreadPool(threads: 1))
        #expect(largestError(x, expected) < 5e-7)
    }

    @Test(arguments: lengths) func softmax(n: Int) {
        let numbers = TestNumbers(seed: UInt64(n))
        let x = numbers.floats(2 * n, scale: 30)
        for index in 0..<n { x[n + index] += 1000 }
        let expected = (0..<2).flatMap { row in
            let values = (0..<n).map { Double(x[row * n + $0]) }
            let exponentials = values.map { exp($0 - values.max()!) }
            return exponentials.map { $0 / exponentials.reduce(0, +) }
        }
        Ops.softmax(x, rows: 2, count: n)
        #expect(largestError(x, expected) < 5e-7)
    }

    @Test func topKIsOrderedAndStable() {
        let numbers = TestNumbers(seed: 3)
        let values: [Float] = [1, .nan, 3, 3, -.infinity, 3, 2, .nan, .infinity]
        let x = numbers.filled(values.count, Float(0))
        for (index, value) in values.enumerated() { x[index] = value }
        let (indices, best) = (numbers.filled(9, Int32(-1)), numbers.filled(9, Float(0)))
        for k in 1...9 {
            Ops.topK(x, rows: 1, count: 9, k: k, indices: indices, values: best, pool: nil)
            #expect((0..<k).map { Int(indices[$0]) } == Array([8, 2, 3, 5, 6, 0, 4, 1, 7].prefix(k)))
            #expect((0..<k).allSatisfy { best[$0].bitPattern == x[Int(indices[$0])].bitPattern })
        }
    }

    @Test(arguments: [(16, 4), (64, 8), (128, 8), (60, 60)]) func topKAgreesWithSorting(n: Int, k: Int) {
        let numbers = TestNumbers(seed: UInt64(n))
        let rows = 20
        let x = numbers.floats(rows * n)
        for index in 0..<rows * n { x[index] = (x[index] * 10).rounded() }  // many ties
        let (indices, best) = (numbers.filled(rows * k, Int32(-1)), numbers.filled(rows * k, Float(0)))
        Ops.topK(x, rows: rows, count: n, k: k, indices: indices, values: best, pool: nil)
        for row in 0..<rows {
            let sorted = (0..<n).sorted { (x[row * n + $0], $1) > (x[row * n + $1], $0) }
            #expect((0..<k).map { Int(indices[row * k + $0]) } == Array(sorted.prefix(k)))
        }
    }

    @Test(arguments: [5, 64, 100], [false, true]) func combine(d: Int, accumulate: Bool) throws {
        let numbers = TestNumbers(seed: UInt64(d))
        let (counts, stride) = ([2, 0, 1, 5, 3], d + 2)
        let offsets = counts.reduce(into: [0]) { $0.append($0.last! + $1) }
        let pairs = offsets.last!
        let expertOutput = numbers.floats(pairs * d)
        let slots = (0..<pairs).map { ($0 * 7 + 3) % pairs }
        let weights = numbers.floats(pairs)
        let output = numbers.floats(counts.count * stride)
        let before = (0..<counts.count * stride).map { Double(output[$0]) }
        Ops.combine(
            expertOutput, offsets: numbers.integers(offsets), slots: numbers.integers(slots), weights: weights,
            into: output,
            outputStride: stride, rows: counts.count, width: d, accumulate: accumulate, pool: try ThreadPool(threads: 2))
        var expected = before
        for row in counts.indices {
            for j in 0..<d {
                var sum = accumulate ? before[row * stride + j] : 0
                for s in offsets[row]..<offsets[row + 1] {
                    sum += Double(weights[s]) * Double(expertOutput[slots[s] * d + j])
                }
                expected[row * stride + j] = sum
            }
        }
        #expect(largestError(output, expected) < 3e-6)
    }

    @Test(arguments: [true, false]) func addGated(gated: Bool) throws {
        let numbers = TestNumbers(seed: 9)
        let (rows, d) = (4, 37)
        let (x, output, gate) = (numbers.floats(rows * d), numbers.floats(rows * d), numbers.floats(rows, scale: 5))
        let expected = (0..<rows * d).map { index in
            Double(output[index]) + Double(x[index]) * (gated ? 1 / (1 + exp(-Double(gate[index / d]))) : 1)
        }
        Ops.addGated(x, gate: gated ? gate : nil, into: output, rows: rows, width: d, pool: try ThreadPool(threads: 1))
        #expect(largestError(output, expected) < 5e-7)
    }

    /// Work that is large enough for several threads gives the bits of one thread.
    @Test(arguments: [2, 3, 7]) func threadsDoNotChangeBits(threads: Int) throws {
        let (rows, d) = (301, 515)
        func run(_ threads: Int) throws -> [UInt32] {
            let (numbers, pool) = (TestNumbers(seed: 4), try ThreadPool(threads: threads))
            let (x, y, weight) = (numbers.floats(rows * d), numbers.floats(rows * d), numbers.floats(d))
            let output = numbers.filled(rows * d, Float.nan)
            Ops.rmsNorm(
                x, stride: d, weight: weight, epsilon: 1e-6, into: output, outputStride: d, rows: rows, count: d, pool: pool
            )
            Ops.swiglu(gate: output, up: y, into: output, count: rows * d, pool: pool)
            Ops.add(x, to: output, count: rows * d, pool: pool)
            let slots = numbers.integers((0..<2 * rows).map { $0 * 3 % rows })
            Ops.combine(
                y, offsets: numbers.integers((0...rows).map { 2 * $0 }), slots: slots, weights: x, into: output,
                outputStride: d, rows: rows, width: d, accumulate: true, pool: pool)
            Ops.addGated(y, gate: x, into: output, rows: rows, width: d, pool: pool)
            Ops.rope(
                output, positions: numbers.integers((0..<rows).map { $0 % 9 }), cos: x, sin: y, rows: rows, heads: 5,
                headDim: 103, rotaryDim: 64, neox: true, pool: pool)
            return bitPatterns(output, rows * d)
        }
        #expect(try run(threads) == run(1))
    }
}
