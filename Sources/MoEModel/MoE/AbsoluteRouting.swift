// SPDX-License-Identifier: Apache-2.0

/// Experts whose score is at least `c`, and never fewer than `minimum`, never more than the model's own k.
///
/// The score is the gating function's own, before any renormalisation: a probability over all experts where the model uses
/// softmax, each expert's own between 0 and 1 where it uses sigmoid. So a fit value of c falls with the number of experts of a
/// softmax model, and does not with sigmoid.
///
/// Example: scores `[0.5, 0.3, 0.12, 0.05, …]`, k = 4 and c = 0.1 keep three experts; `[0.08, 0.07, …]` keeps none, which
/// `minimum` = 1 makes one. Where a selection bias ranks a lower score first, the ranking ends at the first score below c.
public struct AbsoluteRouting: RoutingPolicy, Equatable {
    public let minimum: Int
    /// c
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
            "absolute", lists: [threshold.values.count], experts: minimum, layerCount: layerCount, expertCount: expertCount)
    }

    public func expertCount(for token: RoutingContext, logits: Span<Float>, ranked: Span<Float>) -> Int {
        prefixCount(
            of: ranked, from: threshold[token.layer], minimum: minimum, maximum: max(token.modelExpertsPerToken, minimum))
    }
}
