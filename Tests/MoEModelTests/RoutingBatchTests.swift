// SPDX-License-Identifier: Apache-2.0

import Glibc
import MoECompute
import MoEModel
import MoETestSupport
import Synchronization
import Testing

/// The router asks a policy for a slice at a time; a policy that only answers for one token is asked with that token's own
/// place, logits and ranking, in order.
@Suite struct RoutingBatchTests {
    @Test(arguments: ["deepseek-v2", "deepseek-v3", "longcat"])
    func aPolicyOfOneTokenSeesEachTokenOnce(_ name: String) throws {
        let fixture = try #require(RouterFixture.all.first { $0.name.hasPrefix(name) })
        let expected = try fixture.expected()
        let policy = Witness()
        _ = try fixture.layer(.native)(expected.input, slices: [1, 20, 3], routing: policy)
        let seen = policy.seen.withLock { $0 }
        #expect(seen.map(\.position) == [0] + Array(0..<20) + [0, 1, 2])
        for (token, found) in seen.enumerated() {
            let scores = fixture.spec.gating.scores(of: found.logits)
            #expect(found.score == fixture.spec.gating.score && found.logits.count == fixture.spec.slotCount)
            #expect(
                found.ranked.sorted() == expected.slots[token].map { scores[$0] }.sorted(), "\(fixture), token \(token)")
        }
    }

    /// What a policy computes for a slice at once is what it says of each token alone, and does not hang on the slice.
    @Test(arguments: RouterFixture.all, RoutingBatchTests.policies)
    func countsAreTheTokensOwn(_ fixture: RouterFixture, _ policy: @Sendable (RouterSpec) throws -> any RoutingPolicy)
        throws
    {
        let policy = try policy(fixture.spec)
        func counts(_ slices: [Int], _ policy: any RoutingPolicy) throws -> [Int] {
            let counts = SlotCounts()
            _ = try fixture.layer(.native)(
                fixture.expected().input, slices: slices, routing: policy, observer: counts)
            return counts.counts.withLock { $0 }
        }
        let together = try counts([24], policy)
        #expect(try counts([1, 20, 3], policy) == together)
        #expect(try counts([24], TokenByToken(policy: policy)) == together)
        #expect(Set(together).count > 1, "\(fixture): \(together)")
    }

    private static let policies: [@Sendable (RouterSpec) throws -> any RoutingPolicy] = [
        { _ in try RoutingSpecification.parse("top-p:p=0.4,max=64") },
        { _ in try RoutingSpecification.parse("top-p:p=0.5,max=64,temperature=0.7") },
        { _ in try RoutingSpecification.parse("ratio:t=0.75") },
        { spec in
            let (k, slots) = (spec.slotsPerToken, spec.slotCount)
            var generator = SplitMix64(state: 5)
            func numbers(_ count: Int) -> [Float] { (0..<count).map { _ in Float.random(in: -1...1, using: &generator) } }
            let layer = LearnedRouting.Layer(
                temperature: 1.3, logPrice: 0.2, expertLogNorms: numbers(slots),
                weights: numbers((k - 1) * LearnedRouting.featureCount(expertCount: slots, maximum: k)))
            return LearnedRouting(model: "", minimum: 1, maximum: k, expertCount: slots, layers: [layer], mu: 1)
        },
    ]

    @Test func theSumOfEntropiesIsTheirSum() throws {
        let fixture = try #require(RouterFixture.all.first { $0.name == "longcat" })
        let entropies = Entropies()
        _ = try fixture.layer(.native)(fixture.expected().input, observer: entropies)
        let (total, each) = entropies.values.withLock { $0 }
        #expect(each.count == 24 && total == each.reduce(0, +))
        #expect(each.allSatisfy { $0 > 0 && $0 < log2(13) })
    }
}

/// Asks a policy for one token after the other, as the protocol's default does.
private struct TokenByToken: RoutingPolicy {
    let policy: any RoutingPolicy

    var usesHiddenNorm: Bool { policy.usesHiddenNorm }
    func hiddenDirection(layer: Int) -> [Float]? { policy.hiddenDirection(layer: layer) }
    func maximumExperts(modelExpertsPerToken: Int, expertCount: Int) -> Int {
        policy.maximumExperts(modelExpertsPerToken: modelExpertsPerToken, expertCount: expertCount)
    }
    func expertCount(for token: RoutingContext, logits: Span<Float>, ranked: Span<Float>) -> Int {
        policy.expertCount(for: token, logits: logits, ranked: ranked)
    }
}

/// Real experts by token.
private final class SlotCounts: RoutingObserver {
    let counts = Mutex<[Int]>([])
    func observe(_ event: borrowing RoutingEvent) {
        for token in 0..<event.tokenCount {
            let count = event.selectedExperts(token: token).count
            counts.withLock { $0.append(count) }
        }
    }
}

private final class Entropies: RoutingObserver {
    let values = Mutex<(total: Double, each: [Double])>((0, []))
    func observe(_ event: borrowing RoutingEvent) {
        let total = event.totalRouterEntropy
        values.withLock { $0.total += total }
        for token in 0..<event.tokenCount {
            let entropy = event.routerEntropy(token: token)
            values.withLock { $0.each.append(entropy) }
        }
    }
}

private final class Witness: RoutingPolicy {
    struct Token {
        let position: Int
        let score: RouterScore
        let logits: [Float]
        let ranked: [Float]
    }

    let seen = Mutex<[Token]>([])

    func maximumExperts(modelExpertsPerToken: Int, expertCount: Int) -> Int { modelExpertsPerToken }

    func expertCount(for token: RoutingContext, logits: Span<Float>, ranked: Span<Float>) -> Int {
        let copy = Token(
            position: token.position, score: token.score, logits: logits.indices.map { logits[$0] },
            ranked: ranked.indices.map { ranked[$0] })
        seen.withLock { $0.append(copy) }
        return 2
    }
}
