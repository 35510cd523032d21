// SPDX-License-Identifier: Apache-2.0

import Crypto
import Foundation
import MoECompute
import MoEModel

/// All that is known before the first measurement: sizes, windows, plan, and what it will cost.
struct CalibrationPreparation {
    let shape: GateShape
    let text: CalibrationText
    let plan: CalibrationPlan
    let options: CalibrationOptions
    let estimate: CalibrationEstimate
    let journal: CalibrationJournal

    init(_ llm: LLM, texts: [String], heldOut: [String], options: CalibrationOptions) async throws {
        shape = try await llm.engine.exclusively { [options] in
            try GateShape(minimum: options.minimum, model: $0.model.configuration)
        }
        guard options.window >= 16, options.window <= llm.contextLength else {
            throw RequestError("windows of \(options.window) tokens were asked for; expected 16 to \(llm.contextLength)")
        }
        var text = try CalibrationText(texts, heldOut: heldOut, options: options, tokenizer: try llm.tokenizer)
        self.options = options
        journal = try CalibrationJournal(
            path: options.journal, binding: Self.binding(llm.modelHash, texts: texts, heldOut: heldOut, options: options),
            restarts: options.restarts)

        let layers = try await llm.engine.exclusively { $0.model.configuration.experts?.layers.count { $0 } ?? 0 }
        let full = CalibrationPlan(
            train: text.train.count, choice: text.choice.count, heldOut: text.heldOut.count, window: options.window,
            tunedMeans: min(2, max(1, shape.comparedMeans.count)), comparedMeans: shape.comparedMeans.count,
            allocatedMeans: shape.allocatedMeans.count,
            layers: layers, groups: min(layers, 12), rounds: 3, jointPasses: 6, allocationRounds: 4,
            topPGroups: min(layers, 8),
            curvePoints: 18, compares: options.compares)
        let speed = try await Self.tokensPerSecond(llm, window: text.train[0])
        var (chosen, reduced): (CalibrationPlan, String?) = (full, nil)
        if let seconds = options.maximumSeconds {
            // A calibration that goes on keeps the plan that it began with.
            if let known = journal["plan"] {
                chosen = full.with(numbers: known)
            } else {
                chosen = full.limited(to: Int(seconds * speed))
                journal.set("plan", chosen.numbers)
            }
            if chosen != full { reduced = chosen.difference(from: full) }
            if Double(chosen.tokens) / speed > seconds {
                text.warnings.append("even the least calibration takes longer than the limit")
            }
        }
        text.keep(train: chosen.train, choice: chosen.choice, heldOut: chosen.heldOut)
        plan = chosen
        self.text = text
        estimate = CalibrationEstimate(
            trainTokens: chosen.train * options.window, choiceTokens: chosen.choice * options.window,
            heldOutTokens: chosen.heldOut * options.window,
            phases: chosen.phases.map { CalibrationEstimate.Phase(name: $0.name, tokens: $0.tokens) },
            tokens: chosen.tokens, tokensPerSecond: speed, seconds: Double(chosen.tokens) / speed,
            memoryBytes: Self.memory(chosen, shape: shape, vocabulary: llm.vocabularySize), reduced: reduced)
    }

    /// Sums of the regressions of the trace (two of them, the train's and the choice's), tokens of the choice windows with their
    /// predictions and sorted reaches, one window of logits and two rows of softmax.
    private static func memory(_ plan: CalibrationPlan, shape: GateShape, vocabulary: Int) -> Int {
        let (features, steps) = (shape.featureCount, shape.steps)
        let sums = 2 * 8 * Calibration.temperatures.count * features * (features + steps)
        let token = 4 * (shape.expertCount + 1 + 2 * (shape.maximum + 1) + 4 * steps)
        return plan.layers * (sums + token * plan.choice * plan.window) + 4 * vocabulary * (plan.window + 2)
    }

    /// From a window's first tokens, all experts, with logits: the second of two runs, so that weights are in memory.
    private static func tokensPerSecond(_ llm: LLM, window: [Int32]) async throws -> Double {
        let piece = Array(window.prefix(128))
        var seconds = 1e-9
        for _ in 0..<2 {
            try Task.checkCancellation()
            let start = ContinuousClock.now
            try await llm.logits(piece) { _ in }
            seconds = max((ContinuousClock.now - start) / .seconds(1), 1e-9)
        }
        return Double(piece.count) / seconds
    }

    /// Names all that measurements depend on.
    private static func binding(_ model: String, texts: [String], heldOut: [String], options: CalibrationOptions) -> String
    {
        var hash = SHA256()
        for text in texts + ["\u{0}held out"] + heldOut {
            hash.update(data: Data("\(text.utf8.count):".utf8))
            hash.update(data: Data(text.utf8))
        }
        let digest = hash.finalize().hexadecimal
        return "calibration 2; \(model); text \(digest); tokens \(options.tokens) \(options.heldOutTokens); "
            + "seed \(options.seed); minimum \(options.minimum); window \(options.window); compares \(options.compares); "
            + "limit \(options.maximumSeconds.map { "\($0)" } ?? "none")"
    }
}

extension CalibrationPlan {
    fileprivate var numbers: [Double] {
        [train, choice, heldOut, groups, rounds, jointPasses, allocationRounds, topPGroups, curvePoints, compares ? 1 : 0]
            .map(Double.init)
    }

    /// The same with what a journal says, nothing above this plan's.
    fileprivate func with(numbers: [Double]) -> CalibrationPlan {
        guard numbers.count == self.numbers.count, zip(numbers, self.numbers).allSatisfy({ $0 >= 0 && $0 <= $1 }) else {
            return self
        }
        let n = numbers.map { Int($0) }
        var plan = self
        (plan.train, plan.choice, plan.heldOut, plan.groups, plan.rounds) = (n[0], n[1], n[2], n[3], n[4])
        (plan.jointPasses, plan.allocationRounds, plan.topPGroups, plan.curvePoints) = (n[5], n[6], n[7], n[8])
        plan.compares = n[9] == 1
        return plan
    }

    fileprivate func difference(from full: CalibrationPlan) -> String {
        var parts: [String] = []
        func note(_ name: String, _ value: Int, _ before: Int) {
            if value != before { parts.append("\(name) \(value) instead of \(before)") }
        }
        note("windows to learn from", train, full.train)
        note("windows to choose on", choice, full.choice)
        note("windows to measure on", heldOut, full.heldOut)
        note("layer groups", groups, full.groups)
        note("tuning rounds", rounds, full.rounds)
        note("runs for joint prices", jointPasses, full.jointPasses)
        note("rounds for per-layer static", allocationRounds, full.allocationRounds)
        note("groups for top-p", topPGroups, full.topPGroups)
        note("points of the curve", curvePoints, full.curvePoints)
        if compares != full.compares { parts.append("no comparison with other policies") }
        return parts.joined(separator: ", ")
    }
}
