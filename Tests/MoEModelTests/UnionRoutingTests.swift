// SPDX-License-Identifier: Apache-2.0

import MoECompute
import MoEModel
import MoETestSupport
import Testing

/// The batch-aware policy against a plain computation: what each token keeps, and that nothing outside the union is computed.
@Suite struct UnionRoutingTests {
    /// Decoding sequences: every token of the fixture is one, unless `slices` says otherwise.
    private func run(
        _ fixture: RouterFixture, _ policy: any RoutingPolicy, slices: [Int]? = nil, phases: [ForwardPhase]? = nil
    ) throws -> [RouteRecorder.Token] {
        let recorder = RouteRecorder()
        let input = try fixture.expected().input
        let layer = try fixture.layer(.native)
        let slices = slices ?? [Int](repeating: 1, count: input.count / layer.width)
        let output = try layer(
            input, slices: slices, phases: phases ?? [ForwardPhase](repeating: .decode, count: slices.count),
            routing: policy, observer: recorder)
        #expect(output.allSatisfy { $0.isFinite })
        #expect(recorder.tokens.allSatisfy { $0.computed == $0.experts.count })
        return recorder.tokens
    }

    /// Each token's whole ranking of real experts, from a run that keeps everything.
    private func rankings(_ fixture: RouterFixture) throws -> [[Int]] {
        try run(fixture, StaticRouting(expertsPerToken: PerLayer(1000))).map(\.experts)
    }

    private static let withoutPseudo = RouterFixture.all.filter { $0.spec.pseudo.isEmpty }

    @Test(arguments: withoutPseudo, [(1, 3), (2, 3), (1, 6), (2, 2)])
    func refillIsTheRankingWithinTheUnion(_ fixture: RouterFixture, _ counts: (own: Int, k: Int)) throws {
        let rankings = try rankings(fixture)
        let found = try run(
            fixture, UnionRouting(own: counts.own, StaticRouting(expertsPerToken: PerLayer(counts.k))))
        let union = Set(rankings.flatMap { $0.prefix(counts.own) })
        for (token, ranking) in zip(found, rankings) {
            #expect(token.experts == Array(ranking.filter { union.contains($0) }.prefix(counts.k)))
        }
        #expect(Set(found.flatMap(\.experts)) == union)
        #expect(union.count <= Set(rankings.flatMap { $0.prefix(counts.k) }).count)
    }

    /// Small batches, where the union runs out before k.
    @Test(arguments: withoutPseudo) func phasesAndBatchesHaveUnionsOfTheirOwn(_ fixture: RouterFixture) throws {
        let rankings = try rankings(fixture)
        let policy = UnionRouting(own: 1, StaticRouting(expertsPerToken: PerLayer(4)))
        // Two prompts of 9 and 11 tokens, and 4 decoding sequences between them.
        let slices = [9, 1, 1, 11, 1, 1]
        let phases: [ForwardPhase] = [.prefill, .decode, .decode, .prefill, .decode, .decode]
        let found = try run(fixture, policy, slices: slices, phases: phases)
        let tokenPhases = zip(slices, phases).flatMap { [ForwardPhase](repeating: $1, count: $0) }
        for phase in [ForwardPhase.prefill, .decode] {
            let members = tokenPhases.indices.filter { tokenPhases[$0] == phase }
            let union = Set(members.map { rankings[$0][0] })
            for token in members {
                #expect(found[token].experts == Array(rankings[token].filter { union.contains($0) }.prefix(4)))
            }
        }
    }

    /// A token alone has its own k0 experts, bit for bit those of static routing; with k0 = k the policy is static routing.
    @Test(arguments: RouterFixture.all) func aBatchOfOneIsStatic(_ fixture: RouterFixture) throws {
        let layer = try fixture.layer(.native)
        let input = Array(try fixture.expected().input[..<layer.width])
        for (own, k, same) in [(1, 3, 1), (2, 3, 2), (3, 3, 3), (4, 3, 3)] {
            let union = try layer(
                input, phases: [.decode], routing: UnionRouting(own: own, StaticRouting(expertsPerToken: PerLayer(k))))
            let fixed = try layer(
                input, phases: [.decode], routing: StaticRouting(expertsPerToken: PerLayer(same)))
            #expect(union.elementsEqual(fixed) { $0.bitPattern == $1.bitPattern }, "k0 = \(own), k = \(k)")
        }
        // Whatever the batch, where every expert is a token's own.
        let whole = try fixture.expected().input
        let slices = [Int](repeating: 1, count: whole.count / layer.width)
        let union = try layer(
            whole, slices: slices, routing: UnionRouting(own: 3, StaticRouting(expertsPerToken: PerLayer(3))))
        let fixed = try layer(whole, slices: slices, routing: StaticRouting(expertsPerToken: PerLayer(3)))
        #expect(union.elementsEqual(fixed) { $0.bitPattern == $1.bitPattern })
    }

