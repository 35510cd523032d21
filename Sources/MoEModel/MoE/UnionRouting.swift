// SPDX-License-Identifier: Apache-2.0

/// What is decided for all tokens of a step together, after each has been counted.
///
/// > Important: A batch policy makes a token's experts depend on who else is in the step. The same request may give another text
/// > next time. It is never the default, and a model that is asked for one logs a warning.
public enum BatchPolicy: Sendable, Equatable {
    /// Every token keeps its `own` best experts; further ones only as far as some token of the batch keeps them as its own.
    case union(own: Int)
}

/// A count policy whose further experts come only from the union of the batch's own experts: opportunistic expert activation,
/// arXiv 2511.02237. As text: `union:k0=2` (up to the model's own k), `union:k0=2,k=4`, or after any other policy:
/// `top-p:p=0.7+union:k0=1`.
///
/// Decoding B sequences reads each expert that any of them runs, so the cost is the union, not k. With k0 = 1, k = 2 and the
/// rankings
///
/// ```
/// t0: [2, 0, 5, 1]    own 2; then 0 (no), 5 (no), 1 (yes)     -> 2, 1
/// t1: [1, 2, 0, 3]    own 1; then 2 (yes)                     -> 1, 2
/// t2: [1, 0, 3, 4]    own 1; then 0, 3, 4 (no), 2 (yes)       -> 1, 2
/// ```
///
/// the union is {1, 2}: two experts are read where static k = 2 reads {0, 1, 2}. Refill goes down the token's whole ranking, in
/// its order, until it has as many as the base policy gave it or the union is exhausted. The weights follow from the model's rule
/// over what is kept.
///
/// The union is that of all tokens of the step in the same phase whose batch policy is the same: decoding sequences among each
/// other, prompts among each other. A token alone has its own k0 experts and no more, as under static routing with k0. In a
/// prompt, a token's experts depend on the tokens after it in its chunk, so perplexity under this policy flatters it; it is made for
/// decoding (`RoutingChoice(decode:)` in the library, `--routing-prefill native` on the command line).
public struct UnionRouting: RoutingPolicy {
    /// How many experts a token may have.
    public let base: any RoutingPolicy
    /// k0
    public let own: Int

    public init(own: Int, _ base: any RoutingPolicy = StaticRouting()) {
        self.own = own
        self.base = base
    }

    public var wrapped: (any RoutingPolicy)? { base }

    public func resolved(_ native: (NativeRouting) throws -> any RoutingPolicy) throws -> any RoutingPolicy {
        UnionRouting(own: own, try base.resolved(native))
    }

    public var usesHiddenNorm: Bool { base.usesHiddenNorm }
    public func hiddenDirection(layer: Int) -> [Float]? { base.hiddenDirection(layer: layer) }
    public var batchPolicy: BatchPolicy? { .union(own: own) }

    public func maximumExperts(modelExpertsPerToken: Int, expertCount: Int) -> Int {
        base.maximumExperts(modelExpertsPerToken: modelExpertsPerToken, expertCount: expertCount)
    }

    public func problem(layerCount: Int, expertCount: Int) -> String? {
        base.problem(layerCount: layerCount, expertCount: expertCount)
            ?? MoEModel.problem("union", lists: [], experts: own, layerCount: layerCount, expertCount: expertCount)
    }

    public func weightScale(layer: Int, count: Int) -> Float { base.weightScale(layer: layer, count: count) }

    public func expertCount(for token: RoutingContext, logits: Span<Float>, ranked: Span<Float>) -> Int {
        base.expertCount(for: token, logits: logits, ranked: ranked)
    }

    public func expertCounts(for batch: borrowing RoutingBatch, into counts: inout MutableSpan<Int32>) {
        base.expertCounts(for: batch, into: &counts)
    }

    public func reroute(_ counts: inout MutableSpan<Int32>, of batch: borrowing RoutingBatch) {
        base.reroute(&counts, of: batch)
    }
}
