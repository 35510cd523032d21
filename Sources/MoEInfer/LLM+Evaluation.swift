// SPDX-License-Identifier: Apache-2.0

import Glibc
import MoECompute
public import MoEModel

/// How well a model predicts a text.
public struct PerplexityReport: Sendable, Encodable {
    /// exp of the mean negative log-likelihood per scored token.
    public let perplexity: Double
    /// The same over the bytes of the scored tokens' text: comparable between tokenizers.
    public let bitsPerByte: Double
    public let tokensScored: Int
    public let chunks: Int
    public let moe: MoEUsage?

    enum CodingKeys: String, CodingKey {
        case perplexity
        case bitsPerByte = "bits_per_byte"
        case tokensScored = "tokens_scored"
        case chunks, moe
    }
}

/// How well one token of a text was predicted, and at what price.
public struct ScoredToken: Sendable, Encodable {
    public let chunk: Int
    /// Of the predicted token in its chunk.
    public let position: Int
    public let token: Int32
    /// -log of the probability that it was given.
    public let nats: Double
    /// Of its text.
    public let bytes: Int
    /// By MoE layer: how many experts ran for the token before it, which predicts it. Empty for a dense model.
    public let experts: [Int]
}

extension LLM {
    /// The logits after each token, a row at a time.
    ///
    /// - Parameters:
    ///   - tokens: ids, used as they are.
    ///   - decodeFrom: the index from which on tokens are fed one at a time, as generation does; nil: all as one prompt.
    ///   - row: receives `[vocabulary]` for each position in order; the buffer is valid only during the call.
    public func logits(
        _ tokens: [Int32], decodeFrom: Int? = nil, routing: RoutingChoice = RoutingChoice(),
        row: @escaping @Sendable (UnsafeBufferPointer<Float>) throws -> Void
    ) async throws {
        guard !tokens.isEmpty else { throw RequestError("no tokens were given") }
        guard tokens.count <= contextLength else {
            throw RequestError("\(tokens.count) tokens were given, but the context holds \(contextLength)")
        }
        if let token = tokens.first(where: { $0 < 0 || Int($0) >= vocabularySize }) {
            throw RequestError("token \(token) is not in the vocabulary of \(vocabularySize)")
        }
        if let decodeFrom, decodeFrom < 1 { throw RequestError("decoding must start at 1 or later, found \(decodeFrom)") }
        let routing = try check(routing)
        let chunk = settings.chunk
        try await engine.exclusively { runner in
            let pass = try EvaluationPass(runner: runner, positions: tokens.count, chunk: chunk, routing: routing)
            let promptCount = min(decodeFrom ?? tokens.count, tokens.count)
            try pass.prefill(tokens[..<promptCount], scoring: 0, row: row)
            for token in tokens[promptCount...] {
                try Task.checkCancellation()
                try pass.decode(token, row: row)
            }
        }
    }

