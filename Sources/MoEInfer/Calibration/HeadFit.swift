// SPDX-License-Identifier: Apache-2.0

import Glibc
import MoECompute
import MoEModel

/// Ridge regression of one layer's heads, from sums.
struct HeadFit {
    let temperature: Float
    let ridge: Double
    /// `[H, F]`
    let weights: [Double]
    /// Mean squared error of the log gains on held-out tokens, and their variance: 1 - error / variance is R².
    let error: Double
    let variance: Double
    /// `[H]`: root mean square of what a head is off by, in log gain, on held-out tokens.
    let deviations: [Double]

    /// Of all temperatures and ridges the one with the least error on `heldOut`.
    /// - Returns: nil when nothing was traced.
    static func best(train: LayerTrace, heldOut: LayerTrace, temperatures: [Float], steps: Int) -> HeadFit? {
        guard train.tokens > 0, heldOut.tokens > 0, !train.featureProducts.isEmpty else { return nil }
        var best: HeadFit?
        for (choice, temperature) in temperatures.enumerated() {
            for ridge in [1e-4, 1e-3, 1e-2, 0.1, 1, 10] {
                guard
                    let weights = solve(
                        train.featureProducts[choice], train.targetProducts[choice], steps: steps, ridge: ridge)
                else { continue }
                let (errors, variance) = score(weights, on: heldOut, choice: choice, steps: steps)
                let error = errors.reduce(0, +) / Double(max(steps, 1))
                if best.map({ error < $0.error }) ?? true {
                    best = HeadFit(
                        temperature: temperature, ridge: ridge, weights: weights, error: error, variance: variance,
                        deviations: errors.map { sqrt(max(0, $0)) })
                }
            }
        }
        return best
    }

    /// Least squares on standardised features with `ridge` on their correlation matrix, folded back to raw features; the constant
    /// (feature 0) takes what is left, unpenalised.
    private static func solve(_ products: [Double], _ targets: [Double], steps: Int, ridge: Double) -> [Double]? {
        let width = targets.count / max(steps, 1)
        let n = products[0]
        let means = (0..<width).map { products[$0] / n }
        let deviations = (0..<width).map { sqrt(max(0, products[$0 * width + $0] / n - means[$0] * means[$0])) }
        let used = (1..<width).filter { deviations[$0] > 1e-7 * max(1, abs(means[$0])) }

        var correlation = [Double](repeating: 0, count: used.count * used.count)
        var right = [Double](repeating: 0, count: used.count * steps)
        for (i, a) in used.enumerated() {
            for (j, b) in used.enumerated() {
                let covariance = products[a * width + b] / n - means[a] * means[b]
                correlation[i * used.count + j] = covariance / (deviations[a] * deviations[b]) + (i == j ? ridge : 0)
            }
            for step in 0..<steps {
                right[i * steps + step] = (targets[a * steps + step] / n - means[a] * targets[step] / n) / deviations[a]
            }
        }
        guard
            let solution = LinearAlgebra.solvePositiveDefinite(
                correlation, right, count: used.count, columns: steps)
        else { return nil }
        var weights = [Double](repeating: 0, count: steps * width)
        for step in 0..<steps {
            var constant = targets[step] / n
            for (i, a) in used.enumerated() {
                let weight = solution[i * steps + step] / deviations[a]
                weights[step * width + a] = weight
                constant -= weight * means[a]
            }
            weights[step * width] = constant
        }
        return weights
    }

    /// Σ (y - w·f)² = Σ y² - 2 w·Σ f y + wᵀ Σ f fᵀ w, averaged over tokens: `[H]`, and the targets' variance.
    private static func score(
        _ weights: [Double], on trace: LayerTrace, choice: Int, steps: Int
    ) -> (errors: [Double], variance: Double) {
        let (products, targets) = (trace.featureProducts[choice], trace.targetProducts[choice])
        let width = targets.count / max(steps, 1)
        let n = Double(trace.tokens)
        var (errors, variance) = ([Double](), 0.0)
        for step in 0..<steps {
            let head = Array(weights[step * width..<(step + 1) * width])
            var sum = trace.targetSquares[step]
            for (i, weight) in head.enumerated() {
                sum -= 2 * weight * targets[i * steps + step]
                var product = 0.0
                for (j, other) in head.enumerated() { product += products[i * width + j] * other }
                sum += weight * product
            }
            errors.append(sum / n)
            let mean = targets[step] / n
            variance += trace.targetSquares[step] / n - mean * mean
        }
        return (errors, variance / Double(max(steps, 1)))
    }
}