    /// Weights are the model's rule over what is kept, from the gating function's scores of the kept slots.
    @Test(arguments: withoutPseudo) func weightsAreTheModelsRuleOverTheKept(_ fixture: RouterFixture) throws {
        let found = try run(fixture, UnionRouting(own: 1, StaticRouting(expertsPerToken: PerLayer(3))))
        for token in found {
            let scores = fixture.spec.gating.scores(of: token.logits)
            let ranked = token.experts.map { scores[$0] }
            let expected = fixture.spec.weights(
                ranked: ranked, slots: token.experts.map(Int32.init), kept: token.experts.count)
            #expect(zip(token.weights, expected).allSatisfy { abs($0 - $1) < 1e-6 })
        }
    }

    /// `keepFullMass` keeps the mass of the model's own k best, whichever experts the union leaves.
    @Test func fullMassIsThatOfTheModelsRanking() throws {
        var fixture = try #require(RouterFixture.all.first { $0.name == "deepseek-v2" })
        fixture.spec.gating = GatingFunction(weights: .keepFullMass)
        let native = try run(fixture, StaticRouting())
        let found = try run(fixture, UnionRouting(own: 1, StaticRouting(expertsPerToken: PerLayer(2))))
        for (token, full) in zip(found, native) {
            #expect(abs(token.weights.reduce(0, +) - full.weights.reduce(0, +)) < 1e-5)
        }
    }

    @Test(arguments: RouterFixture.all) func theSameBatchGivesTheSameNumbers(_ fixture: RouterFixture) throws {
        let layer = try fixture.layer(.native)
        let input = try fixture.expected().input
        let slices = [Int](repeating: 1, count: input.count / layer.width)
        let policy = try RoutingSpecification.parse("top-p:p=0.8+union:k0=1")
        let outputs = try (0..<2).map { _ in try layer(input, slices: slices, routing: policy) }
        #expect(outputs[0].elementsEqual(outputs[1]) { $0.bitPattern == $1.bitPattern })
    }

    /// Sequences under another policy neither add to the union nor are bound by it.
    @Test func othersAreLeftAlone() throws {
        let fixture = try #require(RouterFixture.all.first { $0.name == "deepseek-v2" })
        let layer = try fixture.layer(.native)
        let input = Array(try fixture.expected().input[..<(3 * layer.width)])
        let recorder = RouteRecorder()
        let union = UnionRouting(own: 1)
        _ = try layer(
            input, slices: [1, 1, 1], phases: [.decode, .decode, .decode], routings: [union, StaticRouting(), union],
            observer: recorder)
        let native = try rankings(fixture)
        #expect(recorder.tokens[1].experts == Array(native[1].prefix(3)))
        let expected = Set([native[0][0], native[2][0]])
        #expect(Set(recorder.tokens[0].experts + recorder.tokens[2].experts) == expected)
    }

    @Test func asText() throws {
        let policy = try #require(try RoutingSpecification.parse("union:k0=2,k=6,4") as? UnionRouting)
        #expect(policy.own == 2 && (policy.base as? StaticRouting)?.expertsPerToken == PerLayer([6, 4]))
        #expect(policy.batchPolicy == .union(own: 2))
        let own = try #require(try RoutingSpecification.parse("union:k0=1") as? UnionRouting)
        #expect((own.base as? StaticRouting) == StaticRouting())
        let other = try RoutingSpecification.parse("top-p:p=0.7")
        #expect(other.batchPolicy == nil)
    }

    @Test(arguments: [
        ("union", "'k0' is missing"),
        ("union:k0=0", "'k0' expects whole numbers from 1 to 1024, found '0'"),
        ("union:k0=3,k=4,2", "'k' is 2 but 'k0' is 3"),
        ("union:k0=1,2", "'k0' takes one number"),
        ("static:k=4+union", "'k0' is missing"),
        ("static:k=4+union:k0=1,k=3", "unknown field 'k'"),
        ("union:k0=1+union:k0=2", "'union' is given twice"),
    ])
    func badSpecificationsSayWhatIsWrong(_ text: String, _ problem: String) {
        let error = #expect(throws: RoutingSpecificationError.self) { try RoutingSpecification.parse(text) }
        #expect(error?.description.contains(problem) == true, "\(error?.description ?? "")")
    }
}
