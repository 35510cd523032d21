// SPDX-License-Identifier: Apache-2.0

import Foundation
import MoECompute
import MoEInfer
import MoETensors
import MoETestSupport
import Testing

/// The engine on the embedded model's file: what a request gets must not depend on what else is running.
@Suite struct EngineTests {
    static let model = ModelSource.path(
        Fixtures.root.appendingPathComponent("CSources/CMoEDemoModel/demo.gguf").path)

    /// The same without its routing profile: native routing is static. A file of this process.
    static let plain: ModelSource = {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("moe-plain-\(getpid()).gguf").path
        do {
            _ = try ModelProfile.strip(from: model, out: path)
        } catch {
            fatalError("\(path): \(error)")
        }
        atexit {
            unlink(FileManager.default.temporaryDirectory.appendingPathComponent("moe-plain-\(getpid()).gguf").path)
        }
        return .path(path)
    }()

    private func llm(
        of model: ModelSource = EngineTests.model, _ set: (inout Settings) -> Void = { _ in }
    ) async throws -> LLM {
        var settings = Settings()
        settings.threads = 2
        settings.context = 256
        settings.prefixCache = .off  // a second run of a prompt counts what the first did
        set(&settings)
        return try await LLM.load(model, options: EngineOptions(settings: settings))
    }

    private func options(
        _ maxTokens: Int = 24, routing: String? = nil, _ set: (inout SamplingOptions) -> Void = { _ in }
    ) throws -> GenerationOptions {
        var options = GenerationOptions()
        options.sampling.maxTokens = maxTokens
        options.sampling.ignoreEOS = true
        set(&options.sampling)
        if let routing { options.routing = RoutingChoice(try RoutingSpecification.parse(routing)) }
        return options
    }

    private let prompts = [
        "The history of the city", "In 1945 the", "A", "The river flows through the north of the country and then",
        "He was born in", "ROMEO:\nWhat", "The population was 12,345 in the year", "My fellow citizens, ",
    ]

    @Test(arguments: [MatmulPlan.Mode.auto, .blas])
    func sameAloneAndAmongOthersBitForBit(mode: MatmulPlan.Mode) async throws {
        let llm = try await llm { $0.gemm = mode }
        let options = try self.options(routing: "top-p:p=0.6,min=1,max=8") {
            $0.temperature = 0.9
            $0.seed = 11
            $0.logprobs = 3
        }
        var alone: [GenerationResult] = []
        for prompt in prompts { alone.append(try await llm.complete(prompt, options: options)) }
        let together = try await withThrowingTaskGroup(of: (Int, GenerationResult).self) { group in
            for (index, prompt) in prompts.enumerated() {
                group.addTask { (index, try await llm.complete(prompt, options: options)) }
            }
            return try await group.reduce(into: [Int: GenerationResult]()) { $0[$1.0] = $1.1 }
        }
        for (index, expected) in alone.enumerated() {
            #expect(together[index]!.tokens == expected.tokens)
            #expect(together[index]!.logprobs == expected.logprobs, "the same numbers, not only the same choices")
            #expect(together[index]!.usage.moe!.histogram == expected.usage.moe!.histogram)
        }
        #expect(await llm.engine.largestBatch > 1, "the sequences were meant to share steps")
    }

    @Test func preemptionChangesNothing() async throws {
        let options = try self.options(120) { $0.logprobs = 1 }
        let roomy = try await llm()
        var expected: [GenerationResult] = []
        for prompt in prompts.prefix(4) { expected.append(try await roomy.complete(prompt, options: options)) }
        let tight = try await llm { $0.cache = 288 }
        let results = try await withThrowingTaskGroup(of: (Int, GenerationResult).self) { group in
            for (index, prompt) in prompts.prefix(4).enumerated() {
                group.addTask { (index, try await tight.complete(prompt, options: options)) }
            }
            return try await group.reduce(into: [Int: GenerationResult]()) { $0[$1.0] = $1.1 }
        }
        #expect(await tight.engine.preemptions > 0, "the cache was meant to be too small")
        for (index, result) in expected.enumerated() {
            #expect(results[index]!.tokens == result.tokens)
            #expect(results[index]!.logprobs == result.logprobs)
            #expect(results[index]!.usage.moe!.histogram == result.usage.moe!.histogram, "a replay is not counted again")
        }
        #expect(await tight.engine.blockCounts == (9, 9))
    }

