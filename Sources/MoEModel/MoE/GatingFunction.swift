// SPDX-License-Identifier: Apache-2.0

import Glibc
import MoECompute

/// How a router's logit becomes a score. Logits `[1, 0, -1]` as example:
public enum RouterScore: String, Sendable, CaseIterable {
    /// e^z over their sum: `[0.665, 0.245, 0.090]`. Mixtral, Qwen, OLMoE, LongCat.
    case softmax
    /// 1 / (1 + e^-z), each by itself: `[0.731, 0.5, 0.269]`. DeepSeek-V3, GLM-4.
    case sigmoid
    /// √ln(1 + e^z): `[1.146, 0.833, 0.560]`.
    case sqrtSoftplus
    /// The logit itself.
    case none
}

/// How router logits become scores, and scores combine weights: a fact of the model, never of the deployment.
package struct GatingFunction: Sendable, Equatable {
    package typealias Score = RouterScore

    package var score: Score
    /// What the weights of the kept slots are divided by. A wrong choice is silent: golden tests pin each architecture's.
    package var weights: WeightRule
    /// Multiplies the weights at the end (`routed_scaling_factor`).
    package var scale: Float
    /// The least that a renormalising rule divides by: ERNIE 4.5's `moe_norm_min`. Scores `[0.02, 0.01]` with minimum 0.05
    /// become `[0.4, 0.2]`, not `[0.667, 0.333]`.
    package var minimumSum: Float

    package init(score: Score = .softmax, weights: WeightRule, scale: Float = 1, minimumSum: Float = 0) {
        self.score = score
        self.weights = weights
        self.scale = scale
        self.minimumSum = minimumSum
    }

    /// `norm_topk_prob`: Mixtral always, OLMoE and Qwen2-MoE never by default.
    package init(score: Score = .softmax, renormalizes: Bool, scale: Float = 1) {
        self.init(score: score, weights: renormalizes ? .renormKept : .none, scale: scale)
    }

    /// Whether the weights are divided by some sum of scores.
    package var renormalizes: Bool { weights != .none && weights != .keepFullMass }

    /// The scores of one row of logits.
    package func scores(of logits: [Float]) -> [Float] {
        var scores = logits
        scores.withUnsafeMutableBufferPointer { apply($0.baseAddress!, rows: 1, count: $0.count) }
        return scores
    }

    /// Logits to scores, in place. x: `[rows, count]`.
    func apply(_ x: UnsafeMutablePointer<Float>, rows: Int, count: Int) {
        switch score {
        case .softmax: Ops.softmax(x, rows: rows, count: count)
        case .sigmoid: for index in 0..<rows * count { x[index] = 1 / (1 + exp(-x[index])) }
        case .sqrtSoftplus:
            // ln(1 + e^z) = max(z, 0) + ln(1 + e^-|z|), which does not overflow.
            for index in 0..<rows * count { x[index] = (max(x[index], 0) + log1p(exp(-abs(x[index])))).squareRoot() }
        case .none: break
        }
    }
}

/// What becomes of the scores of a token's kept slots. Every rule but ``keepFullMass`` looks at the kept ones only.
///
/// The example of each: the ranking `real 0.4, zero 0.2, identity 0.15, real 0.05` (0.2 elsewhere), a model of k = 4, and a
/// policy that keeps the first three, so that `real 0.4, zero 0.2, identity 0.15` are weighed. A zero expert's weight is
/// dropped afterwards in any case.
package enum WeightRule: String, Sendable, CaseIterable {
    /// The scores as they are. OLMoE, Qwen2-MoE, LongCat. `real 0.4, identity 0.15`.
    case none
    /// Divided by the sum over the kept slots that give an output: all but zero experts. Mixtral, Qwen3-MoE (no
    /// pseudo-experts there). Sum 0.55: `real 0.727, identity 0.273`.
    case renormKept
    /// The kept real experts divided by their own sum; pseudo-experts keep their scores. Sum 0.4: `real 1, identity 0.15`.
    case renormReal
    /// Divided by the sum over all kept slots, zero experts included: their share is lost. ZEDA.
    /// Sum 0.75: `real 0.533, identity 0.2`.
    case renormAllSlots
    /// The kept slots share the score mass of the model's own k, so that fewer experts do not make the layer's output
    /// smaller; at the model's k nothing changes. Mass 0.8 of four over 0.75 of three, times 1.067: `real 0.427, identity 0.16`.
    case keepFullMass
}
