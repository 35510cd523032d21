// SPDX-License-Identifier: Apache-2.0

import MoECompute

/// The ranked slots of one slice's tokens, and how many of them each token gets. Memory: the step's scratch arena.
///
/// Legend: T tokens of the slice, R slots.
struct SliceRanking: BitwiseCopyable {
    /// The most slots that a token may get.
    let limit: Int
    /// Slots of each row of the ranking: `limit`, or more where the weights need the scores of more.
    let length: Int
    /// [T, R]: the gating function's.
    let scores: UnsafeMutablePointer<Float>
    /// [T, R]: what is ranked by: with selection bias, and -∞ outside the best groups. The same as `scores` where there is neither.
    let selection: UnsafeMutablePointer<Float>
    /// [T, length]: the slots, best first, and their scores.
    let slots: UnsafeMutablePointer<Int32>
    let ranked: UnsafeMutablePointer<Float>
    /// [T]: slots kept, and how many of these because the token was routed again.
    let counts: UnsafeMutablePointer<Int32>
    let added: UnsafeMutablePointer<Int32>
    /// [T]: score mass of the model's own k best, kept aside where the ranking is replaced and the weights need it.
    var fullMass: UnsafeMutablePointer<Float>?
}

extension Router {
    /// Scores and ranks the slots of each token of a slice, by biased score within the best groups.
    func rank(_ slice: ForwardBatch.Slice, logits: UnsafePointer<Float>, step: ForwardStep) -> SliceRanking {
        let (rows, scratch) = (slice.count, step.scratch)
        let scores = scratch.floats(rows * slotCount)
        scores.update(from: logits + slice.start * slotCount, count: rows * slotCount)
        spec.gating.apply(scores, rows: rows, count: slotCount)

        let asked = slice.routing.maximumExperts(modelExpertsPerToken: expertsPerToken, expertCount: slotCount)
        let limit = min(max(asked, spec.kMin), spec.kMax, spec.selectableSlots)
        // Weights that keep the mass of the model's k need its scores even where a policy never goes so far.
        let length = spec.gating.weights == .keepFullMass ? max(limit, expertsPerToken) : limit
        let ranking = SliceRanking(
            limit: limit, length: length, scores: scores, selection: selection(scores, rows: rows, step: step),
            slots: scratch.integers(rows * length), ranked: scratch.floats(rows * length),
            counts: scratch.integers(rows), added: scratch.integers(rows))
        Ops.topK(
            ranking.selection, rows: rows, count: slotCount, k: length, indices: ranking.slots, values: ranking.ranked,
            pool: step.context.pool)
        if ranking.selection != scores {
            for row in 0..<rows { score(ranking, row: row, count: length) }
        }
        return ranking
    }

    private func selection(
        _ scores: UnsafeMutablePointer<Float>, rows: Int, step: ForwardStep
    ) -> UnsafeMutablePointer<Float> {
        if selectionBias == nil, spec.groups == nil { return scores }
        let selection = step.scratch.floats(rows * slotCount)
        selection.update(from: scores, count: rows * slotCount)
        for row in 0..<rows {
            let values = selection + row * slotCount
            if let selectionBias { for slot in 0..<slotCount { values[slot] += selectionBias.pointer[slot] } }
            spec.groups?.mask(values, slots: slotCount)
        }
        return selection
    }

    /// The gating function's scores of the first `count` of a row's slots, in place of what they were selected by.
    private func score(_ ranking: SliceRanking, row: Int, count: Int) {
        let (slots, ranked) = (ranking.slots + row * ranking.length, ranking.ranked + row * ranking.length)
        for rank in 0..<count { ranked[rank] = ranking.scores[row * slotCount + Int(slots[rank])] }
    }

    // MARK: Batch policies

    /// Lets slices that share a phase and a ``BatchPolicy`` decide together which slots their tokens keep.
    func applyBatchPolicies(to rankings: UnsafeMutablePointer<SliceRanking>, step: ForwardStep) {
        let slices = step.batch.slices
        for (index, slice) in slices.enumerated() {
            guard let policy = slice.routing.batchPolicy else { continue }
            func isMember(_ other: ForwardBatch.Slice) -> Bool {
                other.phase == slice.phase && other.routing.batchPolicy == policy
            }
            // Every group is done with its first slice.
            if slices[..<index].contains(where: isMember) { continue }
            switch policy {
            case .union(let own):
                let own = max(own, spec.kMin)
                let isInUnion = step.scratch.values(Bool.self, slotCount)
                isInUnion.update(repeating: false, count: slotCount)
                for (member, other) in slices.enumerated() where isMember(other) {
                    let ranking = rankings[member]
                    for row in 0..<other.count {
                        for rank in 0..<min(own, Int(ranking.counts[row])) {
                            isInUnion[Int(ranking.slots[row * ranking.length + rank])] = true
                        }
                    }
                }
                for (member, other) in slices.enumerated() where isMember(other) {
                    refill(&rankings[member], rows: other.count, own: own, from: isInUnion, step: step)
                }
            }
        }
    }

    /// Ranks the tokens that keep more than their own slots again, within the union: their own come first as before, and the
    /// rest in the order of the token's ranking, as many as it was given or the union has.
    private func refill(
        _ ranking: inout SliceRanking, rows: Int, own: Int, from isInUnion: UnsafePointer<Bool>, step: ForwardStep
    ) {
        if spec.gating.weights == .keepFullMass {
            let masses = step.scratch.floats(rows)
            for row in 0..<rows { masses[row] = spec.fullMass(of: ranking.ranked + row * ranking.length) }
            ranking.fullMass = masses
        }
        let candidates = step.scratch.floats(slotCount)
        for row in 0..<rows where ranking.counts[row] > own {
            var available: Int32 = 0
            for slot in 0..<slotCount {
                let value = ranking.selection[row * slotCount + slot]
                let isCandidate = isInUnion[slot] && value != -.infinity
                candidates[slot] = isCandidate ? value : -.infinity
                if isCandidate { available += 1 }
            }
            let given = ranking.counts[row]
            let kept = min(given, available)
            Ops.topK(
                candidates, rows: 1, count: slotCount, k: Int(kept), indices: ranking.slots + row * ranking.length,
                values: ranking.ranked + row * ranking.length, pool: nil)
            if ranking.selection != ranking.scores { score(ranking, row: row, count: Int(kept)) }
            ranking.counts[row] = kept
            ranking.added[row] = max(0, ranking.added[row] - (given - kept))
        }
    }
}
