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

    /// Adds what pseudo-experts answer, each token's in the order of its ranking, after its real experts.
    ///
    /// - Parameters:
    ///   - rows: `[_, width]`, what the pairs of `pseudo` name rows of: the layer's input, or the constants
    ///   - output: `[tokenCount, width]`
    static func addPseudo(
        _ rows: UnsafePointer<Float>, _ pseudo: PseudoAssignment, tokenCount: Int, into output: UnsafeMutablePointer<Float>,
        width: Int, pool: ThreadPool
    ) {
        combine(
            rows, offsets: pseudo.offsets, slots: pseudo.rows, weights: pseudo.weights, into: output, outputStride: width,
            rows: tokenCount, width: width, accumulate: true, pool: pool)
    }
}
