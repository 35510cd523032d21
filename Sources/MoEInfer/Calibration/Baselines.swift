// SPDX-License-Identifier: Apache-2.0

import Glibc
import MoEModel

/// What the gate is compared with, made as strong as the choice windows allow, and how far it is from what could be reached.
struct Baselines {
    var allocations: [RoutingProfile.Allocation] = []
    var topPTemperatures: [Float]?
    var ceilings: [CalibrationReport.Ceiling] = []
}

extension Calibration {
    func strongest(
        _ gate: RoutingProfile, samples: [Int: TokenSamples], choice: [Int: LayerTrace], joint: [Int: Double],
        prices logPrices: [Int: Double], logMu: (Double) -> Double
    ) async throws -> Baselines {
        var result = Baselines()
        let windows = text.choice
        let errors = choice.mapValues { trace in (0...shape.maximum).map(trace.meanError) }
        let allocators = [joint, logPrices.mapValues { exp($0) }, joint.mapValues { _ in 1 }].map {
            LayerAllocation(
                errors: errors, prices: $0, minimum: shape.minimum, maximum: shape.maximum, layerCount: shape.layerCount)
        }
        for mean in shape.allocatedMeans {
            // Of the same sum as the others; the nearest to uniform that there is.
            let sum =
                Int(((mean - Double(shape.minimum)) * Double(samples.count)).rounded()) + shape.minimum * samples.count
            let (even, more) = (sum / samples.count, sum % samples.count)
            var uniform = [Int](repeating: shape.maximum, count: shape.layerCount)
            for (index, layer) in samples.keys.sorted().enumerated() { uniform[layer] = even + (index < more ? 1 : 0) }
            var round = 0
            let relative = Relative(passes: passes, windows: windows)
            let base = LayerAllocation.routing(uniform)
            let (counts, _) = try await allocators[0].improved(
                [uniform] + allocators.map { $0.counts(mean: mean) }, rounds: plan.allocationRounds
            ) { allocations in
                round += 1
                return try await relative.measure(
                    "allocation/\(mean)/\(round)", phase: "per-layer static",
                    policies: allocations.map(LayerAllocation.routing), base: base)
            }
            result.allocations.append(RoutingProfile.Allocation(meanExperts: mean, counts: counts))
        }
        if let mean = shape.comparedMeans.first.map(Double.init) {
            let table = TopPCounts(samples: samples, shape: shape)
            let base = TopPRouting(
                p: PerLayer(Float(table.p(mean: mean, temperatures: [Float](repeating: 1, count: shape.layerCount)))),
                minimum: shape.minimum, maximum: shape.maximum)
            let relative = Relative(passes: passes, windows: windows)
            var round = 0
            result.topPTemperatures = try await TopPTemperatures(
                minimum: shape.minimum, maximum: shape.maximum, layerCount: shape.layerCount, layers: samples.keys.sorted(),
                p: { table.p(mean: mean, temperatures: $0) },
                measure: { policies in
                    round += 1
                    return try await relative.measure(
                        "top-p/\(round)", phase: "top-p temperatures", policies: policies, base: base)
                }
            ).find(groups: plan.topPGroups).temperatures
        }
        for target in shape.comparedMeans {
            result.ceilings.append(
                try await Ceilings(
                    passes: passes, windows: windows, samples: samples, shape: shape,
                    prices: logPrices.mapValues { exp($0) }
                ).find(gate.routing(mu: Float(exp(logMu(Double(target))))), mean: target))
        }
        return result
    }
}

/// log of a policy's KL, windows counted alike: the mean over windows of KL divided by that of a base policy; corrected to the base
/// policy's mean number of experts.
private struct Relative {
    let passes: CalibrationPasses
    let windows: [[Int32]]

    func measure(
        _ name: String, phase: String, policies: [any RoutingPolicy], base: any RoutingPolicy
    ) async throws -> [Double] {
        let scores = try await passes.scores(name, phase: phase, of: [base] + policies, on: windows)
        return scores.dropFirst(2).map { score in
            let ratio = zip(score.windows, scores[1].windows).reduce(0) { $0 + $1.0.kl / max($1.1.kl, 1e-9) }
            return log(max(ratio / Double(windows.count), 1e-12))
                + GateTuning.slope * log(score.meanExperts / scores[1].meanExperts)
        }
    }
}

/// What a gate could reach at a mean number of experts: counts chosen by the true gains, and the best set of experts instead of the
/// best ranked.
struct Ceilings {
    let passes: CalibrationPasses
    let windows: [[Int32]]
    let samples: [Int: TokenSamples]
    let shape: GateShape
    let prices: [Int: Double]

