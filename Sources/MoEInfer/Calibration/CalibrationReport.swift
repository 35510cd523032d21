// SPDX-License-Identifier: Apache-2.0

import MoEModel

/// What a calibration found. The first line of a report is ``verdict``.
public struct CalibrationReport: Sendable, Encodable {
    /// A policy on the held-out text.
    public struct Figures: Sendable, Encodable {
        public let name: String
        public let mu: Float?
        public let meanExperts: Double
        public let perplexity: Double
        /// Mean KL(static ‖ policy), nats per token.
        public let kl: Double
        /// Share of tokens whose likeliest successor is the same; nil where it was not kept.
        public let topOne: Double?

        init(_ name: String, mu: Float?, score: PolicyScore) {
            self.name = name
            self.mu = mu
            (meanExperts, perplexity, kl, topOne) = (score.meanExperts, score.perplexity, score.kl, score.topOne)
        }

        init(_ point: RoutingProfile.Point) {
            (name, mu, topOne) = (point.name, point.mu, nil)
            (meanExperts, perplexity, kl) = (point.meanExperts, point.perplexity, point.kl)
        }
    }

    public struct Layer: Sendable, Encodable {
        public let layer: Int
        public let temperature: Float
        /// λ: nats of KL per squared error of the layer's output.
        public let price: Double
        /// R² of the log gains on tokens that were not fitted.
        public let explainedVariance: Double
    }

    /// All policies at one mean number of experts.
    public struct Match: Sendable, Encodable {
        public let meanExperts: Double
        /// The learned gate first.
        public let policies: [Figures]
        /// The one with the least KL among the others.
        public let bestOther: String
        /// KL of the learned gate less that of the best other: 95 % interval, a paired bootstrap over windows.
        public let klDifference95: [Double]
    }

    public let verdict: String
    public let warnings: [String]
    public let model: String
    public let trainTokens: Int
    public let choiceTokens: Int
    public let heldOutTokens: Int
    /// Of static routing on the held-out text.
    public let perplexity: Double
    public let points: [Figures]
    public let curve: [Figures]
    public let layers: [Layer]
    public let comparison: [Match]

    static func verdict(_ matches: [Match]) -> String {
        if matches.isEmpty { return "the learned gate was not compared with other policies" }
        let parts = matches.map { match -> String in
            let place = "mean k \(Int(match.meanExperts))"
            if match.klDifference95[1] < 0 { return "beats \(match.bestOther) at \(place)" }
            if match.klDifference95[0] > 0 { return "loses to \(match.bestOther) at \(place)" }
            return "is not told apart from \(match.bestOther) at \(place)"
        }
        return "by mean KL to static, against the best of static, per-layer static, top-p and ratio, the learned gate "
            + parts.joined(separator: ", ")
    }
}
