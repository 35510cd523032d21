// SPDX-License-Identifier: Apache-2.0

import Glibc
import MoECompute

/// The tokens of one sequence slice in one MoE layer, whose experts are to be counted. Valid only during the call.
///
/// Legend: T tokens at neighbouring positions of one sequence, E logits per token (experts, and pseudo-experts where a model has
/// them), L scores per token's ranking.
public struct RoutingBatch: ~Copyable {
    /// The layer, from 0, and how many layers the model has.
    public let layer: Int
    public let layerCount: Int
    /// T
    public let tokenCount: Int
    /// Of token 0 in its sequence; token i has position `firstPosition + i`.
    public let firstPosition: Int
    public let phase: ForwardPhase
    /// E
    public let expertCount: Int
    /// k: how many the model was trained with.
    public let modelExpertsPerToken: Int
    /// How the model makes scores of logits.
    public let score: RouterScore
    /// L: as many as the policy's ``RoutingPolicy/maximumExperts(modelExpertsPerToken:expertCount:)``, at most E.
    public let rankedCount: Int

    /// `[T, E]`
    let logits: UnsafePointer<Float>
    /// `[T, E]`: of all, without selection bias or groups.
    let scores: UnsafePointer<Float>
    /// `[T, L]`, rows ``rankedStride`` apart.
    let ranked: UnsafePointer<Float>
    let rankedStride: Int
    /// `[T]`; nil unless the policy says that it ``RoutingPolicy/usesHiddenNorm``.
    let hiddenNorms: UnsafePointer<Float>?
    /// `[T]`; nil where the policy has no ``RoutingPolicy/hiddenDirection(layer:)``.
    let hiddenProducts: UnsafePointer<Float>?
    let pool: ThreadPool
    /// Of the step.
    let scratch: ScratchArena

    /// `[T]`: the entropy of the softmax over each token's logits, as a share of the largest that is possible (log E).
    func relativeEntropies() -> UnsafePointer<Float> {
        let shares = scratch.floats(tokenCount)
        Ops.entropy(logits, rows: tokenCount, count: expertCount, into: shares, pool: pool)
        let largest = log2(Float(max(expertCount, 2)))
        for token in 0..<tokenCount { shares[token] /= largest }
        return UnsafePointer(shares)
    }

    /// The same tokens with at most `count` of their ranking: what a policy that wraps another shows to it.
    public func ranked(atMost count: Int) -> RoutingBatch {
        RoutingBatch(
            layer: layer, layerCount: layerCount, tokenCount: tokenCount, firstPosition: firstPosition, phase: phase,
            expertCount: expertCount, modelExpertsPerToken: modelExpertsPerToken, score: score,
            rankedCount: min(max(count, 0), rankedCount), logits: logits, scores: scores, ranked: ranked,
            rankedStride: rankedStride, hiddenNorms: hiddenNorms, hiddenProducts: hiddenProducts, pool: pool,
            scratch: scratch)
    }

    /// Calls `body` with what ``RoutingPolicy/expertCount(for:logits:ranked:)`` is asked with for token `index`: its place, its
    /// logits `[E]` and its ranking `[L]`.
    public func withToken<Result>(
        _ index: Int, _ body: (_ token: RoutingContext, _ logits: Span<Float>, _ ranked: Span<Float>) -> Result
    ) -> Result {
        precondition(index >= 0 && index < tokenCount, "token \(index) of \(tokenCount)")
        let context = RoutingContext(
            layer: layer, layerCount: layerCount, position: firstPosition + index, phase: phase, expertCount: expertCount,
            modelExpertsPerToken: modelExpertsPerToken, score: score, hiddenNorm: hiddenNorms?[index] ?? 0,
            hiddenProduct: hiddenProducts?[index] ?? 0)
        return body(
            context, Span(_unsafeStart: logits + index * expertCount, count: expertCount),
            Span(_unsafeStart: ranked + index * rankedStride, count: rankedCount))
    }
}
