// SPDX-License-Identifier: Apache-2.0

import MoECompute

/// A mixture-of-experts feed-forward layer in which every token may use a different number of experts.
///
/// ```
/// x [T, d] ─ Router ──────── logits [T, E]      which experts suit this token (a matrix product)
///            RouterSpec      ranking, weights   softmax …, bias, groups: the model's own rules
///            RoutingPolicy   1…8 experts each   how many this token is worth: the deployment's choice
///            DispatchPlan    tokens by expert   so that each active expert's weights are read once
///            Experts         [S, d]             SwiGLU of the active experts only
///            combine         y [T, d]           weighted sum per token, in the order of its ranking
/// ```
///
/// Models with pseudo-experts rank these among the E (see ``PseudoExperts``); they are added at the end, if they add anything.
struct MoELayer {
    let router: Router
    let experts: Experts
    /// Qwen2-MoE: an expert that every token runs, scaled by its own sigmoid gate.
    let shared: SharedExpert?
    /// MoE++: what the constant experts among the pseudo-experts answer with.
    var constants: ConstantExperts?

    /// x `[T, d]` to output `[T, d]`, overwritten.
    func callAsFunction(_ x: UnsafePointer<Float>, into output: UnsafeMutablePointer<Float>, step: ForwardStep) throws {
        var watch = LayerWatch()
        let logits = try router.logits(x, step: step)
        step.context.lap(.routerProduct)
        let assignment = router.assign(logits, x: x, step: step)
        step.context.lap(.routing)
        watch.routed()

        let evaluations = step.scratch.integers(step.rows)
        evaluations.update(repeating: 0, count: step.rows)
        let bytesBefore = step.context.statistics.weightBytes
        for run in ForwardStep.runs(of: step.batch, scratch: step.scratch, path: { path(for: $0, step: step) }) {
            let plan = DispatchPlan(
                assignment, tokens: run.rows, expertCount: router.expertCount, scratch: step.scratch)
            step.context.lap(.dispatch)
            let expertOutput = try experts(x, plan: plan, path: run.path, evaluations: evaluations, step: step)
            trace(expertOutput, assignment: assignment, plan: plan, run: run.rows, logits: logits, x: x, step: step)
            Ops.combine(
                expertOutput, assignment: assignment, plan: plan, tokens: run.rows, into: output,
                width: experts.weights.down[0].n, pool: step.context.pool)
            step.context.lap(.combine)
        }
        let expertBytes = step.context.statistics.weightBytes - bytesBefore
        try addPseudoExperts(of: assignment, x, to: output, step: step)
        step.context.lap(.combine)
        try shared?.add(x, to: output, step: step)
        step.context.lap(.shared)

        watch.finished()
        report(
            assignment, logits: logits, evaluations: evaluations, expertBytes: expertBytes, watch: watch, step: step)
        step.context.lap(.observers)
    }

    private func path(for slice: ForwardBatch.Slice, step: ForwardStep) -> MatmulPlan.Path {
        step.context.plan.experts(
            rows: slice.count, perToken: router.expertsPerToken, experts: router.slotCount,
            quantized: experts.weights.isQuantized)
    }
}

/// The expert that every token runs: output += sigmoid(gate · x) · FFN(x).
struct SharedExpert {
    let feedForward: FeedForward
    /// [1, d]
    let gate: Linear

    func add(_ x: UnsafePointer<Float>, to output: UnsafeMutablePointer<Float>, step: ForwardStep) throws {
        let width = feedForward.down.weights.n
        let result = step.scratch.floats(step.rows * width)
        let gates = step.scratch.floats(step.rows)
        try feedForward(x, into: result, step: step)
        try step.project(x, [(gate, gates)])
        Ops.addGated(result, gate: gates, into: output, rows: step.rows, width: width, pool: step.context.pool)
    }
}
