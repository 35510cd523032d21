// SPDX-License-Identifier: Apache-2.0

/// How router logits become scores and combine weights: a fact of the model, never of the deployment.
package struct GatingFunction: Sendable, Equatable {
    /// How a logit becomes a score.
    package enum Score: String, Sendable { case softmax }

    package var score: Score = .softmax
    /// Whether the weights of the kept experts are divided by their sum (`norm_topk_prob`; Mixtral always, OLMoE and
    /// Qwen2-MoE never). Wrong is silent: see the golden tests of each architecture.
    package var renormalizes: Bool
    /// Multiplies the weights at the end; 1 for every model so far.
    package var scale: Float = 1
}
