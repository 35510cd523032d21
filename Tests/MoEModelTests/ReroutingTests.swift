// SPDX-License-Identifier: Apache-2.0

import Glibc
import MoECompute
import MoEModel
import MoETestSupport
import Synchronization
import Testing

/// Tokens of which the gate is unsure get more experts, and are counted; all others are left alone.
@Suite struct ReroutingTests {
    private static let tokens = 24

    private func run(
        _ policy: any RoutingPolicy, _ name: String = "deepseek-v2", change: (inout RouterSpec) -> Void = { _ in }
    ) throws -> RouteRecorder {
        var fixture = try #require(RouterFixture.all.first { $0.name == name })
        change(&fixture.spec)
        let recorder = RouteRecorder()
        let output = try fixture.layer(.native)(
            try fixture.expected().input, slices: [1, 20, 3], routing: policy, observer: recorder)
        #expect(output.allSatisfy { $0.isFinite })
        return recorder
    }

    /// By hand from the logits: the margin of two scores is a difference of two logits where the score is a softmax.
    @Test func marginPicksTheTokensThatAreClose() throws {
        // Without groups, so that the ranking is that of the logits.
        let plain = try run(StaticRouting(expertsPerToken: PerLayer(1))) { $0.groups = nil }
        let found = try run(try RoutingSpecification.parse("static:k=1+reroute:margin=0.3,add=1")) { $0.groups = nil }
        let close = plain.tokens.map { token in
            let sorted = token.logits.sorted(by: >)
            return 1 - exp(sorted[1] - sorted[0]) < 0.3
        }
        #expect(close.contains(true) && close.contains(false), "the fixture was meant to have both")
        #expect(found.tokens.map(\.computed) == close.map { $0 ? 2 : 1 })
        #expect(found.tokens.map(\.added) == close.map { $0 ? 1 : 0 })
    }

    @Test func entropyPicksTheTokensThatAreSpread() throws {
        let plain = try run(StaticRouting(expertsPerToken: PerLayer(1)))
        let shares = plain.tokens.map { token -> Float in
            let largest = token.logits.max()!
            let weights = token.logits.map { exp($0 - largest) }
            let total = weights.reduce(0, +)
            return -weights.reduce(0) { $0 + $1 / total * log($1 / total) } / log(Float(token.logits.count))
        }
        let threshold = (shares.min()! + shares.max()!) / 2
        let found = try run(
            Rerouting(StaticRouting(expertsPerToken: PerLayer(1)), entropy: PerLayer(threshold), added: 2))
        #expect(found.tokens.map(\.computed) == shares.map { $0 > threshold ? 3 : 1 })
        #expect(found.tokens.map(\.added) == shares.map { $0 > threshold ? 2 : 0 })
    }

    /// Nothing exceeds the model's own k, and a token that is there already is not counted.
    @Test func theModelsOwnCountIsTheEnd() throws {
        // k = 3: of one expert, two more; of two, one; of three, none.
        for (k, added) in [(1, 2), (2, 1), (3, 0)] {
            let found = try run(try RoutingSpecification.parse("static:k=\(k)+reroute:margin=1,entropy=0,add=5"))
            #expect(found.tokens.allSatisfy { $0.computed == 3 && $0.added == added }, "k = \(k)")
        }
        // A base policy that goes beyond the model's k keeps its own limit.
        let more = try run(try RoutingSpecification.parse("static:k=5+reroute:margin=1,entropy=0,add=5"))
        #expect(more.tokens.allSatisfy { $0.computed == 5 && $0.added == 0 })
        // Its room above the model's k is not re-routing's.
        let room = try run(try RoutingSpecification.parse("top-p:p=0.01,max=8+reroute:margin=1,entropy=0,add=5"))
        #expect(room.tokens.allSatisfy { $0.computed == 3 && $0.added == 2 })
    }

