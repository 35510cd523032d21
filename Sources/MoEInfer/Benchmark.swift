// SPDX-License-Identifier: Apache-2.0

import MoECompute
import MoEModel

/// Speed of a model: a prompt (`ppN`), and generation (`tgN`).
public struct BenchmarkResult: Sendable, Encodable {
    public struct Speed: Sendable, Encodable {
        public let median: Double
        public let min: Double
        public let max: Double
    }

    /// Time over the first policy's in the same round: median and quartiles.
    public struct TimeRatio: Sendable, Encodable {
        public let median: Double
        public let lower: Double
        public let upper: Double
    }

    /// `pp512` or `tg128`, as in llama.cpp's tool.
    public let test: String
    /// Sequences decoded together.
    public let batch: Int
    /// Positions that each sequence held before.
    public let depth: Int
    public let threads: Int
    public let routing: String
    /// Over the repetitions, of all sequences together.
    public let tokensPerSecond: Speed
    /// nil where policies were not measured in turns.
    public let timeRatio: TimeRatio?
    public let moe: MoEUsage?

    enum CodingKeys: String, CodingKey {
        case test, batch, depth, threads, routing
        case tokensPerSecond = "tokens_per_second"
        case timeRatio = "time_ratio"
        case moe
    }
}

/// What one run measures: a prompt, or generation in `batch` sequences together, after `depth` positions.
///
/// Tokens are random, different in every sequence, so that batched decoding does not profit from all sequences choosing the
/// same experts. The same seed gives the same tokens here and in `Tools/peers/llama_bench.cpp`: both engines read the same
/// experts.
public struct BenchmarkCase: Sendable, Equatable {
    public enum Kind: Sendable, Equatable { case prompt, generation }

    public let kind: Kind
    /// Tokens of the prompt, or tokens generated in each sequence.
    public let count: Int
    public let batch: Int
    public let depth: Int
    public let seed: UInt64

    /// - Throws: ``RequestError`` for what cannot be measured.
    public static func prompt(_ count: Int, depth: Int = 0, seed: UInt64 = 0) throws -> BenchmarkCase {
        try BenchmarkCase(kind: .prompt, count: count, batch: 1, depth: depth, seed: seed)
    }

    /// - Throws: ``RequestError`` for what cannot be measured.
    public static func generation(
        _ count: Int, batch: Int = 1, depth: Int = 0, seed: UInt64 = 0
    ) throws -> BenchmarkCase {
        try BenchmarkCase(kind: .generation, count: count, batch: batch, depth: depth, seed: seed)
    }

    private init(kind: Kind, count: Int, batch: Int, depth: Int, seed: UInt64) throws {
        let range = 1...1 << 24
        guard range.contains(count), range.contains(batch), 0...1 << 24 ~= depth else {
            throw RequestError("nothing to measure: \(count) tokens in \(batch) sequences after \(depth) positions")
        }
        (self.kind, self.count, self.batch, self.depth, self.seed) = (kind, count, batch, depth, seed)
    }

    public var name: String { (kind == .prompt ? "pp" : "tg") + "\(count)" }

    /// - Parameter part: 0 for what is measured, 1 for the positions before it
    func tokens(_ count: Int, sequence: Int, part: UInt64, vocabularySize: Int) -> [Int32] {
        // Each (seed, sequence, part) has a stream of its own; the constants are Knuth's MMIX generator's.
        let (multiplier, increment) = (6_364_136_223_846_793_005 as UInt64, 1_442_695_040_888_963_407 as UInt64)
        var state = seed &* 1_000_003 &+ UInt64(sequence) &* 2 &+ part
        for _ in 0..<4 { state = state &* multiplier &+ increment }
        return (0..<count).map { _ in
            state = state &* multiplier &+ increment
            return Int32((state >> 33) % UInt64(vocabularySize))
        }
    }
}

/// Runs the model directly, without scheduler and sampler.
struct Benchmark {
    let runner: ModelRunner
    let chunkSize: Int

    init(_ runner: ModelRunner, settings: Settings) {
        self.runner = runner
        chunkSize = settings.chunk
    }

    private var configuration: ModelConfiguration { runner.model.configuration }

