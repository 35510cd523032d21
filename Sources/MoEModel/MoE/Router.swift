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
        try step.project(x, [(gate, logits)])
        return logits
    }

    /// Logits `[T, R]` to each token's experts and combine weights.
    /// - Parameter x: `[T, d]`, the router's input: for policies that ask for its norm.
    func assign(
        _ logits: UnsafePointer<Float>, x: UnsafePointer<Float>, step: ForwardStep
    ) -> ExpertAssignment {
        let limits = step.batch.slices.map { slice in
            let asked = slice.routing.maximumExperts(modelExpertsPerToken: expertsPerToken, expertCount: slotCount)
            return min(max(asked, spec.kMin), spec.kMax, spec.selectableSlots)
        }
        let capacity = zip(step.batch.slices, limits).reduce(0) { $0 + $1.0.count * $1.1 }
        let assignment = ExpertAssignment(
            tokenCount: step.rows, capacity: capacity, pseudo: spec.pseudo, scratch: step.scratch)
        for (slice, limit) in zip(step.batch.slices, limits) {
            assign(slice, limit: limit, logits: logits, x: x, to: assignment, step: step)
        }
        return assignment
    }

    private func assign(
        _ slice: ForwardBatch.Slice, limit: Int, logits: UnsafePointer<Float>, x: UnsafePointer<Float>,
        to assignment: ExpertAssignment, step: ForwardStep
    ) {
        let count = slice.count
        let scores = step.scratch.floats(count * slotCount)
        scores.update(from: logits + slice.start * slotCount, count: count * slotCount)
        gating.apply(scores, rows: count, count: slotCount)
        // Weights that keep the mass of the model's k need its scores even where a policy never goes so far.
        let length = gating.weights == .keepFullMass ? max(limit, expertsPerToken) : limit
        let ranked = step.scratch.floats(count * length)
        let rankedSlots = step.scratch.integers(count * length)
        rank(scores, rows: count, length: length, into: ranked, slots: rankedSlots, step: step)

        let counts = step.scratch.integers(count)
        self.count(
            slice, limit: limit, logits: logits, scores: scores, x: x, ranked: ranked, rankedStride: length, into: counts,
            step: step)
        for row in 0..<count {
            let kept = min(max(Int(counts[row]), spec.kMin), limit)
            let (weights, slots) = (ranked + row * length, rankedSlots + row * length)
            spec.weigh(UnsafeMutableBufferPointer(start: weights, count: length), slots: slots, kept: kept)
            assignment.add(token: slice.start + row, slots: slots, weights: weights, count: kept, spec: spec)
        }
    }

    /// How many of its ranking the policy gives to each token of the slice: `counts` `[T]`, as asked for.
    private func count(
        _ slice: ForwardBatch.Slice, limit: Int, logits: UnsafePointer<Float>, scores: UnsafePointer<Float>,
        x: UnsafePointer<Float>, ranked: UnsafePointer<Float>, rankedStride: Int,
        into counts: UnsafeMutablePointer<Int32>, step: ForwardStep
    ) {
        var norms: UnsafeMutablePointer<Float>?
        if slice.routing.usesHiddenNorm {
            let (values, width) = (step.scratch.floats(slice.count), gate.weights.k)
            for row in 0..<slice.count { values[row] = Self.norm(x + (slice.start + row) * width, count: width) }
            norms = values
        }
        let batch = RoutingBatch(
            layer: layer, layerCount: layerCount, tokenCount: slice.count, firstPosition: slice.firstPosition,
            phase: slice.phase, expertCount: slotCount, modelExpertsPerToken: expertsPerToken, score: gating.score,
            rankedCount: limit, logits: logits + slice.start * slotCount, scores: scores, ranked: ranked,
            rankedStride: rankedStride, hiddenNorms: norms, pool: step.context.pool)
        // A policy that leaves some out asks for none there, not for what the memory held.
        counts.update(repeating: 0, count: slice.count)
        var span = MutableSpan(_unsafeStart: counts, count: slice.count)
        slice.routing.expertCounts(for: batch, into: &span)
    }

    private var gating: GatingFunction { spec.gating }

    /// The best `length` slots of each row by biased score within the best groups, and their scores without the bias.
    private func rank(
        _ scores: UnsafeMutablePointer<Float>, rows: Int, length: Int, into ranked: UnsafeMutablePointer<Float>,
        slots: UnsafeMutablePointer<Int32>, step: ForwardStep
    ) {
        guard selectionBias != nil || spec.groups != nil else {
            return Ops.topK(scores, rows: rows, count: slotCount, k: length, indices: slots, values: ranked)
        }
        let selection = step.scratch.floats(rows * slotCount)
        selection.update(from: scores, count: rows * slotCount)
        for row in 0..<rows {
            let values = selection + row * slotCount
            if let selectionBias { for slot in 0..<slotCount { values[slot] += selectionBias.pointer[slot] } }
            spec.groups?.mask(values, slots: slotCount)
        }
        Ops.topK(selection, rows: rows, count: slotCount, k: length, indices: slots, values: ranked)
        for row in 0..<rows {
            for rank in row * length..<(row + 1) * length { ranked[rank] = scores[row * slotCount + Int(slots[rank])] }
        }
    }

    private static func norm(_ row: UnsafePointer<Float>, count: Int) -> Float {
        var sum: Float = 0
        for index in 0..<count { sum += row[index] * row[index] }
        return sum.squareRoot()
    }
}
