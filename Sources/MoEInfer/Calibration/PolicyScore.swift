// SPDX-License-Identifier: Apache-2.0

import Glibc
import MoECompute
import MoEModel

/// A policy on held-out text, against the model's own static routing on the same text.
struct PolicyScore: Sendable {
    struct Window: Sendable {
        var rows = 0
        /// Σ of the negative log-likelihood of the next token; Σ KL(static ‖ policy); rows whose likeliest token is the same.
        var loss = 0.0
        var kl = 0.0
        var agreements = 0
    }

    var windows: [Window] = []
    var meanExperts = 0.0

    private var rows: Double { Double(max(1, windows.reduce(0) { $0 + $1.rows })) }
    var perplexity: Double { exp(windows.reduce(0) { $0 + $1.loss } / rows) }
    var kl: Double { windows.reduce(0) { $0 + $1.kl } / rows }
    var topOne: Double { Double(windows.reduce(0) { $0 + $1.agreements }) / rows }
}

/// The rows of logits that static routing gave for one window, and the comparison of another policy's with them. Memory:
/// rows · vocabulary floats. Used by the engine's thread.
final class WindowReference {
    private let tokens: [Int32]
    private var logits: [Float] = []
    private let vocabularySize: Int
    private var ours: [Float]
    private var theirs: [Float]

    init(_ tokens: [Int32], vocabularySize: Int) {
        self.tokens = tokens
        self.vocabularySize = vocabularySize
        logits.reserveCapacity(tokens.count * vocabularySize)
        ours = [Float](repeating: 0, count: vocabularySize)
        theirs = ours
    }

    func append(_ row: UnsafeBufferPointer<Float>) { logits.append(contentsOf: row) }

    /// Adds the row after token `index` to a score; the last token has no successor and is not scored.
    func add(_ row: UnsafeBufferPointer<Float>, index: Int, to score: inout PolicyScore.Window) {
        guard index + 1 < tokens.count else { return }
        let count = vocabularySize
        logits.withUnsafeBufferPointer { logits in
            let reference = UnsafeBufferPointer(rebasing: logits[index * count..<(index + 1) * count])
            let (p, own) = Self.softmax(reference, into: &ours)
            let (q, normalizer) = Self.softmax(row, into: &theirs)
            // KL = Σ p (log p - log q), with log p = z - log Z
            var sum = 0.0
            ours.withUnsafeBufferPointer { ours in
                for token in 0..<count { sum += Double(ours[token]) * Double(reference[token] - row[token]) }
            }
            score.kl += max(0, sum - own + normalizer)
            score.loss += normalizer - Double(row[Int(tokens[index + 1])])
            score.agreements += p == q ? 1 : 0
            score.rows += 1
        }
    }

    /// - Returns: the likeliest index, and log Z.
    private static func softmax(_ row: UnsafeBufferPointer<Float>, into result: inout [Float]) -> (Int, Double) {
        result.withUnsafeMutableBufferPointer {
            _ = $0.update(fromContentsOf: row)
            Ops.softmax($0.baseAddress!, rows: 1, count: row.count)
        }
        var largest = 0
        for index in 1..<row.count where row[index] > row[largest] { largest = index }
        // log Z = z_max - log p_max: no underflow.
        return (largest, Double(row[largest]) - log(Double(result[largest])))
    }
}

/// Runs windows of tokens under policies.
struct PolicyEvaluator: Sendable {
    let llm: LLM
    let windows: [[Int32]]

    /// Every policy on every window, and static routing itself as the first score.
    /// - Parameter progress: passes done.
    func scores(of policies: [any RoutingPolicy], progress: @Sendable (Int) -> Void) async throws -> [PolicyScore] {
        var scores = [PolicyScore](repeating: PolicyScore(), count: policies.count + 1)
        let statistics = (0...policies.count).map { _ in RoutingStatistics() }
        let chunk = llm.settings.chunk
        let all: [any RoutingPolicy] = [StaticRouting()] + policies
        for (done, window) in windows.enumerated() {
            try Task.checkCancellation()
            let results = try await llm.engine.exclusively { runner -> [PolicyScore.Window] in
                let reference = WindowReference(window, vocabularySize: runner.vocabularySize)
                return try all.enumerated().map { index, policy in
                    let pass = try EvaluationPass(
                        runner: runner, positions: window.count, chunk: chunk, routing: RoutingChoice(policy),
                        observer: statistics[index])
                    var (score, row) = (PolicyScore.Window(), 0)
                    try pass.prefill(window[...], scoring: 0) { logits in
                        if index == 0 { reference.append(logits) }
                        reference.add(logits, index: row, to: &score)
                        row += 1
                    }
                    return score
                }
            }
            for (index, result) in results.enumerated() { scores[index].windows.append(result) }
            progress((done + 1) * all.count)
        }
        for index in scores.indices { scores[index].meanExperts = statistics[index].usage?.meanExperts ?? 0 }
        return scores
    }

    /// Experts per token and layer, without the head's work.
    func meanExperts(of policy: any RoutingPolicy) async throws -> Double {
        let statistics = RoutingStatistics()
        try await run(policy, observer: statistics)
        return statistics.usage?.meanExperts ?? 0
    }

    /// Passes the text by an observer.
    func run(
        _ policy: any RoutingPolicy, observer: any RoutingObserver, progress: @Sendable (Int) -> Void = { _ in }
    ) async throws {
        let chunk = llm.settings.chunk
        for (done, window) in windows.enumerated() {
            try Task.checkCancellation()
            try await llm.engine.exclusively { runner in
                let pass = try EvaluationPass(
                    runner: runner, positions: window.count, chunk: chunk, routing: RoutingChoice(policy),
                    observer: observer)
                try pass.prefill(window[...], scoring: window.count) { _ in }
            }
            progress(done + 1)
        }
    }
}
