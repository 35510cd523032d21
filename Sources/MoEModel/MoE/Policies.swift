// SPDX-License-Identifier: Apache-2.0

import MoECompute

/// A value for every layer: one for all, or one each. Layers past the end take the last.
public struct PerLayer<Value: Sendable & Equatable>: Sendable, Equatable {
    public let values: [Value]

    /// - Precondition: not empty.
    public init(_ values: [Value]) {
        precondition(!values.isEmpty)
        self.values = values
    }

    public init(_ value: Value) { values = [value] }

    public subscript(layer: Int) -> Value { values[min(layer, values.count - 1)] }
}

/// What no policy may ask of a model.
func problem(_ name: String, lists: [Int], experts: Int, layerCount: Int, expertCount: Int) -> String? {
    if expertCount == 0 { return "\(name) routing needs experts, but the model is dense" }
    if experts > expertCount { return "\(name) routing asks for \(experts) experts, but a layer has \(expertCount)" }
    if let count = lists.first(where: { $0 > layerCount }) {
        return "\(name) routing has values for \(count) layers, but the model has \(layerCount)"
    }
    return nil
}

/// The same number of experts for every token: the model's own (`native`, `static`), another, or one per layer.
public struct StaticRouting: RoutingPolicy, Equatable {
    /// nil: as the model was trained.
    public let expertsPerToken: PerLayer<Int>?

    public init(expertsPerToken: PerLayer<Int>? = nil) { self.expertsPerToken = expertsPerToken }

    public func maximumExperts(modelExpertsPerToken: Int, expertCount: Int) -> Int {
        expertsPerToken.map { $0.values.max()! } ?? modelExpertsPerToken
    }

    public func problem(layerCount: Int, expertCount: Int) -> String? {
        guard let values = expertsPerToken?.values else { return nil }
        return MoEModel.problem(
            "static", lists: [values.count], experts: values.max()!, layerCount: layerCount, expertCount: expertCount)
    }

    public func expertCount(for token: RoutingContext, logits: Span<Float>, ranked: Span<Float>) -> Int {
        expertsPerToken?[token.layer] ?? token.modelExpertsPerToken
    }

    public func expertCounts(for batch: borrowing RoutingBatch, into counts: inout MutableSpan<Int32>) {
        let count = expertsPerToken?[batch.layer] ?? batch.modelExpertsPerToken
        counts.update(repeating: Int32(clamping: count))
    }
}

/// The shortest prefix of the ranking whose mass reaches `p`, at a temperature of its own.
/// Huang et al. 2024, arXiv 2403.07652.
///
/// The mass of an expert is its score's power of 1 / temperature over the sum of all experts', so that the masses of a layer
/// sum to 1 whatever the model makes of its logits:
///
/// - Of a softmax at temperature 1 they are its probabilities. With `[0.5, 0.3, 0.1, …]` and p = 0.7 a token gets two experts;
///   with `[0.8, …]`, one. At any temperature they are the softmax of the logits at that temperature.
/// - Sigmoid scores are each by itself and sum to anything: `[0.9, 0.6, 0.3, 0.2]` (sum 2) have masses
///   `[0.45, 0.3, 0.15, 0.1]`, so p = 0.7 takes two experts, p = 0.8 three; at temperature 0.5 (squares, sum 1.3) the masses are
///   `[0.62, 0.28, 0.07, 0.03]`, and p = 0.8 takes two.
/// - The same holds for `sqrtSoftplus`. Where a logit is its own score, negative ones have no mass.
///
/// A selection bias or groups decide who comes first, not how much he weighs: masses are of the scores without bias, over all
/// experts. So with groups the prefix may end before it holds p, and the token gets `maximum`.
///
/// A temperature above 1 flattens the distribution that is *counted*, so tokens get more experts; the weights they are
/// combined with are the model's own in any case.
public struct TopPRouting: RoutingPolicy, Equatable {
    public let p: PerLayer<Float>
    public let minimum: Int
    public let maximum: Int
    public let temperature: PerLayer<Float>

