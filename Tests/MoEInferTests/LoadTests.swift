// SPDX-License-Identifier: Apache-2.0

import MoEInfer
import MoEModel
import MoETestSupport
import Testing

/// Cheaper policies under pressure: only for who allows it, only for generated tokens, told, and the same in a replay.
@Suite struct FallbackTests {
    private static let two = StaticRouting(expertsPerToken: PerLayer(2))
    private static let one = StaticRouting(expertsPerToken: PerLayer(1))

    private func options(_ tokens: Int, seed: UInt64 = 3) -> GenerationOptions {
        var options = TinyEngine.options(tokens, seed: seed, routing: StaticRouting())
        options.fallbacks = [Self.two, Self.one]
        return options
    }

    /// A level is another decode policy, no more.
    @Test(arguments: [(1, 2), (2, 1), (7, 1)]) func aLevelIsAPolicy(level: Int, k: Int) async throws {
        let tiny = try TinyEngine { $0.prefixCache = .off }
        await tiny.llm.setPressure(level)
        let degraded = try await tiny.run([4, 8, 15, 16, 23, 42], options(20))
        var plain = TinyEngine.options(20)
        plain.routing = RoutingChoice(prefill: StaticRouting(), decode: StaticRouting(expertsPerToken: PerLayer(k)))
        expectSame(degraded, try await tiny.run([4, 8, 15, 16, 23, 42], plain))
        #expect(degraded.usage.degradedTokens == 19, "the first token comes from the prompt")
        #expect(degraded.tokenExperts == [4] + [Double](repeating: Double(k), count: 19))
        #expect(await tiny.llm.snapshot().pressure == level)
        #expect(await tiny.llm.snapshot().degradedTokens == 19)

        await tiny.llm.setPressure(0)
        let calm = try await tiny.run([4, 8, 15, 16, 23, 42], options(20))
        #expect(calm.usage.degradedTokens == 0 && calm.usage.moe?.meanExperts == 4)
    }

    @Test func whoDoesNotAllowItIsLeftAlone() async throws {
        let tiny = try TinyEngine { $0.prefixCache = .off }
        let calm = try await tiny.run([4, 8, 15], TinyEngine.options(20, routing: StaticRouting()))
        await tiny.llm.setPressure(3)
        let result = try await tiny.run([4, 8, 15], TinyEngine.options(20, routing: StaticRouting()))
        expectSame(result, calm)
        #expect(result.usage.degradedTokens == 0)
    }

    /// Changes of pressure in the middle of a text, in a cache so small that sequences are preempted: the engine must say what an
    /// engine would say that routes each token as `tokenExperts` tells, without any preemption.
    @Test func replaysRouteAsBefore() async throws {
        let tight = try TinyEngine { $0.cache = 288 }
        var random = SplitMix64(state: 12)
        let prompts = (0..<6).map { _ in TinyEngine.prompt(40, using: &random) }
        let stop = Task {
            for level in 0..<100_000 {
                if Task.isCancelled { return }
                await tight.llm.setPressure(level % 3)
                try await Task.sleep(for: .milliseconds(2))
            }
        }
        let results = try await tight.run(prompts.enumerated().map { ($1, options(100, seed: UInt64($0))) })
        stop.cancel()
        #expect(await tight.llm.engine.preemptions > 0)
        #expect(results.contains { Set($0.tokenExperts.dropFirst()).count > 1 }, "changes in a text were meant")
        for (index, result) in results.enumerated() {
            #expect(result.usage.degradedTokens == result.tokenExperts.dropFirst().count { $0 < 4 })
            // The model by itself, with the counts that were told: the log probabilities of what was chosen.
            let counts = PositionRouting(
                promptCount: prompts[index].count, counts: result.tokenExperts.dropFirst().map { Int($0) })
            let rows = Rows()
            let tokens = prompts[index] + result.tokens
            try await tight.llm.logits(
                tokens, decodeFrom: prompts[index].count, routing: RoutingChoice(counts)
            ) { rows.append($0) }
            for (step, entry) in result.logprobs.enumerated() {
                let row = rows.values[prompts[index].count - 1 + step]
                let best = row.indices.sorted { (row[$0], $1) > (row[$1], $0) }.prefix(2)
                #expect(entry.top.map { Int($0.token) } == Array(best), "request \(index), token \(step)")
            }
        }
        try await tight.expectIdle()
    }

    /// What was generated under pressure is not found by others, nor is what comes after it.
    @Test func degradedTextIsNobodys() async throws {
        let (tiny, fresh) = (try TinyEngine(), try TinyEngine { $0.prefixCache = .off })
        var random = SplitMix64(state: 13)
        let prompt = TinyEngine.prompt(32, using: &random)
        await tiny.llm.setPressure(1)
        let first = try await tiny.run(prompt, options(80))
        await tiny.llm.setPressure(0)
        let next = prompt + first.tokens
        let (found, expected) = (try await tiny.run(next, options(20)), try await fresh.run(next, options(20)))
        expectSame(found, expected)
        #expect(found.usage.cachedTokens == 32)
        // Without pressure it is.
        let calm = try await tiny.run(prompt, options(80))
        #expect(try await tiny.run(prompt + calm.tokens, options(4)).usage.cachedTokens == 96)
    }

    /// Both at once: levels change and the budget holds.
    @Test func withABudget() async throws {
        let tiny = try TinyEngine { $0.prefixCache = .off }
        var options = options(50)
        options.budget = 10 * 8 + 49 * 5
        options.fallbacks = [Self.one]
        await tiny.llm.setPressure(1)
        let result = try await tiny.run((0..<10).map { Int32($0) }, options)
        #expect(result.tokens.count == 50 && result.usage.degradedTokens == 49)
        #expect(result.usage.moe!.expertEvaluations <= options.budget!)
    }

