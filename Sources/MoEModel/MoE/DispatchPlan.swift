// SPDX-License-Identifier: Apache-2.0

package import MoECompute

/// Which experts each token goes to: ragged, best first. A token may have none.
///
/// Legend: T tokens, S (token, expert) pairs in all, E experts. Memory: the step's scratch arena.
package struct ExpertAssignment {
    /// T
    package let tokenCount: Int
    /// [T + 1]: the pairs of token t are `offsets[t]..<offsets[t + 1]`.
    package let offsets: UnsafeMutablePointer<Int32>
    /// [S]
    package let experts: UnsafeMutablePointer<Int32>
    /// [S]: combine weights.
    package let weights: UnsafeMutablePointer<Float>

    /// S
    package var count: Int { Int(offsets[tokenCount]) }

    /// Room for at most `capacity` pairs; filled token by token with ``append(experts:weights:)``-like writes of the router.
    package init(tokenCount: Int, capacity: Int, scratch: ScratchArena) {
        self.tokenCount = tokenCount
        offsets = scratch.integers(tokenCount + 1)
        experts = scratch.integers(capacity)
        weights = scratch.floats(capacity)
        offsets[0] = 0
    }
}

/// The pairs of an assignment sorted by expert, so that each expert reads its weights once for all of its tokens.
///
/// histogram -> offsets -> permutation. Example: 3 tokens, E = 4, assignment
/// `t0: [2, 0]  t1: [2]  t2: [3, 2]` (S = 5, pairs in token order `2 0 2 3 2`):
///
/// ```
/// histogram      [1, 0, 3, 1]
/// expertOffsets  [0, 1, 1, 4, 5]      expert 2 owns permuted positions 1..<4; expert 1 owns none and costs nothing
/// rows           [0 | 0, 1, 2 | 2]    which token's activations stand at each permuted position
/// slots          [1, 0, 2, 4, 3]      pair (t0, expert 2) is at position 1, (t0, expert 0) at 0, …
/// ```
package struct DispatchPlan {
    /// E
    package let expertCount: Int
    /// S
    package let count: Int
    /// [E + 1]
    package let expertOffsets: UnsafeMutablePointer<Int32>
    /// [S]: token of each permuted position.
    package let rows: UnsafeMutablePointer<Int32>
    /// [S]: permuted position of each pair, in the assignment's order.
    package let slots: UnsafeMutablePointer<Int32>

    /// Plans tokens `range` of the assignment.
    package init(_ assignment: ExpertAssignment, tokens range: Range<Int>, expertCount: Int, scratch: ScratchArena) {
        let first = Int(assignment.offsets[range.lowerBound])
        let last = Int(assignment.offsets[range.upperBound])
        self.expertCount = expertCount
        count = last - first
        expertOffsets = scratch.integers(expertCount + 1)
        rows = scratch.integers(count)
        slots = scratch.integers(count)

        for expert in 0...expertCount { expertOffsets[expert] = 0 }
        for pair in first..<last { expertOffsets[Int(assignment.experts[pair]) + 1] += 1 }
        for expert in 0..<expertCount { expertOffsets[expert + 1] += expertOffsets[expert] }

        let next = scratch.integers(expertCount)
        next.update(from: expertOffsets, count: expertCount)
        for token in range {
            for pair in Int(assignment.offsets[token])..<Int(assignment.offsets[token + 1]) {
                let expert = Int(assignment.experts[pair])
                let position = next[expert]
                next[expert] += 1
                rows[Int(position)] = Int32(token)
                slots[pair - first] = position
            }
        }
    }

    /// Permuted positions of one expert's tokens.
    package func positions(of expert: Int) -> Range<Int> {
        Int(expertOffsets[expert])..<Int(expertOffsets[expert + 1])
    }
}
