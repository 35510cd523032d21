// SPDX-License-Identifier: Apache-2.0

import Foundation
import MoEInfer
import MoEModel
import MoETestSupport
import Testing

/// The parts of a calibration, each on numbers whose answer is known.
@Suite struct CalibrationPartsTests {
    // MARK: Record

    private func journal(_ path: String, binding: String = "a", restarts: Bool = false) throws -> CalibrationJournal {
        try CalibrationJournal(path: path, binding: binding, restarts: restarts, interval: .zero)
    }

    @Test func recordsAreKeptBitForBitAndDamageIsSeen() async throws {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("journal-\(UUID().uuidString)").path
        defer { try? FileManager.default.removeItem(atPath: path) }
        let values = [0.1, -0.0, .infinity, Double.leastNonzeroMagnitude, 1 / 3]
        let first = try journal(path)
        _ = try await first.value("x") { values }
        _ = try await first.value("empty") { [] }
        let second = try journal(path)
        #expect(second.resumedRecords == 2)
        let back = try await second.value("x") {
            Issue.record("measured again")
            return []
        }
        #expect(back.map(\.bitPattern) == values.map(\.bitPattern))
        #expect(try journal(path, restarts: true).resumedRecords == 0)
        #expect(throws: RequestError.self) { try journal(path, binding: "b") }

        let bytes = try Data(contentsOf: URL(fileURLWithPath: path))
        for index in stride(from: 0, to: bytes.count, by: 7) {
            var damaged = bytes
            damaged[index] ^= 0x10
            try damaged.write(to: URL(fileURLWithPath: path))
            let error = #expect(throws: RequestError.self) { try journal(path) }
            #expect(error?.description.contains("\n") == false)
            try bytes.prefix(index).write(to: URL(fileURLWithPath: path))
            #expect(throws: RequestError.self) { try journal(path) }
        }
    }

    // MARK: Prices and allocations

    @Test func leastSquaresKeepPricesAtZeroOrAbove() {
        // A = [[1, 1], [1, 0]], b = [1, 2]: unconstrained x = [2, -1]; with x ≥ 0, x = [1.5, 0].
        let found = NonNegativeLeastSquares.solve([2, 1, 1, 1], [3, 1], count: 2)
        #expect(abs(found[0] - 1.5) < 1e-9 && found[1] == 0)
        #expect(NonNegativeLeastSquares.solve([0, 0, 0, 4], [0, 2], count: 2) == [0, 0.5])
    }

    private let allocation = LayerAllocation(
        errors: [1: [9, 4, 1, 0], 2: [9, 2, 1, 0], 3: [9, 1, 0.5, 0]], prices: [1: 1, 2: 1, 3: 4], minimum: 1, maximum: 3,
        layerCount: 4)

    @Test func expertsGoWhereTheyTakeAwayMost() {
        // Gains of the second expert: 3, 1, 2; of the third: 1, 1, 2. Layer 0 is dense.
        #expect(allocation.counts(mean: 1) == [3, 1, 1, 1])
        #expect(allocation.counts(mean: 4.0 / 3) == [3, 2, 1, 1])
        #expect(allocation.counts(mean: 2) == [3, 2, 1, 3])
        #expect(allocation.counts(mean: 3) == [3, 3, 3, 3])
    }

    @Test func exchangesFollowWhatIsMeasured() async {
        // The measurement disagrees with the prices: best is [3, 1, 3, 2].
        var measured = 0
        let (counts, value) = await allocation.improved([[3, 2, 2, 2], [3, 2, 1, 3]]) { allocations in
            measured += allocations.count
            return allocations.map { Double(abs($0[1] - 1) + abs($0[2] - 3) + abs($0[3] - 2)) }
        }
        #expect(counts == [3, 1, 3, 2] && value == 0 && measured <= 19)
    }

    // MARK: Gram matrices

    /// The best sets, against every set's own error; and the best prefix is one of the sets.
    @Test(arguments: [true, false]) func bestSetsAreBest(renormalizes: Bool) {
        let count = 5
        var random = SplitMix64(state: 3)
        func next() -> Double { Double(random.next() >> 11) / Double(1 << 53) - 0.5 }
        let outputs = (0..<count).map { _ in (0..<9).map { _ in next() } }
        let weights = [0.4, 0.25, 0.2, 0.1, 0.05]
        let gram = (0..<count * count).map { zip(outputs[$0 / count], outputs[$0 % count]).map(*).reduce(0, +) }
        var (best, prefix) = ([Double](repeating: 0, count: count + 1), [Double](repeating: 0, count: count + 1))
        GramError.bestSets(gram, weights: weights, renormalizes: renormalizes, into: &best)
        GramError.errors(gram, weights: weights, renormalizes: renormalizes, into: &prefix)
        var direct = [Double](repeating: .infinity, count: count + 1)
        for set in 0..<(1 << count) {
            let kept = (0..<count).filter { set >> $0 & 1 == 1 }
            let mass = kept.reduce(0) { $0 + weights[$1] }
            let scale = renormalizes && mass > 0 ? 1 / mass : 1
            let error = (0..<9).reduce(0.0) { sum, column in
                let whole = (0..<count).reduce(0) { $0 + weights[$1] * outputs[$1][column] }
                let part = kept.reduce(0) { $0 + weights[$1] * scale * outputs[$1][column] }
                return sum + (whole - part) * (whole - part)
            }
            direct[kept.count] = min(direct[kept.count], error)
        }
        for m in 0...count {
            #expect(abs(best[m] - direct[m]) < 1e-9)
            #expect(best[m] <= prefix[m] + 1e-9)
        }
    }

    /// Two orthogonal outputs of norm 1, weights 0.75 and 0.25, not renormalised: y_1 = 0.75 y_a, and <y_K, y_1> = 0.75².
    @Test func productsGiveTheNearestScale() {
        var found: [[Double]] = []
        GramError.products([1, 0, 0, 1], weights: [0.75, 0.25], renormalizes: false) { found.append([Double($0), $1, $2]) }
        #expect(found == [[1, 0.5625, 0.5625], [2, 0.625, 0.625]])
        found = []
        GramError.products([1, 0, 0, 1], weights: [0.75, 0.25], renormalizes: true) { found.append([Double($0), $1, $2]) }
        #expect(found == [[1, 0.75, 1], [2, 0.625, 0.625]])
    }

    // MARK: Text

    @Test func informationIsZeroForTheSameLoadsAndOneBitForDisjointOnes() {
        let (a, b): ([Int: [Double]], [Int: [Double]]) = ([0: [1000, 1000, 0, 0]], [0: [0, 0, 1000, 1000]])
        #expect(TextDiversity.information([a, a], groups: [0, 1]) == 0)
        #expect(abs(TextDiversity.information([a, b], groups: [0, 1]) - 1) < 1e-3)
        #expect(TextDiversity.information([a, b], groups: [0, 0]) == 0)
    }

    @Test(arguments: [
        ("The city lies on the river, and its history is long. It was founded by traders from the coast.", "prose"),
        ("def f(x):\n    return self._values[x]  # the value\n\nclass A(B):\n    def __init__(self): pass\n", "code"),
        ("She has 12 apples and eats 3. 12 - 3 = <<12-3=9>>9. Each costs $2, so 9 * 2 = $18.", "mathematics"),
        ("\"Where?\" he said. \"There,\" she said. \"I see nothing.\" \"Look again.\"", "dialogue"),
    ])
    func kindsOfText(_ text: String, _ kind: String) { #expect(TextKind.of(text) == kind) }
}
