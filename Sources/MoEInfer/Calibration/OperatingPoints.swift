// SPDX-License-Identifier: Apache-2.0

import Glibc
import MoEModel

/// The named points of a profile, measured on held-out windows.
struct OperatingPoints {
    let evaluator: PolicyEvaluator
    let profile: RoutingProfile
    let scale: HeadTrace
    let progress: @Sendable (CalibrationProgress) -> Void

    /// What each named point allows against static routing: the largest mu that keeps all three.
    static let limits: [(name: String, kl: Double, perplexity: Double, topOne: Double)] = [
        ("parity", 0.02, 0.01, 0.97), ("balanced", 0.06, 0.03, 0.90), ("fast", 0.2, 0.1, 0.80),
    ]

    func find() async throws -> (
        points: [RoutingProfile.Point], curve: [CalibrationReport.Figures], reference: PolicyScore
    ) {
        let span = Double(profile.maximum - profile.minimum)
        var mus = [0.002, 0.005, 0.01, 0.02, 0.04].map {
            Float(exp(scale.logMu(mean: Double(profile.maximum) - span * $0)))
        }
        mus += (1..<14).map { Float(exp(scale.logMu(mean: Double(profile.maximum) - span * Double($0) / 14))) }
        mus = Set(mus).sorted()
        let (total, windows) = ((mus.count + 1) * evaluator.windows.count, evaluator.windows.count)
        let progress = progress
        let scores = try await evaluator.scores(of: mus.map { profile.routing(mu: $0) }) {
            progress(CalibrationProgress(phase: "operating points", done: $0, total: total))
        }
        let reference = scores[0]
        var measured = Array(zip(mus, scores.dropFirst()))
        // One refinement between the last point that keeps parity and the first that does not.
        let parity = Self.limits[0]
        if let first = measured.firstIndex(where: { !Self.holds($0.1, reference, parity) }), first > 0 {
            let (low, high) = (log(measured[first - 1].0), log(measured[first].0))
            let between = [0.25, 0.5, 0.75].map { exp(low + ($0 as Float) * (high - low)) }
            let scores = try await evaluator.scores(of: between.map { profile.routing(mu: $0) }) {
                progress(CalibrationProgress(phase: "parity", done: $0, total: 4 * windows))
            }
            measured += zip(between, scores.dropFirst())
            measured.sort { $0.0 < $1.0 }
        }
        let exact = RoutingProfile.Point(
            name: "exact", mu: 0, meanExperts: reference.meanExperts, perplexity: reference.perplexity, kl: 0)
        let points = Self.limits.map { limit in
            let kept = measured.prefix { Self.holds($0.1, reference, limit) }.last
            return kept.map { Self.point(limit.name, mu: $0.0, $0.1) }
                ?? RoutingProfile.Point(
                    name: limit.name, mu: 0, meanExperts: exact.meanExperts, perplexity: exact.perplexity, kl: 0)
        }
        let curve = measured.map { CalibrationReport.Figures("", mu: $0.0, score: $0.1) }
        return ([exact] + points, curve, reference)
    }

    private static func holds(
        _ score: PolicyScore, _ reference: PolicyScore,
        _ limit: (name: String, kl: Double, perplexity: Double, topOne: Double)
    ) -> Bool {
        score.kl <= limit.kl && score.perplexity <= reference.perplexity * (1 + limit.perplexity)
            && score.topOne >= limit.topOne
    }

    private static func point(_ name: String, mu: Float, _ score: PolicyScore) -> RoutingProfile.Point {
        RoutingProfile.Point(
            name: name, mu: mu, meanExperts: score.meanExperts, perplexity: score.perplexity, kl: score.kl)
    }
}