    /// Perplexity in the convention of llama.cpp's tool: chunks of `context` tokens, each started with BOS where the model
    /// has one, scored on their second half.
    ///
    /// - Parameters:
    ///   - stride: tokens between the starts of two chunks; `context` for chunks that do not overlap.
    ///   - first: the first position of a chunk whose token is scored, from 1; nil: half-way, the convention.
    ///   - token: receives every scored token, in order.
    ///   - progress: chunks done, chunks in all, perplexity so far.
    public func perplexity(
        of text: String, context: Int = 512, stride: Int? = nil, scoringFrom first: Int? = nil, maximumChunks: Int? = nil,
        routing: RoutingChoice = RoutingChoice(), token: ((ScoredToken) throws -> Void)? = nil,
        progress: @escaping @Sendable (_ done: Int, _ total: Int, _ perplexity: Double) -> Void = { _, _, _ in }
    ) async throws -> PerplexityReport {
        guard context >= 4, context <= contextLength else {
            throw RequestError("chunks of \(context) tokens were asked for; expected 4 to \(contextLength)")
        }
        let first = first ?? context / 2 + 1
        guard (1..<context).contains(first) else {
            throw RequestError("scoring from position \(first) was asked for; expected 1 to \(context - 1)")
        }
        let routing = try check(routing)
        let tokenizer = try tokenizer
        let tokens = tokenizer.encode(text, addSpecial: true, parseSpecial: false)
        let stride = max(1, stride ?? context)
        guard tokens.count >= context else {
            throw RequestError("the text has \(tokens.count) tokens; at least one chunk of \(context) is needed")
        }
        let total = min(maximumChunks ?? .max, (tokens.count - context) / stride + 1)
        let (engine, chunk) = (engine, settings.chunk)
        let statistics = RoutingStatistics()
        var loss = 0.0
        var (scored, bytes) = (0, 0)
        for index in 0..<total {
            try Task.checkCancellation()
            var piece = Array(tokens[index * stride..<index * stride + context])
            if tokenizer.addsBOS, let bos = tokenizer.bos { piece[0] = bos }
            let window = piece
            let recorder = token == nil ? nil : RoutingRecorder(statistics)
            let losses = try await engine.exclusively { runner -> [Double] in
                let pass = try EvaluationPass(
                    runner: runner, positions: context, chunk: chunk, routing: routing, statistics: statistics,
                    observer: recorder)
                let score = Score()
                var position = first
                try pass.prefill(window[...], scoring: first - 1) { logits in
                    defer { position += 1 }
                    if position < context { score.add(logits, target: window[position]) }
                }
                return score.losses
            }
            let experts = recorder?.recorded.experts ?? []
            for (offset, nats) in losses.enumerated() {
                let position = first + offset
                let size = tokenizer.bytes(of: window[position]).count
                loss += nats
                bytes += size
                try token?(
                    ScoredToken(
                        chunk: index, position: position, token: window[position], nats: nats, bytes: size,
                        experts: experts.map { $0[position - 1] }))
            }
            scored += losses.count
            progress(index + 1, total, exp(loss / Double(scored)))
        }
        return PerplexityReport(
            perplexity: exp(loss / Double(scored)), bitsPerByte: bytes == 0 ? 0 : loss / M_LN2 / Double(bytes),
            tokensScored: scored, chunks: total, moe: statistics.usage)
    }

    // MARK: Speed

    /// Speed of a prompt of `count` random tokens.
    public func benchmarkPrompt(
        _ count: Int, repetitions: Int, routing: any RoutingPolicy, named name: String
    ) async throws -> BenchmarkResult {
        try await benchmark(.prompt(count), repetitions: repetitions, routing: routing, named: name)
    }

    /// Speed of generating `count` tokens in each of `batch` sequences.
    public func benchmarkGeneration(
        _ count: Int, batch: Int, repetitions: Int, routing: any RoutingPolicy, named name: String
    ) async throws -> BenchmarkResult {
        try await benchmark(.generation(count, batch: batch), repetitions: repetitions, routing: routing, named: name)
    }

    /// Speed of one case over some repetitions; a run before them warms up.
    public func benchmark(
        _ test: BenchmarkCase, repetitions: Int, routing: any RoutingPolicy, named name: String
    ) async throws -> BenchmarkResult {
        let routing = try check(policy: routing)
        let settings = settings
        return try await engine.exclusively {
            try Benchmark($0, settings: settings).measure(
                test, repetitions: repetitions, routing: routing, named: name)
        }
    }

    /// For a harness that asks for single runs.
    public func benchmarkSession() -> BenchmarkSession { BenchmarkSession(self) }
}

extension LLM {
    /// Speed on real text, which is what the cost of dynamic routing depends on: a prompt, and the tokens that follow it in the text
    /// one at a time. Every round takes another piece and runs each policy once, in an order that rotates.
    ///
    /// - Parameter policies: with their names; times are compared with the first one's.
    /// - Returns: `ppN` and `tgN` of each policy.
    public func benchmark(
        text: String, prompt: Int, generate: Int, rounds: Int, policies: [(name: String, policy: any RoutingPolicy)],
        progress: @escaping @Sendable (_ done: Int, _ total: Int) -> Void = { _, _ in }
    ) async throws -> [BenchmarkResult] {
        guard min(prompt, generate, policies.count, rounds) >= 1 else {
            throw RequestError(
                "nothing to measure: \(prompt) and \(generate) tokens, \(policies.count) policies, \(rounds) rounds")
        }
        let window = prompt + generate
        guard window <= contextLength else {
            throw RequestError("\(window) tokens were asked for, but the context holds \(contextLength)")
        }
        let windows = EvaluationText.cut(text, tokenizer: try tokenizer, window: window)
        guard !windows.isEmpty else {
            throw RequestError("the text is too short: \(window) tokens are needed, of prompt and generation together")
        }
        let checked = try policies.map { try check(policy: $0.policy) }
        let latencies = try await LatencyProbe(
            llm: self, windows: windows.shuffledForTiming(), promptTokens: prompt, decodeTokens: generate, rounds: rounds,
            seconds: 0
        ).measure(checked, progress: progress)
        let threads = try await engine.exclusively { $0.context.pool.threads }
        return zip(policies, latencies).flatMap { policy, latency in
            [("pp\(prompt)", latency.prefill), ("tg\(generate)", latency.decode)].map { test, phase in
                BenchmarkResult(
                    test: test, batch: 1, depth: 0, threads: threads, routing: policy.name,
                    tokensPerSecond: phase.tokensPerSecond,
                    timeRatio: .init(
                        median: phase.timeRatio, lower: phase.timeRatioQuartiles[0], upper: phase.timeRatioQuartiles[1]),
                    moe: expertsPerToken > 0 ? phase.usage : nil)
            }
        }
    }
}

