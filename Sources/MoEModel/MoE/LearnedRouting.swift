// SPDX-License-Identifier: Apache-2.0

import Glibc

/// The learned gate: a token gets one more expert while the predicted gain, priced by layer, exceeds `mu`.
///
/// Per layer and step m (kMin ≤ m < K) a linear head predicts `û_m = w_m · F`, the log of the squared error that expert m + 1
/// would take away; `λ` converts a layer's error to what it does to the model's output (KL). Expert m + 1 runs while
///
/// ```
/// û_m + log λ_layer > log mu
/// ```
///
/// With kMin = 1, û = [-2, -3, -6, …], λ = 1 and mu = 0.01 (log −4.6) a token gets 3 experts; with mu = 0.1 (−2.3), 2.
/// `mu` 0 asks for K everywhere and is the model's own static routing, bit for bit. Weights follow from the model's rule in any
/// case: the temperature below only shapes features, never the weights that experts are combined with.
///
/// Plain data, deterministic, batch-invariant: the count depends on the token's own logits and norm.
public struct LearnedRouting: RoutingPolicy, Equatable {
    /// The head of one MoE layer. Legend: E experts, F features (``featureCount(expertCount:maximum:)``).
    public struct Layer: Sendable, Equatable {
        /// Of the softmax that features are computed from.
        public let temperature: Float
        /// log λ
        public let logPrice: Float
        /// `[E]`: mean of log ‖y_e‖² over calibration, how much each expert says.
        public let expertLogNorms: [Float]
        /// `[K - kMin, F]`
        public let weights: [Float]
        /// gamma, `[K]` by count: what the combine weights are multiplied by when `count` < K experts run. Empty: 1 for all.
        public let scales: [Float]
        /// σ, `[K - kMin]`: standard deviation of each head's error on held-out tokens. Empty: not known.
        public let deviations: [Float]

        public init(
            temperature: Float, logPrice: Float, expertLogNorms: [Float], weights: [Float], scales: [Float] = [],
            deviations: [Float] = []
        ) {
            self.temperature = temperature
            self.logPrice = logPrice
            self.expertLogNorms = expertLogNorms
            self.weights = weights
            self.scales = scales
            self.deviations = deviations
        }
    }

    /// The content hash of the model that this was learned for.
    public let model: String
    /// kMin
    public let minimum: Int
    /// K: the model's own k.
    public let maximum: Int
    /// E
    public let expertCount: Int
    /// By layer of the model; nil for a dense one.
    public let layers: [Layer?]
    /// The least gain, in nats of KL, that an expert must bring.
    public let mu: Float
    let logMu: Float

    /// - Precondition: every layer has `expertCount` norms and `(maximum - minimum) · F` weights (a loaded profile has).
    public init(model: String, minimum: Int, maximum: Int, expertCount: Int, layers: [Layer?], mu: Float) {
        let width = (maximum - minimum) * Self.featureCount(expertCount: expertCount, maximum: maximum)
        precondition(0 <= minimum && minimum <= maximum && maximum <= expertCount, "experts per token")
        precondition(
            layers.allSatisfy { $0.map { $0.weights.count == width && $0.expertLogNorms.count == expertCount } ?? true })
        precondition(layers.allSatisfy { [0, maximum - minimum].contains($0?.deviations.count ?? 0) }, "deviations")
        self.model = model
        self.minimum = minimum
        self.maximum = maximum
        self.expertCount = expertCount
        self.layers = layers
        self.mu = mu
        logMu = log(mu)
    }

    public var usesHiddenNorm: Bool { mu > 0 }

    public func maximumExperts(modelExpertsPerToken: Int, expertCount: Int) -> Int { maximum }

    public func expertCount(for token: RoutingContext, logits: Span<Float>, ranked: Span<Float>) -> Int {
        guard mu > 0, logits.count == expertCount, layers.indices.contains(token.layer), let layer = layers[token.layer]
        else { return maximum }
        let width = Self.featureCount(expertCount: expertCount, maximum: maximum)
        let threshold = logMu - layer.logPrice
        return logits.withUnsafeBufferPointer { logits in
            withUnsafeTemporaryAllocation(of: Float.self, capacity: width) { features in
                Self.fill(
                    features.baseAddress!, logits: logits, hiddenNorm: token.hiddenNorm, maximum: maximum,
                    temperature: layer.temperature, expertLogNorms: layer.expertLogNorms)
                return layer.weights.withUnsafeBufferPointer { weights in
                    var count = minimum
                    while count < maximum {
                        let head = (count - minimum) * width
                        var gain: Float = 0
                        for index in 0..<width { gain += weights[head + index] * features[index] }
                        // A gain that is not a number buys nothing.
                        if !(gain > threshold) { break }
                        count += 1
                    }
                    return count
                }
            }
        }
    }
}

// MARK: Features

extension LearnedRouting {
    /// F = 3K + E + 4: the constant; log p, cumulative mass and log norm of the K best; entropy, log-sum-exp, log ‖x‖; the E logits
    /// less their mean.
    package static func featureCount(expertCount: Int, maximum: Int) -> Int { 3 * maximum + expertCount + 4 }

    /// Writes the features of one token, `[F]`; nothing is allocated.
    ///
    /// The K best are ranked by logit, ties to the lower index. Probabilities are of the softmax at `temperature`.
    package static func fill(
        _ features: UnsafeMutablePointer<Float>, logits: UnsafeBufferPointer<Float>, hiddenNorm: Float, maximum: Int,
        temperature: Float, expertLogNorms: [Float]
    ) {
        let (count, inverse) = (logits.count, 1 / temperature)
        features[0] = 1
        let logP = features + 1
        let mass = logP + maximum
        let norms = mass + maximum
        let scalars = norms + maximum
        let centred = scalars + 3

        // Insertion into the K best: logP holds the logits and `mass` the indices until probabilities replace them.
        var filled = 0
        var sum: Float = 0
        for expert in 0..<count {
            let logit = logits[expert]
            sum += logit
            guard filled < maximum || logit > logP[maximum - 1] else { continue }
            var rank = filled < maximum ? filled : maximum - 1
            while rank > 0, logit > logP[rank - 1] {
                logP[rank] = logP[rank - 1]
                mass[rank] = mass[rank - 1]
                rank -= 1
            }
            logP[rank] = logit
            mass[rank] = Float(expert)
            filled = min(filled + 1, maximum)
        }
        let (largest, mean) = (logP[0], sum / Float(count))

        // Z and Σ w log w of w = exp((z - max) / T); entropy = log Z - Σ w log w / Z.
        var (total, weighted, plain): (Float, Float, Float) = (0, 0, 0)
        for expert in 0..<count {
            let logit = logits[expert]
            let scaled = (logit - largest) * inverse
            let weight = exp(scaled)
            total += weight
            weighted += weight * scaled
            plain += inverse == 1 ? weight : exp(logit - largest)
            centred[expert] = logit - mean
        }
        let logTotal = log(total)
        scalars[0] = logTotal - weighted / total
        scalars[1] = log(plain) + largest
        scalars[2] = log(max(hiddenNorm, 1e-20))

        var cumulative: Float = 0
        for rank in 0..<maximum {
            let expert = Int(mass[rank])
            norms[rank] = expertLogNorms[expert]
            let value = max((logP[rank] - largest) * inverse - logTotal, -50)
            logP[rank] = value
            cumulative += exp(value)
            mass[rank] = cumulative
        }
    }
}