    func find(_ gate: LearnedRouting, mean target: Int) async throws -> CalibrationReport.Ceiling {
        let (width, moe) = (shape.maximum + 1, samples.keys.sorted())
        let tokens = samples.values.first?.count ?? 0
        // Experts one at a time, the dearest gain first: a convex hull per token keeps gains falling.
        func counts(_ errors: KeyPath<TokenSamples, [Float]>) -> (counts: [Int: [UInt8]], error: Double) {
            var hulls: [Int: [Float]] = [:]
            var all: [Float] = []
            for layer in moe {
                let price = Float(prices[layer]!)
                let hull = samples[layer]![keyPath: errors].chunkedGains(width: width, minimum: shape.minimum)
                    .map { $0 * price }
                hulls[layer] = hull
                all += hull
            }
            all.sort(by: >)
            let wanted = (target - shape.minimum) * tokens * moe.count
            let threshold = wanted < all.count ? all[max(wanted - 1, 0)] : -1
            var result: [Int: [UInt8]] = [:]
            var error = 0.0
            for layer in moe {
                let (hull, values) = (hulls[layer]!, samples[layer]![keyPath: errors])
                result[layer] = (0..<tokens).map { token in
                    let steps = hull[token * shape.steps..<(token + 1) * shape.steps]
                    let count = shape.minimum + steps.prefix { $0 >= threshold }.count
                    error += prices[layer]! * Double(values[token * width + count])
                    return UInt8(clamping: count)
                }
            }
            return (result, error / Double(max(tokens, 1)))
        }
        let oracle = counts(\.errors)
        let sets = counts(\.bestSets)
        let uniform =
            moe.reduce(0.0) { sum, layer in
                sum + prices[layer]!
                    * (0..<tokens).reduce(0) { $0 + Double(samples[layer]!.errors[$1 * width + target]) }
            } / Double(max(tokens, 1))
        let model = gateErrors(gate, samples: samples, shape: shape, prices: prices)

        var scores: [PolicyScore] = [PolicyScore(), PolicyScore(), PolicyScore()]
        var start = 0
        for (index, window) in windows.enumerated() {
            let range = start..<start + window.count
            let table = TableRouting(maximum: shape.maximum, counts: oracle.counts.mapValues { Array($0[range]) })
            let found = try await passes.scores(
                "ceiling/\(target)/\(index)", phase: "ceilings", of: [gate, table], on: [window])
            for place in scores.indices { scores[place].windows += found[place].windows }
            start += window.count
        }
        return CalibrationReport.Ceiling(
            meanExperts: Double(target), staticError: uniform, learnedError: model, oracleCountError: oracle.error,
            oracleSetError: shape.maximum <= GramError.setLimit ? sets.error : nil, learnedKL: scores[1].kl,
            learnedMeanExperts: scores[1].meanExperts, oracleCountKL: scores[2].kl,
            oracleCountMeanExperts: scores[2].meanExperts)
    }

    /// The priced error of the counts that a gate chooses on sampled tokens.
    private func gateErrors(
        _ gate: LearnedRouting, samples: [Int: TokenSamples], shape: GateShape, prices: [Int: Double]
    ) -> Double {
        var error = 0.0
        let (width, steps) = (shape.maximum + 1, shape.steps)
        for layer in samples.keys.sorted() {
            guard let head = gate.layers[layer], let sample = samples[layer] else { continue }
            let predictions = sample.predictions(head, shape: shape)
            let threshold = log(gate.mu) - head.logPrice
            for token in 0..<sample.count {
                let count =
                    shape.minimum
                    + predictions[token * steps..<(token + 1) * steps].prefix { $0 > threshold }.count
                error += prices[layer]! * Double(sample.errors[token * width + count])
            }
        }
        return error / Double(max(samples.values.first?.count ?? 1, 1))
    }
}

/// Counts from a table, by layer and position.
private struct TableRouting: RoutingPolicy {
    let maximum: Int
    let counts: [Int: [UInt8]]

    func maximumExperts(modelExpertsPerToken: Int, expertCount: Int) -> Int { maximum }
    func expertCount(for token: RoutingContext, logits: Span<Float>, ranked: Span<Float>) -> Int {
        counts[token.layer].map { Int($0[token.position]) } ?? maximum
    }
}

extension [Float] {
    /// Errors `[N, width]` to the gains `[N, width - 1 - minimum]` of one more expert, made to fall by the lower convex hull of each
    /// row: what follows from paying for several at once.
    fileprivate func chunkedGains(width: Int, minimum: Int) -> [Float] {
        let steps = width - 1 - minimum
        var gains = [Float](repeating: 0, count: count / width * steps)
        for token in 0..<count / width {
            var m = minimum
            while m < width - 1 {
                let here = self[token * width + m]
                var (best, next) = (-Float.infinity, m + 1)
                for to in m + 1..<width {
                    let slope = (here - self[token * width + to]) / Float(to - m)
                    if slope >= best { (best, next) = (slope, to) }
                }
                for step in m..<next { gains[token * steps + step - minimum] = best }
                m = next
            }
        }
        return gains
    }
}
