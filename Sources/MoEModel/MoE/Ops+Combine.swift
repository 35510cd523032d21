// SPDX-License-Identifier: Apache-2.0

package import MoECompute

extension Ops {
    /// The weighted sum of each token's expert outputs, in the order of its ranking; 0 for a token without experts.
    ///
    /// An assignment counts the pairs of the whole step, a plan only those of its tokens. With offsets `[0, 2, 3, 5]` and
    /// tokens `1..<3`, the first pair of token 1 is `weights[2]` but `slots[0]`; so C gets offsets `[0, 1, 3]`, `slots` as
    /// they are and `weights` from 2 on.
    ///
    /// - Parameters:
    ///   - expertOutput: `[S, width]` at the plan's permuted positions
    ///   - tokens: the range that `plan` was made for
    ///   - output: `[T, width]`; rows `tokens` are overwritten
    package static func combine(
        _ expertOutput: UnsafePointer<Float>, assignment: ExpertAssignment, plan: DispatchPlan, tokens: Range<Int>,
        into output: UnsafeMutablePointer<Float>, width: Int, pool: ThreadPool
    ) {
        let first = assignment.offsets[tokens.lowerBound]
        withUnsafeTemporaryAllocation(of: Int32.self, capacity: tokens.count + 1) { offsets in
            for index in 0...tokens.count {
                offsets.initializeElement(at: index, to: assignment.offsets[tokens.lowerBound + index] - first)
            }
            combine(
                expertOutput, offsets: offsets.baseAddress!, slots: plan.slots, weights: assignment.weights + Int(first),
                into: output + tokens.lowerBound * width, outputStride: width, rows: tokens.count, width: width,
                accumulate: false, pool: pool)
        }
    }
}
