// SPDX-License-Identifier: Apache-2.0

import Foundation
import MoECompute
import MoEInfer
import MoEModel
import MoETestSupport
import Testing

/// Drafts change speed, never a bit of what is said: tokens, text, log probabilities, routing, counts and the end are those of
/// the same request without drafts. Drafts that are always right and always wrong stand for all others.
@Suite struct SpeculationTests {
    static let prompts = BatchInvarianceTests.prompts

    private static func llm(
        _ model: ModelSource = EngineTests.model, _ set: (inout Settings) -> Void = { _ in }
    ) async throws -> LLM {
        var settings = Settings()
        settings.threads = 2
        settings.context = 256
        set(&settings)
        return try await LLM.load(model, options: EngineOptions(settings: settings))
    }

    private static func options(
        _ maxTokens: Int = 40, _ set: (inout SamplingOptions) -> Void = { _ in }
    ) -> GenerationOptions {
        var options = GenerationOptions()
        options.sampling.maxTokens = maxTokens
        options.sampling.ignoreEOS = true
        options.sampling.logprobs = 20
        set(&options.sampling)
        return options
    }

    /// Every way to draft, for a request whose text is known.
    static func drafters(for expected: Outcome) -> [(name: String, speculation: Speculation)] {
        let tokens = expected.result.tokens
        func known(_ isRight: @escaping @Sendable (Int) -> Bool) -> Speculation {
            Speculation(
                .text(KnownText(promptCount: expected.result.usage.promptTokens, tokens: tokens, isRight: isRight)),
                maximum: 5, cost: 0)
        }
        return [
            ("right", known { _ in true }), ("wrong", known { _ in false }), ("mixed", known { $0 * 7 % 5 != 2 }),
            ("lookup", .lookup(longest: 2, cost: 0)), ("lookup that adapts", .lookup()),
            ("experts", .experts(PerLayer(1), maximum: 3, cost: 0)), ("experts that adapt", .experts(PerLayer([2, 1]))),
        ]
    }

    @Test(arguments: BatchInvarianceTests.policies) func nothingChanges(policy name: String) async throws {
        let llm = try await Self.llm()
        let routing = RoutingChoice(try RoutingTestPolicies.policy(name, for: llm))
        let options = Self.options {
            $0.temperature = 0.9
            $0.seed = 11
        }
        var expected: [Outcome] = []
        for prompt in Self.prompts { expected.append(try await Outcome(llm, prompt, options, routing)) }

        for index in [0, 3] {
            for (drafter, speculation) in Self.drafters(for: expected[index]) {
                let found = try await Outcome(llm, Self.prompts[index], options, routing, speculation)
                found.expectSame(as: expected[index], "\(drafter), alone")
            }
        }
        // All together, each drafting in its own way; then with a cache that is too small for all.
        let tight = try await Self.llm {
            $0.context = 96
            $0.cache = 128
        }
        for (llm, place) in [(llm, "together"), (tight, "preempted")] {
            let found = try await withThrowingTaskGroup(of: (Int, Outcome).self) { group in
                for (index, prompt) in Self.prompts.enumerated() {
                    let drafters = Self.drafters(for: expected[index])
                    let speculation = index == 7 ? Speculation.off : drafters[index % drafters.count].speculation
                    group.addTask { (index, try await Outcome(llm, prompt, options, routing, speculation)) }
                }
                return try await group.reduce(into: [Int: Outcome]()) { $0[$1.0] = $1.1 }
            }
            for (index, expected) in expected.enumerated() { found[index]!.expectSame(as: expected, "\(place), \(index)") }
            #expect(await llm.engine.isEmpty)
        }
        #expect(await llm.engine.largestBatch > 4, "the sequences were meant to share steps")
        #expect(await tight.engine.preemptions > 0, "the cache was meant to be too small")
    }