    @Test func chunkedPromptGivesTheSameText() async throws {
        let prompt = String(repeating: "The history of the city and the river. ", count: 6)
        var results: [[Int32]] = []
        for chunk in [8, 32, 512] {
            let llm = try await llm {
                $0.chunk = chunk
                $0.gemm = .native
            }
            results.append(try await llm.complete(prompt, options: options(16)).tokens)
        }
        #expect(results[0] == results[2] && results[1] == results[2])
    }

    @Test func threadsDoNotChangeTheText() async throws {
        var results: [GenerationResult] = []
        for threads in [1, 2, 3] {
            let llm = try await llm {
                $0.threads = threads
                $0.gemm = .native
            }
            results.append(try await llm.complete(prompts[3], options: options { $0.logprobs = 0 }))
        }
        #expect(results[0].logprobs == results[1].logprobs && results[1].logprobs == results[2].logprobs)
    }

    @Test func droppingTheStreamFreesItsBlocks() async throws {
        let llm = try await llm()
        var seen = 0
        for try await event in llm.generate(prompts[0], options: try options(200)) {
            guard case .token = event else { continue }
            seen += 1
            if seen == 3 { break }
        }
        #expect(seen == 3)
        try await expectAllBlocksFree(llm)
        // And the engine goes on.
        #expect(try await llm.complete(prompts[1], options: options(4)).tokens.count == 4)
    }

    @Test func cancellingTheTaskThrows() async throws {
        let llm = try await llm()
        let options = try self.options(200)
        let task = Task { try await llm.complete("The", options: options) }
        task.cancel()
        await #expect(throws: CancellationError.self) { _ = try await task.value }
        try await expectAllBlocksFree(llm)
    }

    /// Prevents a request that nobody waits for from running to its end: the listener may leave before the engine knows it.
    @Test func streamsDroppedAtOnceLeaveNothing() async throws {
        let llm = try await llm()
        for _ in 0..<20 { _ = llm.generate(prompts[0], options: try options(200)) }
        try await expectAllBlocksFree(llm)
    }

    private func expectAllBlocksFree(_ llm: LLM) async throws {
        let deadline = ContinuousClock.now + .seconds(20)
        while await !llm.engine.isEmpty, ContinuousClock.now < deadline {
            try await Task.sleep(for: .milliseconds(2))
        }
        let counts = await llm.engine.blockCounts
        #expect(counts.free == counts.total)
    }

    // MARK: Routing

    @Test func staticAtTheModelsOwnCountIsThePathWithoutAPolicy() async throws {
        let llm = try await llm(of: Self.plain)
        let native = try await llm.complete(prompts[0], options: options { $0.logprobs = 5 })
        let fixed = try await llm.complete(prompts[0], options: options(routing: "static:k=8") { $0.logprobs = 5 })
        #expect(native.tokens == fixed.tokens && native.logprobs == fixed.logprobs)
        #expect(native.usage.moe!.meanExperts == 8 && native.usage.moe!.savedFraction == 0)
    }

