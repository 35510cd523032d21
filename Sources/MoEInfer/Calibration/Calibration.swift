// SPDX-License-Identifier: Apache-2.0

import Foundation
public import MoEModel

/// How a calibration is done.
public struct CalibrationOptions: Sendable {
    /// Calibration tokens; a sixth of them is kept for choices (temperature, ridge, prices).
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
    /// The calibration does less when it would take longer, by the estimate; what then is done depends on the machine.
    public var maximumSeconds: Double?
    /// Where measurements are kept, so that a calibration that was stopped goes on; deleted when it is done. nil: nowhere.
    public var journal: String?
    /// What the journal has is not used.
    public var restarts = false

    public init() {}
}

/// How far a calibration is.
public struct CalibrationProgress: Sendable {
    public let phase: String
    /// Tokens through the model.
    public let done: Int
    public let total: Int
}

extension LLM {
    /// Learns how many experts a token is worth, for a checkpoint that was not trained for it. Deterministic by seed.
    ///
    /// Memory beside the model's is in the estimate; it does not grow with the length of the texts.
    ///
    /// - Parameters:
    ///   - texts: what to learn from; several kinds of text are better than one.
    ///   - heldOut: what operating points are measured on; empty: an eighth of the windows of `texts`, kept out of all else.
    ///   - willStart: told what it will cost, before it starts.
    /// - Throws: ``RequestError`` for a model without experts, too little text, or a journal of another calibration;
    ///   `CancellationError`, with the journal written.
    public func calibrate(
        _ texts: [String], heldOut: [String] = [], options: CalibrationOptions = CalibrationOptions(),
        willStart: @Sendable (CalibrationEstimate) -> Void = { _ in },
        progress: @escaping @Sendable (CalibrationProgress) -> Void = { _ in }
    ) async throws -> (profile: RoutingProfile, report: CalibrationReport) {
        let preparation = try await CalibrationPreparation(self, texts: texts, heldOut: heldOut, options: options)
        willStart(preparation.estimate)
        let passes = CalibrationPasses(
            llm: self, shape: preparation.shape, journal: preparation.journal, total: preparation.plan.tokens,
            progress: progress)
        do {
            let result = try await Calibration(preparation, passes: passes).run()
            return result
        } catch {
            try preparation.journal.save()
            throw error
        }
    }

    /// What ``calibrate(_:heldOut:options:willStart:progress:)`` would cost, from a short run of this model.
    public func estimateCalibration(
        _ texts: [String], heldOut: [String] = [], options: CalibrationOptions = CalibrationOptions()
    ) async throws -> CalibrationEstimate {
        var options = options
        options.journal = nil
        return try await CalibrationPreparation(self, texts: texts, heldOut: heldOut, options: options).estimate
    }

    /// Forgets what a finished calibration kept: to be called when the profile is safe.
    public static func removeCalibrationJournal(_ path: String) { try? FileManager.default.removeItem(atPath: path) }
}

/// One calibration; the steps in order are those of docs/routing.md.
struct Calibration {
    let shape: GateShape
    let plan: CalibrationPlan
    let text: CalibrationText
    let options: CalibrationOptions
    let estimate: CalibrationEstimate
    let model: String
    let passes: CalibrationPasses
    static let temperatures: [Float] = [0.5, 0.7, 1, 1.4, 2, 2.8, 4, 5.6]

    init(_ preparation: CalibrationPreparation, passes: CalibrationPasses) {
        shape = preparation.shape
        plan = preparation.plan
        text = preparation.text
        options = preparation.options
        estimate = preparation.estimate
        model = passes.llm.modelHash
        self.passes = passes
    }