    public init(p: PerLayer<Float>, minimum: Int = 1, maximum: Int = 8, temperature: PerLayer<Float> = PerLayer(1)) {
        self.p = p
        self.minimum = minimum
        self.maximum = maximum
        self.temperature = temperature
    }

    public func maximumExperts(modelExpertsPerToken: Int, expertCount: Int) -> Int { maximum }

    /// A maximum above E is no problem: it is an upper bound.
    public func problem(layerCount: Int, expertCount: Int) -> String? {
        MoEModel.problem(
            "top-p", lists: [p.values.count, temperature.values.count], experts: minimum, layerCount: layerCount,
            expertCount: expertCount)
    }

    public func expertCount(for token: RoutingContext, logits: Span<Float>, ranked: Span<Float>) -> Int {
        if logits.isEmpty || ranked.isEmpty { return minimum }
        var count: Int32 = 0
        logits.withUnsafeBufferPointer { logits in
            withUnsafeTemporaryAllocation(of: Float.self, capacity: logits.count) { scores in
                _ = scores.update(fromContentsOf: logits)
                GatingFunction(score: token.score, weights: .none).apply(
                    scores.baseAddress!, rows: 1, count: scores.count)
                ranked.withUnsafeBufferPointer { ranked in
                    Ops.topPCounts(
                        scores: scores.baseAddress!, rows: 1, count: scores.count, ranked: ranked.baseAddress!,
                        rankedStride: 0, limit: ranked.count, temperature: temperature[token.layer],
                        p: p[token.layer], minimum: minimum, into: &count, pool: nil)
                }
            }
        }
        return Int(count)
    }

    public func expertCounts(for batch: borrowing RoutingBatch, into counts: inout MutableSpan<Int32>) {
        let (scores, ranked, pool) = (batch.scores, batch.ranked, batch.pool)
        counts.withUnsafeMutableBufferPointer { counts in
            Ops.topPCounts(
                scores: scores, rows: batch.tokenCount, count: batch.expertCount, ranked: ranked,
                rankedStride: batch.rankedStride, limit: batch.rankedCount, temperature: temperature[batch.layer],
                p: p[batch.layer], minimum: minimum, into: counts.baseAddress!, pool: pool)
        }
    }
}

/// Experts whose score is at least `t` of the best one's, and never fewer than `minimum`, never more than the model's own k:
/// "smart expert reduction".
public struct RatioRouting: RoutingPolicy, Equatable {
    public let minimum: Int
    public let threshold: PerLayer<Float>

    public init(minimum: Int = 1, threshold: PerLayer<Float>) {
        self.minimum = minimum
        self.threshold = threshold
    }

    public func maximumExperts(modelExpertsPerToken: Int, expertCount: Int) -> Int {
        max(modelExpertsPerToken, minimum)
    }

    public func problem(layerCount: Int, expertCount: Int) -> String? {
        MoEModel.problem(
            "ratio", lists: [threshold.values.count], experts: minimum, layerCount: layerCount, expertCount: expertCount)
    }

    public func expertCount(for token: RoutingContext, logits: Span<Float>, ranked: Span<Float>) -> Int {
        let floor = ranked.isEmpty ? 0 : threshold[token.layer] * ranked[0]
        return prefixCount(of: ranked, from: floor, minimum: minimum, maximum: max(token.modelExpertsPerToken, minimum))
    }
}

/// How many of a ranking come before the first score below `floor`: at least `minimum`, at most `maximum`, as far as it goes.
func prefixCount(of ranked: Span<Float>, from floor: Float, minimum: Int, maximum: Int) -> Int {
    let limit = min(ranked.count, maximum)
    var count = min(minimum, limit)
    while count < limit, ranked[count] >= floor { count += 1 }
    return count
}
