// SPDX-License-Identifier: Apache-2.0

import MoECompute
import MoEGrammar
import MoEInfer
import MoEModel
import MoETestSupport
import Testing

/// One request's misfortune is nobody else's: what fails ends alone, and who leaves takes nothing along.
@Suite struct RobustnessTests {
    /// A step of the model that fails because of one sequence, with others in the same step: they go on, bit for bit.
    @Test(arguments: [
        Speculation.off, .lookup(longest: 2, maximum: 4, cost: 0), .experts(PerLayer(1), maximum: 3, cost: 0),
    ])
    func aStepThatFails(speculation: Speculation) async throws {
        let fine = try TinyEngine { $0.prefixCache = .off }
        let faulty = try TinyEngine(model: { FaultyModel($0, token: 91) }, { $0.prefixCache = .off })
        var random = SplitMix64(state: 31)
        var requests = (0..<5).map { index in
            (
                tokens: TinyEngine.prompt(20, using: &random),
                options: TinyEngine.options(40, seed: UInt64(index), routing: StaticRouting())
            )
        }
        for index in requests.indices {
            requests[index].options.sampling.logitBias = [91: -100]
            requests[index].options.speculation = speculation
        }
        let expected = try await fine.run(requests)
        // One that fails in its prompt, and one that does at its tenth token.
        var late = TinyEngine.options(40)
        late.sampling.logitBias = [91: 3]
        late.speculation = speculation
        let doomed = [
            (tokens: [Int32(3), 91, 4], options: TinyEngine.options(5)), (tokens: [Int32(7), 8], options: late),
        ]
        async let failures = withTaskGroup(of: (any Error)?.self) { group in
            for request in doomed {
                group.addTask {
                    do {
                        _ = try await faulty.run(request.tokens, request.options)
                        return nil
                    } catch {
                        return error
                    }
                }
            }
            return await group.reduce(into: [(any Error)?]()) { $0.append($1) }
        }
        let results = try await faulty.run(requests)
        for error in await failures { #expect((error as? FaultyModel.Failure) != nil, "\(String(describing: error))") }
        for (index, result) in results.enumerated() { expectSame(result, expected[index], "request \(index)") }
        try await faulty.expectIdle()
        #expect(await faulty.llm.snapshot().requests.failed == 2)
        expectSame(try await faulty.run(requests[0].tokens, requests[0].options), expected[0])
    }

    /// A grammar that cannot go on ends its own request, in the middle of others'.
    @Test func aGrammarThatFails() async throws {
        var settings = Settings()
        settings.threads = 2
        settings.context = 128
        let llm = try await LLM.load(EngineTests.model, options: EngineOptions(settings: settings))
        var options = GenerationOptions()
        options.sampling.maxTokens = 30
        options.sampling.ignoreEOS = true
        options.sampling.logprobs = 1
        let expected = try await llm.complete("The history of the city", options: options)
        var doomed = options
        doomed.grammar = try Grammar(gbnf: #"root ::= "aaa" "x""#)
        for token in try llm.tokenizer.encode("x", addSpecial: false) { doomed.sampling.logitBias[token] = -.infinity }
        let late = doomed
        async let outcome = Result { try await llm.complete("A", options: late) }
        expectSame(try await llm.complete("The history of the city", options: options), expected)
        let failure = await outcome
        #expect(throws: RequestError.self) { _ = try failure.get() }
        #expect(await llm.snapshot().requests.failed == 1)
        #expect(await llm.engine.isEmpty)
    }

    /// Logits that are no numbers are one sequence's affair as well.
    @Test func logitsThatAreNoNumbers() async throws {
        let fine = try TinyEngine { $0.prefixCache = .off }
        let faulty = try TinyEngine(
            model: { FaultyModel($0, token: 91, isNaN: true) }, { $0.prefixCache = .off })
        var options = TinyEngine.options(30)
        options.sampling.logitBias = [91: -100]
        let expected = try await fine.run([5, 6, 7], options)
        async let doomed = Result { try await faulty.run([5, 91], TinyEngine.options(9)) }
        expectSame(try await faulty.run([5, 6, 7], options), expected)
        let outcome = await doomed
        #expect(throws: RequestError.self) { _ = try outcome.get() }
        try await faulty.expectIdle()
    }

    /// Listeners leave at every stage: before the engine knows of the request, while it waits, in its prompt, while it decodes, while
    /// it is preempted. Who stays gets what it would alone; in the end nothing is left.
    @Test func randomCancels() async throws {
        let fine = try TinyEngine { $0.prefixCache = .off }
        let tight = try TinyEngine {
            $0.cache = 256
            $0.batch = 4
        }
        var random = SplitMix64(state: 77)
        var requests: [(tokens: [Int32], options: GenerationOptions)] = []
        for index in 0..<10 {
            var options = TinyEngine.options(60, seed: UInt64(index), routing: StaticRouting())
            options.sampling.logprobs = 1
            if index % 3 == 1 { options.budget = 2000 }
            requests.append((TinyEngine.prompt(50 + index * 5, using: &random), options))
        }
        let expected = try await fine.run(requests)
        for round in 0..<6 {
            // The even ones stay; the others leave at a random moment, some at once.
            let delays = requests.map { _ in Int.random(in: 0...3, using: &random) * Int.random(in: 0...8, using: &random) }
            try await withThrowingTaskGroup(of: Void.self) { group in
                for (index, request) in requests.enumerated() {
                    group.addTask {
                        if index.isMultiple(of: 2) {
                            expectSame(
                                try await tight.run(request.tokens, request.options), expected[index],
                                "round \(round), request \(index)")
                            return
                        }
                        let task = Task { try await tight.run(request.tokens, request.options) }
                        if delays[index] > 0 { try await Task.sleep(for: .milliseconds(delays[index])) }
                        task.cancel()
                        // Cancelled, or done before.
                        if let result = try? await task.value { expectSame(result, expected[index]) }
                    }
                }
                try await group.waitForAll()
            }
            try await tight.expectIdle()
        }
        #expect(await tight.llm.engine.preemptions > 0, "the cache was meant to be too small")
        let snapshot = await tight.llm.snapshot()
        #expect(snapshot.requests.submitted == 60 && snapshot.requests.cancelled > 0 && snapshot.requests.failed == 0)
        #expect(snapshot.requests.finished + snapshot.requests.cancelled == 60)
        #expect(snapshot.blocks.free == snapshot.blocks.total)
    }

    /// Who is cancelled has its blocks free before the next step has ended, with others under way.
    @Test func aCancelFreesBlocksWithinAStep() async throws {
        let tiny = try TinyEngine { $0.prefixCache = .off }
        async let other = tiny.run([1, 2, 3], TinyEngine.options(200))
        var steps = 0
        for try await event in tiny.llm.generate(tokens: [4, 5, 6], options: TinyEngine.options(200)) {
            if case .token = event {
                steps = await tiny.llm.snapshot().steps
                break
            }
        }
        var snapshot = await tiny.llm.snapshot()
        while snapshot.requests.cancelled == 0 {
            try await Task.sleep(for: .microseconds(100))
            snapshot = await tiny.llm.snapshot()
        }
        #expect(snapshot.running <= 1)
        // The listener's own way to its cancel takes some steps of so small a model; the engine adds one.
        #expect(snapshot.steps - steps < 100)
        #expect(try await other.tokens.count == 200)
        try await tiny.expectIdle()
    }
}

extension Result where Failure == any Error {
    fileprivate init(_ body: () async throws -> Success) async {
        do { self = .success(try await body()) } catch { self = .failure(error) }
    }
}

/// Fails for batches with a certain token; or gives rows that are no numbers to whoever has it last.
private final class FaultyModel: LanguageModel {
    struct Failure: Error {}

    private let base: any LanguageModel
    private let token: Int32
    private let isNaN: Bool

    init(_ base: any LanguageModel, token: Int32, isNaN: Bool = false) {
        self.base = base
        self.token = token
        self.isNaN = isNaN
    }

    var configuration: ModelConfiguration { base.configuration }

    func forward(
        _ batch: ForwardBatch, cache: KVCache, context: ComputeContext, logits: UnsafeMutableBufferPointer<Float>,
        hidden: UnsafeMutableBufferPointer<Float>
    ) throws {
        if !isNaN, batch.tokens.contains(token) { throw Failure() }
        try base.forward(batch, cache: cache, context: context, logits: logits, hidden: hidden)
        let width = configuration.vocabularySize
        for (index, row) in batch.logitRows.enumerated() where isNaN && batch.tokens[Int(row)] == token {
            logits[index * width] = .nan
        }
    }
}
