// SPDX-License-Identifier: Apache-2.0

import Glibc
import MoECompute
import MoEInfer
import Synchronization
import Testing

/// Log probabilities of a prompt's own tokens. What breaks silently otherwise: a score of another token or another context, which an
/// evaluation takes for the model's.
@Suite struct PromptLogprobsTests {
    /// 300 tokens or so: several slices, several blocks.
    static let text = String(repeating: "The river flows through the north of the country. ", count: 20) + "In winter"

    private static func llm(_ set: (inout Settings) -> Void = { _ in }) async throws -> LLM {
        var settings = Settings()
        settings.threads = 2
        settings.context = 512
        set(&settings)
        return try await LLM.load(EngineTests.model, options: EngineOptions(settings: settings))
    }

    private static func options(_ alternatives: Int = 5, maxTokens: Int = 1) -> GenerationOptions {
        var options = GenerationOptions()
        options.sampling.maxTokens = maxTokens
        options.sampling.ignoreEOS = true
        options.sampling.promptLogprobs = alternatives
        options.sampling.logprobs = alternatives
        return options
    }

    private static func events(_ llm: LLM, _ tokens: [Int32], _ options: GenerationOptions) async throws
        -> [GenerationEvent]
    {
        var events: [GenerationEvent] = []
        for try await event in llm.generate(tokens: tokens, options: options) { events.append(event) }
        return events
    }

    private static func result(_ llm: LLM, _ tokens: [Int32], _ options: GenerationOptions) async throws
        -> GenerationResult
    {
        let events = try await events(llm, tokens, options)
        guard case .finished(let result)? = events.last else { throw CancellationError() }
        return result
    }

