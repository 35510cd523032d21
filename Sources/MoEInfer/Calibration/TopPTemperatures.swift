// SPDX-License-Identifier: Apache-2.0

import Glibc
import MoEModel

/// Top-p with a temperature of its own per layer, learned at a fixed mean number of experts: golden section on measured KL, layer by
/// layer (groups of neighbours where there are many), p put back each time.
struct TopPTemperatures {
    let minimum: Int
    let maximum: Int
    let layerCount: Int
    /// MoE layers.
    let layers: [Int]
    /// The p at which top-p with these temperatures has the wanted mean, without running the model.
    let p: (_ temperatures: [Float]) -> Double
    /// Something to be made small.
    let measure: (_ policies: [TopPRouting]) async throws -> [Double]

    /// log T is searched from 1/4 to 4.
    private static let range = (low: -1.386, high: 1.386)

    /// Temperatures `[layerCount]`, and what the last measurement gave with them.
    /// - Parameters:
    ///   - groups: of neighbouring layers that share a search, at most.
    ///   - steps: measurements per group.
    func find(groups: Int = 8, steps: Int = 5) async throws -> (temperatures: [Float], value: Double) {
        var temperatures = [Float](repeating: 1, count: layerCount)
        var value = try await measure([policy(temperatures)])[0]
        let size = max(1, (layers.count + groups - 1) / max(groups, 1))
        for start in stride(from: 0, to: layers.count, by: size) {
            let part = layers[start..<min(start + size, layers.count)]
            func with(_ logTemperature: Double) -> [Float] {
                var changed = temperatures
                for layer in part { changed[layer] = Float(exp(logTemperature)) }
                return changed
            }
            let golden = 0.618_033_988_749_895
            var (low, high) = Self.range
            var (left, right) = (high - golden * (high - low), low + golden * (high - low))
            var values = try await measure([policy(with(left)), policy(with(right))])
            var best = (value: value, temperatures: temperatures)
            for step in 0..<steps {
                for (at, found) in [(left, values[0]), (right, values[1])] where found < best.value {
                    best = (found, with(at))
                }
                if step == steps - 1 { break }
                if values[0] < values[1] {
                    (high, right) = (right, left)
                    left = high - golden * (high - low)
                    values = [try await measure([policy(with(left))])[0], values[0]]
                } else {
                    (low, left) = (left, right)
                    right = low + golden * (high - low)
                    values = [values[1], try await measure([policy(with(right))])[0]]
                }
            }
            (value, temperatures) = best
        }
        return (temperatures, value)
    }

    private func policy(_ temperatures: [Float]) -> TopPRouting {
        TopPRouting(
            p: PerLayer(Float(p(temperatures))), minimum: minimum, maximum: maximum, temperature: PerLayer(temperatures))
    }
}

/// Experts per token that top-p gives on sampled tokens: p for a mean without a run.
struct TopPCounts {
    let samples: [Int: TokenSamples]
    let shape: GateShape
    /// Every n-th token, so that a bisection is quick.
    var stride = 4

    func p(mean: Double, temperatures: [Float]) -> Double {
        let (experts, maximum) = (shape.expertCount, shape.maximum)
        // Per token and layer the cumulative masses of the K best, at the layer's temperature.
        var masses: [Float] = []
        var rows = 0
        for (layer, sample) in samples.sorted(by: { $0.key < $1.key }) {
            let inverse = 1 / temperatures[layer]
            for token in Swift.stride(from: 0, to: sample.count, by: stride) {
                let row = sample.logits[token * experts..<(token + 1) * experts].sorted(by: >)
                let weights = row.map { exp(($0 - row[0]) * inverse) }
                let total = weights.reduce(0, +)
                var sum: Float = 0
                for rank in 0..<maximum {
                    masses.append(sum / total)
                    sum += weights[rank]
                }
                rows += 1
            }
        }
        // Expert m + 1 runs when the mass before it is below p.
        let falling = masses.enumerated().map { $0.offset % maximum < shape.minimum ? -1 : $0.element }.sorted()
        let wanted = min(falling.count - 1, max(0, Int((mean * Double(rows)).rounded())))
        return falling.isEmpty ? 1 : Double(max(falling[wanted], 0))
    }
}
