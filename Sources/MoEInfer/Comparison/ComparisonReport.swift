// SPDX-License-Identifier: Apache-2.0

import Glibc
import MoEModel

/// What a comparison found. ``verdict`` is the first line of every rendering.
public struct ComparisonReport: Sendable, Encodable {
    /// A policy on one domain, against static routing on the same text.
    public struct DomainFigures: Sendable, Encodable {
        public let domain: String
        public let perplexity: Double
        /// Relative change of perplexity, and its 95 % interval.
        public let perplexityChange: Double
        public let perplexityChange95: [Double]
        public let kl: Double
        public let meanExperts: Double
    }

    /// Speed of a prompt, or of decoding.
    public struct Speed: Sendable, Encodable {
        public let tokensPerSecond: BenchmarkResult.Speed
        /// Time over static routing's, measured in the same rounds: median and quartiles.
        public let timeRatio: Double
        public let timeRatioQuartiles: [Double]
        /// Bytes of expert weights read per token.
        public let expertBytesPerToken: Double
        /// Share of the model's time that routers take.
        public let gateTimeFraction: Double

        init(_ phase: PolicyLatency.Phase) {
            (tokensPerSecond, timeRatio, timeRatioQuartiles) =
                (phase.tokensPerSecond, phase.timeRatio, phase.timeRatioQuartiles)
            (expertBytesPerToken, gateTimeFraction) = (phase.expertBytesPerToken, phase.gateTimeFraction)
        }
    }

    /// One policy at one setting.
    public struct Point: Sendable, Encodable {
        /// As `--routing` takes it.
        public let routing: String
        /// Experts per token and layer.
        public let meanExperts: Double
        public let perplexity: Double
        public let perplexityChange: Double
        public let perplexityChange95: [Double]
        /// Mean KL(static ‖ policy) in nats per token, its 95 % interval, and the KL that 99 % of the tokens stay below.
        public let kl: Double
        public let kl95: [Double]
        public let kl99: Double
        /// Share of tokens whose likeliest successor is the same as under static routing.
        public let topOne: Double
        public let domains: [DomainFigures]
        /// The domain with the largest change of perplexity.
        public let worstDomain: String
        public let prefill: Speed
        public let decode: Speed
        public let layers: [LayerRouting]
    }

    public struct Policy: Sendable, Encodable {
        public let name: String
        public let points: [Point]
    }

    /// The candidate less another policy, where both have the same mean number of experts, or the same decode time. Between two
    /// measured points of a policy its figures are on the straight line.
    public struct Difference: Sendable, Encodable {
        public let policy: String
        public let kl: Double
        public let kl95: [Double]
        /// Relative difference of perplexity.
        public let perplexity: Double
        public let perplexity95: [Double]

        package init(policy: String, kl: Double, kl95: [Double], perplexity: Double, perplexity95: [Double]) {
            self.policy = policy
            (self.kl, self.kl95, self.perplexity, self.perplexity95) = (kl, kl95, perplexity, perplexity95)
        }
    }

    public struct Match: Sendable, Encodable {
        /// The mean number of experts, or decode time over static routing's.
        public let at: Double
        public let differences: [Difference]

        package init(at: Double, differences: [Difference]) {
            self.at = at
            self.differences = differences
        }
    }

    public let verdict: String
    public let warnings: [String]
    public let engineVersion: String
    public let model: String
    public let modelHash: String
    /// k of the model, E, layers.
    public let expertsPerToken: Int
    public let expertCount: Int
    public let layerCount: Int
    public let threads: Int
    public let windowTokens: Int
    public let domains: [String]
    /// Tokens scored, by domain.
    public let tokens: [Int]
    /// Static routing at the model's own k.
    public let reference: Point
    public let policies: [Policy]
    /// Whom the differences are about: the learned gate where there is one.
    public let candidate: String
    public let matchedExperts: [Match]
    public let matchedLatency: [Match]
    /// Re-routing of unsure tokens, by rule; empty without a learned gate.
    public let misrouting: [Misrouting]
}

extension ComparisonReport {
    /// The first line: whether the candidate beats per-layer static routing at the same measured decode time, and by what count.
    package static func verdict(candidate: String, matched: [Match], rival: String) -> String {
        let pairs = matched.compactMap { match in match.differences.first { $0.policy == rival } }
        guard !pairs.isEmpty else {
            return "\(candidate) and \(rival) have no decode time in common: nothing is said of which is better"
        }
        func count(_ interval: (Difference) -> [Double]) -> (lower: Int, higher: Int) {
            (pairs.count { interval($0)[1] < 0 }, pairs.count { interval($0)[0] > 0 })
        }
        let (kl, perplexity) = (count(\.kl95), count(\.perplexity95))
        let beats = 2 * kl.lower > pairs.count && kl.higher == 0 && perplexity.higher == 0
        func told(_ name: String, _ result: (lower: Int, higher: Int)) -> String {
            "\(name) lower at \(result.lower), higher at \(result.higher)"
        }
        return "\(candidate) \(beats ? "beats" : "does NOT beat") \(rival) at the same measured decode time: of "
            + "\(pairs.count) times compared, \(told("KL to static is", kl)), \(told("perplexity", perplexity)) "
            + "(95 % intervals; the rest is not told apart)"
    }
}
