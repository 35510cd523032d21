// SPDX-License-Identifier: Apache-2.0

import MoECompute

/// SwiGLU: down(silu(gate(x)) · up(x)); Shazeer 2020, arXiv 2002.05202. The dense FFN, and Qwen2-MoE's shared expert.
struct FeedForward {
    let gate: Linear
    let up: Linear
    let down: Linear

    /// x `[T, d]` to output `[T, d]`, overwritten.
    func callAsFunction(_ x: UnsafePointer<Float>, into output: UnsafeMutablePointer<Float>, step: ForwardStep) throws {
        let gated = step.scratch.floats(step.rows * gate.weights.n)
        try step.project(x, gate: gate, up: up, into: gated)
        try step.project(gated, [(down, output)])
    }
}
