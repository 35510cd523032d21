// SPDX-License-Identifier: Apache-2.0

import Glibc
import MoEModel

extension ComparisonReport {
    /// What re-routing unsure tokens does for the tokens that a policy treats worst, and what it costs.
    public struct Misrouting: Sendable, Encodable {
        public struct Figures: Sendable, Encodable {
            public let routing: String
            public let meanExperts: Double
            public let kl: Double
            /// Mean KL of the worst 1 % of tokens: worst under the policy without re-routing, the same tokens for all.
            public let worstKL: Double
            /// Mean KL on the text that mixes domains; nil without one.
            public let mixedKL: Double?
        }

        /// Without re-routing.
        public let base: Figures
        public let rerouted: Figures
        /// Share of the (token, layer) pairs that were re-routed.
        public let reroutes: Double
        /// The same policy, its dial turned to as many experts as re-routing took: what the experts would have bought otherwise.
        public let control: Figures
        /// Mean KL of the worst tokens: re-routed less control, and a 95 % interval over windows.
        public let worstDifference: Double
        public let worstDifference95: [Double]
        public let worstTokens: Int
    }
}

/// Measures re-routing at one point of a family.
struct MisroutingProbe {
    let family: PolicyFamily
    let evaluator: PolicyEvaluator
    let text: EvaluationText
    let bootstrap: PairedBootstrap

    /// What makes a token unsure, each by itself.
    struct Rule: Sendable {
        let specification: String
        let reroute: @Sendable (any RoutingPolicy) -> Rerouting
    }

    /// - Parameter deviations: whether the errors of the gate's heads are known.
    static func rules(deviations: Bool) -> [Rule] {
        let rules = [
            Rule(specification: "margin=0.15,add=2") { Rerouting($0, margin: PerLayer(0.15), added: 2) },
            Rule(specification: "entropy=0.7,add=2") { Rerouting($0, entropy: PerLayer(0.7), added: 2) },
        ]
        guard deviations else { return rules }
        return rules + [Rule(specification: "z=0.5,add=2") { Rerouting($0, deviations: 0.5, added: 2) }]
    }

    /// - Parameter search: of the same family.
    func measure(
        at dial: Double, rules: [Rule], search: inout DialSearch, progress: @Sendable (Int, Int) -> Void
    ) async throws -> [ComparisonReport.Misrouting] {
        let base = family.policy(dial)
        let rerouted = rules.map { rule in
            (policy: rule.reroute(base.policy), specification: "\(base.specification)+reroute:\(rule.specification)")
        }
        let total = (2 * rules.count + 3) * text.windows.count
        let first = try await evaluator.scores(of: [base.policy] + rerouted.map(\.policy)) { progress($0, total) }
        var controls: [(policy: any RoutingPolicy, specification: String)] = []
        for score in first.dropFirst(2) {
            controls.append(family.policy(try await search.dial(for: score.meanExperts)))
        }
        let second = try await evaluator.scores(of: controls.map(\.policy)) {
            progress($0 + (rules.count + 2) * text.windows.count, total)
        }

        let worst = worstTokens(of: first[1])
        func figures(_ score: PolicyScore, _ specification: String) -> ComparisonReport.Misrouting.Figures {
            let mixed = text.domains.firstIndex(of: EvaluationText.mixedDomain)
            return ComparisonReport.Misrouting.Figures(
                routing: specification, meanExperts: score.meanExperts, kl: score.kl,
                worstKL: sums(score, worst).reduce(0, +) / Double(max(1, worst.reduce(0) { $0 + $1.count })),
                mixedKL: mixed.map { score.only(text.strata[$0]).kl })
        }
        let rows = worst.map { Double($0.count) }
        return rerouted.indices.map { index in
            let (own, control) = (first[2 + index], second[1 + index])
            let differences = zip(sums(own, worst), sums(control, worst)).map { $0 - $1 }
            return ComparisonReport.Misrouting(
                base: figures(first[1], base.specification), rerouted: figures(own, rerouted[index].specification),
                reroutes: Double(own.layers.reduce(0) { $0 + $1.reroutes }) / own.tokenLayers,
                control: figures(control, controls[index].specification),
                worstDifference: differences.reduce(0, +) / max(1, rows.reduce(0, +)),
                worstDifference95: bootstrap.interval(of: differences, rows: rows),
                worstTokens: Int(rows.reduce(0, +)))
        }
    }

    /// By window: the tokens whose KL is among the largest 1 % of all.
    private func worstTokens(of score: PolicyScore) -> [[Int]] {
        let limit = Float(score.klQuantile(0.99))
        return score.windows.map { window in window.tokenKL.indices.filter { window.tokenKL[$0] > limit } }
    }

    /// By window: Σ KL of the named tokens.
    private func sums(_ score: PolicyScore, _ tokens: [[Int]]) -> [Double] {
        zip(score.windows, tokens).map { window, indices in indices.reduce(0) { $0 + Double(window.tokenKL[$1]) } }
    }
}