    /// Drafts are checked under the level of their step.
    @Test func withDrafts() async throws {
        let tiny = try TinyEngine { $0.prefixCache = .off }
        await tiny.llm.setPressure(1)
        var options = options(60)
        options.sampling.temperature = 0
        let plain = try await tiny.run([4, 8, 15, 4, 8, 15, 4, 8], options)
        options.speculation = .lookup(longest: 2, maximum: 4, cost: 0)
        let drafted = try await tiny.run([4, 8, 15, 4, 8, 15, 4, 8], options)
        expectSame(plain, drafted)
        #expect(drafted.usage.speculation!.accepted > 0, "accepted drafts were meant")
        #expect(drafted.usage.degradedTokens == 59)
    }

    @Test func whatAFallbackCannotBe() async throws {
        let tiny = try TinyEngine()
        for policy in [UnionRouting(own: 1), StaticRouting(expertsPerToken: PerLayer(99))] as [any RoutingPolicy] {
            var options = TinyEngine.options(4)
            options.fallbacks = [policy]
            await #expect(throws: RequestError.self) { _ = try await tiny.run([1], options) }
        }
        var many = TinyEngine.options(4)
        many.fallbacks = [any RoutingPolicy](repeating: StaticRouting(), count: 17)
        await #expect(throws: RequestError.self) { _ = try await tiny.run([1], many) }
    }
}

/// As many experts as were told, position by position.
private struct PositionRouting: RoutingPolicy {
    let promptCount: Int
    let counts: [Int]

    func maximumExperts(modelExpertsPerToken: Int, expertCount: Int) -> Int { modelExpertsPerToken }

    func expertCount(for token: RoutingContext, logits: Span<Float>, ranked: Span<Float>) -> Int {
        let index = token.position - promptCount
        return counts.indices.contains(index) ? counts[index] : token.modelExpertsPerToken
    }
}

@Suite struct LoadControllerTests {
    /// Feeds a load (1: just at the objective) every second.
    private func levels(_ loads: [Double], _ controller: LoadController) -> [Int] {
        var controller = controller
        return loads.enumerated().map { second, load in
            controller.update(
                .init(tokenSeconds: load * 0.05, running: 4, waiting: 0), at: Double(second))
        }
    }

    /// The documentation's example.
    @Test func upQuicklyDownSlowly() {
        let controller = LoadController(milliseconds: 50, maximumLevel: 3)
        let loads = [0.5, 1.3, 1.4, 1.2, 0.9, 0.9] + [Double](repeating: 0.6, count: 22)
        let levels = levels(loads, controller)
        #expect(Array(levels[..<16]) == [0, 0, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2])
        #expect(levels[16] == 1 && levels[25] == 1 && levels[26] == 0)
    }

    @Test func oneLevelAtATimeAndNoFurtherThanAllowed() {
        let levels = levels([Double](repeating: 9, count: 10), LoadController(milliseconds: 50, maximumLevel: 2))
        #expect(levels == [0, 1, 2, 2, 2, 2, 2, 2, 2, 2])
        #expect(Set(self.levels([9, 9, 9], LoadController(milliseconds: 50, maximumLevel: 0))) == [0])
    }

    /// A single long step is no load, nor is anything between calm and the objective.
    @Test func spikesAndTheBandChangeNothing() {
        let controller = LoadController(milliseconds: 50, maximumLevel: 3)
        let spikes: [Double] = (0..<50).map { $0.isMultiple(of: 2) ? 4 : 0.8 }
        #expect(Set(levels(spikes, controller)) == [0])
        #expect(Set(levels([2, 2] + [Double](repeating: 0.85, count: 100), controller).dropFirst()) == [1])
    }

    @Test func aQueueIsLoadAndAnIdleEngineIsCalm() {
        var controller = LoadController(milliseconds: 50, queueSeconds: 1, maximumLevel: 3)
        controller.update(.init(tokenSeconds: 0.01, running: 4, waiting: 9, queueSeconds: 3), at: 0)
        #expect(controller.update(.init(tokenSeconds: 0.01, running: 4, waiting: 9, queueSeconds: 4), at: 1) == 1)
        #expect(controller.update(.init(tokenSeconds: nil, running: 0, waiting: 0, queueSeconds: 99), at: 2) == 1)
        #expect(controller.update(.init(tokenSeconds: nil, running: 0, waiting: 0), at: 12) == 0)
    }

    /// Load that is too high at one level and calm at the next: falls become rare instead of regular.
    @Test func doesNotGoBackAndForth() {
        var controller = LoadController(milliseconds: 50, maximumLevel: 1)
        var changes: [Double] = []
        var level = 0
        for second in 0..<400 {
            let load = controller.level == 0 ? 1.5 : 0.5
            let next = controller.update(.init(tokenSeconds: load * 0.05, running: 2, waiting: 0), at: Double(second))
            if next != level { changes.append(Double(second)) }
            level = next
        }
        let falls = stride(from: 1, to: changes.count, by: 2).map { changes[$0] - changes[$0 - 1] }
        #expect(falls.prefix(4) == [11, 21, 41, 81] && falls.allSatisfy { $0 <= 81 }, "\(falls)")
    }

    @Test func hostileNumbers() {
        var controller = LoadController(milliseconds: 0, queueSeconds: -1, maximumLevel: -3)
        controller.update(.init(tokenSeconds: .nan, running: 1, waiting: 1, queueSeconds: .infinity), at: 0)
        #expect(controller.update(.init(tokenSeconds: .infinity, running: 1, waiting: 1, queueSeconds: .nan), at: 9) == 0)
    }
}
