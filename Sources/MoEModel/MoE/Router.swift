// SPDX-License-Identifier: Apache-2.0

import MoECompute

/// The gate of one layer: a product that scores every slot for every token, the model's rules (``RouterSpec``), and the slice's
/// policy, which decides how many of the best are run.
struct Router {
    /// [R, d]
    let gate: Linear
    let spec: RouterSpec
    /// [R]: added to scores to select, not to weigh. nil: none.
    let selectionBias: FloatVector?
    let layer: Int
    let layerCount: Int

    /// E
    var expertCount: Int { spec.realExperts }
    /// R: experts and pseudo-experts, one logit each.
    var slotCount: Int { gate.weights.n }
    /// k of the model.
    var expertsPerToken: Int { spec.slotsPerToken }

    /// x `[T, d]` to router logits `[T, R]`.
    func logits(_ x: UnsafePointer<Float>, step: ForwardStep) throws -> UnsafeMutablePointer<Float> {
        let logits = step.scratch.floats(step.rows * slotCount)
        let path = step.context.plan.rowwisePath
        // sgemm may order its sums by the number of rows: there every slice is a product of its own.
        if path == .blas {
            try step.project(x, [(gate, logits)])
            return logits
        }
        let task = step.scratch.values(MatmulTask.self, 1)
        task[0] = MatmulTask(weights: gate.weights, input: x, output: logits, m: step.rows, bias: gate.bias?.pointer)
        try step.context.matmul(UnsafeBufferPointer(start: task, count: 1), path: path)
        return logits
    }

    /// Logits `[T, R]` to each token's experts and combine weights: ranking, count, batch policy, weights.
    /// - Parameter x: `[T, d]`, the router's input: for policies that ask for its norm, or its product with a direction.
    func assign(
        _ logits: UnsafePointer<Float>, x: UnsafePointer<Float>, step: ForwardStep
    ) -> ExpertAssignment {
        let slices = step.batch.slices
        let rankings = step.scratch.values(SliceRanking.self, slices.count)
        var capacity = 0
        for index in slices.indices {
            let slice = slices[index]
            rankings[index] = rank(slice, logits: logits, step: step)
            count(slice, rankings[index], logits: logits, x: x, step: step)
            capacity += slice.count * rankings[index].limit
        }
        applyBatchPolicies(to: rankings, step: step)

        let assignment = ExpertAssignment(
            tokenCount: step.rows, capacity: capacity, pseudo: spec.pseudo, scratch: step.scratch)
        for index in slices.indices { weigh(slices[index], rankings[index], into: assignment) }
        return assignment
    }

    /// How many of its ranking the slice's policy gives to each token, and how many more to those that it routes again.
    private func count(
        _ slice: ForwardBatch.Slice, _ ranking: SliceRanking, logits: UnsafePointer<Float>, x: UnsafePointer<Float>,
        step: ForwardStep
    ) {
        let width = gate.weights.k
        let input = x + slice.start * width
        var norms: UnsafeMutablePointer<Float>?
        if slice.routing.usesHiddenNorm {
            let values = step.scratch.floats(slice.count)
            Ops.norms(input, rows: slice.count, count: width, into: values, pool: step.context.pool)
            norms = values
        }
        var products: UnsafeMutablePointer<Float>?
        if let direction = slice.routing.hiddenDirection(layer: layer) {
            precondition(direction.count == width, "a direction of \(direction.count) for an input of \(width)")
            let values = step.scratch.floats(slice.count)
            direction.withUnsafeBufferPointer {
                Ops.products(
                    input, $0.baseAddress!, rows: slice.count, count: width, into: values, pool: step.context.pool)
            }
            products = values
        }
        let batch = RoutingBatch(
            layer: layer, layerCount: layerCount, tokenCount: slice.count, firstPosition: slice.firstPosition,
            phase: slice.phase, expertCount: slotCount, modelExpertsPerToken: expertsPerToken, score: spec.gating.score,
            rankedCount: ranking.limit, logits: logits + slice.start * slotCount, scores: ranking.scores,
            ranked: ranking.ranked, rankedStride: ranking.length, hiddenNorms: norms, hiddenProducts: products,
            pool: step.context.pool, scratch: step.scratch)
        let (counts, added) = (ranking.counts, ranking.added)
        // A policy that leaves some out asks for none there, not for what the memory held.
        counts.update(repeating: 0, count: slice.count)
        var span = MutableSpan(_unsafeStart: counts, count: slice.count)
        slice.routing.expertCounts(for: batch, into: &span)
        for row in 0..<slice.count {
            counts[row] = Int32(min(max(Int(counts[row]), spec.kMin), ranking.limit))
            added[row] = counts[row]
        }
        slice.routing.reroute(&span, of: batch)
        for row in 0..<slice.count {
            // Routing again may add, never take away.
            counts[row] = min(max(counts[row], added[row]), Int32(ranking.limit))
            added[row] = counts[row] - added[row]
        }
    }

    /// The combine weights of what is kept: the model's rule, and the policy's scale where fewer run than the model was trained
    /// with. At the model's own count they are the model's, bit for bit, whatever the policy.
    private func weigh(_ slice: ForwardBatch.Slice, _ ranking: SliceRanking, into assignment: ExpertAssignment) {
        for row in 0..<slice.count {
            let (token, kept) = (slice.start + row, Int(ranking.counts[row]))
            let (weights, slots) = (ranking.ranked + row * ranking.length, ranking.slots + row * ranking.length)
            spec.weigh(
                UnsafeMutableBufferPointer(start: weights, count: ranking.length), slots: slots, kept: kept,
                fullMass: ranking.fullMass?[row])
            if kept < expertsPerToken {
                let scale = slice.routing.weightScale(layer: layer, count: kept)
                if scale != 1 { for rank in 0..<kept { weights[rank] *= scale } }
            }
            assignment.added[token] = ranking.added[row]
            assignment.add(token: token, slots: slots, weights: weights, count: kept, spec: spec)
        }
    }
}
