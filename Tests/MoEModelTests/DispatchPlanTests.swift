// SPDX-License-Identifier: Apache-2.0

import MoECompute
import MoEModel
import MoETestSupport
import Testing

@Suite struct DispatchPlanTests {
    private func assignment(_ tokens: [[Int]], scratch: ScratchArena) -> ExpertAssignment {
        let result = ExpertAssignment(
            tokenCount: tokens.count, capacity: tokens.reduce(0) { $0 + $1.count }, scratch: scratch)
        var pair = 0
        for (token, experts) in tokens.enumerated() {
            for expert in experts {
                result.experts[pair] = Int32(expert)
                result.weights[pair] = 1
                pair += 1
            }
            result.offsets[token + 1] = Int32(pair)
        }
        return result
    }

    /// The example of the type's documentation.
    @Test func documentedExample() {
        let scratch = ScratchArena()
        let plan = DispatchPlan(
            assignment([[2, 0], [2], [3, 2]], scratch: scratch), tokens: 0..<3, expertCount: 4, scratch: scratch)
        #expect((0...4).map { plan.expertOffsets[$0] } == [0, 1, 1, 4, 5])
        #expect((0..<5).map { plan.rows[$0] } == [0, 0, 1, 2, 2])
        #expect((0..<5).map { plan.slots[$0] } == [1, 0, 2, 4, 3])
    }

    @Test func tokensWithoutExpertsTakeNoPlace() {
        let scratch = ScratchArena()
        let plan = DispatchPlan(
            assignment([[], [1], []], scratch: scratch), tokens: 0..<3, expertCount: 2, scratch: scratch)
        #expect(plan.count == 1)
        #expect(plan.positions(of: 0).isEmpty)
        #expect(plan.positions(of: 1) == 0..<1)
    }

    /// Every pair has one place, among its own expert's, and the place knows the token: for random assignments and ranges.
    @Test(arguments: 0..<20) func isAPermutation(_ seed: Int) {
        var generator = SplitMix64(state: UInt64(seed) + 1)
        let expertCount = Int.random(in: 1...9, using: &generator)
        let tokens = (0..<Int.random(in: 1...30, using: &generator)).map { _ in
            Array((0..<expertCount).shuffled(using: &generator).prefix(Int.random(in: 0...expertCount, using: &generator)))
        }
        let scratch = ScratchArena()
        let assignment = assignment(tokens, scratch: scratch)
        let low = Int.random(in: 0..<tokens.count, using: &generator)
        let range = low..<Int.random(in: low + 1...tokens.count, using: &generator)
        let plan = DispatchPlan(assignment, tokens: range, expertCount: expertCount, scratch: scratch)

        var seen = Set<Int32>()
        var pair = 0
        for token in range {
            for expert in tokens[token] {
                let slot = plan.slots[pair]
                pair += 1
                #expect(seen.insert(slot).inserted)
                #expect(plan.positions(of: expert).contains(Int(slot)))
                #expect(plan.rows[Int(slot)] == Int32(token))
            }
        }
        #expect(pair == plan.count)
    }
}