    @Test(arguments: [MatmulPlan.Mode.auto, .blas], [0, 1])
    func agreesWithTheModelsLogits(mode: MatmulPlan.Mode, maxTokens: Int) async throws {
        let llm = try await Self.llm { $0.gemm = mode }
        let tokens = try llm.tokenizer.encode(Self.text)
        #expect(tokens.count > 256)
        let rows = Rows()
        try await llm.logits(tokens) { rows.append($0) }
        let found = try await Self.result(llm, tokens, Self.options(maxTokens: maxTokens)).promptLogprobs
        #expect(found.count == tokens.count && found[0] == nil)
        for (index, entry) in found.enumerated().dropFirst() {
            let (entry, row) = (try #require(entry), rows.rows[index - 1])
            #expect(entry.chosen.token == tokens[index])
            let largest = row.max()!
            let total = row.reduce(0.0) { $0 + Double(exp($1 - largest)) }
            let normalizer = largest + Float(log(total))
            // Under BLAS the last slice has a row less where nothing is generated.
            let tolerance: Float = mode == .blas ? 1e-4 : 0
            let expected: Float = row[Int(tokens[index])] - normalizer
            #expect(abs(entry.chosen.logprob - expected) <= tolerance, "token \(index)")
            #expect(entry.top.count == 5)
            let likeliest: Float = largest - normalizer
            #expect(abs(entry.top[0].logprob - likeliest) <= tolerance)
            #expect(entry.top.map(\.logprob) == entry.top.map(\.logprob).sorted(by: >))
        }
    }

    /// lm-evaluation-harness compares the two numbers for equality.
    @Test func theLikeliestTokenHasTheLargestNumber() async throws {
        let llm = try await Self.llm()
        let start = try llm.tokenizer.encode("The history of the city")
        var greedy = GenerationOptions()
        greedy.sampling.maxTokens = 40
        greedy.sampling.ignoreEOS = true
        let generated = try await Self.result(llm, start, greedy).tokens
        let found = try await Self.result(llm, start + generated, Self.options(1)).promptLogprobs
        for entry in found[start.count...] {
            let entry = try #require(entry)
            #expect(entry.chosen == entry.top[0])
        }
        #expect(found[..<start.count].contains { $0 != nil && $0!.chosen != $0!.top[0] })
    }

    @Test func isToldOnceAndFirst() async throws {
        let llm = try await Self.llm()
        let tokens = try llm.tokenizer.encode("The history of the city")
        let one = try await Self.events(llm, tokens, Self.options(2, maxTokens: 3))
        guard case .prompt(let told) = one[0], case .finished(let result) = one[one.count - 1] else {
            Issue.record("the prompt comes first, the result last")
            return
        }
        #expect(one.count { if case .prompt = $0 { true } else { false } } == 1)
        #expect(one.count { if case .token = $0 { true } else { false } } == 3)
        #expect(told == result.promptLogprobs && result.logprobs.count == 3)

        // Nothing generated: what is told of the prompt is the same, and its last token is not run.
        let none = try await Self.events(llm, tokens, Self.options(2, maxTokens: 0))
        guard none.count == 2, case .prompt(let same) = none[0], case .finished(let end) = none[1] else {
            Issue.record("\(none.count) events")
            return
        }
        #expect(same == told && end.tokens.isEmpty && end.finishReason == .length && end.logprobs.isEmpty)
        #expect(end.usage.promptTokens == tokens.count && end.usage.completionTokens == 0)
        #expect(end.usage.moe!.histogram.reduce(0, +) == 4 * (tokens.count - 1))

        // A single token has nothing before it.
        let single = try await Self.events(llm, [tokens[0]], Self.options(2, maxTokens: 0))
        guard single.count == 2, case .prompt(let nothing) = single[0] else {
            Issue.record("\(single.count) events")
            return
        }
        #expect(nothing == [nil])
        let next = try await Self.events(llm, [tokens[0]], Self.options(2, maxTokens: 1))
        guard case .prompt(let still) = next[0] else {
            Issue.record("a prompt of one token is told too")
            return
        }
        #expect(still == [nil] && next.count == 3)
        #expect(await llm.engine.isEmpty)
    }

    @Test func withoutItNothingIsTold() async throws {
        let llm = try await Self.llm()
        var options = GenerationOptions()
        options.sampling.maxTokens = 0
        let events = try await Self.events(llm, [1, 2, 3], options)
        #expect(events.count == 1)
        guard case .finished(let result) = events[0] else { return }
        #expect(result.promptLogprobs.isEmpty && result.finishReason == .length && result.usage.moe == nil)
        await #expect(throws: RequestError.self) { try await Self.events(llm, [1], Self.options(101)) }
    }

    @Test(arguments: [MatmulPlan.Mode.auto, .blas])
    func sameAmongOthersAfterPreemptionAndWithAHit(mode: MatmulPlan.Mode) async throws {
        let fresh = try await Self.llm {
            $0.gemm = mode
            $0.prefixCache = .off
        }
        let tails = ["", " the", " the snow", " it", " people there", " in 1945 the"]
        let prompts = try tails.map { try fresh.tokenizer.encode(Self.text + $0) }
        let options = Self.options(maxTokens: 40)
        var alone: [GenerationResult] = []
        for prompt in prompts { alone.append(try await Self.result(fresh, prompt, options)) }

        let shared = try await Self.llm { $0.gemm = mode }
        var plain = options
        plain.sampling.promptLogprobs = nil
        _ = try await Self.result(shared, prompts[0], plain)
        // Two fit until they have grown a block.
        let blocks = 2 * (prompts.map(\.count).max()! / 32 + 1)
        let tight = try await Self.llm {
            $0.gemm = mode
            $0.cache = blocks * 32
        }
        let small = try await Self.llm {
            $0.gemm = mode
            $0.cache = blocks * 32
            $0.sharedChunk = 24
        }
        for llm in [fresh, shared, tight, small] {
            let together = try await withThrowingTaskGroup(of: (Int, GenerationResult).self) { group in
                for (index, prompt) in prompts.enumerated() {
                    group.addTask { (index, try await Self.result(llm, prompt, options)) }
                }
                return try await group.reduce(into: [Int: GenerationResult]()) { $0[$1.0] = $1.1 }
            }
            for (index, expected) in alone.enumerated() {
                let found = together[index]!
                #expect(found.promptLogprobs == expected.promptLogprobs)
                #expect(found.tokens == expected.tokens && found.logprobs == expected.logprobs)
                #expect(found.usage.cachedTokens == 0, "all of it is computed")
                #expect(
                    found.usage.moe!.histogram == expected.usage.moe!.histogram, "each row is counted once")
            }
            #expect(await llm.engine.isEmpty)
        }
        for llm in [tight, small] { #expect(await llm.engine.preemptions > 0, "the caches were meant to be small") }
        // What such a sequence computed, others may take over.
        if mode == .auto {
            let after = try await Self.result(small, prompts[0], plain)
            #expect(after.usage.cachedTokens > 0)
            #expect(after.tokens == alone[0].tokens && after.logprobs == alone[0].logprobs)
        }
    }

    private final class Rows: Sendable {
        private let values = Mutex<[[Float]]>([])
        var rows: [[Float]] { values.withLock { $0 } }
        func append(_ row: UnsafeBufferPointer<Float>) {
            let copy = Array(row)
            values.withLock { $0.append(copy) }
        }
    }
}
