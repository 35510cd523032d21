// SPDX-License-Identifier: Apache-2.0

import Glibc
import MoEModel

/// Layer prices by measured KL at matched mean k: the last word on how experts are shared out between layers.
///
/// A round measures every group of layers a step dearer and a step cheaper, mu put back each time so that the mean stays; a parabola
/// through the three values gives each group's best step, and all steps are tried together and by half. The better of all that was
/// measured stays. Groups are single layers, or neighbours where there are more than `groups`.
struct GateTuning {
    let passes: CalibrationPasses
    let windows: [[Int32]]
    /// Mean numbers of experts at which KL is measured.
    let means: [Double]
    let counts: CountModel
    let rounds: Int
    let groups: Int
    /// The gate with these log prices, at this log mu.
    let gate: (_ logPrices: [Int: Double], _ logMu: Double) -> LearnedRouting

    /// What a vector of log prices gives: KL relative to the first candidate's, averaged over windows and means, as a logarithm.
    struct Measured {
        var logPrices: [Int: Double]
        var objective: Double
    }

    /// d log KL / d log k of static routing around a quarter to a half of K; makes up for means that are matched only nearly.
    static let slope = 2.0

    /// The best of `starts`, improved.
    func run(_ starts: [[Int: Double]]) async throws -> (best: Measured, starts: [Double]) {
        guard let first = starts.first, !means.isEmpty else {
            return (Measured(logPrices: starts.first ?? [:], objective: 0), starts.map { _ in 0 })
        }
        let initial = try await measure("tune/start", starts, reference: nil)
        let reference = initial.reference
        var best = zip(starts, initial.objectives).map { Measured(logPrices: $0, objective: $1) }
            .min { $0.objective < $1.objective }!
        let layers = first.keys.sorted()
        let size = (layers.count + groups - 1) / max(groups, 1)
        let parts = stride(from: 0, to: layers.count, by: max(size, 1)).map {
            Array(layers[$0..<min($0 + size, layers.count)])
        }
        var step = 0.7
        for round in 0..<(parts.count > 1 ? rounds : 0) {
            let moves = parts.flatMap { part in
                [step, -step].map { change in Self.moved(best.logPrices, [part: change]) }
            }
            let tried = try await measure("tune/\(round)/each", moves, reference: reference).objectives
            var combined: [[Int]: Double] = [:]
            for (index, part) in parts.enumerated() {
                let (up, down, here) = (tried[2 * index], tried[2 * index + 1], best.objective)
                let curvature = up + down - 2 * here
                let newton = curvature > 0 ? step / 2 * (down - up) / curvature : (up < down ? step : -step)
                combined[part] = max(-1.5 * step, min(1.5 * step, newton))
            }
            let together = [1, 0.5].map { share in Self.moved(best.logPrices, combined.mapValues { $0 * share }) }
            let joint = try await measure("tune/\(round)/all", together, reference: reference).objectives
            for (candidate, objective) in zip(moves + together, tried + joint) where objective < best.objective {
                best = Measured(logPrices: candidate, objective: objective)
            }
            step /= 2
        }
        return (best, initial.objectives)
    }

    private static func moved(_ prices: [Int: Double], _ moves: [[Int]: Double]) -> [Int: Double] {
        var prices = prices
        for (part, change) in moves { for layer in part { prices[layer, default: 0] += change } }
        return prices
    }

    private func measure(
        _ name: String, _ candidates: [[Int: Double]], reference: [[Double]]?
    ) async throws -> (objectives: [Double], reference: [[Double]]) {
        let policies = candidates.flatMap { prices in
            means.map { gate(prices, counts.logMu(mean: $0, logPrices: prices)) }
        }
        let scores = Array(
            try await passes.scores(name, phase: "joint tuning", of: policies, on: windows).dropFirst())
        let reference = reference ?? means.indices.map { scores[$0].windows.map { max($0.kl, 1e-9) } }
        let objectives = candidates.indices.map { candidate in
            means.enumerated().reduce(0.0) { sum, entry in
                let score = scores[candidate * means.count + entry.offset]
                let ratio = zip(score.windows, reference[entry.offset]).reduce(0) { $0 + $1.0.kl / $1.1 }
                let offTarget = log(max(score.meanExperts, 1e-3) / entry.element)
                return sum + log(max(ratio / Double(score.windows.count), 1e-12)) + Self.slope * offTarget
            } / Double(means.count)
        }
        return (objectives, reference)
    }
}