    func run() async throws -> (profile: RoutingProfile, report: CalibrationReport) {
        // A pass for what the features and targets need, then the sums of the regression.
        let spread = CalibrationText.spread(plan.norms, of: text.train.count)
        let first = try await passes.trace(
            "norms", phase: "norms", temperatures: [], preparation: nil,
            on: spread.map { text.train[$0] })
        let prepared = first.mapValues(preparation)
        let train = try await passes.trace(
            "trace", phase: "trace", temperatures: Self.temperatures, preparation: prepared, on: text.train)
        let (choice, samples) = try await passes.samples(
            phase: "trace, choice", temperatures: Self.temperatures, preparation: prepared, on: text.choice)
        let fits = try fit(train: train, choice: choice)

        let heads = heads(fits, prepared: prepared, choice: choice, samples: samples)
        let predictions = Dictionary(
            uniqueKeysWithValues: samples.map { ($0, $1.predictions(heads[$0]!, shape: shape)) })
        let counts = CountModel(predictions, shape: shape)
        let equal = samples.mapValues { _ in 0.0 }
        let unpriced = profile(heads, prices: equal)

        // Prices: measured with all layers cut at once, then improved by what the model's output says.
        let means = shape.comparedMeans.map(Double.init)
        let joint = try await JointPrices(passes: passes, windows: text.choice, samples: samples, seed: options.seed)
            .find(
                unpriced,
                logMus: (0..<plan.jointPasses).map {
                    counts.logMu(
                        mean: means.isEmpty ? Double(shape.maximum) / 2 : means[$0 % means.count], logPrices: equal)
                })
        let tuned = try await GateTuning(
            passes: passes, windows: text.choice, means: tunedMeans, counts: counts, rounds: plan.rounds,
            groups: plan.groups
        ) { prices, logMu in profile(heads, prices: prices).routing(mu: Float(exp(logMu))) }
        .run([equal.mapValues { _ in Self.scale(joint) }, joint.mapValues { log($0) }, Self.halved(joint)])
        let logPrices = Self.rescaled(tuned.best.logPrices, to: joint)
        let (scaled, scaleShare) = try await scaled(heads, choice: choice, counts: counts, logPrices: logPrices)
        let gate = profile(scaled, prices: logPrices)
        let logMu = { (mean: Double) in counts.logMu(mean: mean, logPrices: logPrices) }

        var baselines = Baselines()
        if plan.compares {
            baselines = try await strongest(
                gate, samples: samples, choice: choice, joint: joint, prices: logPrices, logMu: logMu)
        }
        let (points, curve, reference) = try await OperatingPoints(
            passes: passes, windows: text.heldOut, profile: gate, logMu: logMu, curvePoints: plan.curvePoints
        ).find()
        let result = RoutingProfile(
            model: model, minimum: shape.minimum, maximum: shape.maximum, expertCount: shape.expertCount,
            layers: gate.layers, points: points, curve: curve, allocations: baselines.allocations,
            topPTemperatures: baselines.topPTemperatures)
        var comparison: [CalibrationReport.Match] = []
        if plan.compares {
            comparison = try await PolicyComparison(
                passes: passes, windows: text.heldOut, profile: result, shape: shape, logMu: logMu, seed: options.seed
            ).run()
        }
        let diversity = try await TextDiversity(passes: passes, text: text).measure()
        let layers = fits.sorted { $0.key < $1.key }.map { layer, fit in
            CalibrationReport.Layer(
                layer: layer, temperature: fit.temperature, ridge: fit.ridge, price: exp(logPrices[layer]!),
                jointPrice: joint[layer]!, explainedVariance: fit.variance > 0 ? 1 - fit.error / fit.variance : 0,
                scales: choice[layer]!.scales.map { ($0 * 1000).rounded() / 1000 })
        }
        let report = CalibrationReport(
            verdict: CalibrationReport.verdict(comparison), warnings: text.warnings + diversity.warnings,
            model: model, estimate: estimate, resumedMeasurements: passes.journal.resumedRecords,
            diversity: diversity, trainTokens: text.train.count * options.window,
            choiceTokens: text.choice.count * options.window,
            heldOutTokens: text.heldOut.count * options.window, perplexity: reference.perplexity,
            points: points.map(CalibrationReport.Figures.init),
            curve: curve.dropFirst().map(CalibrationReport.Figures.init), layers: layers,
            tuning: CalibrationReport.Tuning(
                equalPrices: tuned.starts[0], jointPrices: tuned.starts[1], tuned: tuned.best.objective,
                scaleShare: scaleShare),
            ceilings: baselines.ceilings, comparison: comparison)
        return (result, report)
    }

    /// The means that prices are tuned at: a quarter and half of K.
    private var tunedMeans: [Double] {
        let means = shape.comparedMeans.map(Double.init)
        return means.count > 2 ? [means[0], means[means.count - 1]] : means
    }

    /// log of the geometric mean.
    private static func scale(_ prices: [Int: Double]) -> Double {
        prices.values.sorted().reduce(0) { $0 + log($1) } / Double(max(prices.count, 1))
    }

    /// Halfway between equal prices and these, in logarithms.
    private static func halved(_ prices: [Int: Double]) -> [Int: Double] {
        let scale = scale(prices)
        return prices.mapValues { (log($0) + scale) / 2 }
    }

    /// The same ratios with the geometric mean of `prices`, which is in nats.
    private static func rescaled(_ logPrices: [Int: Double], to prices: [Int: Double]) -> [Int: Double] {
        let mean = logPrices.values.sorted().reduce(0, +) / Double(max(logPrices.count, 1))
        return logPrices.mapValues { $0 - mean + scale(prices) }
    }

    // MARK: Heads

    private func preparation(_ layer: LayerTrace) -> CalibrationTrace.Preparation {
        let total = layer.expertTokens.reduce(0, +)
        let mean = total == 0 ? 0 : layer.logNorms.reduce(0, +) / total
        // An expert that was rarely seen takes the mean of all.
        let norms = zip(layer.logNorms, layer.expertTokens).map { Float(($0 + 4 * mean) / ($1 + 4)) }
        return CalibrationTrace.Preparation(
            expertLogNorms: norms, delta: max(1e-30, 1e-3 * layer.meanError(shape.minimum)),
            outputSquare: layer.meanError(0))
    }

