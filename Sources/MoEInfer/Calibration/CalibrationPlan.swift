// SPDX-License-Identifier: Apache-2.0

import MoEModel

/// How much a calibration does, in runs of the model. Each measurement costs the same whatever a policy saves, to be on the safe side.
struct CalibrationPlan: Equatable {
    /// Windows to learn from, to choose on, to measure on.
    var train: Int
    var choice: Int
    var heldOut: Int
    let window: Int
    /// Means at which gates are tuned, and policies compared.
    let tunedMeans: Int
    let comparedMeans: Int
    let allocatedMeans: Int
    /// MoE layers, and how many groups of them have a price of their own in the last tuning.
    let layers: Int
    var groups: Int
    var rounds: Int
    var jointPasses: Int
    /// Rounds of the search for the best per-layer static allocation, and groups of layers with a top-p temperature of their own.
    var allocationRounds: Int
    var topPGroups: Int
    var curvePoints: Int
    var compares: Bool
    /// Windows of the first pass, which measures norms.
    var norms: Int { min(16, train) }

    /// Tokens that run through the model, phase by phase.
    var phases: [(name: String, tokens: Int)] {
        let tune = 3 + (groups > 1 ? rounds * (2 * groups + 2 + 2) : 0) + (rounds > 0 ? 4 : 0)
        let each = min(LayerAllocation.roundCandidates, layers * max(layers - 1, 0))
        var phases = [
            ("norms", norms), ("trace", train), ("trace, choice", choice), ("layer prices", 2 * jointPasses * choice),
            ("joint tuning", (tune * tunedMeans + 3) * choice),
        ]
        if compares {
            phases += [
                ("ceilings", comparedMeans * 3 * choice),
                ("per-layer static", allocatedMeans * (6 + allocationRounds * (each + 2)) * choice),
                ("top-p temperatures", (3 + topPGroups * 17) * choice),
            ]
        }
        phases.append(("operating points", (curvePoints + 1 + 4) * heldOut))
        phases.append(("kinds of text", min(TextDiversity.windows, train)))
        if compares { phases.append(("comparison", comparedMeans * (5 * 8 + 8) * heldOut)) }
        return phases.map { ($0.0, $0.1 * window) }
    }

    var tokens: Int { phases.reduce(0) { $0 + $1.tokens } }

    /// The plan that keeps to `limit` tokens through the model, by doing less of what matters least first; the least plan if none does.
    func limited(to limit: Int) -> CalibrationPlan {
        var plan = self
        let steps: [(inout CalibrationPlan) -> Void] = [
            { $0.topPGroups = min($0.topPGroups, 4) }, { $0.allocationRounds = min($0.allocationRounds, 1) },
            { $0.groups = min($0.groups, 8) }, { $0.rounds = min($0.rounds, 2) }, { $0.compares = false },
            { $0.curvePoints = min($0.curvePoints, 13) }, { $0.heldOut = min($0.heldOut, 8) },
            { $0.jointPasses = min($0.jointPasses, 3) }, { $0.groups = min($0.groups, 4) },
            { $0.train = min($0.train, 32) }, { $0.choice = min($0.choice, 6) }, { $0.rounds = min($0.rounds, 1) },
            { $0.curvePoints = min($0.curvePoints, 8) }, { $0.heldOut = min($0.heldOut, 4) },
            { $0.rounds = 0 }, { $0.choice = min($0.choice, 3) }, { $0.train = min($0.train, 12) },
        ]
        for step in steps {
            if plan.tokens <= limit { break }
            step(&plan)
        }
        return plan
    }
}

/// What a calibration will cost, before it starts.
public struct CalibrationEstimate: Sendable, Encodable {
    public struct Phase: Sendable, Encodable {
        public let name: String
        public let tokens: Int
    }

    /// Tokens of text: to learn from, to choose on, to measure on.
    public let trainTokens: Int
    public let choiceTokens: Int
    public let heldOutTokens: Int
    /// Runs of the model, in tokens; at most.
    public let phases: [Phase]
    public let tokens: Int
    /// Measured on this model and machine just now, with logits.
    public let tokensPerSecond: Double
    public let seconds: Double
    /// Beside the model's: bytes that grow neither with the length of the text nor with time.
    public let memoryBytes: Int
    /// Set when a time limit made the calibration do less; says what.
    public let reduced: String?
}
