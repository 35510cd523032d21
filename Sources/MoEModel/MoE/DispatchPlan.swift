// SPDX-License-Identifier: Apache-2.0

package import MoECompute

/// Which experts each token goes to: ragged, best first. A token may have none. Pseudo-experts are not among them: zero
/// experts leave no trace, the others are kept apart because nothing is dispatched for them.
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
    /// [T]: slots that a token has because it was routed again; 0 for all others.
    package let added: UnsafeMutablePointer<Int32>
    /// Identity experts, which answer with the token's own input. nil: the layer has none.
    let identity: PseudoAssignment?
    /// Constant experts, by their index among the constants. nil: the layer has none.
    let constant: PseudoAssignment?

    /// S
    package var count: Int { Int(offsets[tokenCount]) }

    /// Room for at most `capacity` slots in all; the router fills it token by token, in order.
    package init(tokenCount: Int, capacity: Int, pseudo: [PseudoExperts] = [], scratch: ScratchArena) {
        self.tokenCount = tokenCount
        offsets = scratch.integers(tokenCount + 1)
        experts = scratch.integers(capacity)
        weights = scratch.floats(capacity)
        added = scratch.integers(tokenCount)
        added.update(repeating: 0, count: tokenCount)
        offsets[0] = 0
        func room(for kind: PseudoExperts.Kind) -> PseudoAssignment? {
            guard pseudo.contains(where: { $0.kind == kind }) else { return nil }
            return PseudoAssignment(tokenCount: tokenCount, capacity: capacity, scratch: scratch)
        }
        identity = room(for: .identity)
        constant = room(for: .constant)
    }

    /// Takes the slots of the next token, best first: real experts to be dispatched, pseudo-experts by their kind.
    func add(
        token: Int, slots: UnsafePointer<Int32>, weights slotWeights: UnsafePointer<Float>, count: Int, spec: RouterSpec
    ) {
        var end = Int(offsets[token])
        identity?.begin(token: token)
        constant?.begin(token: token)
        for rank in 0..<count {
            let (slot, weight) = (slots[rank], slotWeights[rank])
            guard slot >= spec.realExperts else {
                (experts[end], weights[end]) = (slot, weight)
                end += 1
                continue
            }
            switch spec.pseudoKind(of: Int(slot))! {
            case .zero: break
            case .identity: identity!.append(Int32(token), weight: weight, token: token)
            case .constant:
                constant!.append(Int32(spec.constantIndex(of: Int(slot))), weight: weight, token: token)
            }
        }
        offsets[token + 1] = Int32(end)
    }
}

/// Pairs of tokens and rows of something that is already there: ragged, in the order of the ranking.
struct PseudoAssignment {
    /// [T + 1]
    let offsets: UnsafeMutablePointer<Int32>
    /// [pairs]: the row that is added, and how often.
    let rows: UnsafeMutablePointer<Int32>
    let weights: UnsafeMutablePointer<Float>

    init(tokenCount: Int, capacity: Int, scratch: ScratchArena) {
        offsets = scratch.integers(tokenCount + 1)
        rows = scratch.integers(capacity)
        weights = scratch.floats(capacity)
        offsets[0] = 0
    }

    func begin(token: Int) { offsets[token + 1] = offsets[token] }

    func append(_ row: Int32, weight: Float, token: Int) {
        let pair = Int(offsets[token + 1])
        (rows[pair], weights[pair]) = (row, weight)
        offsets[token + 1] += 1
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
