// SPDX-License-Identifier: Apache-2.0

import Foundation
import MoECompute
import MoEInfer
import MoETestSupport
import Testing

/// Vectors of texts against transformers (`Tests/Fixtures/embeddings`), and that they neither hold up nor change anything else.
@Suite struct EmbeddingTests {
    private struct Case: Decodable {
        var tokens: [Int32]
        var mean: [Float]
        var last: [Float]
        var meanNormalized: [Float]

        enum CodingKeys: String, CodingKey {
            case tokens, mean, last
            case meanNormalized = "mean_normalized"
        }
    }

    private static let cases: [String: [Case]] = {
        let file = Fixtures.directory.appendingPathComponent("embeddings/expected.json")
        return try! JSONDecoder().decode([String: [Case]].self, from: Data(contentsOf: file))
    }()

    private static func llm(_ source: ModelSource, _ set: (inout Settings) -> Void = { _ in }) async throws -> LLM {
        var settings = Settings()
        settings.threads = 2
        settings.kvPrecision = .f32
        set(&settings)
        return try await LLM.load(source, options: EngineOptions(settings: settings))
    }

    private static func difference(_ first: [Float], _ second: [Float]) -> Float {
        guard first.count == second.count else { return .infinity }
        return zip(first, second).map { abs($0 - $1) }.reduce(0) { $0.isNaN || $1.isNaN ? .infinity : max($0, $1) }
    }

    @Test(arguments: ["llama", "olmoe", "qwen2moe", "qwen3moe"], [MatmulPlan.Mode.native, .blas])
    func agreesWithTransformers(model: String, mode: MatmulPlan.Mode) async throws {
        let cases = try #require(Self.cases[model])
        #expect(cases.count == 4)
        let path = Fixtures.directory.appendingPathComponent("tiny/\(model)/model.gguf").path
        let llm = try await Self.llm(.path(path)) {
            $0.gemm = mode
            $0.chunk = 16
        }
        let inputs = cases.map(\.tokens)
        let mean = try await llm.embed(inputs, pooling: .mean, normalize: false)
        let last = try await llm.embed(inputs, pooling: .last, normalize: false)
        let normalized = try await llm.embed(inputs)
        #expect(mean.promptTokens == inputs.map(\.count) && mean.vectors.count == inputs.count)
        #expect((mean.moe == nil) == (model == "llama"))
        for (index, expected) in cases.enumerated() {
            #expect(Self.difference(mean.vectors[index], expected.mean) < 1e-4)
            #expect(Self.difference(last.vectors[index], expected.last) < 1e-4)
            #expect(Self.difference(normalized.vectors[index], expected.meanNormalized) < 1e-4)
        }
        #expect(await llm.engine.isEmpty)
    }

    /// Alone, with other inputs, beside generations, in a small cache, whatever it holds already.
    @Test func sameBitsWhateverElseRuns() async throws {
        let llm = try await Self.llm(EngineTests.model) {
            $0.context = 256
            $0.cache = 320
        }
        let texts = ["The river flows", "In winter", PrefixCacheTests.beginning, "A", "He was born in 1945 and"]
        let inputs = try texts.map { try llm.tokenizer.encode($0) }
        #expect(inputs[2].count > 128)
        var alone: [[Float]] = []
        for input in inputs { alone.append(try await llm.embed([input]).vectors[0]) }
        for vector in alone {
            let length: Float = vector.reduce(0) { $0 + $1 * $1 }
            #expect(abs(length - 1) < 1e-5)
        }
        var options = GenerationOptions()
        options.sampling.maxTokens = 100
        options.sampling.ignoreEOS = true
        let request = options
        let expected = try await llm.complete(texts[2], options: request)
        async let first = llm.complete(texts[2], options: request)
        async let second = llm.complete(texts[0], options: request)
        async let together = llm.embed(inputs + inputs.reversed())
        let found = try await together
        #expect(found.vectors == alone + alone.reversed())
        #expect(try await first.tokens == expected.tokens)
        _ = try await second
        #expect(await llm.engine.preemptions > 0, "the cache was meant to be too small")
        // Each token of each input in each of the four layers, once.
        let tokens = found.promptTokens.reduce(0, +)
        #expect(found.moe!.histogram.reduce(0, +) == 4 * tokens)
        #expect(await llm.engine.isEmpty)
    }

    @Test func refusesWhatCannotBe() async throws {
        let llm = try await Self.llm(EngineTests.model) { $0.context = 64 }
        for input in [[], [Int32](repeating: 1, count: 65), [-1], [Int32(llm.vocabularySize)]] {
            await #expect(throws: RequestError.self) { try await llm.embed([[1], input]) }
        }
        #expect(try await llm.embed([]).vectors.isEmpty)
        #expect(try await llm.embed([[Int32](repeating: 1, count: 64)]).vectors[0].isEmpty == false)
    }

    @Test func cancellationLeavesNothing() async throws {
        let llm = try await Self.llm(EngineTests.model) { $0.context = 256 }
        let input = Array(try llm.tokenizer.encode(PrefixCacheTests.beginning).prefix(200))
        let task = Task { try await llm.embed(Array(repeating: input, count: 10_000)) }
        try await Task.sleep(for: .milliseconds(50))
        task.cancel()
        await #expect(throws: CancellationError.self) { try await task.value }
        // The engine takes them out before its next step.
        for _ in 0..<200 where await !llm.engine.isEmpty { try await Task.sleep(for: .milliseconds(10)) }
        #expect(await llm.engine.isEmpty)
    }

    /// A request that comes while a thousand texts wait gets its tokens between them.
    @Test func generationsGoOn() async throws {
        let llm = try await Self.llm(EngineTests.model) { $0.context = 256 }
        let input = Array(try llm.tokenizer.encode(PrefixCacheTests.beginning).prefix(200))
        let task = Task { try await llm.embed(Array(repeating: input, count: 100_000)) }
        var options = GenerationOptions()
        options.sampling.maxTokens = 20
        options.sampling.ignoreEOS = true
        let result = try await llm.complete("In winter", options: options)
        #expect(result.tokens.count == 20)
        #expect(!task.isCancelled)
        task.cancel()
        await #expect(throws: CancellationError.self) { try await task.value }
    }
}
