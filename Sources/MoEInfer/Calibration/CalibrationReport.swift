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
            (name, mu, topOne) = (point.name, point.mu, point.topOne)
            (meanExperts, perplexity, kl) = (point.meanExperts, point.perplexity, point.kl)
        }
    }

    public struct Layer: Sendable, Encodable {
        public let layer: Int
        public let temperature: Float
        public let ridge: Double
        /// λ: nats of KL per squared error of the layer's output, as tuned, and as measured jointly.
        public let price: Double
        public let jointPrice: Double
        /// R² of the log gains on tokens that were not fitted.
        public let explainedVariance: Double
        /// `[K + 1]`: γ_m, the scale of the best m experts' sum nearest to the whole.
        public let scales: [Float]
    }

    /// log KL on the choice windows, relative to equal prices, at the same mean number of experts.
    public struct Tuning: Sendable, Encodable {
        public let equalPrices: Double
        public let jointPrices: Double
        public let tuned: Double
        /// How much of the scales γ is in the profile: 0, a half or 1, whichever gave the least KL.
        public let scaleShare: Double
    }

    /// How far the gate is from what could be reached, on the choice windows: Σ λ e, priced errors in nats, and KL.
    public struct Ceiling: Sendable, Encodable {
        public let meanExperts: Double
        public let staticError: Double
        public let learnedError: Double
        /// Counts chosen by the true gains; and the best sets instead of the best ranked, where K is at most 8.
        public let oracleCountError: Double
        public let oracleSetError: Double?
        public let learnedKL: Double
        public let learnedMeanExperts: Double
        public let oracleCountKL: Double
        public let oracleCountMeanExperts: Double
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
        /// The same of the loss, nats per token: the log of the ratio of perplexities.
        public let lossDifference95: [Double]
    }

    public let verdict: String
    public let warnings: [String]
    public let model: String
    public let estimate: CalibrationEstimate
    /// Measurements that an earlier run of this calibration had left.
    public let resumedMeasurements: Int
    public let diversity: TextDiversity.Measured
    public let trainTokens: Int
    public let choiceTokens: Int
    public let heldOutTokens: Int
    /// Of static routing on the held-out text.
    public let perplexity: Double
    public let points: [Figures]
    public let curve: [Figures]
    public let layers: [Layer]
    public let tuning: Tuning
    public let ceilings: [Ceiling]
    public let comparison: [Match]

    static func verdict(_ matches: [Match]) -> String {
        if matches.isEmpty { return "the learned gate was not compared with other policies" }
        let parts = matches.map { match -> String in
            let place = "mean k \(Int(match.meanExperts))"
            if match.klDifference95[1] < 0 { return "beats \(match.bestOther) at \(place)" }
            if match.klDifference95[0] > 0 { return "loses to \(match.bestOther) at \(place)" }
            return "is not told apart from \(match.bestOther) at \(place)"
        }
        return
            "by mean KL to static, against the best of static, per-layer static, top-p, ratio and absolute, the learned gate "
            + parts.joined(separator: ", ")
    }
}
