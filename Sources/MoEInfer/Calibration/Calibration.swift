// SPDX-License-Identifier: Apache-2.0

import Glibc
import MoECompute
public import MoEModel

/// How a calibration is done.
public struct CalibrationOptions: Sendable {
    /// Calibration tokens; an eighth of them is kept for choices (temperature, ridge, prices).
    public var tokens = 32768
    /// Tokens of held-out text that operating points are measured on, at most.
    public var heldOutTokens = 8192
    /// Chooses the windows.
    public var seed: UInt64 = 0
    /// kMin
    public var minimum = 1
    /// Tokens of a window, BOS included.
    public var window = 512
    /// Also compare with the other policies at matched mean k.
    public var compares = true

    public init() {}
}

/// How far a calibration is.
public struct CalibrationProgress: Sendable {
    public let phase: String
    public let done: Int
    public let total: Int
}

extension LLM {
    /// Learns how many experts a token is worth, for a checkpoint that was not trained for it. Deterministic by seed.
    ///
    /// Memory beside the model's: one window of logits, and per MoE layer 80·F·(F + H) bytes (F = 3K + E + 4 features, H steps).
    ///
    /// - Parameters:
    ///   - texts: what to learn from.
    ///   - heldOut: what operating points are measured on; nil: an eighth of the windows of `texts`, kept out of all else.
    /// - Throws: ``RequestError`` for a model without experts, or too little text.
    public func calibrate(
        _ texts: [String], heldOut: String? = nil, options: CalibrationOptions = CalibrationOptions(),
        progress: @escaping @Sendable (CalibrationProgress) -> Void = { _ in }
    ) async throws -> (profile: RoutingProfile, report: CalibrationReport) {
        try await Calibration(llm: self, options: options, progress: progress).run(texts, heldOut: heldOut)
    }
}

/// One calibration; the steps in order are those of docs/routing.md.
struct Calibration {
    let llm: LLM
    let options: CalibrationOptions
    let progress: @Sendable (CalibrationProgress) -> Void
    static let temperatures: [Float] = [0.5, 0.7, 1, 1.4, 2]

    func run(_ texts: [String], heldOut: String?) async throws -> (profile: RoutingProfile, report: CalibrationReport) {
        let (k, experts) = (llm.expertsPerToken, llm.expertCount)
        guard k > 0 else { throw RequestError("the model has no experts: there is nothing to calibrate") }
        guard (0..<k).contains(options.minimum) else {
            throw RequestError("the least number of experts is \(options.minimum); expected 0 to \(k - 1)")
        }
        guard options.window >= 16, options.window <= llm.contextLength else {
            throw RequestError("windows of \(options.window) tokens were asked for; expected 16 to \(llm.contextLength)")
        }
        var warnings: [String] = []
        let text = try windows(texts, heldOut: heldOut, warnings: &warnings)
        let renormalizes = try await llm.engine.exclusively { try Self.renormalizes($0.model.configuration) }

        let trace = { (windows: [[Int32]], phase: String, prepared: [Int: CalibrationTrace.Preparation]?) in
            let trace = CalibrationTrace(
                minimum: options.minimum, maximum: k, expertCount: experts, renormalizes: renormalizes,
                temperatures: Self.temperatures, preparation: prepared)
            try await PolicyEvaluator(llm: llm, windows: windows).run(StaticRouting(), observer: trace) {
                progress(CalibrationProgress(phase: phase, done: $0, total: windows.count))
            }
            return trace.layers
        }
        // A pass for what the features and targets need, then the sums of the regression.
        let first = try await trace(Array(text.train.prefix(16)), "norms", nil)
        let prepared = first.mapValues(preparation)
        let train = try await trace(text.train, "trace", prepared)
        let choice = try await trace(text.choice, "trace, choice", prepared)
        let fits = try fit(train: train, choice: choice)

        let prices = try await prices(choice, windows: text.choice)
        let plain = layers(fits, prepared: prepared, prices: prices, corrections: [:])
        let policy = { (layers: [LearnedRouting.Layer?]) in
            RoutingProfile(
                model: llm.modelHash, minimum: options.minimum, maximum: k, expertCount: experts, layers: layers,
                points: [])
        }
        let check = HeadTrace(policy(plain).routing(mu: 1), renormalizes: renormalizes)
        try await PolicyEvaluator(llm: llm, windows: text.choice).run(StaticRouting(), observer: check)
        // The mean of exp û is below the mean gain, because û predicts a mean of logarithms: the constants are put right.
        var corrections: [Int: [Double]] = [:]
        for (layer, sums) in check.predicted {
            let errors = check.errors[layer]!.errors
            corrections[layer] = sums.enumerated().map { step, sum in
                let gain = max(errors[options.minimum + step] - errors[options.minimum + step + 1], 0)
                return max(-5, min(5, log(max(gain, 1e-30) / max(sum, 1e-30))))
            }
        }
        let profile = policy(layers(fits, prepared: prepared, prices: prices, corrections: corrections))
        let scale = HeadTrace(profile.routing(mu: 1), renormalizes: renormalizes)
        try await PolicyEvaluator(llm: llm, windows: text.choice).run(StaticRouting(), observer: scale)

        let evaluator = PolicyEvaluator(llm: llm, windows: text.heldOut)
        let search = OperatingPoints(
            evaluator: evaluator, profile: profile, scale: scale, progress: progress)
        let (points, curve, reference) = try await search.find()
        var comparison: [CalibrationReport.Match] = []
        if options.compares {
            comparison = try await PolicyComparison(
                evaluator: evaluator, profile: profile, scale: scale, errors: choice, prices: prices, seed: options.seed,
                progress: progress
            ).run()
        }
        let result = RoutingProfile(
            model: profile.model, minimum: profile.minimum, maximum: k, expertCount: experts, layers: profile.layers,
            points: points)
        let report = CalibrationReport(
            verdict: CalibrationReport.verdict(comparison), warnings: warnings, model: profile.model,
            trainTokens: text.train.count * options.window, choiceTokens: text.choice.count * options.window,
            heldOutTokens: text.heldOut.count * options.window, perplexity: reference.perplexity,
            points: points.map(CalibrationReport.Figures.init), curve: curve,
            layers: fits.sorted { $0.key < $1.key }.map { layer, fit in
                CalibrationReport.Layer(
                    layer: layer, temperature: fit.temperature, price: prices[layer] ?? 0,
                    explainedVariance: fit.variance > 0 ? 1 - fit.error / fit.variance : 0)
            }, comparison: comparison)
        return (result, report)
    }

