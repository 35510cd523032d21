// SPDX-License-Identifier: Apache-2.0

import MoECompute

/// SwiGLU: down(silu(gate(x)) · up(x)); Shazeer 2020, arXiv 2002.05202. The dense FFN, and Qwen2-MoE's shared expert.
struct FeedForward {
    let gate: Linear
    let up: Linear
    let down: Linear

    /// x `[T, d]` to output `[T, d]`, overwritten.
    func callAsFunction(_ x: UnsafePointer<Float>, into output: UnsafeMutablePointer<Float>, step: ForwardStep) throws {
        let width = gate.weights.n
        let gated = step.scratch.floats(step.rows * width)
        let upped = step.scratch.floats(step.rows * width)
        try step.project(x, [(gate, gated), (up, upped)])
        Ops.swiglu(gate: gated, up: upped, into: gated, count: step.rows * width, pool: step.context.pool)
        try step.project(gated, [(down, output)])
    }
}