    @Test(arguments: [Float(0), 0.7]) func figuresSayWhatWasDrafted(temperature: Float) async throws {
        let llm = try await Self.llm(EngineTests.plain)
        let options = Self.options(61) {
            $0.temperature = temperature
            $0.seed = 5
        }
        let plain = try await Outcome(llm, Self.prompts[0], options)
        #expect(plain.result.usage.speculation == nil)
        for (name, speculation) in Self.drafters(for: plain) {
            let found = try await Outcome(llm, Self.prompts[0], options, RoutingChoice(), speculation)
            found.expectSame(as: plain, name)
            let usage = try #require(found.result.usage.speculation)
            #expect(usage.steps + usage.accepted == 60, "each step gives a token, and one for each draft that is right")
            #expect(usage.tokensPerStep == 60 / Double(usage.steps))
            let pairs = usage.moe.map { $0.histogram.reduce(0, +) / found.result.layers.count } ?? 0
            switch name {
            case "right":
                #expect(usage.steps == 10 && usage.drafted == 50 && usage.accepted == 50 && usage.moe == nil)
            case "wrong":
                #expect(usage.steps == 60 && usage.accepted == 0)
                #expect(usage.drafted > 250 && pairs == usage.drafted, "rows of wrong drafts are counted apart")
            case "experts":
                #expect(usage.accepted > 0 && usage.acceptanceRate > 0.1)
                #expect(pairs == 2 * usage.drafted - usage.accepted)
                #expect(usage.moe?.histogram[1] == usage.drafted * found.result.layers.count, "drafts take one expert")
            default: #expect(pairs >= usage.drafted - usage.accepted)
            }
        }
    }

    /// A text that repeats is what lookup is for, and drafting adapts to it.
    @Test func lookupPaysWhereTextRepeats() async throws {
        let llm = try await Self.llm()
        let prompt = String(repeating: "The river flows to the sea. ", count: 8)
        let plain = try await Outcome(llm, prompt, Self.options(60))
        let found = try await Outcome(llm, prompt, Self.options(60), RoutingChoice(), .lookup())
        found.expectSame(as: plain, "lookup")
        let usage = try #require(found.result.usage.speculation)
        #expect(usage.tokensPerStep > 2 && usage.acceptanceRate > 0.5, "\(usage)")
    }

