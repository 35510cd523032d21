// SPDX-License-Identifier: Apache-2.0

import Glibc
import MoECompute

extension MoELayer {
    /// Adds identity and constant experts to the output `[T, d]`. Zero experts are in no assignment.
    func addPseudoExperts(
        of assignment: ExpertAssignment, _ x: UnsafePointer<Float>, to output: UnsafeMutablePointer<Float>,
        step: ForwardStep
    ) throws {
        let width = experts.weights.down[0].n
        if let identity = assignment.identity {
            Ops.addPseudo(
                x, identity, tokenCount: assignment.tokenCount, into: output, width: width, pool: step.context.pool)
        }
        if let constant = assignment.constant, let constants {
            try constants.add(constant, x, to: output, width: width, step: step)
        }
    }
}

/// Constant experts: expert c answers a·x + b·v_c, where [a, b] = softmax(W_c x). MoE++, arXiv 2410.07348, equation 4.
struct ConstantExperts {
    /// [C, d]: v
    let values: FloatVector
    /// [2C, d]: W, the two rows of each expert together.
    let mix: Linear

    /// - Parameter pairs: which constants each token selected. Weighed w, it adds w·a·x and w·b·v.
    func add(
        _ pairs: PseudoAssignment, _ x: UnsafePointer<Float>, to output: UnsafeMutablePointer<Float>, width: Int,
        step: ForwardStep
    ) throws {
        let (tokens, columns) = (step.rows, mix.weights.n)
        let shares = step.scratch.floats(tokens * columns)
        try step.project(x, [(mix, shares)])
        let input = PseudoAssignment(tokenCount: tokens, capacity: Int(pairs.offsets[tokens]), scratch: step.scratch)
        for token in 0..<tokens {
            input.begin(token: token)
            for pair in Int(pairs.offsets[token])..<Int(pairs.offsets[token + 1]) {
                let share = shares + token * columns + 2 * Int(pairs.rows[pair])
                let ofInput = 1 / (1 + exp(share[1] - share[0]))
                input.append(Int32(token), weight: pairs.weights[pair] * ofInput, token: token)
                pairs.weights[pair] *= 1 - ofInput
            }
        }
        Ops.addPseudo(x, input, tokenCount: tokens, into: output, width: width, pool: step.context.pool)
        Ops.addPseudo(values.pointer, pairs, tokenCount: tokens, into: output, width: width, pool: step.context.pool)
    }
}