    private func fit(train: [Int: LayerTrace], choice: [Int: LayerTrace]) throws -> [Int: HeadFit] {
        var fits: [Int: HeadFit] = [:]
        for (layer, sums) in train {
            guard let heldOut = choice[layer],
                let fit = HeadFit.best(
                    train: sums, heldOut: heldOut, temperatures: Self.temperatures, steps: shape.steps)
            else { throw RequestError("layer \(layer) has no fit: its experts' outputs are not finite, or do not vary") }
            fits[layer] = fit
        }
        guard !fits.isEmpty else { throw RequestError("no layer with experts was traced") }
        return fits
    }

    /// Heads without a price. The mean of exp û is below the mean gain, because û predicts a mean of logarithms: a constant per head
    /// puts that right.
    private func heads(
        _ fits: [Int: HeadFit], prepared: [Int: CalibrationTrace.Preparation], choice: [Int: LayerTrace],
        samples: [Int: TokenSamples]
    ) -> [Int: LearnedRouting.Layer] {
        var heads: [Int: LearnedRouting.Layer] = [:]
        for (index, fit) in fits {
            guard let norms = prepared[index]?.expertLogNorms, let sample = samples[index], let sums = choice[index]
            else { continue }
            func head(_ weights: [Double]) -> LearnedRouting.Layer {
                LearnedRouting.Layer(
                    temperature: fit.temperature, logPrice: 0, expertLogNorms: norms, weights: weights.map(Float.init),
                    deviations: fit.deviations.map(Float.init))
            }
            var weights = fit.weights
            let (steps, width) = (shape.steps, shape.featureCount)
            let plain = sample.predictions(head(weights), shape: shape)
            for step in 0..<steps {
                var mean = 0.0
                for token in 0..<sample.count { mean += exp(Double(plain[token * steps + step])) }
                mean /= Double(max(sample.count, 1))
                let m = shape.minimum + step
                let gain = max(sums.meanError(m) - sums.meanError(m + 1), 0)
                weights[step * width] += max(-5, min(5, log(max(gain, 1e-30) / max(mean, 1e-30))))
            }
            heads[index] = head(weights)
        }
        return heads
    }

    /// Heads with the combine weights' scales γ, all of the way, half, or none: whichever measures best at matched mean k, and none
    /// unless others are better by 2 %. Their error is always less; the model's output need not follow.
    private func scaled(
        _ heads: [Int: LearnedRouting.Layer], choice: [Int: LayerTrace], counts: CountModel, logPrices: [Int: Double]
    ) async throws -> (heads: [Int: LearnedRouting.Layer], share: Double) {
        let shares: [Float] = [0, 0.5, 1]
        let candidates = shares.map { share in
            Dictionary(
                uniqueKeysWithValues: heads.map { index, head in
                    let scales = share == 0 ? [] : choice[index]!.scales.dropLast().map { 1 + ($0 - 1) * share }
                    return (
                        index,
                        LearnedRouting.Layer(
                            temperature: head.temperature, logPrice: 0, expertLogNorms: head.expertLogNorms,
                            weights: head.weights, scales: scales, deviations: head.deviations)
                    )
                })
        }
        guard plan.rounds > 0, !tunedMeans.isEmpty else { return (candidates[0], 0) }
        let policies = candidates.flatMap { heads in
            tunedMeans.map { mean in
                profile(heads, prices: logPrices).routing(
                    mu: Float(exp(counts.logMu(mean: mean, logPrices: logPrices))))
            }
        }
        let scores = try await passes.scores("scales", phase: "joint tuning", of: policies, on: text.choice).dropFirst()
        let relative = candidates.indices.map { candidate in
            tunedMeans.indices.reduce(0.0) { sum, mean in
                let (ours, plain) = (scores[1 + candidate * tunedMeans.count + mean], scores[1 + mean])
                let ratio = zip(ours.windows, plain.windows).reduce(0) { $0 + $1.0.kl / max($1.1.kl, 1e-9) }
                return sum + log(max(ratio / Double(plain.windows.count), 1e-12))
            } / Double(tunedMeans.count)
        }
        let best = relative.indices.min { relative[$0] < relative[$1] }!
        let chosen = relative[best] < -0.02 ? best : 0
        return (candidates[chosen], Double(shares[chosen]))
    }

    private func profile(_ heads: [Int: LearnedRouting.Layer], prices logPrices: [Int: Double]) -> RoutingProfile {
        let layers = (0..<shape.layerCount).map { index in
            heads[index].map {
                LearnedRouting.Layer(
                    temperature: $0.temperature, logPrice: Float(logPrices[index] ?? 0),
                    expertLogNorms: $0.expertLogNorms, weights: $0.weights, scales: $0.scales,
                    deviations: $0.deviations)
            }
        }
        return RoutingProfile(
            model: model, minimum: shape.minimum, maximum: shape.maximum, expertCount: shape.expertCount, layers: layers,
            points: [])
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
