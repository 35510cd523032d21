// SPDX-License-Identifier: Apache-2.0

import Glibc
import MoECompute
import MoEModel

/// What calibration keeps of one MoE layer: sums only, so memory does not grow with the text.
///
/// Legend: E experts, K experts per token, H = K - kMin steps, F features. Bytes: 8 · temperatures · F · (F + H), and little else.
struct LayerTrace {
    var tokens = 0
    /// `[K + 1]`: sums of e_m, the squared error of keeping the best m experts.
    var errors: [Double]
    /// `[E]`: sums of log ‖y_e‖², and how many tokens there were.
    var logNorms: [Double]
    var expertTokens: [Int]
    /// Per temperature: Σ f fᵀ `[F, F]` and Σ f yᵀ `[F, H]`.
    var featureProducts: [[Double]] = []
    var targetProducts: [[Double]] = []
    /// `[H]`: Σ y².
    var targetSquares: [Double] = []

    init(maximum: Int, expertCount: Int) {
        errors = [Double](repeating: 0, count: maximum + 1)
        logNorms = [Double](repeating: 0, count: expertCount)
        expertTokens = [Int](repeating: 0, count: expertCount)
    }

    func meanError(_ m: Int) -> Double { tokens == 0 ? 0 : errors[m] / Double(tokens) }
}

/// Observes full-k runs and sums up, per layer, what one more expert would have been worth. Used by the engine's thread.
final class CalibrationTrace: ExpertOutputObserver, @unchecked Sendable {
    /// What the second pass needs from the first, per layer.
    struct Preparation {
        let expertLogNorms: [Float]
        /// Keeps the log of a gain finite.
        let delta: Double
    }

    let minimum: Int
    let maximum: Int
    let expertCount: Int
    let renormalizes: Bool
    let temperatures: [Float]
    /// nil: the first pass, which measures norms and errors only.
    let preparation: [Int: Preparation]?
    private(set) var layers: [Int: LayerTrace] = [:]

    private var gram: [Double]
    private var errors: [Double]
    private var rows: [UnsafePointer<Float>?]
    private var features: [Float]
    private var row: [Double]
    private var targets: [Double]

    init(
        minimum: Int, maximum: Int, expertCount: Int, renormalizes: Bool, temperatures: [Float],
        preparation: [Int: Preparation]? = nil
    ) {
        self.minimum = minimum
        self.maximum = maximum
        self.expertCount = expertCount
        self.renormalizes = renormalizes
        self.temperatures = temperatures
        self.preparation = preparation
        let width = LearnedRouting.featureCount(expertCount: expertCount, maximum: maximum)
        gram = [Double](repeating: 0, count: maximum * maximum)
        errors = [Double](repeating: 0, count: maximum + 1)
        rows = [UnsafePointer<Float>?](repeating: nil, count: maximum)
        features = [Float](repeating: 0, count: width)
        row = [Double](repeating: 0, count: width)
        targets = [Double](repeating: 0, count: maximum - minimum)
    }

    func observe(_ event: borrowing RoutingEvent) {}

    func observe(_ outputs: borrowing ExpertOutputs) {
        guard outputs.count == maximum else { return }
        for rank in 0..<maximum { rows[rank] = outputs.output(rank: rank) }
        let width = outputs.width
        rows.withUnsafeBufferPointer { rows in
            gram.withUnsafeMutableBufferPointer { LinearAlgebra.gram(rows, width: width, into: $0.baseAddress!) }
        }
        let weights = (0..<maximum).map { Double(outputs.weight(rank: $0)) }
        GramError.errors(gram, weights: weights, renormalizes: renormalizes, into: &errors)
        let experts = (0..<maximum).map { outputs.expert(rank: $0) }
        add(experts: experts, layer: outputs.layer, logits: outputs.logits, hidden: outputs.hidden)
    }

