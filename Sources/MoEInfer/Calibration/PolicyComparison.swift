// SPDX-License-Identifier: Apache-2.0

import Glibc
import MoEModel

/// The learned gate against the other policies, all at the same mean number of experts on the same held-out windows.
struct PolicyComparison {
    let passes: CalibrationPasses
    let windows: [[Int32]]
    let profile: RoutingProfile
    let shape: GateShape
    /// The log mu at which the gate gives a mean number of experts, nearly.
    let logMu: (_ mean: Double) -> Double
    let seed: UInt64

    func run() async throws -> [CalibrationReport.Match] {
        var matches: [CalibrationReport.Match] = []
        for target in shape.comparedMeans {
            let mean = Double(target)
            let guess = logMu(mean)
            let name = "compare/\(target)"
            let matched = try await passes.match(
                "\(name)/learned", phase: "comparison", mean: mean, from: guess - 1, to: guess + 1, on: windows
            ) { profile.routing(mu: Float(exp($0))) }
            var policies: [(String, any RoutingPolicy)] = [
                ("learned", profile.routing(mu: Float(exp(matched)))),
                ("static", StaticRouting(expertsPerToken: PerLayer(target))),
            ]
            if let best = profile.allocations.first(where: { $0.meanExperts == mean }) {
                policies.append(("per-layer static", LayerAllocation.routing(best.counts)))
            }
            policies.append(("top-p", try await topP(name, mean: mean, temperatures: [1])))
            if let temperatures = profile.topPTemperatures {
                policies.append(("top-p, tuned", try await topP("\(name)/tuned", mean: mean, temperatures: temperatures)))
            }
            let threshold = try await passes.match(
                "\(name)/ratio", phase: "comparison", mean: mean, from: 0, to: 1, on: windows, ratio)
            policies.append(("ratio", ratio(threshold)))
            let floor = try await passes.match(
                "\(name)/absolute", phase: "comparison", mean: mean, from: 0, to: 1, on: windows, absolute)
            policies.append(("absolute", absolute(floor)))
            let scores = try await passes.scores(name, phase: "comparison", of: policies.map(\.1), on: windows)
            let figures = zip(policies, scores.dropFirst()).map { CalibrationReport.Figures($0.0, mu: nil, score: $1) }
            let best = figures.indices.dropFirst().min { figures[$0].kl < figures[$1].kl }!
            let bootstrap = PairedBootstrap(seed: seed, windows: windows.count)
            matches.append(
                CalibrationReport.Match(
                    meanExperts: mean, policies: figures, bestOther: figures[best].name,
                    klDifference95: bootstrap.klDifference(scores[1], scores[best + 1]),
                    lossDifference95: bootstrap.lossDifference(scores[1], scores[best + 1])))
        }
        return matches
    }

    private func topP(_ name: String, mean: Double, temperatures: [Float]) async throws -> TopPRouting {
        func policy(_ p: Double) -> TopPRouting {
            TopPRouting(
                p: PerLayer(Float(p)), minimum: profile.minimum, maximum: profile.maximum,
                temperature: PerLayer(temperatures))
        }
        return policy(
            try await passes.match(
                "\(name)/top-p", phase: "comparison", mean: mean, from: 1, to: 0, on: windows, policy))
    }

    private func absolute(_ threshold: Double) -> AbsoluteRouting {
        AbsoluteRouting(minimum: profile.minimum, threshold: PerLayer(Float(threshold)))
    }

    private func ratio(_ threshold: Double) -> RatioRouting {
        RatioRouting(minimum: profile.minimum, threshold: PerLayer(Float(threshold)))
    }
}