    /// Tokens per second over repetitions; a run before them warms up and is not counted.
    func measure(
        _ test: BenchmarkCase, repetitions: Int, routing: any RoutingPolicy, named name: String
    ) throws -> BenchmarkResult {
        guard repetitions >= 1 else { throw RequestError("nothing to measure: \(repetitions) repetitions") }
        let statistics = RoutingStatistics(everyToken: false)
        let cache = try cache(for: test)
        try fill(cache, for: test, routing: routing)
        let speeds = try (0...repetitions).map { repetition in
            let seconds = try run(test, cache: cache, routing: routing, statistics: repetition == 0 ? nil : statistics)
            return Double(test.count * test.batch) / seconds
        }.dropFirst().sorted()
        let middle = speeds.count / 2
        let median = speeds.count % 2 == 1 ? speeds[middle] : (speeds[middle - 1] + speeds[middle]) / 2
        return BenchmarkResult(
            test: test.name, batch: test.batch, depth: test.depth, threads: runner.context.pool.threads, routing: name,
            tokensPerSecond: .init(median: median, min: speeds[0], max: speeds[speeds.count - 1]), timeRatio: nil,
            moe: configuration.experts == nil ? nil : statistics.usage)
    }

    /// Room for all sequences of a case, each with blocks of its own.
    func cache(for test: BenchmarkCase) throws -> KVCache {
        let positions = test.depth + test.count
        guard positions <= configuration.contextLength else {
            throw RequestError("\(positions) positions are needed, but the context holds \(configuration.contextLength)")
        }
        return try runner.cache.sibling(positions: blocks(test) * runner.cache.blockSize * test.batch)
    }

    private func blocks(_ test: BenchmarkCase) -> Int {
        (test.depth + test.count + runner.cache.blockSize - 1) / runner.cache.blockSize
    }

    private func blockTable(_ test: BenchmarkCase, sequence: Int) -> [Int32] {
        let count = blocks(test)
        return (0..<count).map { Int32(sequence * count + $0) }
    }

    /// The positions before the case. They stay as they are however often the case is run.
    func fill(_ cache: KVCache, for test: BenchmarkCase, routing: any RoutingPolicy) throws {
        guard test.depth > 0 else { return }
        for sequence in 0..<test.batch {
            let tokens = test.tokens(
                test.depth, sequence: sequence, part: 1, vocabularySize: configuration.vocabularySize)
            try prefill(
                runner(with: cache), tokens: tokens, from: 0, blockTable: blockTable(test, sequence: sequence),
                routing: routing, statistics: nil)
        }
    }

    /// - Returns: seconds.
    func run(
        _ test: BenchmarkCase, cache: KVCache, routing: any RoutingPolicy, statistics: RoutingStatistics?
    ) throws -> Double {
        let runner = runner(with: cache)
        let tables = (0..<test.batch).map { blockTable(test, sequence: $0) }
        let tokens = (0..<test.batch).map {
            test.tokens(test.count, sequence: $0, part: 0, vocabularySize: configuration.vocabularySize)
        }
        let start = ContinuousClock.now
        switch test.kind {
        case .prompt:
            try prefill(
                runner, tokens: tokens[0], from: test.depth, blockTable: tables[0], routing: routing,
                statistics: statistics)
        case .generation:
            var forward = ForwardBatch()
            for step in 0..<test.count {
                try Task.checkCancellation()
                forward.reset()
                for sequence in 0..<test.batch {
                    forward.append(
                        token: tokens[sequence][step], position: test.depth + step, blockTable: tables[sequence],
                        phase: .decode, routing: routing, observer: statistics)
                }
                let (_, seconds) = try runner.run(forward)
                statistics?.addForward(seconds: seconds)
            }
        }
        return (ContinuousClock.now - start) / .seconds(1)
    }

    private func runner(with cache: KVCache) -> ModelRunner {
        ModelRunner(model: runner.model, context: runner.context, cache: cache)
    }

    private func prefill(
        _ runner: ModelRunner, tokens: [Int32], from position: Int, blockTable: [Int32], routing: any RoutingPolicy,
        statistics: RoutingStatistics?
    ) throws {
        var start = 0
        while start < tokens.count {
            try Task.checkCancellation()
            let end = min(start + chunkSize, tokens.count)
            var forward = ForwardBatch()
            forward.append(
                tokens: tokens.span.extracting(start..<end), firstPosition: position + start, blockTable: blockTable,
                phase: .prefill, routing: routing, observer: statistics,
                logits: end == tokens.count ? end - start - 1..<end - start : 0..<0)
            let (_, seconds) = try runner.run(forward)
            statistics?.addForward(seconds: seconds)
            start = end
        }
    }
}
