// SPDX-License-Identifier: Apache-2.0

import Glibc

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
}

/// The shortest prefix of the ranking whose probability mass reaches `p`, at a temperature of its own.
/// Huang et al. 2024, arXiv 2403.07652.
///
/// With probabilities `[0.5, 0.3, 0.1, …]` and p = 0.7 a token gets two experts; with `[0.8, …]`, one. A temperature above 1
/// flattens the distribution that is *counted*, so tokens get more experts; the weights they are combined with are the
/// model's own in any case.
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
        let inverse = 1 / temperature[token.layer]
        var largest = -Float.infinity
        for index in logits.indices { largest = max(largest, logits[index]) }
        var total: Float = 0
        for index in logits.indices { total += exp((logits[index] - largest) * inverse) }

        // The ranking holds softmax probabilities q_i of temperature 1; at temperature T the mass is (q_i / q_0)^(1/T) / total.
        let target = p[token.layer] * total
        var mass: Float = 0
        var count = 0
        while count < ranked.count {
            mass += inverse == 1 ? ranked[count] / ranked[0] : pow(ranked[count] / ranked[0], inverse)
            count += 1
            if mass >= target { break }
        }
        return max(count, minimum)
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
        let limit = min(ranked.count, max(token.modelExpertsPerToken, minimum))
        var count = min(minimum, limit)
        while count < limit, ranked[count] >= floor { count += 1 }
        return count
    }
}