    /// Whether the model divides the kept weights by their sum.
    /// - Throws: ``RequestError`` for routers that the error formula of ``GramError`` does not describe.
    private static func renormalizes(_ configuration: ModelConfiguration) throws -> Bool {
        guard let routers = configuration.experts?.routers else { return false }
        let first = routers[0]
        guard
            routers.values.allSatisfy({
                $0.pseudo.isEmpty && $0.gating.weights != .keepFullMass && $0.gating.minimumSum == 0
                    && $0.gating.renormalizes == first.gating.renormalizes && $0.realExperts == first.realExperts
                    && $0.slotsPerToken == first.slotsPerToken
            })
        else {
            throw RequestError(
                "calibration covers models with the same router in all layers, without pseudo-experts, whose weights are kept "
                    + "or renormalised; this model's are others")
        }
        return first.gating.renormalizes
    }

    // MARK: Text

    private struct Windows {
        var train: [[Int32]]
        var choice: [[Int32]]
        var heldOut: [[Int32]]
    }

    private func windows(_ texts: [String], heldOut: String?, warnings: inout [String]) throws -> Windows {
        var random = SplitMix(state: options.seed)
        var all = try texts.flatMap(cut).shuffled(using: &random)
        let wanted = max(1, options.tokens / options.window)
        if all.count < wanted {
            warnings.append(
                "the text has \(all.count * options.window) tokens in windows of \(options.window); "
                    + "\(options.tokens) were asked for")
        }
        let limit = max(1, options.heldOutTokens / options.window)
        var measured: [[Int32]]
        if let heldOut {
            measured = Array(try cut(heldOut).prefix(limit))
            all = Array(all.prefix(wanted))
        } else {
            let count = min(limit, max(1, min(all.count, wanted) / 8))
            measured = Array(all.prefix(count))
            all = Array(all.dropFirst(count).prefix(max(0, wanted - count)))
        }
        guard all.count >= 4, !measured.isEmpty else {
            throw RequestError(
                "too little text to calibrate: \(all.count) windows of \(options.window) tokens to learn from and "
                    + "\(measured.count) to measure on; at least 4 and 1 are needed")
        }
        if measured.count * options.window < 4096 {
            warnings.append("operating points are measured on \(measured.count * options.window) tokens only")
        }
        let choice = max(1, all.count / 8)
        measured.sort { $0.lexicographicallyPrecedes($1) }
        return Windows(
            train: Array(all.dropFirst(choice)), choice: Array(all.prefix(choice)), heldOut: measured)
    }

