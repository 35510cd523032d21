// SPDX-License-Identifier: Apache-2.0

/// Where a token stands when its experts are counted.
public struct RoutingContext: Sendable {
    /// The layer, from 0, and how many layers the model has.
    public let layer: Int
    public let layerCount: Int
    /// The token's position in its sequence.
    public let position: Int
    public let phase: ForwardPhase
    /// E: routed experts of this layer.
    public let expertCount: Int
    /// k: how many the model was trained with (`num_experts_per_tok`).
    public let modelExpertsPerToken: Int
    /// How the model makes scores of logits: what the ranking holds.
    public let score: RouterScore
    /// Euclidean norm of the router's input; 0 unless the policy says that it ``RoutingPolicy/usesHiddenNorm``.
    public let hiddenNorm: Float
    /// Product of the router's input and the policy's ``RoutingPolicy/hiddenDirection(layer:)``; 0 where it has none.
    public let hiddenProduct: Float

    public init(
        layer: Int, layerCount: Int, position: Int, phase: ForwardPhase, expertCount: Int, modelExpertsPerToken: Int,
        score: RouterScore = .softmax, hiddenNorm: Float = 0, hiddenProduct: Float = 0
    ) {
        self.layer = layer
        self.layerCount = layerCount
        self.position = position
        self.phase = phase
        self.expertCount = expertCount
        self.modelExpertsPerToken = modelExpertsPerToken
        self.score = score
        self.hiddenNorm = hiddenNorm
        self.hiddenProduct = hiddenProduct
    }
}

/// How many experts a token is worth: a choice of the deployment, made anew for every token and layer.
///
/// The gate's own facts (softmax or sigmoid, renormalisation) belong to the model, see ``GatingFunction``. A policy only
/// decides how far down the ranking to go; the weights of the kept experts follow from the model's rule.
///
/// ```swift
/// struct OneAfterTheFirst: RoutingPolicy {            // two experts in the first layer, one elsewhere
///     func maximumExperts(modelExpertsPerToken: Int, expertCount: Int) -> Int { 2 }
///     func expertCount(for token: RoutingContext, logits: Span<Float>, ranked: Span<Float>) -> Int {
///         token.layer == 0 ? 2 : 1
///     }
/// }
/// ```
public protocol RoutingPolicy: Sendable {
    /// The most experts ``expertCount(for:logits:ranked:)`` will ask for. The ranking is at least this long (at most E).
    func maximumExperts(modelExpertsPerToken: Int, expertCount: Int) -> Int

    /// Why this policy cannot mean a model of these sizes, in one line; nil when it can. Asked before a request runs.
    /// Default: nil.
    /// - Parameter expertCount: E; 0 for a dense model.
    func problem(layerCount: Int, expertCount: Int) -> String?

    /// Whether ``RoutingContext/hiddenNorm`` is wanted. Default: false.
    var usesHiddenNorm: Bool { get }

    /// A vector `[d]` whose product with the router's input the policy wants as ``RoutingContext/hiddenProduct``: what the logits
    /// do not say of a token. Asked once per slice and MoE layer. Default: nil, none.
    func hiddenDirection(layer: Int) -> [Float]?

    /// This policy for one model: what stands for the model's own routing replaced by it. A policy around another one passes
    /// this on; for all others the default, the policy itself, is right. Called before a request runs.
    func resolved(_ native: (NativeRouting) throws -> any RoutingPolicy) throws -> any RoutingPolicy

    /// How many of the best experts to run for this token.
    ///
    /// - Parameters:
    ///   - logits: `[E]`, the router's raw logits in expert order.
    ///   - ranked: the gating function's scores (for softmax: probabilities over all E), best first, at least
    ///     ``maximumExperts(modelExpertsPerToken:expertCount:)`` of them.
    /// - Returns: a count, clamped by the caller to `0...ranked.count`. 0 skips all routed experts of the layer.
    func expertCount(for token: RoutingContext, logits: Span<Float>, ranked: Span<Float>) -> Int

    /// The same for all tokens of a sequence slice at once: what the router calls, once per slice and MoE layer. Default: asks
    /// for one token after the other. A policy that computes much per token does it here, many rows at a time; a token's count
    /// must not depend on the others of the batch, so that it is the same however its prompt is cut.
    /// - Parameter counts: `[T]`, to be written; clamped by the caller to `0...ranked.count`.
    func expertCounts(for batch: borrowing RoutingBatch, into counts: inout MutableSpan<Int32>)

    /// A second look at what was counted: raises the counts of tokens for which the gate is unsure. What it adds is counted as
    /// a re-route. Default: none; ``Rerouting`` is one for any policy. Batch-invariant like the count itself.
    /// - Parameter counts: `[T]`, from 0 to ``RoutingBatch/rankedCount``; lowering one has no effect.
    func reroute(_ counts: inout MutableSpan<Int32>, of batch: borrowing RoutingBatch)

    /// What the combine weights of a token are multiplied by when `count` experts run, fewer than the model's own k: with less than
    /// the full sum, a layer's best output is not the plain weighted sum. Default: 1. Never asked at the model's k or above, so
    /// that static routing stays what it is; never changes a count.
    ///
    /// Example, scores `[0.5, 0.25, 0.15, 0.1]`, k = 4, two experts kept and a scale of 1.2: a model that does not renormalise
    /// weighs them `[0.5, 0.25]` and so `[0.6, 0.3]`, nearer to the mass of 1 of all four; one that divides by the kept
    /// sum weighs them `[0.667, 0.333]`, so here a scale below 1 is usual: 0.9 gives `[0.6, 0.3]` again.
    func weightScale(layer: Int, count: Int) -> Float

    /// How the experts of a step's tokens are chosen together, if they are. Default: nil, each token by itself. Anything else makes a
    /// sequence's text depend on its batch: see ``BatchPolicy``.
    var batchPolicy: BatchPolicy? { get }

    /// The policy that this one adds to. Default: nil.
    var wrapped: (any RoutingPolicy)? { get }

    /// Whether `other` gives every token the same experts and weights: what one request computed of a prompt then serves another
    /// that begins alike. Default: equality where the policy is `Equatable`, else false: nothing is shared.
    func isSame(as other: any RoutingPolicy) -> Bool
}

extension RoutingPolicy {
    public var usesHiddenNorm: Bool { false }
    public func hiddenDirection(layer: Int) -> [Float]? { nil }
    public func problem(layerCount: Int, expertCount: Int) -> String? { nil }
    public func reroute(_ counts: inout MutableSpan<Int32>, of batch: borrowing RoutingBatch) {}
    public func weightScale(layer: Int, count: Int) -> Float { 1 }
    public var batchPolicy: BatchPolicy? { nil }
    public var wrapped: (any RoutingPolicy)? { nil }
    public func isSame(as other: any RoutingPolicy) -> Bool { false }

    /// The policy that counts, within whatever wraps it.
    package var innermost: any RoutingPolicy {
        var policy: any RoutingPolicy = self
        while let inner = policy.wrapped { policy = inner }
        return policy
    }

    public func expertCounts(for batch: borrowing RoutingBatch, into counts: inout MutableSpan<Int32>) {
        for token in 0..<batch.tokenCount {
            counts[token] = batch.withToken(token) { context, logits, ranked in
                Int32(clamping: expertCount(for: context, logits: logits, ranked: ranked))
            }
        }
    }

    public func resolved(_ native: (NativeRouting) throws -> any RoutingPolicy) throws -> any RoutingPolicy { self }
}

extension RoutingPolicy where Self: Equatable {
    public func isSame(as other: any RoutingPolicy) -> Bool { (other as? Self) == self }
}
