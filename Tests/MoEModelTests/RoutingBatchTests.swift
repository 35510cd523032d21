// SPDX-License-Identifier: Apache-2.0

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
