// SPDX-License-Identifier: Apache-2.0

import MoEModel
import MoETestSupport
import Testing

/// The worked examples of ``RouterSpec`` and ``WeightRule``, and one invariant for each way to weigh.
@Suite struct RouterSpecTests {
    /// 3 experts and 1 zero, 1 identity expert, in this order of slots.
    private func spec(_ rule: WeightRule, k: Int = 4) -> RouterSpec {
        RouterSpec(
            realExperts: 3, slotsPerToken: k, gating: GatingFunction(weights: rule),
            pseudo: [PseudoExperts(.zero, count: 1), PseudoExperts(.identity, count: 1)])
    }

    /// The ranking of ``WeightRule``'s examples.
    private func weights(_ rule: WeightRule, kept: Int, k: Int = 4, change: (inout GatingFunction) -> Void = { _ in })
        -> [Float]
    {
        var spec = spec(rule, k: k)
        change(&spec.gating)
        return spec.weights(ranked: [0.4, 0.2, 0.15, 0.05], slots: [0, 3, 4, 1], kept: kept)
    }

    private func isClose(_ found: [Float], _ expected: [Float]) -> Bool {
        found.count == expected.count && zip(found, expected).allSatisfy { abs($0 - $1) < 5e-4 }
    }

    @Test func documentedExamples() {
        // real, zero, identity; the zero expert's weight is dropped afterwards.
        #expect(weights(.none, kept: 3) == [0.4, 0.2, 0.15])
        let kept = weights(.renormKept, kept: 3)
        #expect(isClose([kept[0], kept[2]], [0.727, 0.273]))
        let real = weights(.renormReal, kept: 3)
        #expect(isClose([real[0], real[2]], [1, 0.15]))
        let all = weights(.renormAllSlots, kept: 3)
        #expect(isClose([all[0], all[2]], [0.533, 0.2]))
        let mass = weights(.keepFullMass, kept: 3)
        #expect(isClose([mass[0], mass[2]], [0.427, 0.16]))
    }

    @Test func minimumSumAndScale() {
        let plain = RouterSpec(
            realExperts: 2, slotsPerToken: 2, gating: GatingFunction(weights: .renormKept, minimumSum: 0.05))
        #expect(isClose(plain.weights(ranked: [0.02, 0.01], slots: [0, 1], kept: 2), [0.4, 0.2]))
        #expect(isClose(weights(.none, kept: 2) { $0.scale = 2 }, [0.8, 0.4]))
    }

    // MARK: One invariant per rule, on random rankings

    private func random(
        _ seed: Int, _ body: (RouterSpec, _ ranked: [Float], _ slots: [Int32], _ kept: Int) -> Void, rule: WeightRule
    ) {
        var generator = SplitMix64(state: UInt64(seed) &+ 5)
        let spec = spec(rule, k: Int.random(in: 1...5, using: &generator))
        let slots = (0..<5).map(Int32.init).shuffled(using: &generator)
        let ranked = slots.map { _ in Float.random(in: 0.01...1, using: &generator) }.sorted(by: >)
        body(spec, ranked, slots, Int.random(in: 0...5, using: &generator))
    }

    @Test(arguments: 0..<20) func noneChangesNothing(_ seed: Int) {
        random(seed, { #expect($0.weights(ranked: $1, slots: $2, kept: $3) == Array($1.prefix($3))) }, rule: .none)
    }

    @Test(arguments: 0..<20) func renormKeptSumsToOneOverWhatAnswers(_ seed: Int) {
        random(
            seed,
            { spec, ranked, slots, kept in
                let found = spec.weights(ranked: ranked, slots: slots, kept: kept)
                let sum = zip(found, slots).reduce(0) { $1.1 == 3 ? $0 : $0 + $1.0 }
                #expect(sum == 0 || abs(sum - 1) < 1e-6)
            }, rule: .renormKept)
    }

    @Test(arguments: 0..<20) func renormRealSumsToOneOverRealExperts(_ seed: Int) {
        random(
            seed,
            { spec, ranked, slots, kept in
                let found = spec.weights(ranked: ranked, slots: slots, kept: kept)
                let sum = zip(found, slots).reduce(0) { $1.1 < 3 ? $0 + $1.0 : $0 }
                #expect(sum == 0 || abs(sum - 1) < 1e-6)
                for rank in 0..<kept where slots[rank] >= 3 { #expect(found[rank] == ranked[rank]) }
            }, rule: .renormReal)
    }

    @Test(arguments: 0..<20) func renormAllSlotsSumsToOneOverAll(_ seed: Int) {
        random(
            seed,
            { spec, ranked, slots, kept in
                let sum = spec.weights(ranked: ranked, slots: slots, kept: kept).reduce(0, +)
                #expect(kept == 0 || abs(sum - 1) < 1e-6)
            }, rule: .renormAllSlots)
    }

    @Test(arguments: 0..<20) func keepFullMassHasTheMassOfTheModelsCount(_ seed: Int) {
        random(
            seed,
            { spec, ranked, slots, kept in
                let found = spec.weights(ranked: ranked, slots: slots, kept: kept)
                let mass = ranked.prefix(spec.slotsPerToken).reduce(0, +)
                #expect(kept == 0 || abs(found.reduce(0, +) - mass) < 1e-5)
                // At the model's own k it is `none`, bit by bit.
                let own = spec.weights(ranked: ranked, slots: slots, kept: spec.slotsPerToken)
                #expect(own == Array(ranked.prefix(spec.slotsPerToken)))
            }, rule: .keepFullMass)
    }

    /// Without pseudo-experts the three ways to renormalise are one, bit by bit.
    @Test func renormalisationsAgreeWithoutPseudoExperts() {
        let found = [WeightRule.renormKept, .renormReal, .renormAllSlots].map {
            RouterSpec(realExperts: 5, slotsPerToken: 2, gating: GatingFunction(weights: $0))
                .weights(ranked: [0.3, 0.21, 0.17], slots: [4, 0, 2], kept: 3)
        }
        #expect(found[0] == found[1] && found[1] == found[2])
    }

    // MARK: Contradictions

    @Test func slotsAreRealFirst() {
        #expect((0..<5).map { spec(.none).pseudoKind(of: $0) } == [nil, nil, nil, .zero, .identity])
        #expect(spec(.none).slotCount == 5)
        #expect(spec(.none).problem == nil)
    }

    @Test func contradictionsAreNamed() {
        func problem(_ change: (inout RouterSpec) -> Void) -> String? {
            var spec = spec(.none)
            change(&spec)
            return spec.problem?.expected
        }
        #expect(problem { $0.slotsPerToken = 6 } == "at most 5 slots per token")
        #expect(problem { $0.kMax = 9 } == "0 ≤ kMin ≤ kMax ≤ 5")
        #expect(problem { $0.kMin = -1 } == "0 ≤ kMin ≤ kMax ≤ 5")
        #expect(problem { $0.pseudo[0].count = .max } == "counts from 1 to 65536")
        #expect(problem { $0.gating.scale = .nan }?.contains("a positive scale") == true)
        #expect(problem { $0.gating.minimumSum = .infinity }?.contains("a positive scale") == true)
        #expect(problem { $0.groups = ExpertGroups(count: 2, kept: 1, rank: .max) }?.contains("divides 5") == true)
        #expect(problem { $0.groups = ExpertGroups(count: 5, kept: 1, rank: .topTwoSum) } == "groups of two or more")
        #expect(problem { $0.groups = ExpertGroups(count: 5, kept: 3, rank: .max) }?.contains("hold k = 4") == true)
    }
}