    @Test func penaltiesBiasesAndLimitsOfChoiceHold() async throws {
        let llm = try await Self.llm()
        let options = Self.options {
            $0.temperature = 1.1
            $0.seed = 8
            $0.topK = 40
            $0.topP = 0.95
            $0.minP = 0.01
            $0.repetitionPenalty = 1.2
            $0.presencePenalty = 0.3
            $0.frequencyPenalty = 0.2
            $0.logitBias = [300: 2]
        }
        let plain = try await Outcome(llm, Self.prompts[3], options)
        for (name, speculation) in Self.drafters(for: plain) {
            let found = try await Outcome(llm, Self.prompts[3], options, RoutingChoice(), speculation)
            found.expectSame(as: plain, name)
            if name == "experts" { #expect(found.result.usage.speculation!.accepted > 0) }
        }
    }

    // MARK: Ends

    /// A draft may be right beyond the end of the text: nothing of it may show.
    @Test func stopsInTheMiddleOfADraft() async throws {
        let llm = try await Self.llm()
        let free = try await Outcome(llm, Self.prompts[0], Self.options())
        let tokenizer = try llm.tokenizer
        for index in 1..<14 {
            let byToken = Self.options { $0.stopTokens = [free.result.tokens[index]] }
            let byText = Self.options { $0.stop = [tokenizer.decode(Array(free.result.tokens[index...index + 1]))] }
            let byCount = Self.options(index)
            for options in [byToken, byText, byCount] {
                let plain = try await Outcome(llm, Self.prompts[0], options)
                for (name, speculation) in Self.drafters(for: free) {
                    let found = try await Outcome(llm, Self.prompts[0], options, RoutingChoice(), speculation)
                    found.expectSame(as: plain, "\(name), end at \(index)")
                }
            }
        }
        #expect(await llm.engine.isEmpty)
    }

    @Test(arguments: [20, 32, 33]) func theContextsEndIsTheSame(context: Int) async throws {
        let llm = try await Self.llm { $0.context = context }
        let plain = try await Outcome(llm, Self.prompts[1], Self.options(1000))
        #expect(plain.result.finishReason == .length)
        #expect(plain.result.usage.promptTokens + plain.result.usage.completionTokens == context)
        for (name, speculation) in Self.drafters(for: plain) {
            let found = try await Outcome(llm, Self.prompts[1], Self.options(1000), RoutingChoice(), speculation)
            found.expectSame(as: plain, name)
        }
        #expect(await llm.engine.isEmpty)
    }

    @Test func aListenerWhoLeavesFreesTheBlocks() async throws {
        let llm = try await Self.llm()
        let plain = try await Outcome(llm, Self.prompts[0], Self.options(200))
        for (_, speculation) in Self.drafters(for: plain) {
            var options = Self.options(200)
            options.speculation = speculation
            var seen: [Int32] = []
            for try await event in llm.generate(Self.prompts[0], options: options) {
                if case .token(let token) = event { seen.append(token.id) }
                if seen.count == 9 { break }
            }
            #expect(seen == Array(plain.result.tokens.prefix(9)))
        }
        let deadline = ContinuousClock.now + .seconds(20)
        while await !llm.engine.isEmpty, ContinuousClock.now < deadline { try await Task.sleep(for: .milliseconds(2)) }
        #expect(await llm.engine.isEmpty)
        // And the engine goes on.
        let again = try await Outcome(llm, Self.prompts[0], Self.options(200), RoutingChoice(), .lookup())
        again.expectSame(as: plain, "after cancellations")
    }

    // MARK: Paths

    /// Whoever multiplies and however keys are stored: rows of drafts take the path of a token alone.
    @Test(arguments: MatmulPlan.Mode.allCases, KVCache.Precision.allCases)
    func everyPath(mode: MatmulPlan.Mode, precision: KVCache.Precision) async throws {
        let llm = try await Self.llm {
            $0.gemm = mode
            $0.kvPrecision = precision
        }
        let plain = try await Outcome(llm, Self.prompts[3], Self.options(16))
        for (name, speculation) in Self.drafters(for: plain) {
            let found = try await Outcome(llm, Self.prompts[3], Self.options(16), RoutingChoice(), speculation)
            found.expectSame(as: plain, "\(name), \(mode)")
        }
    }

    /// Attention cuts its work by what there is of it: a row's bits must not depend on the cut.
    @Test(arguments: KVCache.Precision.allCases) func aLongContext(precision: KVCache.Precision) async throws {
        let llm = try await Self.llm {
            $0.context = 512
            $0.kvPrecision = precision
            $0.threads = 3
        }
        let prompt = String(repeating: Self.prompts.joined(separator: " "), count: 9)
        let tokens = Array(try llm.tokenizer.encode(prompt).prefix(440))
        #expect(tokens.count == 440)
        let plain = try await Outcome(llm, tokens: tokens, Self.options(60))
        for (name, speculation) in Self.drafters(for: plain) {
            let found = try await Outcome(llm, tokens: tokens, Self.options(60), RoutingChoice(), speculation)
            found.expectSame(as: plain, name)
        }
    }

    /// Float weights, windows, shared experts, groups of heads, dense models.
    @Test(arguments: [
        "llama", "mistral-window", "mixtral", "mixtral-window-fused", "olmoe", "olmoe-gqa-tied", "qwen2moe",
        "qwen2moe-mixed-window", "qwen3-tied", "qwen3moe", "qwen3moe-mixed-fused",
    ])
    func everyArchitecture(model: String) async throws {
        let source = ModelSource.path(Fixtures.directory.appendingPathComponent("tiny/\(model)").path)
        let context = min(64, try ModelInspection.inspect(source).contextLength)
        let llm = try await Self.llm(source) { $0.context = context }
        let options = Self.options(24) {
            $0.temperature = 0.8
            $0.seed = 2
        }
        let prompt: [Int32] = [1, 5, 9, 2, 1, 5, 9]
        let plain = try await Outcome(llm, tokens: prompt, options)
        for (name, speculation) in Self.drafters(for: plain) {
            if name.hasPrefix("experts"), llm.expertsPerToken == 0 { continue }
            let found = try await Outcome(llm, tokens: prompt, options, RoutingChoice(), speculation)
            found.expectSame(as: plain, name)
        }
    }

    // MARK: What is refused

    @Test func whatWouldNotBeExactIsRefused() async throws {
        let llm = try await Self.llm()
        let union = RoutingChoice(try RoutingSpecification.parse("union:k0=2"))
        await #expect {
            _ = try await Outcome(llm, "The", Self.options(4), union, .lookup())
        } throws: {
            "\($0)".contains("routes each token by itself")
        }
        // Of the prompt it is none of drafting's business.
        _ = try await Outcome(
            llm, "The", Self.options(4), RoutingChoice(prefill: union.prefill, decode: StaticRouting()), .lookup())
        await #expect {
            _ = try await Outcome(llm, "The", Self.options(4), RoutingChoice(), .experts(PerLayer(99)))
        } throws: {
            "\($0)".contains("asks for 99 experts")
        }
        let dense = try await Self.llm(.path(Fixtures.directory.appendingPathComponent("tiny/llama").path)) {
            $0.context = 32
        }
        await #expect {
            _ = try await Outcome(dense, tokens: [1], Self.options(4), RoutingChoice(), .experts(PerLayer(1)))
        } throws: {
            "\($0)".contains("the model is dense")
        }
    }

    @Test func theBenchmarkComparesInTurns() async throws {
        let llm = try await Self.llm()
        let text = String(repeating: Self.prompts.joined(separator: ". "), count: 4)
        let results = try await llm.benchmark(
            text: text, prompt: 16, generate: 12, rounds: 3, routing: ("static", StaticRouting()),
            speculations: [("lookup", .lookup()), ("experts", .experts(PerLayer(2)))])
        #expect(results.map(\.speculation) == ["off", "lookup", "experts"])
        #expect(results[0].timeRatio.median == 1 && results[0].usage == nil)
        #expect(results[2].usage!.steps + results[2].usage!.accepted == 3 * 11)
        await #expect(throws: RequestError.self) {
            _ = try await llm.benchmark(
                text: "short", prompt: 64, generate: 12, rounds: 1, routing: ("static", StaticRouting()), speculations: [])
        }
    }
}

