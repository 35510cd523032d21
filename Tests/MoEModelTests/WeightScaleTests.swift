// SPDX-License-Identifier: Apache-2.0

import MoECompute
import MoEModel
import MoETestSupport
import Testing

/// A policy's scale of the combine weights: only where fewer experts run than the model was trained with, on top of the model's
/// own rule, and never a matter of the count.
@Suite struct WeightScaleTests {
    /// k experts, and whatever scale it likes.
    private struct Scaled: RoutingPolicy {
        let k: Int
        let scale: Float

        func maximumExperts(modelExpertsPerToken: Int, expertCount: Int) -> Int { k }
        func expertCount(for token: RoutingContext, logits: Span<Float>, ranked: Span<Float>) -> Int { k }
        func weightScale(layer: Int, count: Int) -> Float { scale }
    }

    private func run(_ fixture: RouterFixture, _ policy: any RoutingPolicy) throws -> ([Float], [RouteRecorder.Token]) {
        let recorder = RouteRecorder()
        let output = try fixture.layer(.native)(try fixture.expected().input, routing: policy, observer: recorder)
        return (output, recorder.tokens)
    }

    @Test(arguments: RouterFixture.all, WeightRule.allCases)
    func theModelsOwnCountStaysBitIdentical(_ fixture: RouterFixture, _ rule: WeightRule) throws {
        var fixture = fixture
        fixture.spec.gating.weights = rule
        let k = fixture.spec.slotsPerToken
        let native = try run(fixture, StaticRouting()).0
        for count in [k, k + 1] {
            let plain = try run(fixture, StaticRouting(expertsPerToken: PerLayer(count))).0
            let scaled = try run(fixture, Scaled(k: count, scale: 3)).0
            #expect(scaled.elementsEqual(plain) { $0.bitPattern == $1.bitPattern }, "\(count) of \(k)")
            if count == k { #expect(scaled.elementsEqual(native) { $0.bitPattern == $1.bitPattern }) }
        }
    }

    @Test(arguments: RouterFixture.all, WeightRule.allCases)
    func fewerAreTheRulesWeightsTimesTheScale(_ fixture: RouterFixture, _ rule: WeightRule) throws {
        var fixture = fixture
        fixture.spec.gating.weights = rule
        let (plainOutput, plain) = try run(fixture, StaticRouting(expertsPerToken: PerLayer(2)))
        let (output, found) = try run(fixture, Scaled(k: 2, scale: 1.25))
        for (token, expected) in zip(found, plain) {
            #expect(token.experts == expected.experts && token.computed == expected.computed)
            #expect(token.weights == expected.weights.map { $0 * 1.25 })
        }
        // Pseudo-experts are scaled along: the whole output is.
        for (value, expected) in zip(output, plainOutput) { #expect(abs(value - 1.25 * expected) < 1e-5) }
    }

    /// The example of ``RoutingPolicy/weightScale(layer:count:)``.
    @Test func documentedExample() {
        for (rule, scale) in [(WeightRule.none, Float(1.2)), (.renormKept, 0.9)] {
            let spec = RouterSpec(realExperts: 4, slotsPerToken: 4, gating: GatingFunction(weights: rule))
            let weights = spec.weights(ranked: [0.5, 0.25, 0.15, 0.1], slots: [0, 1, 2, 3], kept: 2).map { $0 * scale }
            #expect(zip(weights, [0.6, 0.3] as [Float]).allSatisfy { abs($0 - $1) < 1e-6 })
        }
    }

    @Test func theLearnedGatesScalesAreByLayerAndCount() {
        let width = LearnedRouting.featureCount(expertCount: 4, maximum: 3)
        func layer(_ scales: [Float]) -> LearnedRouting.Layer {
            LearnedRouting.Layer(
                temperature: 1, logPrice: 0, expertLogNorms: [0, 0, 0, 0],
                weights: [Float](repeating: 0, count: 2 * width), scales: scales)
        }
        let gate = LearnedRouting(
            model: "sha256:00", minimum: 1, maximum: 3, expertCount: 4, layers: [layer([1, 1.3, 1.1]), nil, layer([])],
            mu: 0.1)
        #expect((0..<5).map { gate.weightScale(layer: 0, count: $0) } == [1, 1.3, 1.1, 1, 1])
        #expect((1..<5).map { gate.weightScale(layer: $0, count: 1) } == [1, 1, 1, 1])
        let wrapped = Rerouting(UnionRouting(own: 1, gate), margin: PerLayer(0.1))
        #expect(wrapped.weightScale(layer: 0, count: 1) == 1.3)
    }
}
