// SPDX-License-Identifier: Apache-2.0

import Glibc
import MoEInfer
import MoETestSupport
import Synchronization
import Testing

/// A sequence's text must not depend on what else runs. For every policy but the batch-aware ones: the same tokens, log
/// probabilities, expert counts, router logits and combine weights, bit for bit, alone, among seven other prompts, and after
/// preemptions. Prefixes are not shared here, because usage counts what was computed: `PrefixCacheTests` has those.
@Suite struct BatchInvarianceTests {
    static let prompts = [
        "The history of the city", "In 1945 the", "A", "The river flows through the north of the country and then",
        "He was born in", "ROMEO:\nWhat", "The population was 12,345 in the year", "My fellow citizens, ",
    ]

    private static let specifications = [
        "static", "static:k=3", "static:k=6,2,4,1", "top-p:p=0.6,min=1,max=8,temperature=1.3", "ratio:min=1,t=0.3",
        "absolute:c=0.08,min=1", "learned",
    ]

    /// Each by itself, and with re-routing by every criterion that it has.
    static let policies = specifications.flatMap { name in
        [name, name + "+reroute:margin=0.15,entropy=0.85\(name == "learned" ? ",z=0.5" : ""),add=2"]
    }

    private static func llm(cache: Int? = nil) async throws -> LLM {
        var settings = Settings()
        settings.threads = 2
        settings.context = 256
        settings.cache = cache
        settings.prefixCache = .off
        return try await LLM.load(EngineTests.model, options: EngineOptions(settings: settings))
    }

    @Test(arguments: policies) func sameAloneAmongOthersAndAfterPreemption(name: String) async throws {
        let roomy = try await Self.llm()
        let policy = try RoutingTestPolicies.policy(name, for: roomy)
        var alone: [Outcome] = []
        for prompt in Self.prompts { alone.append(try await Outcome(roomy, prompt, policy)) }
        let counts = alone.flatMap { $0.route.layers.values.flatMap(\.counts) }
        if !name.hasPrefix("static") { #expect(Set(counts).count > 2, "the counts were meant to vary") }
        #expect(alone.contains { $0.route.reroutes > 0 } == (name.contains("+reroute") && name.prefix(7) != "static+"))

        let together = try await Self.together(roomy, policy)
        #expect(await roomy.engine.largestBatch > 4, "the sequences were meant to share steps")
        let tight = try await Self.llm(cache: 288)
        let preempted = try await Self.together(tight, policy)
        #expect(await tight.engine.preemptions > 0, "the cache was meant to be too small")

        for (index, expected) in alone.enumerated() {
            for other in [together[index], preempted[index]] {
                #expect(other.result.tokens == expected.result.tokens)
                #expect(other.result.logprobs == expected.result.logprobs)
                #expect(other.result.usage.moe!.histogram == expected.result.usage.moe!.histogram)
                #expect(other.result.usage.moe!.reroutes == expected.route.reroutes)
                #expect(other.route == expected.route)
            }
        }
    }

    /// Prevents a test of invariance that could not fail: the batch-aware policy does depend on its neighbours.
    @Test func unionIsNotInvariant() async throws {
        let llm = try await Self.llm()
        let policy = try RoutingSpecification.parse("union:k0=1,k=6")
        var alone: [Outcome] = []
        for prompt in Self.prompts { alone.append(try await Outcome(llm, prompt, policy)) }
        let together = try await Self.together(llm, policy)
        #expect(zip(alone, together).contains { $0.route != $1.route })
    }

    /// A certificate says what any run does; this one could not.
    @Test func unionIsNotCertified() async throws {
        let llm = try await Self.llm()
        await #expect {
            _ = try await llm.certify([("one", Self.prompts.joined(separator: "\n"))], routing: "top-p:p=0.9+union:k0=2")
        } throws: {
            "\($0)".contains("cannot be certified")
        }
    }

