// SPDX-License-Identifier: Apache-2.0

import CMoEKernels

/// The learned gate of one layer, for the length of a call. Legend: E experts, K experts per token at most.
package struct GateView: BitwiseCopyable {
    /// `[E]`
    package var expertLogNorms: UnsafePointer<Float>
    /// `[K - minimum, width]`: the heads, each with zeros behind its F weights.
    package var weights: UnsafePointer<Float>
    /// `[K - minimum]`: what a head's product must exceed.
    package var thresholds: UnsafePointer<Float>
    package var temperature: Float
    package var expertCount: Int
    package var maximum: Int
    package var minimum: Int

    /// - Precondition: 0 ≤ minimum ≤ maximum ≤ expertCount, 1 ≤ maximum.
    package init(
        expertLogNorms: UnsafePointer<Float>, weights: UnsafePointer<Float>, thresholds: UnsafePointer<Float>,
        temperature: Float, expertCount: Int, maximum: Int, minimum: Int
    ) {
        precondition(0 <= minimum && minimum <= maximum && 1 <= maximum && maximum <= expertCount, "experts per token")
        self.expertLogNorms = expertLogNorms
        self.weights = weights
        self.thresholds = thresholds
        self.temperature = temperature
        self.expertCount = expertCount
        self.maximum = maximum
        self.minimum = minimum
    }

    /// F: features of a token.
    package static func featureCount(expertCount: Int, maximum: Int) -> Int {
        Int(moe_gate_features_count(Int32(expertCount), Int32(maximum)))
    }

    /// F rounded up to whole vectors: how far apart the heads' weights are.
    package static func width(expertCount: Int, maximum: Int) -> Int {
        Int(moe_gate_width(Int32(expertCount), Int32(maximum)))
    }

    /// Floats that ``Ops/gateCounts(_:logits:norms:offsets:rows:scratch:into:pool:)`` needs for each thread.
    package static func scratch(expertCount: Int, maximum: Int) -> Int {
        Int(moe_gate_scratch(Int32(expertCount), Int32(maximum)))
    }

    fileprivate func withC<Result>(_ body: (UnsafePointer<moe_learned_gate>) -> Result) -> Result {
        var gate = moe_learned_gate(
            expert_log_norms: expertLogNorms, weights: weights, thresholds: thresholds, temperature: temperature,
            n: Int32(expertCount), k: Int32(maximum), minimum: Int32(minimum))
        return body(&gate)
    }
}

/// What a router computes besides its product. All instruction sets give the same bits. `pool` nil: on the calling thread.
extension Ops {
    /// The `k` largest of each row of `count`, best first, ties to the lower index; NaN is the smallest.
    /// - Parameters:
    ///   - indices: `[rows, k]`, as `values`
    package static func topK(
        _ x: UnsafePointer<Float>, rows: Int, count: Int, k: Int, indices: UnsafeMutablePointer<Int32>,
        values: UnsafeMutablePointer<Float>, pool: ThreadPool?
    ) {
        precondition(k <= count, "the \(k) largest of \(count)")
        moe_top_k(nil, pool?.handle, x, Int64(count), Int32(rows), Int32(count), Int32(k), indices, values)
    }

    /// The Euclidean norm of each row of `count`: `[rows]`.
    package static func norms(
        _ x: UnsafePointer<Float>, rows: Int, count: Int, into norms: UnsafeMutablePointer<Float>, pool: ThreadPool?
    ) {
        moe_row_norms(nil, pool?.handle, x, Int64(count), Int32(rows), Int32(count), norms)
    }

    /// The product of each row of `count` with `direction` `[count]`: `[rows]`.
    package static func products(
        _ x: UnsafePointer<Float>, _ direction: UnsafePointer<Float>, rows: Int, count: Int,
        into products: UnsafeMutablePointer<Float>, pool: ThreadPool?
    ) {
        moe_row_products(nil, pool?.handle, x, Int64(count), Int32(rows), Int32(count), direction, products)
    }

    /// The entropy of the softmax of each row of `count` logits, in bits: `[rows]`.
    package static func entropy(
        _ logits: UnsafePointer<Float>, rows: Int, count: Int, into bits: UnsafeMutablePointer<Float>, pool: ThreadPool?
    ) {
        moe_router_entropy(nil, pool?.handle, logits, Int64(count), Int32(rows), Int32(count), bits)
    }

    /// The learned gate's features `[rows, F]` of logits `[rows, E]` and norms `[rows]`; see ``GateView``. Weights and thresholds
    /// are not looked at.
    package static func gateFeatures(
        _ gate: GateView, logits: UnsafePointer<Float>, norms: UnsafePointer<Float>, rows: Int,
        into features: UnsafeMutablePointer<Float>, pool: ThreadPool?
    ) {
        let width = GateView.featureCount(expertCount: gate.expertCount, maximum: gate.maximum)
        gate.withC { c in
            _ = moe_gate_features(
                nil, pool?.handle, c, logits, Int64(gate.expertCount), norms, Int32(rows), features, Int64(width))
        }
    }

    /// How many experts the learned gate gives each row: `[rows]`.
    /// - Parameters:
    ///   - offsets: `[rows]`: added to every head's product; nil: nothing.
    ///   - scratch: ``GateView/scratch(expertCount:maximum:)`` floats for each thread of the pool, or for one.
    package static func gateCounts(
        _ gate: GateView, logits: UnsafePointer<Float>, norms: UnsafePointer<Float>, offsets: UnsafePointer<Float>?,
        rows: Int, scratch: UnsafeMutablePointer<Float>, into counts: UnsafeMutablePointer<Int32>, pool: ThreadPool?
    ) {
        gate.withC { c in
            _ = moe_gate_counts(
                nil, pool?.handle, c, logits, Int64(gate.expertCount), norms, offsets, Int32(rows), scratch, counts)
        }
    }

    /// The shortest prefix of each row's ranking that holds `p` of its mass, at least `minimum`: `[rows]`. A score's mass is its
    /// power of 1 / temperature; negative scores have none.
    /// - Parameters:
    ///   - scores: `[rows, count]`
    ///   - ranked: `[rows, limit]`, rows `rankedStride` apart: the best of `scores`
    package static func topPCounts(
        scores: UnsafePointer<Float>, rows: Int, count: Int, ranked: UnsafePointer<Float>, rankedStride: Int, limit: Int,
        temperature: Float, p: Float, minimum: Int, into counts: UnsafeMutablePointer<Int32>, pool: ThreadPool?
    ) {
        moe_top_p_counts(
            nil, pool?.handle, scores, Int64(count), Int32(count), ranked, Int64(rankedStride), Int32(limit), Int32(rows),
            temperature, p, Int32(minimum), counts)
    }
}
