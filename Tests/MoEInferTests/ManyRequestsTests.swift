// SPDX-License-Identifier: Apache-2.0

import MoEInfer
import MoEModel
import MoETestSupport
import Testing

/// A server's traffic in one test: 32 requests at once, of all lengths, that begin alike or not, with seeds, policies and scores of
/// their own, in a cache that holds a few of them. What breaks silently otherwise: the same request gives another text on a busy day.
@Suite struct ManyRequestsTests {
    private struct Request: Sendable {
        var tokens: [Int32]
        var options: GenerationOptions
    }

    private static func llm(_ set: (inout Settings) -> Void = { _ in }) async throws -> LLM {
        var settings = Settings()
        settings.threads = 2
        settings.context = 384
        settings.batch = 32
        set(&settings)
        return try await LLM.load(EngineTests.model, options: EngineOptions(settings: settings))
    }

    private static func requests(_ llm: LLM) throws -> [Request] {
        var random = SplitMix64(state: 21)
        let beginnings = try [PrefixCacheTests.beginning, "ROMEO:\nWhat is it that the people say of ", "In 1945 the "].map
        {
            try llm.tokenizer.encode($0)
        }
        let text = try llm.tokenizer.encode(BatchInvarianceTests.prompts.joined(separator: " "), addSpecial: false)
        let policies = try ["static", "top-p:p=0.6,min=1,max=8", "ratio:min=1,t=0.3"].map {
            try RoutingSpecification.parse($0)
        }
        return (0..<32).map { index in
            let beginning = beginnings[index % 3]
            let cut = Int.random(in: 1...beginning.count, using: &random)
            let kept = index < 12 ? beginning[...] : beginning.prefix(cut)
            let tail = text.dropFirst(Int.random(in: 0..<8, using: &random)).prefix(Int.random(in: 1...40, using: &random))
            var options = GenerationOptions()
            options.sampling.maxTokens = Int.random(in: 1...60, using: &random)
            options.sampling.ignoreEOS = true
            options.sampling.temperature = index % 4 == 0 ? 0 : 0.9
            options.sampling.topP = index % 2 == 0 ? 1 : 0.95
            options.sampling.repetitionPenalty = index % 5 == 0 ? 1.1 : 1
            options.sampling.seed = UInt64(index)
            options.sampling.logprobs = index % 7
            if index % 6 == 1 { options.sampling.promptLogprobs = 2 }
            if index % 6 == 2 { options.speculation = .lookup() }
            if index > 16 { options.routing = RoutingChoice(policies[index % 3]) }
            return Request(tokens: Array(kept + tail), options: options)
        }
    }

    private static func result(_ llm: LLM, _ request: Request) async throws -> GenerationResult {
        for try await event in llm.generate(tokens: request.tokens, options: request.options) {
            if case .finished(let result) = event { return result }
        }
        throw CancellationError()
    }

    @Test func sameBitsOnABusyDay() async throws {
        let fresh = try await Self.llm { $0.prefixCache = .off }
        let requests = try Self.requests(fresh)
        #expect(Set(requests.map(\.tokens.count)).count > 16)
        var alone: [GenerationResult] = []
        for request in requests { alone.append(try await Self.result(fresh, request)) }
        let shares: [Int?] = [nil, 16]
        for share in shares {
            let busy = try await Self.llm {
                $0.cache = 1024
                $0.sharedChunk = share
            }
            // The second time around prefixes are found; those who leave in between must not be missed by anyone.
            for round in 0..<2 {
                let leavers = requests.prefix(4).map { request in Task { try await Self.result(busy, request) } }
                let anyResult = alone[0]
                let together = try await withThrowingTaskGroup(of: (Int, GenerationResult).self) { group in
                    for (index, request) in requests.enumerated() {
                        group.addTask { (index, try await Self.result(busy, request)) }
                    }
                    group.addTask {
                        try await Task.sleep(for: .milliseconds(20 * round))
                        for leaver in leavers { leaver.cancel() }
                        return (-1, anyResult)
                    }
                    return try await group.reduce(into: [Int: GenerationResult]()) { $0[$1.0] = $1.1 }
                }
                for (index, expected) in alone.enumerated() {
                    let found = together[index]!
                    #expect(found.tokens == expected.tokens, "request \(index)")
                    #expect(found.logprobs == expected.logprobs, "request \(index)")
                    #expect(found.promptLogprobs == expected.promptLogprobs, "request \(index)")
                    #expect(found.text == expected.text)
                }
                #expect(together.values.contains { $0.usage.cachedTokens > 0 })
                for leaver in leavers { _ = await leaver.result }
            }
            #expect(await busy.engine.preemptions > 0, "the cache was meant to be too small")
            #expect(await busy.engine.largestBatch > 4)
            for _ in 0..<200 where await !busy.engine.isEmpty { try await Task.sleep(for: .milliseconds(10)) }
            #expect(await busy.engine.isEmpty)
        }
    }

    /// A long prompt is read in short slices while others decode, and says and scores what it does alone.
    @Test(arguments: [nil, 8, 24] as [Int?]) func aLongPromptBesideOthers(share: Int?) async throws {
        let llm = try await Self.llm {
            $0.prefixCache = .off
            $0.sharedChunk = share
        }
        var long = Request(tokens: try llm.tokenizer.encode(PrefixCacheTests.beginning), options: GenerationOptions())
        long.options.sampling.maxTokens = 20
        long.options.sampling.ignoreEOS = true
        long.options.sampling.logprobs = 20
        var short = long
        short.tokens = try llm.tokenizer.encode("In winter")
        short.options.sampling.maxTokens = 300
        let (longAlone, shortAlone) = (try await Self.result(llm, long), try await Self.result(llm, short))
        let (decoding, reading) = (short, long)
        async let first = Self.result(llm, decoding)
        async let second = Self.result(llm, decoding)
        // Several, one after the other: whatever the first two take, some begin while they decode.
        for _ in 0..<4 {
            let found = try await Self.result(llm, reading)
            #expect(found.tokens == longAlone.tokens && found.logprobs == longAlone.logprobs)
            #expect(found.usage.moe!.histogram == longAlone.usage.moe!.histogram)
        }
        for found in [try await first, try await second] {
            #expect(found.tokens == shortAlone.tokens && found.logprobs == shortAlone.logprobs)
        }
    }
}