    @Test(arguments: [1, 2, 5]) func theDialChangesWhatIsComputed(k: Int) async throws {
        let llm = try await llm()
        let result = try await llm.complete(prompts[0], options: options(10, routing: "static:k=\(k)"))
        let moe = result.usage.moe!
        let layers = result.layers.count
        // The last token is sampled, not computed; of the prompt, the last layer runs the token that is sampled from.
        let tokens = result.usage.promptTokens + 9
        let pairs = tokens * (layers - 1) + 10
        #expect(moe.expertEvaluations == pairs * k)
        #expect(moe.histogram == [Int](repeating: 0, count: k) + [pairs])
        #expect(result.layers.dropLast().allSatisfy { $0.expertLoad.reduce(0, +) == tokens * k })
        #expect(result.layers.last!.expertLoad.reduce(0, +) == 10 * k)
        #expect(abs(moe.savedFraction - (1 - Double(k) / 8)) < 1e-9)
        let full = try await llm.complete(prompts[0], options: options(10, routing: "static")).usage.moe!
        #expect(moe.expertBytesRead < full.expertBytesRead)
    }

    /// Every token says what it took: the sum over tokens is what was counted, and a prompt's last step stands for the first.
    @Test func tokensTellTheirExperts() async throws {
        let llm = try await llm()
        var options = try options(24, routing: "top-p:p=0.6,min=1,max=8")
        options.routing = RoutingChoice(
            prefill: StaticRouting(expertsPerToken: PerLayer(3)), decode: options.routing.decode)
        let result = try await llm.complete(prompts[3], options: options)
        #expect(result.tokenExperts.count == 24 && result.tokenExperts[0] == 3)
        #expect(Set(result.tokenExperts.dropFirst()).count > 3)
        let layers = Double(result.layers.count)
        let told = result.tokenExperts.dropFirst().reduce(0, +) * layers
        let prompt = 3 * ((layers - 1) * Double(result.usage.promptTokens) + 1)
        #expect(abs(told + prompt - Double(result.usage.moe!.expertEvaluations)) < 1e-6)
    }

    @Test func topPVariesByToken() async throws {
        let llm = try await llm()
        let moe = try await llm.complete(prompts[3], options: options(40, routing: "top-p:p=0.6,min=1,max=8")).usage.moe!
        #expect(moe.histogram.filter { $0 > 0 }.count >= 3, "\(moe.histogram)")
        #expect(moe.meanExperts > 1 && moe.meanExperts < 8)
        #expect(moe.gateTimeFraction > 0 && moe.gateTimeFraction < 1)
    }

