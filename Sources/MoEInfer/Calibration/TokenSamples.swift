// SPDX-License-Identifier: Apache-2.0

import Glibc
import MoEModel

/// One MoE layer's tokens of the choice windows, in order: what each choice between gates is made from without running the model.
///
/// Bytes per token: 4 · (E + 1 + 2 (K + 1)).
struct TokenSamples {
    private(set) var count = 0
    /// `[N, E]`
    private(set) var logits: [Float] = []
    /// `[N]`
    private(set) var norms: [Float] = []
    /// `[N, K + 1]`: e_m of the best m, and of the best set of m.
    private(set) var errors: [Float] = []
    private(set) var bestSets: [Float] = []

    mutating func append(
        logits row: UnsafeBufferPointer<Float>, norm: Float, errors: [Double], bestSets: [Double]
    ) {
        logits.append(contentsOf: row)
        norms.append(norm)
        for error in errors { self.errors.append(Float(error)) }
        for error in bestSets { self.bestSets.append(Float(error)) }
        count += 1
    }

    /// `[N, H]`: û of a layer's heads.
    func predictions(_ layer: LearnedRouting.Layer, shape: GateShape) -> [Float] {
        let (width, steps, experts) = (shape.featureCount, shape.steps, shape.expertCount)
        var features = [Float](repeating: 0, count: width)
        var result = [Float](repeating: 0, count: count * steps)
        for token in 0..<count {
            logits.withUnsafeBufferPointer { logits in
                features.withUnsafeMutableBufferPointer {
                    LearnedRouting.fill(
                        $0.baseAddress!,
                        logits: UnsafeBufferPointer(rebasing: logits[token * experts..<(token + 1) * experts]),
                        hiddenNorm: norms[token], maximum: shape.maximum, temperature: layer.temperature,
                        expertLogNorms: layer.expertLogNorms)
                }
            }
            for step in 0..<steps {
                var gain: Float = 0
                for index in 0..<width { gain += layer.weights[step * width + index] * features[index] }
                result[token * steps + step] = gain
            }
        }
        return result
    }
}

/// How many experts a gate gives on average at a price, from predictions on full-k text. Policies change what later layers see, so
/// the true mean differs a little.
struct CountModel {
    /// Per MoE layer, falling: for each token and step the least of its predictions up to that step, because the count stops at the
    /// first step that is too dear.
    private let reach: [Int: [Float]]
    private let shape: GateShape
    private let tokens: Int

    /// - Parameter predictions: per MoE layer `[N, H]`.
    init(_ predictions: [Int: [Float]], shape: GateShape) {
        self.shape = shape
        let steps = shape.steps
        tokens = (predictions.values.first?.count ?? 0) / max(steps, 1)
        reach = predictions.mapValues { values in
            var reach = values
            for index in reach.indices where index % steps > 0 { reach[index] = min(reach[index], reach[index - 1]) }
            return reach.sorted(by: >)
        }
    }

    /// Experts per token and MoE layer.
    func mean(logMu: Double, logPrices: [Int: Double]) -> Double {
        guard tokens > 0 else { return 0 }
        let above = reach.reduce(0) { sum, entry in
            sum + Self.count(entry.value, above: Float(logMu - (logPrices[entry.key] ?? 0)))
        }
        return Double(shape.minimum) + Double(above) / Double(tokens * reach.count)
    }

    /// The log price at which the mean is `mean`.
    func logMu(mean: Double, logPrices: [Int: Double]) -> Double {
        var (low, high) = (-80.0, 80.0)
        for _ in 0..<50 {
            let middle = (low + high) / 2
            if self.mean(logMu: middle, logPrices: logPrices) > mean { low = middle } else { high = middle }
        }
        return (low + high) / 2
    }

    private static func count(_ falling: [Float], above value: Float) -> Int {
        var (low, high) = (0, falling.count)
        while low < high {
            let middle = (low + high) / 2
            if falling[middle] > value { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
