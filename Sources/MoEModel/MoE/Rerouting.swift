// SPDX-License-Identifier: Apache-2.0

/// A count policy with a second look at the tokens for which the gate is unsure: they are routed again with `added` more
/// experts. As text: `static:k=2+reroute:margin=0.15,entropy=0.7,add=1`.
///
/// A token of which the base policy keeps m experts is unsure when any one of these that is given holds:
///
/// - ``margin``: the scores s of the last kept and the first dropped expert differ by less than this share of the former,
///   s_m - s_{m+1} < margin · s_m. With scores `[0.5, 0.2, 0.19, …]` and m = 2 the margin is 0.05.
/// - ``entropy``: the entropy of the softmax of the E logits exceeds this share of log E. `[0.25, 0.25, 0.25, 0.25]` has 1,
///   `[0.7, 0.1, 0.1, 0.1]` 0.68, a gate that is certain 0.
/// - ``deviations``: the learned gate's own uncertainty. Its prediction for expert m + 1 falls short of what the expert must bring,
///   but by less than this many standard deviations of the head's error on held-out tokens
///   (``LearnedRouting/shortfall(after:for:logits:)``).
///
/// Counts never exceed the model's own k, unless the base policy's do. A token that has all of these already is not
/// re-routed; so `static+reroute:…` at the model's own k does nothing. Batch-invariant: only the token's own scores count.
public struct Rerouting: RoutingPolicy {
    public let base: any RoutingPolicy
    /// From 0 (never) to 1 (always).
    public let margin: PerLayer<Float>?
    /// From 0 (always) to 1 (never).
    public let entropy: PerLayer<Float>?
    /// z, from 0 on.
    public let deviations: Float?
    /// At least 1.
    public let added: Int
    /// The learned gate that `base` is or wraps.
    private let learned: LearnedRouting?

    public init(
        _ base: any RoutingPolicy, margin: PerLayer<Float>? = nil, entropy: PerLayer<Float>? = nil,
        deviations: Float? = nil, added: Int = 1
    ) {
        self.base = base
        self.margin = margin
        self.entropy = entropy
        self.deviations = deviations
        self.added = max(1, added)
        learned = base.innermost as? LearnedRouting
    }

    public var wrapped: (any RoutingPolicy)? { base }

    public func isSame(as other: any RoutingPolicy) -> Bool {
        guard let other = other as? Rerouting else { return false }
        return (margin, entropy, deviations, added) == (other.margin, other.entropy, other.deviations, other.added)
            && base.isSame(as: other.base)
    }

    public func resolved(_ native: (NativeRouting) throws -> any RoutingPolicy) throws -> any RoutingPolicy {
        Rerouting(try base.resolved(native), margin: margin, entropy: entropy, deviations: deviations, added: added)
    }

    public var usesHiddenNorm: Bool { base.usesHiddenNorm }
    public func hiddenDirection(layer: Int) -> [Float]? { base.hiddenDirection(layer: layer) }
    public var batchPolicy: BatchPolicy? { base.batchPolicy }

    public func maximumExperts(modelExpertsPerToken: Int, expertCount: Int) -> Int {
        let maximum = base.maximumExperts(modelExpertsPerToken: modelExpertsPerToken, expertCount: expertCount)
        // A base policy may name any number as "all"; more than the model's k is its own affair.
        return maximum >= modelExpertsPerToken ? maximum : maximum + min(added, modelExpertsPerToken - maximum)
    }

    public func problem(layerCount: Int, expertCount: Int) -> String? {
        if let problem = base.problem(layerCount: layerCount, expertCount: expertCount) { return problem }
        if deviations != nil, learned?.layers.contains(where: { $0?.deviations.isEmpty == false }) != true {
            return learned == nil
                ? "re-routing by 'z' needs a learned gate (profile:FILE)"
                : "re-routing by 'z' needs the deviations of the gate's heads, but the routing profile has none"
        }
        return MoEModel.problem(
            "re-routing", lists: [margin?.values.count ?? 1, entropy?.values.count ?? 1], experts: 0,
            layerCount: layerCount,
            expertCount: expertCount)
    }

    public func weightScale(layer: Int, count: Int) -> Float { base.weightScale(layer: layer, count: count) }

    // MARK: Counting

    public func expertCount(for token: RoutingContext, logits: Span<Float>, ranked: Span<Float>) -> Int {
        let maximum = base.maximumExperts(
            modelExpertsPerToken: token.modelExpertsPerToken, expertCount: token.expertCount)
        return base.expertCount(for: token, logits: logits, ranked: ranked.extracting(first: maximum))
    }

    public func expertCounts(for batch: borrowing RoutingBatch, into counts: inout MutableSpan<Int32>) {
        let maximum = base.maximumExperts(
            modelExpertsPerToken: batch.modelExpertsPerToken, expertCount: batch.expertCount)
        base.expertCounts(for: batch.ranked(atMost: maximum), into: &counts)
    }

    public func reroute(_ counts: inout MutableSpan<Int32>, of batch: borrowing RoutingBatch) {
        base.reroute(&counts, of: batch)
        let entropies = entropy == nil ? nil : batch.relativeEntropies()
        for token in 0..<batch.tokenCount {
            let count = Int(counts[token])
            // A base policy may run more than the model's k; re-routing never adds to those.
            let limit = min(batch.rankedCount, batch.modelExpertsPerToken)
            guard count < limit else { continue }
            let isUnsure = batch.withToken(token) { context, logits, ranked in
                self.isUnsure(of: count, for: context, logits: logits, ranked: ranked, entropy: entropies?[token])
            }
            if isUnsure { counts[token] = Int32(count + min(added, limit - count)) }
        }
    }

    /// - Parameters:
    ///   - count: fewer than `ranked` has.
    ///   - relative: entropy as a share of the largest, where ``entropy`` asks for it.
    private func isUnsure(
        of count: Int, for token: RoutingContext, logits: Span<Float>, ranked: Span<Float>, entropy relative: Float?
    ) -> Bool {
        if let margin, count > 0 {
            let (kept, dropped) = (ranked[count - 1], ranked[count])
            if kept - dropped < margin[token.layer] * abs(kept) { return true }
        }
        if let entropy, let relative, relative > entropy[token.layer] { return true }
        if let deviations, let shortfall = learned?.shortfall(after: count, for: token, logits: logits) {
            return shortfall < deviations
        }
        return false
    }
}
