// SPDX-License-Identifier: Apache-2.0

import Glibc
import MoECompute
import MoEModel

/// A policy on held-out text, against the model's own static routing on the same text.
package struct PolicyScore: Sendable {
    /// One window of text. Sums, so that windows add up to domains and to the whole, and mix by weight (``blended(with:share:)``).
    package struct Window: Sendable {
        package var rows = 0.0
        /// Σ of the negative log-likelihood of the next token; Σ KL(static ‖ policy); rows whose likeliest token is the same.
        package var loss = 0.0
        package var kl = 0.0
        package var agreements = 0.0
        /// Experts computed, and (token, layer) pairs.
        package var evaluations = 0.0
        package var tokenLayers = 0.0
        /// KL of each row, in order.
        package var tokenKL: [Float] = []

        package init(
            rows: Double = 0, loss: Double = 0, kl: Double = 0, agreements: Double = 0, evaluations: Double = 0,
            tokenLayers: Double = 0
        ) {
            (self.rows, self.loss, self.kl, self.agreements) = (rows, loss, kl, agreements)
            (self.evaluations, self.tokenLayers) = (evaluations, tokenLayers)
        }
    }

    package var windows: [Window] = []
    /// By MoE layer, over all windows.
    var layers: [LayerRouting] = []

    package init(windows: [Window] = []) { self.windows = windows }

    private func sum(_ value: (Window) -> Double) -> Double { windows.reduce(0) { $0 + value($1) } }
    private var rows: Double { max(1, sum(\.rows)) }
    package var perplexity: Double { exp(sum(\.loss) / rows) }
    package var kl: Double { sum(\.kl) / rows }
    var topOne: Double { sum(\.agreements) / rows }
    package var meanExperts: Double { sum(\.evaluations) / tokenLayers }
    /// At least 1.
    var tokenLayers: Double { max(1, sum(\.tokenLayers)) }
    /// Loss less another's, in nats per token, on the same windows; the relative change of perplexity is `expm1` of it.
    func lossDifference(to other: PolicyScore) -> Double { (sum(\.loss) - other.sum(\.loss)) / rows }

    /// The KL that `share` of all tokens stay at or below.
    func klQuantile(_ share: Double) -> Double {
        let all = windows.flatMap(\.tokenKL).sorted()
        return all.isEmpty ? 0 : Double(all[min(all.count - 1, Int(share * Double(all.count)))])
    }

    /// The windows of one domain.
    func only(_ indices: [Int]) -> PolicyScore { PolicyScore(windows: indices.map { windows[$0] }) }

    /// What is to be expected when `share` of the windows run under `other`: the straight line between two points of a curve.
    package func blended(with other: PolicyScore, share: Double) -> PolicyScore {
        PolicyScore(
            windows: zip(windows, other.windows).map { a, b in
                func mix(_ value: KeyPath<Window, Double>) -> Double {
                    a[keyPath: value] * (1 - share) + b[keyPath: value] * share
                }
                return Window(
                    rows: a.rows, loss: mix(\.loss), kl: mix(\.kl), agreements: mix(\.agreements),
                    evaluations: mix(\.evaluations), tokenLayers: mix(\.tokenLayers))
            })
    }
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
            let divergence = max(0, sum - own + normalizer)
            score.kl += divergence
            score.tokenKL.append(Float(divergence))
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
        let all: [any RoutingPolicy] = try [StaticRouting()] + policies.map { try llm.check(policy: $0) }
        for (done, window) in windows.enumerated() {
            try Task.checkCancellation()
            let results = try await llm.engine.exclusively { runner -> [PolicyScore.Window] in
                let reference = WindowReference(window, vocabularySize: runner.vocabularySize)
                return try all.enumerated().map { index, policy in
                    let before = statistics[index].evaluations
                    let pass = try EvaluationPass(
                        runner: runner, positions: window.count, chunk: chunk, routing: RoutingChoice(policy),
                        observer: statistics[index])
                    var (score, row) = (PolicyScore.Window(), 0)
                    try pass.prefill(window[...], scoring: 0) { logits in
                        if index == 0 { reference.append(logits) }
                        reference.add(logits, index: row, to: &score)
                        row += 1
                    }
                    let after = statistics[index].evaluations
                    score.evaluations = Double(after.evaluations - before.evaluations)
                    score.tokenLayers = Double(after.tokenLayers - before.tokenLayers)
                    return score
                }
            }
            for (index, result) in results.enumerated() { scores[index].windows.append(result) }
            progress((done + 1) * all.count)
        }
        for index in scores.indices { scores[index].layers = statistics[index].layers }
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
        let (policy, chunk) = (try llm.check(policy: policy), llm.settings.chunk)
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
