// SPDX-License-Identifier: Apache-2.0

import MoEInfer
import MoEModel
import MoETestSupport
import Testing

/// A budget of expert evaluations is never exceeded, and what it makes of a text depends on the request alone. The silent failures:
/// a cap that holds the policy but not its re-routes; a replay under other caps, which changes what a preempted request says.
@Suite struct BudgetTests {
    private static func policy(_ random: inout SplitMix64) throws -> any RoutingPolicy {
        let texts = [
            "static", "static:k=1", "static:k=3", "static:k=4,2", "static:k=0", "ratio:min=0,t=0.6", "ratio:min=1,t=0.4",
            "top-p:p=0.6,min=1,max=8", "top-p:p=0.9,min=2,max=16", "absolute:c=0.1,min=0",
            "static:k=2+reroute:entropy=0.5,add=2", "ratio:min=1,t=0.7+reroute:margin=0.3",
        ]
        return try RoutingSpecification.parse(texts.randomElement(using: &random)!)
    }

    /// Random budgets, prompts, lengths and policies: alone, together in a cache that is too small, and again with prefix hits.
    @Test(arguments: ["qwen3moe", "qwen3moe-mixed-fused", "olmoe"]) func neverExceeded(model: String) async throws {
        var random = SplitMix64(state: 20 + UInt64(model.utf8.count))
        let alone = try TinyEngine(model) { $0.prefixCache = .off }
        let (roomy, tight) = (try TinyEngine(model), try TinyEngine(model) { $0.cache = 320 })
        var (requests, expected): ([(tokens: [Int32], options: GenerationOptions)], [GenerationResult]) = ([], [])
        let layers = model == "qwen3moe-mixed-fused" ? 1 : 2
        var exhausted = 0
        let common = TinyEngine.prompt(70, using: &random)
        while requests.count < 24 {
            let prompt =
                (Bool.random(using: &random) ? common : [])
                + TinyEngine.prompt(Int.random(in: 1...50, using: &random), using: &random)
            var options = TinyEngine.options(Int.random(in: 1...60, using: &random), seed: random.next())
            options.routing = RoutingChoice(
                prefill: try Self.policy(&random), decode: try Self.policy(&random))
            let worst = (prompt.count + options.sampling.maxTokens) * layers * 8
            // Every other one so small that the text may not end by itself.
            let budget = Int.random(in: 0...(Bool.random(using: &random) ? worst : worst / 8), using: &random)
            options.budget = budget
            do {
                let result = try await alone.run(prompt, options)
                let usage = try #require(result.usage.budget)
                let counted = result.usage.moe?.expertEvaluations ?? 0
                #expect(counted <= budget && usage.charged <= budget && counted <= usage.charged)
                #expect(result.tokens.count >= 1)
                if usage.isExhausted {
                    exhausted += 1
                    #expect(result.finishReason == .length && result.tokens.count < options.sampling.maxTokens)
                } else {
                    #expect(result.tokens.count == options.sampling.maxTokens)
                }
                requests.append((prompt, options))
                expected.append(result)
            } catch let error as RequestError {
                #expect(error.description.contains("a budget of \(budget) expert evaluations is too small"))
                #expect(budget < prompt.count * layers * 2, "\(error)")
            }
        }
        #expect(exhausted > 0)
        for round in 0..<2 {
            let results = try await tight.run(requests)
            for (index, result) in results.enumerated() {
                expectSame(result, expected[index], "round \(round), request \(index)")
                #expect(result.usage.budget == expected[index].usage.budget)
                let counted = result.usage.moe?.expertEvaluations ?? 0
                #expect(counted <= requests[index].options.budget!)
                #expect(counted <= expected[index].usage.moe?.expertEvaluations ?? 0, "a hit costs less, never more")
            }
        }
        var hits = 0
        for (request, expected) in zip(requests + requests, expected + expected) {
            let result = try await roomy.run(request.tokens, request.options)
            expectSame(result, expected)
            #expect(result.usage.budget == expected.usage.budget)
            if result.usage.cachedTokens > 0 { hits += 1 }
        }
        #expect(hits > 0, "hits were meant")
        #expect(await tight.llm.engine.preemptions > 0, "the cache was meant to be too small")
        try await tight.expectIdle()
    }

