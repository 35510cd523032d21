// SPDX-License-Identifier: Apache-2.0

import Foundation
import MoECompute
import MoEInfer
import MoEModel
import MoETestSupport
import Testing

/// A small model without a tokenizer, and requests to it by token ids.
struct TinyEngine {
    let llm: LLM

    /// - Parameter name: a folder of `Tests/Fixtures/tiny`; `qwen3moe` has 2 layers with 4 of 16 experts.
    init(_ name: String = "qwen3moe", _ set: (inout Settings) -> Void = { _ in }) throws {
        try self.init(name, model: { $0 }, set)
    }

    /// - Parameter model: puts something around the model.
    init(
        _ name: String = "qwen3moe", model: (any LanguageModel) -> any LanguageModel, _ set: (inout Settings) -> Void
    ) throws {
        var settings = Settings()
        settings.threads = 2
        settings.gemm = .native
        settings.context = 256
        settings.chunk = 32
        set(&settings)
        llm = try LLM(
            .path(Fixtures.directory.appendingPathComponent("tiny/\(name)").path), settings: settings, model: model)
    }

    static func options(_ maxTokens: Int, seed: UInt64 = 3, routing: (any RoutingPolicy)? = nil) -> GenerationOptions {
        var options = GenerationOptions()
        options.sampling.maxTokens = maxTokens
        options.sampling.ignoreEOS = true
        options.sampling.temperature = 0.9
        options.sampling.seed = seed
        options.sampling.logprobs = 2
        if let routing { options.routing = RoutingChoice(routing) }
        return options
    }

    func run(_ tokens: [Int32], _ options: GenerationOptions) async throws -> GenerationResult {
        for try await event in llm.generate(tokens: tokens, options: options) {
            if case .finished(let result) = event { return result }
        }
        throw CancellationError()
    }

    /// All at once.
    func run(_ requests: [(tokens: [Int32], options: GenerationOptions)]) async throws -> [GenerationResult] {
        let results = try await withThrowingTaskGroup(of: (Int, GenerationResult).self) { group in
            for (index, request) in requests.enumerated() {
                group.addTask { (index, try await run(request.tokens, request.options)) }
            }
            return try await group.reduce(into: [Int: GenerationResult]()) { $0[$1.0] = $1.1 }
        }
        return requests.indices.map { results[$0]! }
    }

    static func prompt(_ count: Int, using random: inout SplitMix64) -> [Int32] {
        (0..<count).map { _ in Int32.random(in: 0..<90, using: &random) }
    }

    func expectIdle() async throws {
        let deadline = ContinuousClock.now + .seconds(20)
        while await !llm.engine.isEmpty, ContinuousClock.now < deadline { try await Task.sleep(for: .milliseconds(1)) }
        #expect(await llm.engine.isEmpty)
    }
}

/// Two results say the same, bit for bit, at the same cost.
func expectSame(_ a: GenerationResult, _ b: GenerationResult, _ comment: Comment? = nil) {
    #expect(a.tokens == b.tokens && a.finishReason == b.finishReason, comment)
    #expect(a.logprobs == b.logprobs, comment)
}