/// One text through the model for its logits, in a cache of its own: whatever the engine holds is left alone.
final class EvaluationPass {
    private let runner: ModelRunner
    private let chunk: Int
    private let routing: RoutingChoice
    private let statistics: RoutingStatistics?
    /// Who sees the routing: the statistics, unless somebody else is named.
    private let observer: (any RoutingObserver)?
    private let blockTable: [Int32]
    private var position = 0
    /// Rows of logits at a time: bounds their memory.
    private let rowsAtATime = 128

    init(
        runner: ModelRunner, positions: Int, chunk: Int, routing: RoutingChoice, statistics: RoutingStatistics? = nil,
        observer: (any RoutingObserver)? = nil
    ) throws {
        let cache = try runner.cache.sibling(positions: positions)
        self.runner = ModelRunner(model: runner.model, context: runner.context, cache: cache)
        self.chunk = chunk
        self.routing = routing
        self.statistics = statistics
        self.observer = observer ?? statistics
        blockTable = (0..<Int32(cache.blockCount)).map { $0 }
    }

    /// - Parameter scoring: the first position whose logits are wanted.
    func prefill(
        _ tokens: ArraySlice<Int32>, scoring first: Int, row: (UnsafeBufferPointer<Float>) throws -> Void
    ) throws {
        let end = position + tokens.count
        var rest = tokens
        while position < end {
            try Task.checkCancellation()
            let wanted = position >= first
            let count = min(rest.count, chunk, wanted ? rowsAtATime : first - position)
            try run(rest.prefix(count), phase: .prefill, wanted: wanted, row: row)
            rest = rest.dropFirst(count)
        }
    }

    func decode(_ token: Int32, row: (UnsafeBufferPointer<Float>) throws -> Void) throws {
        try run([token], phase: .decode, wanted: true, row: row)
    }

    private func run(
        _ tokens: ArraySlice<Int32>, phase: ForwardPhase, wanted: Bool, row: (UnsafeBufferPointer<Float>) throws -> Void
    ) throws {
        var batch = ForwardBatch()
        batch.append(
            tokens: tokens.span, firstPosition: position, blockTable: blockTable, phase: phase,
            routing: routing.policy(for: phase), observer: observer, logits: wanted ? 0..<tokens.count : 0..<0)
        let (logits, seconds) = try runner.run(batch)
        statistics?.addForward(seconds: seconds)
        position += tokens.count
        let width = runner.vocabularySize
        for index in 0..<batch.logitRows.count {
            let values = UnsafeBufferPointer(rebasing: logits[index * width..<(index + 1) * width])
            try runner.check(values)
            try row(values)
        }
    }
}

/// Negative log-likelihoods. Used by one thread.
private final class Score {
    private(set) var losses: [Double] = []
    private var probabilities: [Float] = []

    func add(_ logits: UnsafeBufferPointer<Float>, target: Int32) {
        probabilities.removeAll(keepingCapacity: true)
        probabilities.append(contentsOf: logits)
        let largest = logits.max() ?? 0
        probabilities.withUnsafeMutableBufferPointer {
            Ops.softmax($0.baseAddress!, rows: 1, count: $0.count)
        }
        // log sum exp(z - max) = -log of the largest probability: no underflow for an unlikely target.
        let normalizer = -log(Double(probabilities.max() ?? 1))
        losses.append(normalizer + Double(largest - logits[Int(target)]))
    }
}
