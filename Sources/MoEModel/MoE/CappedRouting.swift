// SPDX-License-Identifier: Apache-2.0

/// Another policy with an upper bound: no token gets more than `maximum` experts in any layer, those that re-routing adds among
/// them. What a request's `max_experts` and its budget are made of.
///
/// Example: `ratio:t=0.3` gives three tokens 2, 6 and 8 experts; under a cap of 4 they get 2, 4 and 4. Weights follow from the
/// model's rule over what is kept, as if the policy itself had asked for no more.
///
/// The bound holds in the router itself, which ranks no more slots than ``maximumExperts(modelExpertsPerToken:expertCount:)``: so
/// the policy inside sees a ranking of at most `maximum` scores, as it does of a layer that has no more experts. Batch-invariant
/// if the policy inside is.
public struct CappedRouting: RoutingPolicy {
    public let base: any RoutingPolicy
    /// From 0 on. Counts slots, so in models with pseudo-experts the experts computed may be fewer still.
    public let maximum: Int

    /// A cap around a cap is the smaller one around the policy inside.
    public init(_ base: any RoutingPolicy, maximum: Int) {
        if let capped = base as? CappedRouting {
            self.base = capped.base
            self.maximum = max(0, min(maximum, capped.maximum))
        } else {
            self.base = base
            self.maximum = max(0, maximum)
        }
    }

    public var wrapped: (any RoutingPolicy)? { base }

    public func isSame(as other: any RoutingPolicy) -> Bool {
        guard let other = other as? CappedRouting else { return false }
        return maximum == other.maximum && base.isSame(as: other.base)
    }

    public func resolved(_ native: (NativeRouting) throws -> any RoutingPolicy) throws -> any RoutingPolicy {
        CappedRouting(try base.resolved(native), maximum: maximum)
    }

    public var usesHiddenNorm: Bool { base.usesHiddenNorm }
    public func hiddenDirection(layer: Int) -> [Float]? { base.hiddenDirection(layer: layer) }
    public var batchPolicy: BatchPolicy? { base.batchPolicy }

    public func maximumExperts(modelExpertsPerToken: Int, expertCount: Int) -> Int {
        min(maximum, base.maximumExperts(modelExpertsPerToken: modelExpertsPerToken, expertCount: expertCount))
    }

    /// Only what is wrong with the policy inside: a cap fits every model.
    public func problem(layerCount: Int, expertCount: Int) -> String? {
        base.problem(layerCount: layerCount, expertCount: expertCount)
    }

    public func weightScale(layer: Int, count: Int) -> Float { base.weightScale(layer: layer, count: count) }

    // MARK: Counting

    public func expertCount(for token: RoutingContext, logits: Span<Float>, ranked: Span<Float>) -> Int {
        min(maximum, base.expertCount(for: token, logits: logits, ranked: ranked.extracting(first: maximum)))
    }

    public func expertCounts(for batch: borrowing RoutingBatch, into counts: inout MutableSpan<Int32>) {
        base.expertCounts(for: batch.ranked(atMost: maximum), into: &counts)
        limit(&counts, count: batch.tokenCount)
    }

    public func reroute(_ counts: inout MutableSpan<Int32>, of batch: borrowing RoutingBatch) {
        base.reroute(&counts, of: batch.ranked(atMost: maximum))
        limit(&counts, count: batch.tokenCount)
    }

    private func limit(_ counts: inout MutableSpan<Int32>, count: Int) {
        let most = Int32(clamping: maximum)
        for token in 0..<count { counts[token] = min(counts[token], most) }
    }
}
