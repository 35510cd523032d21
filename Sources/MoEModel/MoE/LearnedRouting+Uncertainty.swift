// SPDX-License-Identifier: Apache-2.0

import Glibc

extension LearnedRouting {
    /// How far the gain that is predicted for expert `count` + 1 falls short of what it must bring, in standard deviations of the
    /// head's error: (log mu - log λ - û) / σ. Negative when the expert is worth its price.
    ///
    /// With û = -2, λ = 1, σ = 0.5 and mu = 0.165 (log -1.8) it is 0.4.
    /// - Returns: nil where the gate predicts nothing (outside kMin..<K, without a head, at mu 0) or its error is not known.
    public func shortfall(after count: Int, for token: RoutingContext, logits: Span<Float>) -> Float? {
        guard mu > 0, logits.count == expertCount, count >= minimum, count < maximum,
            layers.indices.contains(token.layer), let layer = layers[token.layer], !layer.deviations.isEmpty
        else { return nil }
        let width = Self.featureCount(expertCount: expertCount, maximum: maximum)
        let head = (count - minimum) * width
        let gain = logits.withUnsafeBufferPointer { logits in
            withUnsafeTemporaryAllocation(of: Float.self, capacity: width) { features -> Float in
                Self.fill(
                    features.baseAddress!, logits: logits, hiddenNorm: token.hiddenNorm, maximum: maximum,
                    temperature: layer.temperature, expertLogNorms: layer.expertLogNorms)
                var gain = token.hiddenProduct
                for index in 0..<width { gain += layer.weights[head + index] * features[index] }
                return gain
            }
        }
        return (log(mu) - layer.logPrice - gain) / layer.deviations[count - minimum]
    }

    /// `scales` of the profile's layer, by the count that runs.
    public func weightScale(layer: Int, count: Int) -> Float {
        guard layer >= 0, count >= 0, count < maximum, (layer + 1) * maximum <= scales.count else { return 1 }
        return scales[layer * maximum + count]
    }
}
