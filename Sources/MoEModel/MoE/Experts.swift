// SPDX-License-Identifier: Apache-2.0

import MoECompute
import MoETensors

/// The routed experts of one layer, in one canonical form whatever the file's layout: three matrices per expert, as views.
struct ExpertWeights {
    /// E matrices [f, d], [f, d] and [d, f].
    let gate: [Matrix]
    let up: [Matrix]
    let down: [Matrix]

    /// f
    var intermediateSize: Int { gate[0].n }
    var isQuantized: Bool { gate[0].type.isQuantized && down[0].type.isQuantized }
    /// Bytes of one expert.
    var bytesPerExpert: Int { gate[0].byteCount + up[0].byteCount + down[0].byteCount }
}

/// Gather, one gate and up product with SwiGLU, and one down product per *active* expert. An expert that no token chose is
/// neither read nor computed.
struct Experts {
    let weights: ExpertWeights

    /// - Parameters:
    ///   - x: `[T, d]`
    ///   - evaluations: `[T]`, incremented by the kernel for every expert that it runs for a token.
    /// - Returns: `[S, d]`: the expert outputs at the plan's permuted positions, not weighted yet.
    func callAsFunction(
        _ x: UnsafePointer<Float>, plan: DispatchPlan, path: MatmulPlan.Path, evaluations: UnsafeMutablePointer<Int32>,
        step: ForwardStep
    ) throws -> UnsafeMutablePointer<Float> {
        let (d, f) = (weights.down[0].n, weights.intermediateSize)
        let gated = step.scratch.floats(plan.count * f)
        let output = step.scratch.floats(plan.count * d)
        let tasks = step.scratch.values(MatmulTask.self, plan.expertCount)

        var count = 0
        for expert in 0..<plan.expertCount {
            let positions = plan.positions(of: expert)
            if positions.isEmpty { continue }
            tasks[count] = MatmulTask(
                weights: weights.gate[expert], input: x, inputRows: UnsafePointer(plan.rows + positions.lowerBound),
                output: gated + positions.lowerBound * f, m: positions.count, up: weights.up[expert],
                evaluations: evaluations)
            count += 1
        }
        try step.context.matmul(UnsafeBufferPointer(start: tasks, count: count), path: path)
        step.context.lap(.gateUp)

        count = 0
        for expert in 0..<plan.expertCount {
            let positions = plan.positions(of: expert)
            if positions.isEmpty { continue }
            tasks[count] = MatmulTask(
                weights: weights.down[expert], input: gated + positions.lowerBound * f,
                output: output + positions.lowerBound * d, m: positions.count)
            count += 1
        }
        try step.context.matmul(UnsafeBufferPointer(start: tasks, count: count), path: path)
        step.context.lap(.down)
        return output
    }
}