    /// The batch-aware policy does what it is for: eight sequences that decode together read fewer experts than at the same k
    /// without it, and no more tokens are computed than static k would.
    @Test func unionReadsFewerExpertsInABatch() async throws {
        let llm = try await llm()
        func measure(_ routing: String) async throws -> MoEUsage {
            try #require(
                try await llm.benchmarkGeneration(
                    12, batch: 8, repetitions: 1, routing: try RoutingSpecification.parse(routing), named: routing
                ).moe)
        }
        let (fixed, union) = (try await measure("static:k=4"), try await measure("union:k0=1,k=4"))
        #expect(union.expertBytesRead < fixed.expertBytesRead * 3 / 4)
        #expect(union.expertEvaluations <= fixed.expertEvaluations && union.meanExperts > 2)
        let alone = try await llm.benchmarkGeneration(
            12, batch: 1, repetitions: 1, routing: try RoutingSpecification.parse("union:k0=1,k=4"), named: "")
        #expect(alone.moe?.meanExperts == 1)
    }

    /// Counted where it is computed: each re-route of one expert is one evaluation more than without.
    @Test func reroutesAreCounted() async throws {
        let llm = try await llm()
        let text = String(repeating: prompts.joined(separator: " "), count: 4)
        func measure(_ routing: String) async throws -> MoEUsage {
            try #require(
                try await llm.perplexity(of: text, context: 64, routing: RoutingChoice(RoutingSpecification.parse(routing)))
                    .moe)
        }
        let plain = try await measure("static:k=2")
        let some = try await measure("static:k=2+reroute:margin=0.1,add=1")
        let more = try await measure("static:k=2+reroute:margin=0.3,add=1")
        #expect(plain.reroutes == 0 && some.reroutes > 0 && more.reroutes > some.reroutes)
        for usage in [some, more] {
            #expect(usage.expertEvaluations == plain.expertEvaluations + usage.reroutes)
            #expect(usage.histogram[3] == usage.reroutes)
        }
    }

    @Test func requestsOfDifferentPoliciesRunTogether() async throws {
        let llm = try await llm()
        async let few = llm.complete(prompts[0], options: options(routing: "static:k=1"))
        async let many = llm.complete(prompts[0], options: options(routing: "static:k=8"))
        let (one, eight) = try await (few, many)
        #expect(one.usage.moe!.meanExperts == 1 && eight.usage.moe!.meanExperts == 8)
    }

    @Test func promptAndTextHavePoliciesOfTheirOwn() async throws {
        let llm = try await llm()
        var options = try self.options(11)
        options.routing = RoutingChoice(
            prefill: try RoutingSpecification.parse("static:k=3"), decode: try RoutingSpecification.parse("static:k=2"))
        let result = try await llm.complete(prompts[3], options: options)
        let layers = result.layers.count
        #expect(result.usage.moe!.histogram == [0, 0, 10 * layers, result.usage.promptTokens * (layers - 1) + 1])
    }

    // MARK: Ends and errors

    @Test func endsAreAsAskedFor() async throws {
        let llm = try await llm()
        let free = try await llm.complete(prompts[0], options: options(30))
        #expect(free.finishReason == .length && free.tokens.count == 30 && free.usage.completionTokens == 30)
        #expect(free.text == (try llm.tokenizer).decode(free.tokens))

        let words = free.text.split(separator: " ")
        let stop = String(words[words.count / 2])
        let stopped = try await llm.complete(prompts[0], options: options(30) { $0.stop = [stop] })
        #expect(stopped.finishReason == .stop)
        #expect(stopped.text == String(free.text[..<free.text.range(of: stop)!.lowerBound]))

        let byToken = try await llm.complete(prompts[0], options: options(30) { $0.stopTokens = [free.tokens[5]] })
        #expect(byToken.finishReason == .stop)
        #expect(byToken.tokens == Array(free.tokens[..<free.tokens.firstIndex(of: free.tokens[5])!]))

        #expect(try await llm.complete(prompts[0], options: options(0)).tokens.isEmpty)
    }

    @Test func aFullContextEndsTheText() async throws {
        let llm = try await llm { $0.context = 32 }
        let result = try await llm.complete(prompts[1], options: options(1000))
        #expect(result.finishReason == .length)
        #expect(result.usage.promptTokens + result.usage.completionTokens == 32)
    }

    @Test func requestsThatCannotBeServedSayWhy() async throws {
        let llm = try await llm { $0.context = 16 }
        let long = String(repeating: "word ", count: 100)
        await #expect { _ = try await llm.complete(long) } throws: { "\($0)".contains("the context holds 16") }
        await #expect { for try await _ in llm.generate(tokens: [1, 999_999]) {} } throws: {
            "\($0)".contains("not in the vocabulary")
        }
        await #expect { for try await _ in llm.generate(tokens: []) {} } throws: { "\($0)".contains("no tokens") }
        await #expect { _ = try await self.llm { $0.context = 1_000_000 } } throws: { "\($0)".contains("the model's is") }
        await #expect { _ = try await self.llm { $0.cache = 8 } } throws: { "\($0)".contains("cannot hold") }
    }

    @Test func settingsOutOfRangeAreRefused() async throws {
        let cases: [(inout Settings) -> Void] = [
            { $0.chunk = 0 }, { $0.batch = 0 }, { $0.batch = .max }, { $0.threads = 0 }, { $0.context = -1 },
            { $0.cache = 0 },
        ]
        for (index, set) in cases.enumerated() {
            await #expect(throws: SettingsError.self, "case \(index)") { _ = try await self.llm(set) }
        }
        let llm = try await llm()
        await #expect(throws: RequestError.self) { try await llm.logits([1, 2], decodeFrom: -3) { _ in } }
        await #expect(throws: RequestError.self) {
            _ = try await llm.benchmarkPrompt(8, repetitions: 0, routing: StaticRouting(), named: "")
        }
    }

    /// Prevents rubbish with exit code 0: a NaN in a norm is found at load, one in an expert's scale when its logits come.
    @Test(arguments: ["output_norm.weight", "blk.0.ffn_down_exps.weight"])
    func damagedWeightsAreAnError(tensor: String) async throws {
        let original = Fixtures.root.appendingPathComponent("CSources/CMoEDemoModel/demo.gguf")
        var bytes = try Data(contentsOf: original)
        let view = try #require(try GGUFFile(path: original.path).tensor(named: tensor))
        let start = try #require(bytes.range(of: Data(view.bytes.prefix(256)))).lowerBound
        // Every scale of the tensor's first rows becomes NaN: float32 values, or float16 scales of Q8_0 blocks of 34 bytes.
        if view.type == .f32 {
            bytes.replaceSubrange(start..<start + 4, with: [0, 0, 0xC0, 0x7F])
        } else {
            for block in 0..<view.bytes.count / 34 {
                bytes.replaceSubrange(start + block * 34..<start + block * 34 + 2, with: [0, 0x7E])
            }
        }
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("damaged-\(UUID().uuidString).gguf")
        try bytes.write(to: path)
        defer { try? FileManager.default.removeItem(at: path) }
        await #expect {
            _ = try await LLM.load(.path(path.path)).complete("The history", options: options(4))
        } throws: {
            "\($0)".contains("damaged")
        }
    }

    @Test func aRequestsObserverSeesItsTokens() async throws {
        let llm = try await llm()
        let seen = RoutingStatistics()
        var options = try self.options(6)
        options.observer = seen
        let result = try await llm.complete(prompts[0], options: options)
        #expect(seen.usage?.expertEvaluations == result.usage.moe?.expertEvaluations)
    }

    @Test func logprobsAreTheModelsOwn() async throws {
        let llm = try await llm()
        let result = try await llm.complete(
            prompts[2],
            options: options(3) {
                $0.logprobs = 4
                $0.logitBias = [5: 3]
            })
        let prompt = try llm.tokenizer.encode(prompts[2])
        let rows = Rows()
        try await llm.logits(prompt + result.tokens, decodeFrom: prompt.count) { rows.append($0) }
        for (index, entry) in result.logprobs.enumerated() {
            let row = rows.values[prompt.count - 1 + index]
            let total = row.reduce(0.0) { $0 + exp(Double($1)) }
            #expect(abs(Double(entry.chosen.logprob) - (Double(row[Int(entry.chosen.token)]) - log(total))) < 1e-4)
            let best = row.indices.sorted { (row[$0], $1) > (row[$1], $0) }.prefix(4)
            #expect(entry.top.map { Int($0.token) } == Array(best))
        }
    }
}

/// A model without a tokenizer (as transformers saves a bare one) still computes.
@Suite struct BareModelTests {
    static let folder = ModelSource.path(Fixtures.directory.appendingPathComponent("tiny/qwen3moe").path)

    @Test func idsGoInAndOut() async throws {
        let llm = try await LLM.load(Self.folder)
        #expect(throws: (any Error).self) { _ = try llm.tokenizer }
        var options = GenerationOptions()
        options.sampling.maxTokens = 5
        var result: GenerationResult?
        for try await event in llm.generate(tokens: [1, 2, 3], options: options) {
            if case .finished(let final) = event { result = final }
        }
        #expect(result?.tokens.count == 5 && result?.text == "")
        await #expect { _ = try await llm.complete("text") } throws: { "\($0)".contains("no tokenizer") }
    }
}