    private static func together(_ llm: LLM, _ policy: any RoutingPolicy) async throws -> [Outcome] {
        try await withThrowingTaskGroup(of: (Int, Outcome).self) { group in
            for (index, prompt) in prompts.enumerated() {
                group.addTask { (index, try await Outcome(llm, prompt, policy)) }
            }
            return try await group.reduce(into: [Int: Outcome]()) { $0[$1.0] = $1.1 }.sorted { $0.key < $1.key }
                .map(\.value)
        }
    }

    private struct Outcome: Sendable {
        let result: GenerationResult
        let route: RouteBits.Route

        init(_ llm: LLM, _ prompt: String, _ policy: any RoutingPolicy) async throws {
            var options = GenerationOptions(routing: RoutingChoice(policy))
            options.sampling.maxTokens = 40
            options.sampling.ignoreEOS = true
            options.sampling.temperature = 0.9
            options.sampling.seed = 11
            options.sampling.logprobs = 100
            let bits = RouteBits()
            options.observer = bits
            result = try await llm.complete(prompt, options: options)
            route = bits.route
        }
    }
}

/// Policies by name for the embedded model, with `learned` as a gate of made-up heads: no calibration is needed to show what a
/// count depends on.
enum RoutingTestPolicies {
    static func policy(_ name: String, for llm: LLM) throws -> any RoutingPolicy {
        guard name.hasPrefix("learned") else { return try RoutingSpecification.parse(name) }
        let gate = learned(for: llm)
        return name == "learned"
            ? gate
            : Rerouting(gate, margin: PerLayer(0.15), entropy: PerLayer(0.85), deviations: 0.5, added: 2)
    }

    /// 16 experts, k = 8, 4 layers.
    static func learned(for llm: LLM, mu: Float = 0.05) -> LearnedRouting {
        let (experts, maximum) = (16, 8)
        let width = LearnedRouting.featureCount(expertCount: experts, maximum: maximum)
        var random = SplitMix64(state: 3)
        let layers = (0..<4).map { _ -> LearnedRouting.Layer? in
            var weights = (0..<(maximum - 1) * width).map { _ in Float.random(in: -0.25...0.25, using: &random) }
            // The constant falls from head to head: the second expert is worth more than the eighth.
            for head in 0..<maximum - 1 { weights[head * width] = -2 - 0.3 * Float(head) }
            return LearnedRouting.Layer(
                temperature: 1.3, logPrice: 0, expertLogNorms: [Float](repeating: 0, count: experts), weights: weights,
                deviations: [Float](repeating: 0.4, count: maximum - 1),
                hiddenWeights: (0..<256).map { _ in Float.random(in: -0.05...0.05, using: &random) })
        }
        return LearnedRouting(
            model: llm.modelHash, minimum: 1, maximum: maximum, expertCount: experts, layers: layers, mu: mu)
    }
}

/// Keeps what every layer did with every token, as bits.
final class RouteBits: RoutingObserver {
    struct Layer: Equatable, Sendable {
        var counts: [Int] = []
        var added: [Int] = []
        var experts: [Int] = []
        var weights: [UInt32] = []
        var logits: [UInt32] = []
    }

    struct Route: Equatable, Sendable {
        var layers: [Int: Layer] = [:]
        var reroutes: Int { layers.values.reduce(0) { $0 + $1.added.count { $0 > 0 } } }
    }

    private let state = Mutex(Route())
    var route: Route { state.withLock { $0 } }

    func observe(_ event: borrowing RoutingEvent) {
        var layer = state.withLock { $0.layers[event.layer] ?? Layer() }
        for token in 0..<event.tokenCount {
            layer.counts.append(event.computedExperts(token: token))
            layer.added.append(event.addedExperts(token: token))
            layer.experts += event.selectedExperts(token: token)
            layer.weights += event.combineWeights(token: token).map(\.bitPattern)
            layer.logits += event.routerLogits(token: token).map(\.bitPattern)
        }
        let (index, value) = (event.layer, layer)
        state.withLock { $0.layers[index] = value }
    }
}
