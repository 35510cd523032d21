// SPDX-License-Identifier: Apache-2.0

import Glibc
import MoECompute
import MoEModel

/// What calibration keeps of one MoE layer: sums only, so memory does not grow with the text.
///
/// Legend: E experts, K experts per token, H = K - kMin steps, F features. Bytes: 8 · temperatures · F · (F + H), and little else.
struct LayerTrace {
    var tokens = 0
    /// `[K + 1]`: sums of e_m, the squared error of keeping the best m experts; after the first pass scaled, see
    /// ``CalibrationTrace``.
    var errors: [Double]
    /// `[K + 1]`: sums of `<y_K, y_m>` and `<y_m, y_m>`, see ``GramError/products(_:weights:renormalizes:add:)``.
    var crossProducts: [Double]
    var squares: [Double]
    /// `[E]`: sums of log ‖y_e‖², and how many tokens there were.
    var logNorms: [Double]
    var expertTokens: [Double]
    /// Per temperature: Σ f fᵀ `[F, F]` and Σ f yᵀ `[F, H]`.
    var featureProducts: [[Double]] = []
    var targetProducts: [[Double]] = []
    /// `[H]`: Σ y².
    var targetSquares: [Double] = []

    init(maximum: Int, expertCount: Int) {
        errors = [Double](repeating: 0, count: maximum + 1)
        crossProducts = errors
        squares = errors
        logNorms = [Double](repeating: 0, count: expertCount)
        expertTokens = logNorms
    }

    func meanError(_ m: Int) -> Double { tokens == 0 ? 0 : errors[m] / Double(tokens) }

    /// `[K + 1]`: γ_m, the scale of the best m experts' sum that is nearest to the whole on average; 1 at 0 and K.
    var scales: [Float] {
        errors.indices.map { m in
            guard m > 0, m < errors.count - 1, squares[m] > 0 else { return 1 }
            return Float(min(4, max(0.25, crossProducts[m] / squares[m])))
        }
    }
}

/// Observes full-k runs and sums up, per layer, what one more expert would have been worth. Used by the engine's thread.
///
/// From the second pass on errors are scaled per token by 2 s̄ / (s̄ + s), s the square of the layer's full output and s̄ its mean:
/// measured KL follows such errors better than plain ones (docs/routing.md).
final class CalibrationTrace: ExpertOutputObserver, @unchecked Sendable {
    /// What the second pass needs from the first, per layer.
    struct Preparation {
        let expertLogNorms: [Float]
        /// Keeps the log of a gain finite.
        let delta: Double
        /// Mean ‖y_K‖².
        let outputSquare: Double
    }

    let shape: GateShape
    let temperatures: [Float]
    /// nil: the first pass, which measures norms and errors only.
    let preparation: [Int: Preparation]?
    /// Tokens are kept one by one besides, for choices that sums cannot make.
    let keepsSamples: Bool
    var layers: [Int: LayerTrace] = [:]
    private(set) var samples: [Int: TokenSamples] = [:]

    private var gram: [Double]
    private var errors: [Double]
    private var bestSets: [Double]
    private var weights: [Double]
    private var experts: [Int]
    private var rows: [UnsafePointer<Float>?]
    private var features: [Float]
    private var row: [Double]
    private var targets: [Double]

    init(
        _ shape: GateShape, temperatures: [Float], preparation: [Int: Preparation]? = nil, keepsSamples: Bool = false
    ) {
        self.shape = shape
        self.temperatures = temperatures
        self.preparation = preparation
        self.keepsSamples = keepsSamples
        let maximum = shape.maximum
        gram = [Double](repeating: 0, count: maximum * maximum)
        errors = [Double](repeating: 0, count: maximum + 1)
        bestSets = errors
        weights = [Double](repeating: 0, count: maximum)
        experts = [Int](repeating: 0, count: maximum)
        rows = [UnsafePointer<Float>?](repeating: nil, count: maximum)
        features = [Float](repeating: 0, count: shape.featureCount)
        row = [Double](repeating: 0, count: shape.featureCount)
        targets = [Double](repeating: 0, count: shape.steps)
    }

