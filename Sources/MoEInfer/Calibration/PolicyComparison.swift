// SPDX-License-Identifier: Apache-2.0

import Glibc
import MoEModel

/// The learned gate against the other policies, all at the same mean number of experts on the same held-out windows.
struct PolicyComparison {
    let evaluator: PolicyEvaluator
    let profile: RoutingProfile
    let scale: HeadTrace
    let errors: [Int: LayerTrace]
    let prices: [Int: Double]
    let seed: UInt64
    let progress: @Sendable (CalibrationProgress) -> Void

    func run() async throws -> [CalibrationReport.Match] {
        // A quarter, three eighths and half of K: 2, 3 and 4 of 8.
        let k = profile.maximum
        let targets = Set([k / 4, 3 * k / 8, k / 2]).filter { $0 > profile.minimum && $0 < k }.sorted()
        var matches: [CalibrationReport.Match] = []
        for (index, target) in targets.enumerated() {
            progress(CalibrationProgress(phase: "comparison", done: index, total: targets.count))
            let mean = Double(target)
            let guess = scale.logMu(mean: mean)
            let logMu = try await match(mean, from: guess - 3, to: guess + 3) { profile.routing(mu: Float(exp($0))) }
            let p = try await match(mean, from: 1, to: 0) { topP($0) }
            let threshold = try await match(mean, from: 0, to: 1) { ratio($0) }
            let policies: [(String, any RoutingPolicy)] = [
                ("learned", profile.routing(mu: Float(exp(logMu)))),
                ("static", StaticRouting(expertsPerToken: PerLayer(target))),
                ("per-layer static", StaticRouting(expertsPerToken: PerLayer(allocation(target)))),
                ("top-p", topP(p)), ("ratio", ratio(threshold)),
            ]
            let scores = try await evaluator.scores(of: policies.map(\.1)) { _ in }
            let figures = zip(policies, scores.dropFirst()).map { CalibrationReport.Figures($0.0, mu: nil, score: $1) }
            let best = figures.indices.dropFirst().min { figures[$0].kl < figures[$1].kl }!
            matches.append(
                CalibrationReport.Match(
                    meanExperts: mean, policies: figures, bestOther: figures[best].name,
                    klDifference95: PairedBootstrap(seed: seed, windows: evaluator.windows.count)
                        .klDifference(scores[1], scores[best + 1])))
        }
        return matches
    }

    private func topP(_ p: Double) -> TopPRouting {
        TopPRouting(p: PerLayer(Float(p)), minimum: profile.minimum, maximum: profile.maximum)
    }

    private func ratio(_ threshold: Double) -> RatioRouting {
        RatioRouting(minimum: profile.minimum, threshold: PerLayer(Float(threshold)))
    }

    /// Bisects a policy's parameter until its mean is `mean` within 0.01. `low` gives more experts than `high`.
    private func match(
        _ mean: Double, from low: Double, to high: Double, _ policy: (Double) -> any RoutingPolicy
    ) async throws -> Double {
        var (low, high) = (low, high)
        var middle = (low + high) / 2
        for _ in 0..<12 {
            middle = (low + high) / 2
            let found = try await evaluator.meanExperts(of: policy(middle))
            if abs(found - mean) <= 0.01 { break }
            if found > mean { low = middle } else { high = middle }
        }
        return middle
    }

    /// k by layer with the given mean: one expert at a time to the layer where it takes away most priced error.
    private func allocation(_ mean: Int) -> [Int] {
        var counts = [Int](repeating: profile.minimum, count: profile.layers.count)
        for _ in 0..<(mean - profile.minimum) * errors.count {
            let gains = errors.compactMap { layer, trace -> (Double, Int)? in
                let m = counts[layer]
                guard m < profile.maximum else { return nil }
                return ((trace.meanError(m) - trace.meanError(m + 1)) * (prices[layer] ?? 0), layer)
            }
            guard let best = gains.max(by: { ($0.0, -$0.1) < ($1.0, -$1.1) }) else { break }
            counts[best.1] += 1
        }
        return counts
    }
}