    /// The example of the documentation, on a model of 2 layers with k = 4.
    @Test func theRulesByHand() async throws {
        let tiny = try TinyEngine { $0.prefixCache = .off }
        let prompt = (0..<10).map { Int32($0 + 3) }
        func run(_ budget: Int, _ tokens: Int = 6) async throws -> GenerationResult {
            var options = TinyEngine.options(tokens, routing: StaticRouting())
            options.budget = budget
            return try await tiny.run(prompt, options)
        }
        // C(k) = 2k. 5 tokens to compute: 10 at least; (80 - 10) / 10 = 7, so the prompt's cap is 3 and costs 60. 20 are left: 4
        // follow, C(k) <= 12: all 4 (8). 12, 3 follow: 3 (6). 6, 2 follow: 1 (2). 4: 1. 2: 1.
        let result = try await run(80)
        #expect(
            result.usage.budget
                == BudgetUsage(budget: 80, promptMaximum: 3, charged: 60 + 8 + 6 + 2 + 2 + 2, isExhausted: false))
        #expect(result.tokenExperts == [3, 4, 3, 1, 1, 1] && result.tokens.count == 6)
        // One expert per layer for the prompt, and 3 more tokens.
        let least = try await run(27)
        #expect(least.usage.budget == BudgetUsage(budget: 27, promptMaximum: 1, charged: 26, isExhausted: true))
        #expect(least.tokens.count == 4 && least.finishReason == .length)
        #expect(try await run(20).tokens.count == 1)
        await #expect(
            throws: RequestError(
                "a budget of 19 expert evaluations is too small: the prompt alone needs 20 (10 tokens with one expert in each"
                    + " of 2 layers)")
        ) { _ = try await run(19) }
        await #expect { _ = try await run(-1) } throws: { "\($0)".contains("expected 0 or more") }
        // More than enough changes nothing.
        let free = try await tiny.run(prompt, TinyEngine.options(6, routing: StaticRouting()))
        for budget in [Int.max, 10 * 8 + 5 * 8] {
            let result = try await run(budget)
            expectSame(result, free)
            #expect(result.usage.budget?.isExhausted == false && result.usage.budget?.promptMaximum == 4)
        }
        #expect(free.usage.budget == nil)
    }

    /// A prompt under a cap is found by requests under the same cap only; one whose budget is no bound, by all.
    @Test func capsShareNothingButTheirOwn() async throws {
        let tiny = try TinyEngine()
        var random = SplitMix64(state: 4)
        let prompt = TinyEngine.prompt(100, using: &random)
        func cached(_ budget: Int?, _ tokens: Int = 2) async throws -> Int {
            var options = TinyEngine.options(tokens, routing: StaticRouting())
            options.budget = budget
            return try await tiny.run(prompt, options).usage.cachedTokens
        }
        #expect(try await cached(2 * 100 * 2 + 10) == 0)
        #expect(try await cached(2 * 100 * 3 + 10) == 0)
        #expect(try await cached(2 * 100 * 2 + 20) == 96)
        #expect(try await cached(nil) == 0)
        #expect(try await cached(1_000_000) == 96)
        #expect(try await cached(2 * 100 * 3 + 10) == 96)
    }

    /// Text that was generated under caps serves nobody as a prompt.
    @Test func cappedTextIsNobodys() async throws {
        let (tiny, fresh) = (try TinyEngine(), try TinyEngine { $0.prefixCache = .off })
        var random = SplitMix64(state: 5)
        let prompt = TinyEngine.prompt(32, using: &random)
        var options = TinyEngine.options(80, routing: StaticRouting())
        options.budget = 32 * 8 + 79 * 4  // the prompt in full, half of what the text would take
        let first = try await tiny.run(prompt, options)
        #expect(first.tokens.count == 80 && first.usage.budget?.promptMaximum == 4)
        options.budget = nil
        let next = prompt + first.tokens
        let (found, expected) = (try await tiny.run(next, options), try await fresh.run(next, options))
        expectSame(found, expected)
        #expect(found.usage.cachedTokens == 32)
    }

    @Test func whatABudgetCannotBeWith() async throws {
        let tiny = try TinyEngine()
        var options = TinyEngine.options(4)
        options.budget = 1000
        options.speculation = .lookup()
        await #expect { _ = try await tiny.run([1, 2], options) } throws: { "\($0)".contains("speculation") }
        options.speculation = .off
        options.routing.decode = UnionRouting(own: 1)
        await #expect { _ = try await tiny.run([1, 2], options) } throws: { "\($0)".contains("union") }
        // A dense model evaluates no experts.
        let dense = try TinyEngine("llama")
        options.routing = RoutingChoice()
        options.budget = 0
        #expect(try await dense.run([1, 2], options).tokens.count == 4)
    }
}
