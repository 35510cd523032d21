// SPDX-License-Identifier: Apache-2.0

import Glibc
import MoEModel

/// What a layer's error does to the model's output when the other layers are cut, too.
///
/// Each token draws its own price per layer around the policy's: so its counts in all layers differ at random, and one run gives an
/// equation per token, KL_t = Σ_l λ_l e_l,t(k_l,t), with the errors known from the full-k run. Least squares with λ ≥ 0; a window's
/// equations are divided by its mean KL, so that hard text does not decide alone, and a single token counts for `limit` times the mean
/// at most. Layers measured one at a time give other prices: a
/// layer that is cut alone disturbs the later ones more than one that is cut with them.
struct JointPrices {
    let passes: CalibrationPasses
    let windows: [[Int32]]
    let samples: [Int: TokenSamples]
    let seed: UInt64

    /// Of a token's KL, in means of its window: KL has a heavy tail.
    private static let limit = 8.0

    /// Factors of mu that tokens draw from: five steps of e^0.7.
    private static let jitter: [Double] = [-1.4, -0.7, 0, 0.7, 1.4]

    /// λ by MoE layer.
    /// - Parameter logMus: a run for each: the log prices around which tokens draw.
    func find(_ profile: RoutingProfile, logMus: [Double]) async throws -> [Int: Double] {
        let moe = samples.keys.sorted()
        var (products, right) = (
            [Double](repeating: 0, count: moe.count * moe.count), [Double](repeating: 0, count: moe.count)
        )
        for (index, logMu) in logMus.enumerated() {
            var start = 0
            for (number, window) in windows.enumerated() {
                let sums = try await passes.journal.value("joint/\(index)/\(number)") {
                    try await equations(
                        profile, logMu: logMu, window: window, start: start, moe: moe,
                        draw: SplitMix(state: seed ^ UInt64(index) << 32 ^ UInt64(number)).first)
                }
                for (place, value) in sums.enumerated() {
                    if place < products.count { products[place] += value } else { right[place - products.count] += value }
                }
                start += window.count
                passes.advance("layer prices", by: 2 * window.count)
            }
        }
        let prices = NonNegativeLeastSquares.solve(products, right, count: moe.count)
        let largest = prices.max() ?? 0
        // A layer without a measurable effect is still worth something.
        return Dictionary(
            uniqueKeysWithValues: zip(moe, prices).map { ($0, largest > 0 ? max($1, largest * 1e-2) : 1) })
    }

    /// Σ x xᵀ `[L, L]` and Σ x KL `[L]` of one window, x the errors that its tokens' counts cause.
    private func equations(
        _ profile: RoutingProfile, logMu: Double, window: [Int32], start: Int, moe: [Int], draw: UInt64
    ) async throws -> [Double] {
        let policy = JitteredRouting(
            Self.jitter.map { profile.routing(mu: Float(exp(logMu + $0))) }, seed: draw, positions: window.count)
        let score = try await PolicyEvaluator(llm: passes.llm, windows: [window]).scores(of: [policy]) { _ in }[1]
            .windows[0]
        let (count, width) = (moe.count, passes.shape.maximum + 1)
        var sums = [Double](repeating: 0, count: count * count + count)
        var x = [Double](repeating: 0, count: count)
        let scale = score.kl > 0 ? 1 / (score.kl / max(1, score.rows)) : 0
        for (position, divergence) in score.tokenKL.enumerated() {
            for (index, layer) in moe.enumerated() {
                let experts = policy.log.count(layer: layer, position: position)
                x[index] = Double(samples[layer]!.errors[(start + position) * width + experts]) * scale
            }
            for i in 0..<count {
                for j in 0..<count { sums[i * count + j] += x[i] * x[j] }
                sums[count * count + i] += x[i] * min(Double(divergence) * scale, Self.limit)
            }
        }
        return sums
    }
}

/// Of several gates, another for each token and layer, drawn by position; keeps what it gave.
private struct JitteredRouting: RoutingPolicy {
    /// Counts by layer and position. Written by the engine's thread, read when it is done.
    final class Log: @unchecked Sendable {
        private let positions: Int
        private var counts: [Int: [UInt16]] = [:]

        init(positions: Int) { self.positions = positions }

        func set(layer: Int, position: Int, _ count: Int) {
            counts[layer, default: [UInt16](repeating: 0, count: positions)][position] = UInt16(clamping: count)
        }
        func count(layer: Int, position: Int) -> Int { Int(counts[layer]?[position] ?? 0) }
    }

    private let gates: [LearnedRouting]
    private let seed: UInt64
    let log: Log

    init(_ gates: [LearnedRouting], seed: UInt64, positions: Int) {
        self.gates = gates
        self.seed = seed
        log = Log(positions: positions)
    }

    var usesHiddenNorm: Bool { true }
    func hiddenDirection(layer: Int) -> [Float]? { gates[0].hiddenDirection(layer: layer) }
    func maximumExperts(modelExpertsPerToken: Int, expertCount: Int) -> Int { gates[0].maximum }

    func expertCount(for token: RoutingContext, logits: Span<Float>, ranked: Span<Float>) -> Int {
        let draw = SplitMix(state: seed ^ UInt64(token.layer) << 32 ^ UInt64(token.position)).first
        let gate = gates[Int(draw % UInt64(gates.count))]
        let count = gate.expertCount(for: token, logits: logits, ranked: ranked)
        log.set(layer: token.layer, position: token.position, count)
        return count
    }
}

extension SplitMix {
    /// The first number of this state.
    var first: UInt64 {
        var copy = self
        return copy.next()
    }
}

/// min ‖A x - b‖², x ≥ 0, from AᵀA and Aᵀb, by coordinate descent: convex, so it ends at the optimum.
package enum NonNegativeLeastSquares {
    /// - Parameters:
    ///   - products: `[n, n]`
    ///   - right: `[n]`
    package static func solve(_ products: [Double], _ right: [Double], count n: Int) -> [Double] {
        var x = [Double](repeating: 0, count: n)
        for _ in 0..<5000 {
            var change = 0.0
            for i in 0..<n {
                let diagonal = products[i * n + i]
                guard diagonal > 0 else { continue }
                var residual = right[i]
                for j in 0..<n { residual -= products[i * n + j] * x[j] }
                let next = max(0, x[i] + residual / diagonal)
                change = max(change, abs(next - x[i]) / max(next, x[i], 1e-300))
                x[i] = next
            }
            if change < 1e-9 { break }
        }
        return x
    }
}
