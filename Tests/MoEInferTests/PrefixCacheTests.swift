// SPDX-License-Identifier: Apache-2.0

import MoECompute
import MoEInfer
import MoEModel
import MoETestSupport
import Testing

/// Sequences that begin alike share blocks; what they say must not show it. The silent failure that these prevent: keys and values
/// of other tokens, or of tokens that were routed otherwise, under a new request.
@Suite struct PrefixCacheTests {
    static let beginning = String(repeating: "The river flows through the north of the country. ", count: 12)

    private static func llm(_ set: (inout Settings) -> Void = { _ in }) async throws -> LLM {
        var settings = Settings()
        settings.threads = 2
        settings.context = 384
        set(&settings)
        return try await LLM.load(EngineTests.model, options: EngineOptions(settings: settings))
    }

    private static func options(_ routing: String? = nil, tokens: Int = 40) throws -> GenerationOptions {
        var options = GenerationOptions()
        options.sampling.maxTokens = tokens
        options.sampling.ignoreEOS = true
        options.sampling.temperature = 0.8
        options.sampling.seed = 5
        options.sampling.logprobs = 20
        if let routing { options.routing = RoutingChoice(try RoutingSpecification.parse(routing)) }
        return options
    }

    @Test(arguments: ["native", "static", "top-p:p=0.6,min=1,max=8", "ratio:min=1,t=0.3+reroute:margin=0.15"])
    func aHitChangesNoBit(routing: String) async throws {
        let (fresh, shared) = (try await Self.llm { $0.prefixCache = .off }, try await Self.llm())
        let options = try Self.options(routing)
        let first = try await shared.complete(Self.beginning, options: options)
        #expect(first.usage.cachedTokens == 0)
        // Again; with another end; with what was generated, and more, as the next turn of a conversation has it.
        let next = Self.beginning + first.text + " And then"
        for prompt in [Self.beginning, Self.beginning + "In winter", next] {
            let (expected, found) = (
                try await fresh.complete(prompt, options: options), try await shared.complete(prompt, options: options)
            )
            #expect(found.usage.cachedTokens >= 64, "a hit was meant")
            #expect(found.usage.cachedTokens % 32 == 0 && found.usage.cachedTokens < found.usage.promptTokens)
            #expect(expected.usage.cachedTokens == 0)
            #expect(found.tokens == expected.tokens)
            #expect(found.logprobs == expected.logprobs)
            // Usage is what was computed: of a prompt's tokens but the last, three layers of four.
            #expect(
                found.usage.moe!.histogram.reduce(0, +)
                    == expected.usage.moe!.histogram.reduce(0, +) - 3 * found.usage.cachedTokens)
        }
        #expect(await shared.engine.isEmpty)
    }

    @Test func anotherPolicyFindsNothing() async throws {
        let llm = try await Self.llm()
        _ = try await llm.complete(Self.beginning, options: Self.options("static"))
        #expect(try await llm.complete(Self.beginning, options: Self.options("static:k=2")).usage.cachedTokens == 0)
        #expect(try await llm.complete(Self.beginning, options: Self.options("static")).usage.cachedTokens > 0)
    }

    /// A prompt under one policy and text under another: of such a block nobody can say what routed it.
    @Test func phasesApart() async throws {
        let (fresh, shared) = (try await Self.llm { $0.prefixCache = .off }, try await Self.llm())
        var options = try Self.options()
        options.routing = RoutingChoice(prefill: StaticRouting(), decode: StaticRouting(expertsPerToken: PerLayer(2)))
        let first = try await shared.complete(Self.beginning, options: options)
        let prompt = Self.beginning + first.text
        let (expected, found) = (
            try await fresh.complete(prompt, options: options), try await shared.complete(prompt, options: options)
        )
        #expect(found.usage.cachedTokens > 0 && found.usage.cachedTokens <= first.usage.promptTokens)
        #expect(found.logprobs == expected.logprobs)
    }

    /// A batch-aware policy's keys and values depend on who else ran.
    @Test func batchPoliciesShareNothing() async throws {
        let llm = try await Self.llm()
        for _ in 0..<2 {
            let result = try await llm.complete(Self.beginning, options: Self.options("union:k0=2"))
            #expect(result.usage.cachedTokens == 0)
        }
    }

    /// sgemm's sums depend on the rows that it is given: under BLAS only whole chunks are taken over.
    @Test(arguments: [32, 64]) func wholeChunksUnderBLAS(chunk: Int) async throws {
        let set: @Sendable (inout Settings) -> Void = {
            $0.gemm = .blas
            $0.chunk = chunk
        }
        let fresh = try await Self.llm {
            set(&$0)
            $0.prefixCache = .off
        }
        let shared = try await Self.llm(set)
        let options = try Self.options("static")
        let first = try await shared.complete(Self.beginning, options: options)
        let prompt = Self.beginning + first.text
        let (expected, found) = (
            try await fresh.complete(prompt, options: options), try await shared.complete(prompt, options: options)
        )
        #expect(found.usage.cachedTokens > 0 && found.usage.cachedTokens % chunk == 0)
        #expect(found.usage.cachedTokens <= first.usage.promptTokens)
        #expect(found.tokens == expected.tokens)
        #expect(found.logprobs == expected.logprobs)
    }

    /// Many at once, with too few blocks for all: shared blocks, preemptions and evictions together.
    @Test func togetherInATightCache() async throws {
        let fresh = try await Self.llm { $0.prefixCache = .off }
        let tight = try await Self.llm { $0.cache = 512 }
        let options = try Self.options("native", tokens: 70)
        let prompts = ["In winter", "In summer the", "", "A", "He was born", "1945"].map { Self.beginning + $0 }
        var expected: [GenerationResult] = []
        for prompt in prompts { expected.append(try await fresh.complete(prompt, options: options)) }
        for _ in 0..<2 {
            let results = try await withThrowingTaskGroup(of: (Int, GenerationResult).self) { group in
                for (index, prompt) in prompts.enumerated() {
                    group.addTask { (index, try await tight.complete(prompt, options: options)) }
                }
                return try await group.reduce(into: [Int: GenerationResult]()) { $0[$1.0] = $1.1 }
            }
            for (index, expected) in expected.enumerated() {
                #expect(results[index]!.tokens == expected.tokens)
                #expect(results[index]!.logprobs == expected.logprobs)
            }
        }
        #expect(await tight.engine.preemptions > 0, "the cache was meant to be too small")
        #expect(await tight.engine.isEmpty)
    }

    // MARK: Blocks

    @Test func sharedBlocksStayUntilTheLastUserLeaves() {
        var scheduler = Scheduler(
            limits: .init(sequences: 4, chunk: 16, sharing: .blocks), blocks: BlockManager(blockCount: 8, blockSize: 8))
        let content = Scheduler.Content(tokens: Array(0..<32), routing: (0, 0))
        func step() -> [Scheduler.Slice] {
            var slices: [Scheduler.Slice] = []
            scheduler.schedule(into: &slices, content: { _ in content })
            return slices
        }
        scheduler.add(id: 1, promptCount: 20)
        #expect(step().map(\.range) == [0..<16])
        #expect(step().map(\.range) == [16..<20])
        scheduler.append(id: 1)
        scheduler.add(id: 2, promptCount: 20)
        let slices = step()
        #expect(slices.map(\.range) == [20..<21, 16..<20], "the second starts behind the two full blocks of the first")
        #expect(slices[0].blockTable.prefix(2) == slices[1].blockTable.prefix(2))
        #expect(slices[0].blockTable[2] != slices[1].blockTable[2])
        #expect(scheduler.blocks.freeCount == 8 - 4)
        scheduler.remove(id: 1, content: content)
        #expect(scheduler.blocks.freeCount == 8 - 3)
        scheduler.remove(id: 2, content: content)
        #expect(scheduler.blocks.freeCount == 8 && scheduler.blocks.idleCount == 2)
    }

    /// What is left of a prefix gives way from its end, and the least recently used first.
    @Test func evictsTheOldestFromItsEnd() {
        var scheduler = Scheduler(
            limits: .init(sequences: 1, chunk: 64, sharing: .blocks), blocks: BlockManager(blockCount: 6, blockSize: 8))
        func run(_ id: Int, _ tokens: [Int32]) -> Int {
            let content = Scheduler.Content(tokens: tokens, routing: (0, 0))
            var slices: [Scheduler.Slice] = []
            scheduler.add(id: id, promptCount: tokens.count)
            scheduler.schedule(into: &slices, content: { _ in content })
            scheduler.remove(id: id, content: content)
            return slices[0].range.lowerBound
        }
        let (first, second) = ((0..<25).map { Int32($0) }, (100..<125).map { Int32($0) })
        // 3 full blocks each, 6 in all; the fourth of the second evicts one of the first's.
        #expect(run(1, first) == 0 && run(2, second) == 0)
        #expect(run(3, second) == 24)
        #expect(run(4, first) == 16, "the last block of the oldest gave way")
    }

    /// A sequence alone always runs, whatever idle blocks it takes over: no call may find too few blocks.
    @Test func randomTraffic() {
        var random = SplitMix64(state: 9)
        for _ in 0..<50 {
            let sharing: Scheduler.Sharing = Bool.random(using: &random) ? .blocks : .chunks
            var scheduler = Scheduler(
                limits: .init(sequences: 3, chunk: 16, sharing: sharing), blocks: BlockManager(blockCount: 9, blockSize: 8))
            var contents: [Int: Scheduler.Content] = [:]
            var holds: [Int32: [Int32]] = [:]  // what was written to each block
            var nextID = 0
            for _ in 0..<300 {
                if contents.count < 5, Int.random(in: 0..<3, using: &random) == 0 {
                    let count = Int.random(in: 1...40, using: &random)
                    let alphabet = Int32.random(in: 1...2, using: &random)
                    contents[nextID] = .init(
                        tokens: (0..<Int32(count)).map { $0 < 20 ? alphabet : Int32.random(in: 0..<2, using: &random) },
                        routing: (0, Bool.random(using: &random) ? 0 : 1))
                    scheduler.add(id: nextID, promptCount: count)
                    nextID += 1
                }
                var slices: [Scheduler.Slice] = []
                scheduler.schedule(into: &slices, content: { contents[$0] })
                for slice in slices {
                    let tokens = contents[slice.id]!.tokens
                    for position in 0..<slice.range.lowerBound {
                        let block = slice.blockTable[position / 8]
                        #expect(holds[block]![position % 8] == tokens[position], "a block of other tokens")
                    }
                    for position in slice.range {
                        let block = slice.blockTable[position / 8]
                        holds[block, default: Array(repeating: -1, count: 8)][position % 8] = tokens[position]
                    }
                }
                for slice in slices where slice.samples {
                    contents[slice.id]!.tokens.append(Int32.random(in: 0..<2, using: &random))
                    if contents[slice.id]!.tokens.count > 60 || Int.random(in: 0..<15, using: &random) == 0 {
                        scheduler.remove(id: slice.id, content: contents[slice.id])
                        contents[slice.id] = nil
                    } else {
                        scheduler.append(id: slice.id)
                    }
                }
            }
            for id in contents.keys { scheduler.remove(id: id, content: contents[id]) }
            #expect(scheduler.blocks.freeCount == 9)
        }
    }
}
