// SPDX-License-Identifier: Apache-2.0

import Glibc

/// Turns scores into figures with intervals.
struct ComparisonFigures {
    let reference: PolicyScore
    let text: EvaluationText
    let bootstrap: PairedBootstrap

    func point(_ point: PolicyCurve.Point) -> ComparisonReport.Point {
        let score = point.score
        let domains = zip(text.domains, text.strata).map { name, indices -> ComparisonReport.DomainFigures in
            let (part, own) = (score.only(indices), reference.only(indices))
            return ComparisonReport.DomainFigures(
                domain: name, perplexity: part.perplexity, perplexityChange: expm1(part.lossDifference(to: own)),
                perplexityChange95: bootstrap.lossDifference(score, reference, only: indices).map(expm1), kl: part.kl,
                meanExperts: part.meanExperts)
        }
        return ComparisonReport.Point(
            routing: point.specification, meanExperts: score.meanExperts, perplexity: score.perplexity,
            perplexityChange: expm1(score.lossDifference(to: reference)),
            perplexityChange95: bootstrap.lossDifference(score, reference).map(expm1), kl: score.kl,
            kl95: bootstrap.kl(score), kl99: score.klQuantile(0.99), topOne: score.topOne, domains: domains,
            worstDomain: domains.max { $0.perplexityChange < $1.perplexityChange }?.domain ?? "",
            prefill: .init(point.latency.prefill), decode: .init(point.latency.decode), layers: score.layers)
    }

    /// The candidate against every other curve; nil where the candidate was not measured.
    func match(
        at value: Double, _ candidate: PolicyCurve, among curves: [PolicyCurve], _ find: (PolicyCurve) -> PolicyScore?
    ) -> ComparisonReport.Match? {
        guard let own = find(candidate) else { return nil }
        let differences = curves.compactMap { curve -> ComparisonReport.Difference? in
            guard curve.name != candidate.name, let other = find(curve) else { return nil }
            return ComparisonReport.Difference(
                policy: curve.name, kl: own.kl - other.kl, kl95: bootstrap.klDifference(own, other),
                perplexity: expm1(own.lossDifference(to: other)),
                perplexity95: bootstrap.lossDifference(own, other).map(expm1))
        }
        return differences.isEmpty ? nil : ComparisonReport.Match(at: value, differences: differences)
    }
}
