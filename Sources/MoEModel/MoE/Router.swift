// SPDX-License-Identifier: Apache-2.0

import MoECompute

/// The gate of one layer: a product that scores every expert for every token, the model's gating function, and the slice's
/// policy, which decides how many of the best are run.
struct Router {
    /// [E, d]
    let gate: Linear
    let gating: GatingFunction
    /// k of the model.
    let expertsPerToken: Int
    let layer: Int
    let layerCount: Int

    /// E
    var expertCount: Int { gate.weights.n }

    /// x `[T, d]` to router logits `[T, E]`.
    func logits(_ x: UnsafePointer<Float>, step: ForwardStep) throws -> UnsafeMutablePointer<Float> {
        let logits = step.scratch.floats(step.rows * expertCount)
        try step.project(x, [(gate, logits)])
        return logits
    }

    /// Logits `[T, E]` to each token's experts and combine weights.
    /// - Parameter x: `[T, d]`, the router's input: for policies that ask for its norm.
    func assign(
        _ logits: UnsafePointer<Float>, x: UnsafePointer<Float>, step: ForwardStep
    ) -> ExpertAssignment {
        let limits = step.batch.slices.map { slice in
            min(
                expertCount,
                max(0, slice.routing.maximumExperts(modelExpertsPerToken: expertsPerToken, expertCount: expertCount)))
        }
        let capacity = zip(step.batch.slices, limits).reduce(0) { $0 + $1.0.count * $1.1 }
        let assignment = ExpertAssignment(tokenCount: step.rows, capacity: capacity, scratch: step.scratch)
        for (slice, limit) in zip(step.batch.slices, limits) {
            assign(slice, limit: limit, logits: logits, x: x, to: assignment, step: step)
        }
        return assignment
    }

    private func assign(
        _ slice: ForwardBatch.Slice, limit: Int, logits: UnsafePointer<Float>, x: UnsafePointer<Float>,
        to assignment: ExpertAssignment, step: ForwardStep
    ) {
        let (count, scratch) = (slice.count, step.scratch)
        let scores = scratch.floats(count * expertCount)
        scores.update(from: logits + slice.start * expertCount, count: count * expertCount)
        switch gating.score {
        case .softmax: Ops.softmax(scores, rows: count, count: expertCount)
        }
        let ranked = scratch.floats(count * limit)
        let rankedExperts = scratch.integers(count * limit)
        Ops.topK(scores, rows: count, count: expertCount, k: limit, indices: rankedExperts, values: ranked)

        for row in 0..<count {
            let token = slice.start + row
            let context = RoutingContext(
                layer: layer, layerCount: layerCount, position: slice.firstPosition + row, phase: slice.phase,
                expertCount: expertCount, modelExpertsPerToken: expertsPerToken,
                hiddenNorm: slice.routing.usesHiddenNorm ? Self.norm(x + token * gate.weights.k, count: gate.weights.k) : 0)
            let asked = slice.routing.expertCount(
                for: context, logits: Span(_unsafeStart: logits + token * expertCount, count: expertCount),
                ranked: Span(_unsafeStart: ranked + row * limit, count: limit))
            let kept = min(max(asked, 0), limit)
            let start = Int(assignment.offsets[token])
            for rank in 0..<kept {
                assignment.experts[start + rank] = rankedExperts[row * limit + rank]
                assignment.weights[start + rank] = ranked[row * limit + rank]
            }
            gating.weigh(UnsafeMutableBufferPointer(start: assignment.weights + start, count: kept))
            assignment.offsets[token + 1] = Int32(start + kept)
        }
    }

    private static func norm(_ row: UnsafePointer<Float>, count: Int) -> Float {
        var sum: Float = 0
        for index in 0..<count { sum += row[index] * row[index] }
        return sum.squareRoot()
    }
}