    private func cut(_ text: String) throws -> [[Int32]] {
        let tokenizer = try llm.tokenizer
        let bos = tokenizer.addsBOS ? tokenizer.bos : nil
        let tokens = tokenizer.encode(text, addSpecial: false, parseSpecial: false)
        let length = options.window - (bos == nil ? 0 : 1)
        return (0..<tokens.count / length).map { index in
            (bos.map { [$0] } ?? []) + tokens[index * length..<(index + 1) * length]
        }
    }

    // MARK: Fit

    private func preparation(_ layer: LayerTrace) -> CalibrationTrace.Preparation {
        let total = layer.expertTokens.reduce(0, +)
        let mean = total == 0 ? 0 : layer.logNorms.reduce(0, +) / Double(total)
        // An expert that was rarely seen takes the mean of all.
        let norms = zip(layer.logNorms, layer.expertTokens).map { Float(($0 + 4 * mean) / Double($1 + 4)) }
        return CalibrationTrace.Preparation(
            expertLogNorms: norms, delta: max(1e-30, 1e-3 * layer.meanError(options.minimum)))
    }

    private func fit(train: [Int: LayerTrace], choice: [Int: LayerTrace]) throws -> [Int: HeadFit] {
        var fits: [Int: HeadFit] = [:]
        for (layer, sums) in train {
            guard let heldOut = choice[layer],
                let fit = HeadFit.best(
                    train: sums, heldOut: heldOut, temperatures: Self.temperatures,
                    steps: llm.expertsPerToken - options.minimum)
            else { throw RequestError("layer \(layer) has no fit: its experts' outputs are not finite, or do not vary") }
            fits[layer] = fit
        }
        guard !fits.isEmpty else { throw RequestError("no layer with experts was traced") }
        return fits
    }

    private func layers(
        _ fits: [Int: HeadFit], prepared: [Int: CalibrationTrace.Preparation], prices: [Int: Double],
        corrections: [Int: [Double]]
    ) -> [LearnedRouting.Layer?] {
        (0..<llm.layerCount).map { layer in
            guard let fit = fits[layer], let norms = prepared[layer]?.expertLogNorms else { return nil }
            var weights = fit.weights
            let width = weights.count / (llm.expertsPerToken - options.minimum)
            for (step, correction) in (corrections[layer] ?? []).enumerated() { weights[step * width] += correction }
            return LearnedRouting.Layer(
                temperature: fit.temperature, logPrice: Float(log(prices[layer] ?? 1)), expertLogNorms: norms,
                weights: weights.map(Float.init))
        }
    }

    /// λ by layer: mean KL of running that layer alone at a reduced k, per mean squared error that it causes; least squares over
    /// a quarter and a half of K.
    private func prices(_ traces: [Int: LayerTrace], windows: [[Int32]]) async throws -> [Int: Double] {
        let k = llm.expertsPerToken
        let reduced = Set([max(options.minimum, k / 4), max(options.minimum, k / 2)]).filter { $0 < k }.sorted()
        let moe = traces.keys.sorted()
        var policies: [StaticRouting] = []
        for layer in moe {
            for m in reduced {
                policies.append(
                    StaticRouting(expertsPerToken: PerLayer((0..<llm.layerCount).map { $0 == layer ? m : k })))
            }
        }
        let total = (policies.count + 1) * windows.count
        let scores = try await PolicyEvaluator(llm: llm, windows: windows).scores(of: policies) {
            progress(CalibrationProgress(phase: "layer prices", done: $0, total: total))
        }
        var prices: [Int: Double] = [:]
        for (index, layer) in moe.enumerated() {
            var (product, square) = (0.0, 0.0)
            for (choice, m) in reduced.enumerated() {
                let error = traces[layer]!.meanError(m)
                product += scores[1 + index * reduced.count + choice].kl * error
                square += error * error
            }
            prices[layer] = square > 0 ? product / square : 0
        }
        let largest = prices.values.max() ?? 1
        // A layer without a measurable effect is still worth something.
        return prices.mapValues { max($0, max(largest, 1e-20) * 1e-4) }
    }
}

/// Steele, Lea and Flood 2014: the seed decides alone.
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}