    private func add(
        experts: [Int], layer index: Int, logits: UnsafeBufferPointer<Float>, hidden: UnsafeBufferPointer<Float>
    ) {
        var layer = layers.removeValue(forKey: index) ?? LayerTrace(maximum: maximum, expertCount: expertCount)
        defer { layers[index] = layer }
        layer.tokens += 1
        for m in 0...maximum { layer.errors[m] += errors[m] }
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
            let gain = errors[minimum + step] - errors[minimum + step + 1]
            targets[step] = log(max(gain, 0) + prepared.delta)
            layer.targetSquares[step] += targets[step] * targets[step]
        }
        let norm = Self.norm(hidden)
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

/// The squared error of a layer's output when only the best m of its K experts run, from the Gram matrix of their outputs: exact,
/// without another run.
package enum GramError {
    /// e_m = aᵀ G a. With weights w of all K, the best m kept get w_j · s_m, where s_m = Σ w / Σ_{i<m} w_i when the model
    /// renormalises and 1 when it does not; so a_j = w_j (1 - s_m) for j < m, and w_j for the rest.
    ///
    /// With two orthogonal outputs of norm 1 and w = [0.75, 0.25]: e_1 = 0.0625, or 0.125 when renormalised.
    ///
    /// - Parameters:
    ///   - gram: `[K, K]`
    ///   - weights: `[K]`, best first
    ///   - errors: `[K + 1]`: e_0 … e_K = 0
    package static func errors(_ gram: [Double], weights: [Double], renormalizes: Bool, into errors: inout [Double]) {
        let count = weights.count
        let total = weights.reduce(0, +)
        var kept = 0.0
        for m in 0...count {
            if m > 0 { kept += weights[m - 1] }
            let factor = renormalizes && m > 0 && kept > 0 ? 1 - total / kept : 0
            var sum = 0.0
            for i in 0..<count where m < count {
                let left = i < m ? weights[i] * factor : weights[i]
                for j in 0..<count {
                    sum += left * gram[i * count + j] * (j < m ? weights[j] * factor : weights[j])
                }
            }
            errors[m] = max(0, sum)
        }
    }
}

/// Runs full-k text past fitted heads: how far their predictions are from the gains on average, and how the predictions are
/// distributed. Used by the engine's thread.
final class HeadTrace: ExpertOutputObserver, @unchecked Sendable {
    private let routing: LearnedRouting
    private let gains: CalibrationTrace
    /// Per layer `[H]`: Σ exp û.
    private(set) var predicted: [Int: [Double]] = [:]
    /// Bins of `binWidth` from `lowest` on: values of û_m + log λ that a token's step m + 1 hangs on, that is the least of its
    /// predictions up to m, because the count stops at the first step that is too dear.
    private(set) var histogram = [Int](repeating: 0, count: 2400)
    private(set) var tokens = 0
    private let (lowest, binWidth) = (-60.0, 0.05)
    private var features: [Float]

    init(_ routing: LearnedRouting, renormalizes: Bool) {
        self.routing = routing
        gains = CalibrationTrace(
            minimum: routing.minimum, maximum: routing.maximum, expertCount: routing.expertCount,
            renormalizes: renormalizes, temperatures: [])
        features = [Float](
            repeating: 0,
            count: LearnedRouting.featureCount(expertCount: routing.expertCount, maximum: routing.maximum))
    }

    /// Per layer: sums of the errors on the same tokens.
    var errors: [Int: LayerTrace] { gains.layers }

    func observe(_ event: borrowing RoutingEvent) {}

    func observe(_ outputs: borrowing ExpertOutputs) {
        guard outputs.count == routing.maximum, let layer = routing.layers[outputs.layer] else { return }
        gains.observe(outputs)
        let (steps, width) = (routing.maximum - routing.minimum, features.count)
        let (logits, norm) = (outputs.logits, CalibrationTrace.norm(outputs.hidden))
        features.withUnsafeMutableBufferPointer {
            LearnedRouting.fill(
                $0.baseAddress!, logits: logits, hiddenNorm: norm, maximum: routing.maximum,
                temperature: layer.temperature, expertLogNorms: layer.expertLogNorms)
        }
        tokens += 1
        var least = Double.infinity
        for step in 0..<steps {
            var gain = 0.0
            for index in 0..<width { gain += Double(layer.weights[step * width + index] * features[index]) }
            predicted[outputs.layer, default: [Double](repeating: 0, count: steps)][step] += exp(gain)
            least = min(least, gain + Double(layer.logPrice))
            let bin = ((least - lowest) / binWidth).rounded(.down)
            histogram[max(0, min(histogram.count - 1, bin.isFinite ? Int(bin) : 0))] += 1
        }
    }

    /// The log price at which a token gets `mean` experts on average, to a bin's width.
    func logMu(mean: Double) -> Double {
        let wanted = (mean - Double(routing.minimum)) * Double(tokens)
        var above = 0.0
        for bin in histogram.indices.reversed() {
            above += Double(histogram[bin])
            if above >= wanted { return lowest + binWidth * Double(bin) }
        }
        return lowest
    }
}