    /// What is added is what is computed: the base policy's experts, and `add` more for each that is counted.
    @Test(arguments: ["static:k=1", "top-p:p=0.4,max=2", "ratio:t=0.7", "absolute:c=0.2", "union:k0=1,k=1"])
    func experts(base: String) throws {
        let plain = try run(try RoutingSpecification.parse(base))
        let found = try run(try RoutingSpecification.parse(base + "+reroute:margin=0.4,add=1"))
        #expect(plain.tokens.allSatisfy { $0.added == 0 })
        #expect(
            found.tokens.map(\.computed).reduce(0, +)
                == zip(plain.tokens, found.tokens).reduce(0) { $0 + $1.0.computed + $1.1.added })
        let reroutes = found.tokens.count { $0.added > 0 }
        #expect(reroutes > 0 && reroutes < Self.tokens, "\(reroutes)")
    }

    /// A base policy sees the ranking that it would see alone: `top-p` takes all that it is shown.
    @Test func theBasePolicysMaximumHolds() throws {
        let found = try run(try RoutingSpecification.parse("top-p:p=1,max=2+reroute:margin=0,add=2"))
        #expect(found.tokens.allSatisfy { $0.computed == 2 })
    }

    // MARK: The learned gate's own uncertainty

    /// One head: û = -2 for every token, σ = 0.5; E = 16, K = 3, kMin = 2.
    private func gate(mu: Float, deviations: [Float] = [0.5]) -> LearnedRouting {
        let width = LearnedRouting.featureCount(expertCount: 16, maximum: 3)
        let layer = LearnedRouting.Layer(
            temperature: 1, logPrice: 0, expertLogNorms: [Float](repeating: 0, count: 16),
            weights: [-2] + [Float](repeating: 0, count: width - 1), deviations: deviations)
        return LearnedRouting(
            model: "sha256:00", minimum: 2, maximum: 3, expertCount: 16, layers: [layer], mu: mu)
    }

    /// The gain falls short of log mu = -1.8 by 0.2, that is 0.4 σ.
    @Test func headsThatAreUnsureAreAskedAgain() throws {
        let gate = gate(mu: exp(-1.8))
        let plain = try run(gate)
        #expect(plain.tokens.allSatisfy { $0.computed == 2 })
        let near = try run(Rerouting(gate, deviations: 0.41))
        #expect(near.tokens.allSatisfy { $0.computed == 3 && $0.added == 1 })
        let far = try run(Rerouting(gate, deviations: 0.39))
        #expect(far.tokens.allSatisfy { $0.computed == 2 && $0.added == 0 })
        // Also through another wrapper.
        let inner = try run(Rerouting(UnionRouting(own: 2, gate), deviations: 0.41))
        #expect(inner.tokens.allSatisfy { $0.added == 1 })
    }

    @Test func unknownUncertaintyIsSaidSo() throws {
        let known = Rerouting(gate(mu: 0.1), deviations: 1)
        #expect(known.problem(layerCount: 1, expertCount: 16) == nil)
        let unknown = Rerouting(gate(mu: 0.1, deviations: []), deviations: 1)
        #expect(unknown.problem(layerCount: 1, expertCount: 16)?.contains("the routing profile has none") == true)
        let none = try RoutingSpecification.parse("top-p:p=0.5+reroute:z=1")
        #expect(none.problem(layerCount: 1, expertCount: 16)?.contains("needs a learned gate") == true)
        let layers = try RoutingSpecification.parse("top-p:p=0.5+reroute:margin=0.1,0.2,0.3")
        #expect(layers.problem(layerCount: 2, expertCount: 16)?.contains("values for 3 layers") == true)
        let base = try RoutingSpecification.parse("static:k=17+reroute:margin=0.1")
        #expect(base.problem(layerCount: 2, expertCount: 16)?.contains("asks for 17 experts") == true)
    }

    @Test(arguments: [
        ("static:k=2+reroute", "'+reroute' needs 'margin', 'entropy' or 'z'"),
        ("static:k=2+reroute:add=1", "'+reroute' needs"),
        ("static:k=2+reroute:margin=2", "'margin' expects numbers from 0.0 to 1.0, found '2'"),
        ("static:k=2+reroute:margin=nan", "'margin' expects numbers"),
        ("static:k=2+reroute:entropy=-1", "'entropy' expects numbers"),
        ("static:k=2+reroute:z=inf", "'z' expects numbers"),
        ("static:k=2+reroute:z=1,2", "'z' takes one number, found 2"),
        ("static:k=2+reroute:margin=0.1,add=0", "'add' expects whole numbers from 1 to 1024, found '0'"),
        ("static:k=2+reroute:margin=0.1,k=3", "unknown field 'k'"),
        ("static:k=2+reroute:margin=0.1+reroute:z=1", "'+reroute' is given twice"),
        ("reroute:margin=0.1", "'reroute' follows another policy"),
        ("static:k=2+rerout:margin=0.1", "found '2+rerout:margin=0.1'"),
        ("+reroute:margin=0.1", "unknown policy ''"),
    ])
    func badSpecificationsSayWhatIsWrong(_ text: String, _ problem: String) {
        let error = #expect(throws: RoutingSpecificationError.self) { try RoutingSpecification.parse(text) }
        #expect(error?.description.contains(problem) == true, "\(error?.description ?? "")")
    }

    @Test func composesWithEveryPolicy() throws {
        let policy = try RoutingSpecification.parse("top-p:p=0.7 + union:k0=1 + reroute:margin=0.05,0.1,entropy=0.9,add=3")
        let rerouting = try #require(policy as? Rerouting)
        #expect(rerouting.margin == PerLayer([0.05, 0.1]) && rerouting.entropy == PerLayer(0.9))
        #expect(rerouting.deviations == nil && rerouting.added == 3)
        #expect(rerouting.batchPolicy == .union(own: 1))
        #expect((rerouting.innermost as? TopPRouting)?.p == PerLayer(0.7))
        // A plus in a file's name is the file's.
        #expect { _ = try RoutingSpecification.parse("profile:/nowhere/a+b.json+reroute:z=1") } throws: {
            "\($0)".contains("/nowhere/a+b.json")
        }
    }
}

/// What each token of one layer was routed to and what the kernels counted, in order.
final class RouteRecorder: RoutingObserver {
    struct Token: Sendable {
        let logits: [Float]
        let experts: [Int]
        let weights: [Float]
        let computed: Int
        let added: Int
    }

    private let state = Mutex<[Token]>([])
    var tokens: [Token] { state.withLock { $0 } }

    func observe(_ event: borrowing RoutingEvent) {
        for index in 0..<event.tokenCount {
            let token = Token(
                logits: event.routerLogits(token: index), experts: event.selectedExperts(token: index),
                weights: event.combineWeights(token: index), computed: event.computedExperts(token: index),
                added: event.addedExperts(token: index))
            state.withLock { $0.append(token) }
        }
    }
}
