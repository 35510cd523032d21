// SPDX-License-Identifier: Apache-2.0

import MoECompute
import MoEModel
import MoETestSupport
import Testing

/// Prevents a silent failure: with two sequences in a batch, the second one's tokens weighted or gathered by the first one's
/// pairs. An assignment counts pairs over the whole step, a plan from the first token of its own range.
@Suite struct CombineTests {
    @Test(arguments: 0..<20) func everyRangeGathersItsOwnPairs(_ seed: Int) throws {
        var generator = SplitMix64(state: UInt64(seed) &+ 77)
        let (expertCount, width) = (Int.random(in: 1...9, using: &generator), Int.random(in: 1...70, using: &generator))
        let tokens = (0..<Int.random(in: 2...30, using: &generator)).map { _ in
            Array((0..<expertCount).shuffled(using: &generator).prefix(Int.random(in: 0...expertCount, using: &generator)))
        }
        let scratch = ScratchArena()
        let assignment = ExpertAssignment(
            tokenCount: tokens.count, capacity: tokens.reduce(0) { $0 + $1.count }, scratch: scratch)
        var pair = 0
        for (token, experts) in tokens.enumerated() {
            for expert in experts {
                assignment.experts[pair] = Int32(expert)
                assignment.weights[pair] = Float.random(in: 0...1, using: &generator)
                pair += 1
            }
            assignment.offsets[token + 1] = Int32(pair)
        }

        let pool = try ThreadPool(threads: 2)
        let output = scratch.floats(tokens.count * width)
        output.update(repeating: .nan, count: tokens.count * width)
        let cut = Int.random(in: 1..<tokens.count, using: &generator)
        for range in [0..<cut, cut..<tokens.count] {
            let plan = DispatchPlan(assignment, tokens: range, expertCount: expertCount, scratch: scratch)
            // Expert e answers token t with 100 t + e, whatever the column.
            let expertOutput = scratch.floats(plan.count * width)
            for expert in 0..<expertCount {
                for position in plan.positions(of: expert) {
                    (expertOutput + position * width).update(
                        repeating: Float(100 * Int(plan.rows[position]) + expert), count: width)
                }
            }
            Ops.combine(
                expertOutput, assignment: assignment, plan: plan, tokens: range, into: output, width: width, pool: pool)
        }

        for (token, experts) in tokens.enumerated() {
            let first = Int(assignment.offsets[token])
            let expected = experts.enumerated().reduce(0.0) {
                $0 + Double(assignment.weights[first + $1.offset]) * Double(100 * token + $1.element)
            }
            for column in 0..<width {
                #expect(abs(Double(output[token * width + column]) - expected) <= 1e-5 * max(1, abs(expected)))
            }
        }
    }
}
