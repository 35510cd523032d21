// SPDX-License-Identifier: Apache-2.0

import Glibc
import MoEModel

/// The named points of a profile, measured on held-out windows.
struct OperatingPoints {
    let passes: CalibrationPasses
    let windows: [[Int32]]
    let profile: RoutingProfile
    /// The log mu at which the gate gives a mean number of experts, nearly.
    let logMu: (_ mean: Double) -> Double
    /// Points of the curve, `exact` besides.
    let curvePoints: Int

    /// What each named point allows against static routing: the largest mu that keeps all three.
    static let limits: [(name: String, kl: Double, perplexity: Double, topOne: Double)] = [
        ("parity", 0.02, 0.01, 0.97), ("balanced", 0.06, 0.03, 0.90), ("fast", 0.2, 0.1, 0.80),
    ]

    func find() async throws -> (points: [RoutingProfile.Point], curve: [RoutingProfile.Point], reference: PolicyScore) {
        let span = Double(profile.maximum - profile.minimum)
        // More points where little is saved: parity is there.
        let dense = [0.002, 0.005, 0.01, 0.02, 0.04]
        let shares = dense.suffix(max(0, curvePoints - 13)) + (1..<14).map { Double($0) / 14 }.suffix(min(13, curvePoints))
        let mus = Set(shares.map { Float(exp(logMu(Double(profile.maximum) - span * $0))) }).sorted()
        let scores = try await passes.scores(
            "points", phase: "operating points", of: mus.map { profile.routing(mu: $0) }, on: windows)
        let reference = scores[0]
        var measured = Array(zip(mus, scores.dropFirst()))
        // One refinement between the last point that keeps parity and the first that does not.
        let parity = Self.limits[0]
        if let first = measured.firstIndex(where: { !Self.holds($0.1, reference, parity) }), first > 0 {
            let (low, high) = (log(measured[first - 1].0), log(measured[first].0))
            let between = [0.25, 0.5, 0.75].map { exp(low + ($0 as Float) * (high - low)) }
            let scores = try await passes.scores(
                "parity", phase: "operating points", of: between.map { profile.routing(mu: $0) }, on: windows)
            measured += zip(between, scores.dropFirst())
            measured.sort { $0.0 < $1.0 }
        }
        let points = Self.limits.map { limit in
            let kept = measured.prefix { Self.holds($0.1, reference, limit) }.last
            return Self.point(limit.name, mu: kept?.0 ?? 0, kept?.1 ?? reference)
        }
        let exact = Self.point("exact", mu: 0, reference)
        return ([exact] + points, [exact] + measured.map { Self.point("", mu: $0.0, $0.1) }, reference)
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
            name: name, mu: mu, meanExperts: score.meanExperts, perplexity: score.perplexity, kl: score.kl,
            topOne: score.topOne)
    }
}