/// A drafter that knows the text to come, and says it where `isRight` of the token's place is true; elsewhere another token.
struct KnownText: TextDrafter {
    let promptCount: Int
    let tokens: [Int32]
    let isRight: @Sendable (Int) -> Bool

    func draft(_ count: Int, after sequence: [Int32], into draft: inout [Int32]) {
        let first = sequence.count - promptCount
        for place in first..<max(first, min(first + count, tokens.count)) {
            draft.append(isRight(place) ? tokens[place] : tokens[place] == 3 ? 4 : 3)
        }
    }
}

/// All that a request can tell, and how its tokens were routed.
struct Outcome: Sendable {
    let result: GenerationResult
    let route: RouteBits.Route
    /// What the stream's events told, token by token.
    let streamed: [String]

    init(
        _ llm: LLM, _ prompt: String, _ options: GenerationOptions, _ routing: RoutingChoice = RoutingChoice(),
        _ speculation: Speculation = .off
    ) async throws {
        let tokens = try llm.tokenizer.encode(prompt, addSpecial: true, parseSpecial: true)
        try await self.init(llm, tokens: tokens, options, routing, speculation)
    }

    init(
        _ llm: LLM, tokens: [Int32], _ options: GenerationOptions, _ routing: RoutingChoice = RoutingChoice(),
        _ speculation: Speculation = .off
    ) async throws {
        var options = options
        options.routing = routing
        options.speculation = speculation
        let bits = RouteBits()
        options.observer = bits
        var (final, streamed) = (GenerationResult?.none, [String]())
        for try await event in llm.generate(tokens: tokens, options: options) {
            switch event {
            case .prompt: break
            case .token(let token): streamed.append("\(token.id) \(token.text) \(token.meanExperts ?? 0)")
            case .text(let text): streamed.append(text)
            case .finished(let result): final = result
            }
        }
        result = try #require(final)
        route = bits.route
        self.streamed = streamed
    }

    func expectSame(as other: Outcome, _ comment: String, at place: SourceLocation = #_sourceLocation) {
        #expect(result.tokens == other.result.tokens, "\(comment)", sourceLocation: place)
        #expect(result.text == other.result.text, "\(comment)", sourceLocation: place)
        #expect(result.finishReason == other.result.finishReason, "\(comment)", sourceLocation: place)
        #expect(result.logprobs == other.result.logprobs, "\(comment)", sourceLocation: place)
        #expect(result.tokenExperts == other.result.tokenExperts, "\(comment)", sourceLocation: place)
        #expect(result.layers == other.result.layers, "\(comment)", sourceLocation: place)
        #expect(streamed == other.streamed, "\(comment)", sourceLocation: place)
        #expect(route == other.route, "\(comment)", sourceLocation: place)
        let (moe, expected) = (result.usage.moe, other.result.usage.moe)
        #expect(moe?.histogram == expected?.histogram, "\(comment)", sourceLocation: place)
        #expect(moe?.expertEvaluations == expected?.expertEvaluations, "\(comment)", sourceLocation: place)
        #expect(moe?.savedFraction == expected?.savedFraction, "\(comment)", sourceLocation: place)
        #expect(moe?.reroutes == expected?.reroutes, "\(comment)", sourceLocation: place)
    }
}