    func observe(_ event: borrowing RoutingEvent) {}

    func observe(_ outputs: borrowing ExpertOutputs) {
        let maximum = shape.maximum
        guard outputs.count == maximum else { return }
        for rank in 0..<maximum {
            rows[rank] = outputs.output(rank: rank)
            weights[rank] = Double(outputs.weight(rank: rank))
            experts[rank] = outputs.expert(rank: rank)
        }
        let width = outputs.width
        rows.withUnsafeBufferPointer { rows in
            gram.withUnsafeMutableBufferPointer { LinearAlgebra.gram(rows, width: width, into: $0.baseAddress!) }
        }
        GramError.errors(gram, weights: weights, renormalizes: shape.renormalizes, into: &errors)
        // What a layer says loudly, later layers hear loudly: half of an error counts relative to the output's own square.
        var scale = 1.0
        if let square = preparation?[outputs.layer]?.outputSquare, square > 0 {
            scale = 2 * square / (square + errors[0])
            for m in errors.indices { errors[m] *= scale }
        }
        let norm = Self.norm(outputs.hidden)
        add(layer: outputs.layer, logits: outputs.logits, norm: norm)
        if keepsSamples {
            if maximum <= GramError.setLimit {
                GramError.bestSets(gram, weights: weights, renormalizes: shape.renormalizes, into: &bestSets)
                for m in bestSets.indices { bestSets[m] *= scale }
            } else {
                bestSets = errors
            }
            samples[outputs.layer, default: TokenSamples()].append(
                logits: outputs.logits, norm: norm, errors: errors, bestSets: bestSets)
        }
    }

    private func add(layer index: Int, logits: UnsafeBufferPointer<Float>, norm: Float) {
        let maximum = shape.maximum
        var layer =
            layers.removeValue(forKey: index) ?? LayerTrace(maximum: maximum, expertCount: shape.expertCount)
        defer { layers[index] = layer }
        layer.tokens += 1
        for m in 0...maximum { layer.errors[m] += errors[m] }
        GramError.products(gram, weights: weights, renormalizes: shape.renormalizes) { m, cross, square in
            layer.crossProducts[m] += cross
            layer.squares[m] += square
        }
        for rank in 0..<maximum {
            layer.logNorms[experts[rank]] += log(max(gram[rank * maximum + rank], 1e-30))
            layer.expertTokens[experts[rank]] += 1
        }
        guard let prepared = preparation?[index] else { return }

        let (width, steps) = (features.count, targets.count)
        if layer.featureProducts.isEmpty {
            layer.featureProducts = temperatures.map { _ in [Double](repeating: 0, count: width * width) }
            layer.targetProducts = temperatures.map { _ in [Double](repeating: 0, count: width * steps) }
            layer.targetSquares = [Double](repeating: 0, count: steps)
        }
        for step in 0..<steps {
            let gain = errors[shape.minimum + step] - errors[shape.minimum + step + 1]
            targets[step] = log(max(gain, 0) + prepared.delta)
            layer.targetSquares[step] += targets[step] * targets[step]
        }
        for (choice, temperature) in temperatures.enumerated() {
            features.withUnsafeMutableBufferPointer {
                LearnedRouting.fill(
                    $0.baseAddress!, logits: logits, hiddenNorm: norm, maximum: maximum, temperature: temperature,
                    expertLogNorms: prepared.expertLogNorms)
            }
            for feature in 0..<width { row[feature] = Double(features[feature]) }
            row.withUnsafeBufferPointer { row in
                layer.featureProducts[choice].withUnsafeMutableBufferPointer {
                    LinearAlgebra.addOuterProduct(row, row, to: $0.baseAddress!)
                }
                targets.withUnsafeBufferPointer { targets in
                    layer.targetProducts[choice].withUnsafeMutableBufferPointer {
                        LinearAlgebra.addOuterProduct(row, targets, to: $0.baseAddress!)
                    }
                }
            }
        }
    }

    /// As the router computes it for policies.
    static func norm(_ hidden: UnsafeBufferPointer<Float>) -> Float {
        var sum: Float = 0
        for value in hidden { sum += value * value }
        return sum.squareRoot()
    }
}
