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
    public let threads: Int
    public let routing: String
    /// Over the repetitions, of all sequences together.
    public let tokensPerSecond: Speed
    /// nil where policies were not measured in turns.
    public let timeRatio: TimeRatio?
    public let moe: MoEUsage?

    enum CodingKeys: String, CodingKey {
        case test, batch, threads, routing
        case tokensPerSecond = "tokens_per_second"
        case timeRatio = "time_ratio"
        case moe
    }
}

/// Random tokens. Runs the model directly, without scheduler and sampler: every sequence has text of its own, so that batched decoding does
/// not profit from all sequences choosing the same experts.
struct Benchmark {
    let runner: ModelRunner
    let chunkSize: Int

    init(_ runner: ModelRunner, settings: Settings) {
        self.runner = runner
        chunkSize = settings.chunk
    }

    /// - Throws: ``RequestError`` for what cannot be measured.
    static func check(count: Int, batch: Int, repetitions: Int) throws {
        guard count >= 1, batch >= 1, repetitions >= 1 else {
            throw RequestError("nothing to measure: \(count) tokens, \(batch) sequences, \(repetitions) repetitions")
        }
    }

    private var configuration: ModelConfiguration { runner.model.configuration }

    private struct Sequence {
        var position = 0
        let blockTable: [Int32]
    }

    /// Tokens per second of a prompt.
    func prompt(
        _ count: Int, repetitions: Int, routing: any RoutingPolicy, named name: String
    ) throws -> BenchmarkResult {
        let statistics = RoutingStatistics()
        let speeds = try (0...repetitions).map { repetition -> Double in
            var (runner, sequences) = try sequences(1, positions: count)
            let start = ContinuousClock.now
            try prefill(
                &sequences[0], tokens: tokens(count, seed: 1), runner: runner, routing: routing,
                statistics: repetition == 0 ? nil : statistics)
            return Double(count) / ((ContinuousClock.now - start) / .seconds(1))
        }
        return result("pp\(count)", batch: 1, speeds: Array(speeds.dropFirst()), routing: name, statistics: statistics)
    }

    /// Tokens per second of generation, `batch` sequences together.
    func generation(
        _ count: Int, batch: Int, repetitions: Int, routing: any RoutingPolicy, named name: String
    ) throws -> BenchmarkResult {
        let statistics = RoutingStatistics()
        let speeds = try (0...repetitions).map { repetition -> Double in
            let warmUp = 16
            var (runner, sequences) = try sequences(batch, positions: warmUp + count)
            for index in 0..<batch {
                try prefill(
                    &sequences[index], tokens: tokens(warmUp, seed: UInt64(2 + index)), runner: runner, routing: routing,
                    statistics: nil)
            }
            let next = (0..<batch).map { tokens(count, seed: UInt64(1000 + $0)) }
            var forward = ForwardBatch()
            let start = ContinuousClock.now
            for step in 0..<count {
                try Task.checkCancellation()
                forward.reset()
                for index in 0..<batch {
                    forward.append(
                        tokens: CollectionOfOne(next[index][step]), firstPosition: sequences[index].position,
                        blockTable: sequences[index].blockTable, phase: .decode, routing: routing,
                        observer: repetition == 0 ? nil : statistics, logits: CollectionOfOne(0))
                    sequences[index].position += 1
                }
                let (_, seconds) = try runner.run(forward)
                if repetition > 0 { statistics.addForward(seconds: seconds) }
            }
            return Double(count * batch) / ((ContinuousClock.now - start) / .seconds(1))
        }
        return result(
            "tg\(count)", batch: batch, speeds: Array(speeds.dropFirst()), routing: name, statistics: statistics)
    }

    private func prefill(
        _ sequence: inout Sequence, tokens: [Int32], runner: ModelRunner, routing: any RoutingPolicy,
        statistics: RoutingStatistics?
    ) throws {
        var start = 0
        while start < tokens.count {
            try Task.checkCancellation()
            let end = min(start + chunkSize, tokens.count)
            var forward = ForwardBatch()
            forward.append(
                tokens: tokens[start..<end], firstPosition: sequence.position, blockTable: sequence.blockTable,
                phase: .prefill, routing: routing, observer: statistics,
                logits: end == tokens.count ? [end - start - 1] : [])
            let (_, seconds) = try runner.run(forward)
            statistics?.addForward(seconds: seconds)
            sequence.position += end - start
            start = end
        }
    }

    /// - Returns: a runner with a cache for `count` sequences, and where each keeps its blocks.
    private func sequences(_ count: Int, positions: Int) throws -> (ModelRunner, [Sequence]) {
        guard positions <= configuration.contextLength else {
            throw RequestError(
                "\(positions) positions are needed, but the context holds \(configuration.contextLength)")
        }
        let blockSize = runner.cache.blockSize
        let perSequence = (positions + blockSize - 1) / blockSize
        let cache = try runner.cache.sibling(positions: perSequence * blockSize * count)
        let sequences = (0..<count).map { index in
            Sequence(blockTable: (0..<perSequence).map { Int32(index * perSequence + $0) })
        }
        return (ModelRunner(model: runner.model, context: runner.context, cache: cache), sequences)
    }

    private func tokens(_ count: Int, seed: UInt64) -> [Int32] {
        var state = seed
        return (0..<count).map { _ in
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int32((state >> 33) % UInt64(configuration.vocabularySize))
        }
    }

    private func result(
        _ test: String, batch: Int, speeds: [Double], routing: String, statistics: RoutingStatistics
    ) -> BenchmarkResult {
        let sorted = speeds.sorted()
        let middle = sorted.count / 2
        let median = sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
        return BenchmarkResult(
            test: test, batch: batch, threads: runner.context.pool.threads, routing: routing,
            tokensPerSecond: .init(median: median, min: sorted[0], max: sorted[sorted.count - 1]), timeRatio: nil,
            moe: configuration.experts == nil ? nil : statistics.usage)
    }
}
