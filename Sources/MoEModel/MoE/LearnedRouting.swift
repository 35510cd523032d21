// SPDX-License-Identifier: Apache-2.0

import Glibc
import MoECompute

/// The learned gate: a token gets one more expert while the predicted gain, priced by layer, exceeds `mu`.
///
/// Per layer and step m (kMin ≤ m < K) a linear head predicts `û_m = w_m · F`, the log of the squared error that expert m + 1
/// would take away; `λ` converts a layer's error to what it does to the model's output (KL). Expert m + 1 runs while
///
/// ```
/// û_m + log λ_layer > log mu
/// ```
///
/// A gate that was trained with its model may have a direction v of the router's input x as well: then `û_m = w_m · F + v · x`. Logits say
/// how sure the router is; how much any expert can change depends on how sure the model is of the next token, which x knows.
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
        /// v, `[d]`, of the router's input. Empty: none.
        public let hiddenWeights: [Float]

        public init(
            temperature: Float, logPrice: Float, expertLogNorms: [Float], weights: [Float], scales: [Float] = [],
            deviations: [Float] = [], hiddenWeights: [Float] = []
        ) {
            self.temperature = temperature
            self.logPrice = logPrice
            self.expertLogNorms = expertLogNorms
            self.weights = weights
            self.scales = scales
            self.deviations = deviations
            self.hiddenWeights = hiddenWeights
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
    /// The heads as the kernels read them, by layer.
    private let heads: [Heads?]

    /// `[layers, K]`: every layer's ``Layer/scales``, 1 where it has none. Empty: no layer has any.
    let scales: [Float]

    private struct Heads: Equatable {
        /// `[K - kMin, width]`: each head's weights with zeros behind them (``GateView``).
        var weights: [Float]
        /// `[K - kMin]`: log mu - log λ
        var thresholds: [Float]
    }

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
        let logMu = log(mu)
        let (steps, features) = (maximum - minimum, Self.featureCount(expertCount: expertCount, maximum: maximum))
        let padded = GateView.width(expertCount: expertCount, maximum: maximum)
        let scaled = layers.contains { $0?.scales.isEmpty == false }
        scales = (scaled ? layers : []).flatMap { layer in
            (0..<maximum).map { count in
                guard let scales = layer?.scales, count < scales.count else { return 1 }
                return scales[count]
            }
        }
        heads = layers.map { layer in
            guard let layer, steps > 0 else { return nil }
            var weights = [Float](repeating: 0, count: steps * padded)
            for step in 0..<steps {
                for feature in 0..<features { weights[step * padded + feature] = layer.weights[step * features + feature] }
            }
            return Heads(weights: weights, thresholds: [Float](repeating: logMu - layer.logPrice, count: steps))
        }
    }

    public var usesHiddenNorm: Bool { mu > 0 }

    public func hiddenDirection(layer: Int) -> [Float]? {
        guard mu > 0, layers.indices.contains(layer), let direction = layers[layer]?.hiddenWeights else { return nil }
        return direction.isEmpty ? nil : direction
    }

    public func maximumExperts(modelExpertsPerToken: Int, expertCount: Int) -> Int { maximum }

    public func expertCount(for token: RoutingContext, logits: Span<Float>, ranked: Span<Float>) -> Int {
        guard logits.count == expertCount else { return maximum }
        let size = GateView.scratch(expertCount: expertCount, maximum: maximum)
        return logits.withUnsafeBufferPointer { logits in
            withUnsafeTemporaryAllocation(of: Float.self, capacity: size) { scratch in
                var (norm, product, count) = (token.hiddenNorm, token.hiddenProduct, Int32(maximum))
                withGate(layer: token.layer) { gate in
                    Ops.gateCounts(
                        gate, logits: logits.baseAddress!, norms: &norm, offsets: &product, rows: 1,
                        scratch: scratch.baseAddress!, into: &count, pool: nil)
                }
                return Int(count)
            }
        }
    }

    public func expertCounts(for batch: borrowing RoutingBatch, into counts: inout MutableSpan<Int32>) {
        let (rows, logits, products, pool) = (batch.tokenCount, batch.logits, batch.hiddenProducts, batch.pool)
        counts.withUnsafeMutableBufferPointer { counts in
            counts.update(repeating: Int32(maximum))
            guard batch.expertCount == expertCount, let norms = batch.hiddenNorms else { return }
            let scratch = batch.scratch.floats(
                pool.threads * GateView.scratch(expertCount: expertCount, maximum: maximum))
            withGate(layer: batch.layer) { gate in
                Ops.gateCounts(
                    gate, logits: logits, norms: norms, offsets: products, rows: rows, scratch: scratch,
                    into: counts.baseAddress!, pool: pool)
            }
        }
    }

    /// Calls `body` with the layer's gate; not at all where every token gets K: at mu 0, and in layers that it does not know.
    private func withGate(layer: Int, _ body: (GateView) -> Void) {
        guard mu > 0, layers.indices.contains(layer), let head = heads[layer], let layer = layers[layer] else { return }
        layer.expertLogNorms.withUnsafeBufferPointer { norms in
            head.weights.withUnsafeBufferPointer { weights in
                head.thresholds.withUnsafeBufferPointer { thresholds in
                    body(
                        GateView(
                            expertLogNorms: norms.baseAddress!, weights: weights.baseAddress!,
                            thresholds: thresholds.baseAddress!, temperature: layer.temperature, expertCount: expertCount,
                            maximum: maximum, minimum: minimum))
                }
            }
        }
    }
}

// MARK: Features

extension LearnedRouting {
    /// F = 3K + E + 4: the constant; log p, cumulative mass and log norm of the K best; entropy, log-sum-exp, log ‖x‖; the E logits
    /// less their mean.
    package static func featureCount(expertCount: Int, maximum: Int) -> Int {
        GateView.featureCount(expertCount: expertCount, maximum: maximum)
    }

    /// Writes the features of one token, `[F]`; nothing is allocated.
    ///
    /// The K best are ranked by logit, ties to the lower index. Probabilities are of the softmax at `temperature`.
    package static func fill(
        _ features: UnsafeMutablePointer<Float>, logits: UnsafeBufferPointer<Float>, hiddenNorm: Float, maximum: Int,
        temperature: Float, expertLogNorms: [Float]
    ) {
        precondition(expertLogNorms.count == logits.count)
        var norm = hiddenNorm
        expertLogNorms.withUnsafeBufferPointer { norms in
            // There are no heads to look at: any pointer will do.
            let gate = GateView(
                expertLogNorms: norms.baseAddress!, weights: norms.baseAddress!, thresholds: norms.baseAddress!,
                temperature: temperature, expertCount: logits.count, maximum: maximum, minimum: maximum)
            Ops.gateFeatures(
                gate, logits: logits.baseAddress!, norms: &norm, rows: 1, into: features, pool: nil)
        }
    }
}
