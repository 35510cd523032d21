// SPDX-License-Identifier: Apache-2.0

/// How router logits become scores and combine weights: a fact of the model, never of the deployment.
package struct GatingFunction: Sendable, Equatable {
    /// How a logit becomes a score.
    package enum Score: String, Sendable { case softmax }

    package var score: Score
    /// Whether the weights of the kept experts are divided by their sum (`norm_topk_prob`; Mixtral always, OLMoE and
    /// Qwen2-MoE never by default). A wrong choice is silent: the golden tests of each architecture pin it.
    package var renormalizes: Bool
    /// Multiplies the weights at the end.
    package var scale: Float

    package init(score: Score = .softmax, renormalizes: Bool, scale: Float = 1) {
        self.score = score
        self.renormalizes = renormalizes
        self.scale = scale
    }

    /// Turns the scores of a token's kept experts into its combine weights, in place.
    ///
    /// With scores `[0.5, 0.3]` of which the rest of the softmax holds 0.2: renormalised `[0.625, 0.375]`, else unchanged.
    func weigh(_ scores: UnsafeMutableBufferPointer<Float>) {
        if renormalizes {
            var sum: Float = 0
            for score in scores { sum += score }
            if sum > 0 { for index in scores.indices { scores[index] /= sum } }
        }
        if scale != 1 { for index in scores.indices { scores[index] *= scale } }
    }
}
