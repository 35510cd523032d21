// SPDX-License-Identifier: Apache-2.0

import CMoEKernels
import Glibc
import MoECompute
import Testing

/// What a router computes between logits and counts, for every ISA that the machine has.
///
/// Prevents: counts that hang on the machine, on how a prompt is cut, or on the number of threads; and features that are not
/// those that a profile was learned with.
@Suite struct RouterKernelTests {
    private static let shapes = [
        (1, 1), (7, 3), (7, 7), (16, 8), (31, 12), (32, 32), (33, 1), (61, 16), (64, 8), (64, 20), (128, 8), (160, 6),
        (256, 8),
    ]

    @Test(arguments: shapes) func everyISAGivesTheSameBits(experts: Int, k: Int) throws {
        let rows = RouterRows(experts: experts, k: k, count: 40)
        let reference = try #require(rows.results(isa: "ref", pool: nil))
        for isa in availableISAs {
            let found = try #require(rows.results(isa: isa, pool: nil))
            for (name, values) in reference { #expect(found[name] == values, "\(isa): \(name)") }
        }
    }

    /// A row alone is the row among others, on one thread and on three.
    @Test(arguments: [(16, 8), (61, 5), (128, 8)]) func rowsAndThreadsChangeNothing(experts: Int, k: Int) throws {
        let pool = try ThreadPool(threads: 3)
        let rows = RouterRows(experts: experts, k: k, count: 1500)
        let together = try #require(rows.results(isa: nil, pool: nil))
        let split = try #require(rows.results(isa: nil, pool: pool))
        for (name, values) in together {
            #expect(split[name] == values, "\(name)")
            let width = values.count / rows.count
            for row in stride(from: 0, to: rows.count, by: 97) {
                let alone = try #require(rows.results(isa: nil, pool: pool, only: row))
                #expect(alone[name]! == Array(values[row * width..<(row + 1) * width]), "\(name), row \(row)")
            }
        }
    }

    @Test(arguments: shapes) func numbersAreRight(experts: Int, k: Int) throws {
        let rows = RouterRows(experts: experts, k: k, count: 40)
        let found = try #require(rows.results(isa: nil, pool: nil))
        let floats = { (name: String) in found[name]!.map { Double(Float(bitPattern: $0)) } }
        let (features, entropy, norms) = (floats("features"), floats("entropy"), floats("norms"))
        let products = floats("products")
        let width = rows.featureCount
        for row in 0..<RouterRows.finiteRows {
            let expected = rows.features(row)
            for (index, value) in expected.values.enumerated() {
                let error = abs(features[row * width + index] - value)
                #expect(error < 1e-5 * max(1, abs(value)), "row \(row), feature \(index): \(features[row * width + index])")
            }
            #expect(abs(entropy[row] - rows.entropy(row, temperature: 1) / log(2)) < 1e-5)
            #expect(abs(norms[row] - rows.norm(row)) < 1e-6 * rows.norm(row))
            #expect(abs(products[row] - rows.product(row)) < 1e-6 * rows.norm(row) * 8)
            #expect(found["top k"]![row * k..<(row + 1) * k].map { Int($0) } == expected.ranking)
            if let count = rows.count(row, features: expected.values) { #expect(found["counts"]![row] == UInt32(count)) }
        }
        for (temperature, p) in RouterRows.prefixes {
            for row in 0..<RouterRows.finiteRows {
                guard let count = rows.prefix(row, temperature: temperature, p: p) else { continue }
                #expect(found["top-p \(temperature) \(p)"]![row] == UInt32(count), "row \(row), p \(p) at \(temperature)")
            }
        }
    }

    /// The count ends at the first head that is too dear, whatever comes after it; what is not a number buys nothing.
    @Test func countsEndAtTheFirstHeadBelowItsThreshold() {
        let width = GateView.width(expertCount: 5, maximum: 4)
        let numbers = TestNumbers(seed: 1)
        let logits = numbers.floats(5)
        let scratch = numbers.filled(GateView.scratch(expertCount: 5, maximum: 4), Float.nan)
        let norms = numbers.filled(5, Float(0.5))
        func count(_ gains: [Float], _ thresholds: [Float], offset: Float? = nil) -> Int32 {
            let weights = numbers.filled(gains.count * width, Float(0))
            for (step, gain) in gains.enumerated() { weights[step * width] = gain }
            var (norm, count): (Float, Int32) = (1, -1)
            thresholds.withUnsafeBufferPointer {
                Ops.gateCounts(
                    GateView(
                        expertLogNorms: norms, weights: weights, thresholds: $0.baseAddress!, temperature: 1.5,
                        expertCount: 5, maximum: 4, minimum: 4 - gains.count),
                    logits: logits, norms: &norm, offsets: offset.map { numbers.filled(1, $0) }, rows: 1, scratch: scratch,
                    into: &count, pool: nil)
            }
            return count
        }
        #expect(count([-1, -2, -3], [-4, -4, -4]) == 4)
        #expect(count([-1, -5, -3], [-4, -4, -4]) == 2)
        #expect(count([-1, -3, -3], [-4, -2, -4]) == 2)
        #expect(count([-4, 0, 0], [-4, -4, -4]) == 1)
        #expect(count([-1, -3, -3], [-4, -2, -4], offset: 1.5) == 4)
        #expect(count([-1, -3, -3], [-4, -2, -4], offset: -2) == 2)
        #expect(count([-1, -3, -3], [-4, -2, -4], offset: -4) == 1)
        #expect(count([-1, -3, -3], [-4, -2, -4], offset: .nan) == 1)
        #expect(count([.nan, 0, 0, 0], [-4, -4, -4, -4]) == 0)
        #expect(count([0, 0], [.nan, -1]) == 2)
        logits[2] = .nan
        #expect(count([0, 0, 0], [-4, -4, -4]) == 1)
    }
}

/// Random rows of logits: the first ones finite, then ties, infinities and NaN.
private final class RouterRows {
    static let finiteRows = 20
    static let prefixes: [(temperature: Float, p: Float)] = [
        (1, 0.3), (1, 0.9), (0.5, 0.8), (2, 0.5), (1.3, 0.99), (100, 0.5),
    ]
    private static let width = 67  // of the input that norms are of

    let experts: Int
    let k: Int
    let count: Int
    let featureCount: Int
    private let numbers: TestNumbers
    private let logits: UnsafeMutablePointer<Float>
    private let scores: UnsafeMutablePointer<Float>
    private let ranked: UnsafeMutablePointer<Float>
    private let input: UnsafeMutablePointer<Float>
    private let direction: UnsafeMutablePointer<Float>
    private let norms: UnsafeMutablePointer<Float>
    private let gate: moe_learned_gate
    private let heads: Int

    init(experts: Int, k: Int, count: Int) {
        (self.experts, self.k, self.count) = (experts, k, count)
        featureCount = GateView.featureCount(expertCount: experts, maximum: k)
        numbers = TestNumbers(seed: UInt64(experts * 1000 + k))
        logits = numbers.floats(count * experts, scale: 4)
        input = numbers.floats(count * Self.width, scale: 2)
        direction = numbers.floats(Self.width)
        for row in Self.finiteRows..<count {
            for expert in 0..<experts {
                let index = row * experts + expert
                switch row % 5 {
                case 0: logits[index] = logits[index].rounded()
                case 1: logits[index] = 2
                case 2: logits[index] *= 40
                case 3: if numbers.integer(0..<4) == 0 { logits[index] = -.infinity }
                default: if numbers.integer(0..<6) == 0 { logits[index] = numbers.integer(0..<2) == 0 ? .nan : .infinity }
                }
            }
        }
        norms = numbers.floats(count)
        for row in 0..<count { norms[row] = abs(norms[row]) * 30 }
        norms[Self.finiteRows] = 0

        // Sigmoid scores, and their ranking.
        scores = numbers.filled(count * experts, Float(0))
        for index in 0..<count * experts { scores[index] = 1 / (1 + exp(-logits[index])) }
        ranked = numbers.filled(count * k, Float(0))
        let indices = numbers.filled(count * k, Int32(0))
        Ops.topK(scores, rows: count, count: experts, k: k, indices: indices, values: ranked, pool: nil)

        heads = k - (k > 4 ? 2 : 0)
        let width = GateView.width(expertCount: experts, maximum: k)
        let weights = numbers.filled(heads * width, Float(0))
        for head in 0..<heads {
            for feature in 0..<featureCount { weights[head * width + feature] = numbers.float() / 8 }
            weights[head * width] += 0.3
        }
        gate = moe_learned_gate(
            expert_log_norms: UnsafePointer(numbers.floats(experts)), weights: weights,
            thresholds: UnsafePointer(numbers.floats(heads)), temperature: 1.4, n: Int32(experts), k: Int32(k),
            minimum: Int32(k - heads))
    }

    /// Everything that the kernels give, as bits; every NaN is one. nil: no such ISA.
    func results(isa: String?, pool: ThreadPool?, only: Int? = nil) -> [String: [UInt32]]? {
        let (first, rows, threads) = (only ?? 0, only == nil ? count : 1, pool?.threads ?? 1)
        let (n, handle) = (Int32(experts), pool?.handle)
        let (x, norm) = (logits + first * experts, norms + first)
        var results: [String: [UInt32]] = [:]
        func keep(_ name: String, _ values: UnsafeMutablePointer<Float>, _ count: Int) {
            results[name] = (0..<count).map { (values[$0].isNaN ? Float.nan : values[$0]).bitPattern }
        }
        func keep(_ name: String, _ values: UnsafeMutablePointer<Int32>, _ count: Int) {
            results[name] = (0..<count).map { UInt32(bitPattern: values[$0]) }
        }
        let memory = TestNumbers(seed: 0)
        let (integers, floats) = (memory.filled(rows * k, Int32(-1)), memory.filled(rows * (featureCount + k), Float(7)))
        guard moe_top_k(isa, handle, x, Int64(experts), Int32(rows), n, Int32(k), integers, floats) else { return nil }
        keep("top k", integers, rows * k)
        keep("top k values", floats, rows * k)
        moe_row_norms(isa, handle, input + first * Self.width, Int64(Self.width), Int32(rows), Int32(Self.width), floats)
        keep("norms", floats, rows)
        moe_row_products(
            isa, handle, input + first * Self.width, Int64(Self.width), Int32(rows), Int32(Self.width), direction, floats)
        keep("products", floats, rows)
        let offset = memory.filled(rows, Float(0))
        for row in 0..<rows { offset[row] = floats[row] / 64 }
        moe_router_entropy(isa, handle, x, Int64(experts), Int32(rows), n, floats)
        keep("entropy", floats, rows)
        var gate = gate
        moe_gate_features(isa, handle, &gate, x, Int64(experts), norm, Int32(rows), floats, Int64(featureCount))
        keep("features", floats, rows * featureCount)
        let scratch = memory.filled(threads * GateView.scratch(expertCount: experts, maximum: k), Float.nan)
        moe_gate_counts(isa, handle, &gate, x, Int64(experts), norm, offset, Int32(rows), scratch, integers)
        keep("counts with offsets", integers, rows)
        moe_gate_counts(isa, handle, &gate, x, Int64(experts), norm, nil, Int32(rows), scratch, integers)
        keep("counts", integers, rows)
        for (temperature, p) in Self.prefixes {
            moe_top_p_counts(
                isa, handle, scores + first * experts, Int64(experts), n, ranked + first * k, Int64(k), Int32(k),
                Int32(rows), temperature, p, 1, integers)
            keep("top-p \(temperature) \(p)", integers, rows)
        }
        return results
    }

    // MARK: The same in double precision

    func features(_ row: Int) -> (values: [Double], ranking: [Int]) {
        let x = (0..<experts).map { Double(logits[row * experts + $0]) }
        let ranking = Array((0..<experts).sorted { (x[$0], $1) > (x[$1], $0) }.prefix(k))
        let temperature = Double(gate.temperature)
        let p = softmax(x, temperature)
        var cumulative = 0.0
        let mass = ranking.map { expert -> Double in
            cumulative += p[expert]
            return cumulative
        }
        let logSum = x.max()! + log(x.reduce(0) { $0 + exp($1 - x.max()!) })
        let mean = x.reduce(0, +) / Double(experts)
        return (
            [1] + ranking.map { max(-50, log(p[$0])) } + mass + ranking.map { Double(gate.expert_log_norms[$0]) }
                + [entropy(row, temperature: temperature), logSum, log(max(Double(norms[row]), 1e-20))]
                + x.map { $0 - mean }, ranking
        )
    }

    private func softmax(_ x: [Double], _ temperature: Double) -> [Double] {
        let weights = x.map { exp(($0 - x.max()!) / temperature) }
        return weights.map { $0 / weights.reduce(0, +) }
    }

    /// In nats.
    func entropy(_ row: Int, temperature: Double) -> Double {
        -softmax((0..<experts).map { Double(logits[row * experts + $0]) }, temperature)
            .reduce(0) { $0 + ($1 > 0 ? $1 * log($1) : 0) }
    }

    func product(_ row: Int) -> Double {
        (0..<Self.width).reduce(0) { $0 + Double(input[row * Self.width + $1]) * Double(direction[$1]) }
    }

    func norm(_ row: Int) -> Double {
        (0..<Self.width).reduce(0) { $0 + Double(input[row * Self.width + $1]) * Double(input[row * Self.width + $1]) }
            .squareRoot()
    }

    /// nil: too close to call.
    func count(_ row: Int, features: [Double]) -> Int? {
        let width = GateView.width(expertCount: experts, maximum: k)
        for head in 0..<heads {
            let gain = features.indices.reduce(0) { $0 + features[$1] * Double(gate.weights[head * width + $1]) }
            if abs(gain - Double(gate.thresholds[head])) < 1e-4 { return nil }
            if gain < Double(gate.thresholds[head]) { return k - heads + head }
        }
        return k
    }

    /// nil: too close to call.
    func prefix(_ row: Int, temperature: Float, p: Float) -> Int? {
        let masses = (0..<experts).map { pow(Double(scores[row * experts + $0]), 1 / Double(temperature)) }
        let total = masses.reduce(0, +)
        var mass = 0.0
        for rank in 0..<k {
            mass += pow(Double(ranked[row * k + rank]), 1 / Double(temperature)) / total
            if abs(mass - Double(p)) < 1e-5 { return nil }
            if mass > Double(p) { return rank + 1 }
        }
        return k
    }
}
