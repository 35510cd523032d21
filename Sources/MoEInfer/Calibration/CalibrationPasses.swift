// SPDX-License-Identifier: Apache-2.0

import MoEModel

/// The runs of the model that a calibration asks for. What its journal has is not run again.
final class CalibrationPasses {
    let llm: LLM
    let shape: GateShape
    let journal: CalibrationJournal
    private let progress: @Sendable (CalibrationProgress) -> Void
    /// Tokens run so far and expected in all, see ``CalibrationPlan``.
    private var done = 0
    private let total: Int

    init(
        llm: LLM, shape: GateShape, journal: CalibrationJournal, total: Int,
        progress: @escaping @Sendable (CalibrationProgress) -> Void
    ) {
        self.llm = llm
        self.shape = shape
        self.journal = journal
        self.total = total
        self.progress = progress
    }

    func advance(_ phase: String, by tokens: Int) {
        done += tokens
        progress(CalibrationProgress(phase: phase, done: min(done, total), total: total))
    }

    /// Every policy on every window; static routing itself is the first score.
    /// - Parameter name: names these policies on these windows; unique within a calibration.
    func scores(_ name: String, phase: String, of policies: [any RoutingPolicy], on windows: [[Int32]]) async throws
        -> [PolicyScore]
    {
        var scores = [PolicyScore](repeating: PolicyScore(), count: policies.count + 1)
        for (index, window) in windows.enumerated() {
            let numbers = try await journal.value("\(name)/\(index)") {
                try await PolicyEvaluator(llm: llm, windows: [window]).scores(of: policies) { _ in }
                    .flatMap { $0.windows[0].numbers }
            }
            for policy in scores.indices {
                scores[policy].windows.append(
                    PolicyScore.Window(numbers: numbers.dropFirst(policy * PolicyScore.Window.numberCount)))
            }
            advance(phase, by: window.count * (policies.count + 1))
        }
        return scores
    }

    /// Sums over full-k runs; every few windows the journal gets what there is.
    func trace(
        _ name: String, phase: String, temperatures: [Float], preparation: [Int: CalibrationTrace.Preparation]?,
        on windows: [[Int32]]
    ) async throws -> [Int: LayerTrace] {
        let trace = CalibrationTrace(shape, temperatures: temperatures, preparation: preparation)
        var first = 0
        if let known = journal[name] {
            (first, trace.layers) = LayerTrace.layers(
                numbers: known, shape: shape, temperatures: preparation == nil ? 0 : temperatures.count)
        }
        advance(phase, by: windows.prefix(first).reduce(0) { $0 + $1.count })
        for index in first..<max(first, windows.count) {
            try Task.checkCancellation()
            try await PolicyEvaluator(llm: llm, windows: [windows[index]]).run(StaticRouting(), observer: trace)
            journal.set(name, LayerTrace.numbers(done: index + 1, trace.layers))
            try journal.saveAtTimes()
            advance(phase, by: windows[index].count)
        }
        return trace.layers
    }

    /// The same with tokens one by one. They are not journaled: to run them again costs less than to keep them.
    func samples(
        phase: String, temperatures: [Float], preparation: [Int: CalibrationTrace.Preparation], on windows: [[Int32]]
    ) async throws -> (layers: [Int: LayerTrace], samples: [Int: TokenSamples]) {
        let trace = CalibrationTrace(shape, temperatures: temperatures, preparation: preparation, keepsSamples: true)
        for window in windows {
            try Task.checkCancellation()
            try await PolicyEvaluator(llm: llm, windows: [window]).run(StaticRouting(), observer: trace)
            advance(phase, by: window.count)
        }
        return (trace.layers, trace.samples)
    }

    /// The parameter in `low...high` at which a policy's mean number of experts is `mean` within 0.01, by bisection. `low` gives more
    /// experts than `high`.
    func match(
        _ name: String, phase: String, mean: Double, from low: Double, to high: Double, on windows: [[Int32]],
        _ policy: (Double) -> any RoutingPolicy
    ) async throws -> Double {
        var (low, high) = (low, high)
        var middle = (low + high) / 2
        for step in 0..<12 {
            middle = (low + high) / 2
            let found = try await journal.value("\(name)/\(step)") {
                [try await PolicyEvaluator(llm: llm, windows: windows).meanExperts(of: policy(middle))]
            }[0]
            advance(phase, by: windows.reduce(0) { $0 + $1.count })
            if abs(found - mean) <= 0.01 { break }
            if found > mean { low = middle } else { high = middle }
        }
        return middle
    }
}

extension PolicyScore.Window {
    static let numberCount = 6
    /// All but the rows' own KL.
    fileprivate var numbers: [Double] { [rows, loss, kl, agreements, evaluations, tokenLayers] }

    fileprivate init(numbers: ArraySlice<Double>) {
        let n = Array(numbers.prefix(Self.numberCount))
        self.init(rows: n[0], loss: n[1], kl: n[2], agreements: n[3], evaluations: n[4], tokenLayers: n[5])
    }
}

extension LayerTrace {
    /// Windows done, then each layer: index, tokens, and its sums in order.
    fileprivate static func numbers(done: Int, _ layers: [Int: LayerTrace]) -> [Double] {
        var numbers = [Double(done)]
        for (index, layer) in layers.sorted(by: { $0.key < $1.key }) {
            numbers += [Double(index), Double(layer.tokens)]
            numbers += layer.errors + layer.crossProducts + layer.squares + layer.logNorms + layer.expertTokens
            numbers += layer.targetSquares
            for products in layer.featureProducts { numbers += products }
            for products in layer.targetProducts { numbers += products }
        }
        return numbers
    }

    fileprivate static func layers(
        numbers: [Double], shape: GateShape, temperatures: Int
    ) -> (done: Int, layers: [Int: LayerTrace]) {
        var rest = numbers.dropFirst()
        func take(_ count: Int) -> [Double] {
            defer { rest = rest.dropFirst(count) }
            return Array(rest.prefix(count))
        }
        var layers: [Int: LayerTrace] = [:]
        while !rest.isEmpty {
            let head = take(2)
            var layer = LayerTrace(maximum: shape.maximum, expertCount: shape.expertCount)
            layer.tokens = Int(head[1])
            layer.errors = take(shape.maximum + 1)
            layer.crossProducts = take(shape.maximum + 1)
            layer.squares = take(shape.maximum + 1)
            layer.logNorms = take(shape.expertCount)
            layer.expertTokens = take(shape.expertCount)
            if temperatures > 0 {
                layer.targetSquares = take(shape.steps)
                layer.featureProducts = (0..<temperatures).map { _ in take(shape.featureCount * shape.featureCount) }
                layer.targetProducts = (0..<temperatures).map { _ in take(shape.featureCount * shape.steps) }
            }
            layers[Int(head[0])] = layer
        }
        return (Int(numbers.first ?? 0), layers)
    }
}
