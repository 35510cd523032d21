// SPDX-License-Identifier: Apache-2.0

package import MoEModel

/// Per-layer static routing: k by layer, the same for all tokens. The strongest policy that knows the model but not the token.
package struct LayerAllocation: Sendable {
    /// Per MoE layer `[K + 1]`: the mean error of keeping m experts.
    let errors: [Int: [Double]]
    /// λ by MoE layer.
    let prices: [Int: Double]
    /// kMin, K, and the model's number of layers.
    let minimum: Int
    let maximum: Int
    let layerCount: Int

    package init(errors: [Int: [Double]], prices: [Int: Double], minimum: Int, maximum: Int, layerCount: Int) {
        self.errors = errors
        self.prices = prices
        self.minimum = minimum
        self.maximum = maximum
        self.layerCount = layerCount
    }

    /// k by layer (K for dense ones) with the mean nearest to `mean`: one expert at a time to the layer where it takes away most
    /// priced error.
    package func counts(mean: Double) -> [Int] {
        var counts = (0..<layerCount).map { errors[$0] == nil ? maximum : minimum }
        for _ in 0..<Int(((mean - Double(minimum)) * Double(errors.count)).rounded()) {
            let gains = errors.keys.sorted().filter { counts[$0] < maximum }.map { ($0, gain($0, counts[$0])) }
            // The first of equals.
            guard let best = gains.max(by: { ($0.1, -$0.0) < ($1.1, -$1.0) }) else { break }
            counts[best.0] += 1
        }
        return counts
    }

    /// Priced error that expert m + 1 of a layer takes away.
    private func gain(_ layer: Int, _ m: Int) -> Double {
        guard let errors = errors[layer] else { return 0 }
        return (errors[m] - errors[m + 1]) * (prices[layer] ?? 0)
    }

    /// Moves one expert from a layer to another as long as a measurement says that this is better.
    ///
    /// - Parameters:
    ///   - starts: allocations of the same sum; the best of them is where the search begins.
    ///   - candidates: measured in a round, at most: the exchanges that priced errors like best.
    ///   - measure: something to be made small, for each of the allocations.
    package func improved(
        _ starts: [[Int]], rounds: Int = 4, candidates: Int = roundCandidates,
        measure: (_ allocations: [[Int]]) async throws -> [Double]
    ) async rethrows -> (counts: [Int], value: Double) {
        let starts = starts.reduce(into: [[Int]]()) { if !$0.contains($1) { $0.append($1) } }
        var known: [[Int]: Double] = [:]
        for (counts, value) in zip(starts, try await measure(starts)) { known[counts] = value }
        var best = starts.min { known[$0]! < known[$1]! }!
        for _ in 0..<rounds {
            let next = Array(exchanges(best).filter { known[$0] == nil }.prefix(candidates))
            if next.isEmpty { break }
            for (counts, value) in zip(next, try await measure(next)) { known[counts] = value }
            let leader = next.min { known[$0]! < known[$1]! }!
            if known[leader]! >= known[best]! { break }
            best = leader
        }
        return (best, known[best]!)
    }

    /// All allocations that one expert less here and one more there make, the most promising first.
    private func exchanges(_ counts: [Int]) -> [[Int]] {
        let layers = errors.keys.sorted()
        var found: [(cost: Double, counts: [Int])] = []
        for from in layers where counts[from] > minimum {
            for to in layers where to != from && counts[to] < maximum {
                var moved = counts
                moved[from] -= 1
                moved[to] += 1
                found.append((gain(from, counts[from] - 1) - gain(to, counts[to]), moved))
            }
        }
        return found.enumerated().sorted { ($0.element.cost, $0.offset) < ($1.element.cost, $1.offset) }
            .map(\.element.counts)
    }

    package static let roundCandidates = 8

    /// The policy.
    package static func routing(_ counts: [Int]) -> StaticRouting { StaticRouting(expertsPerToken: PerLayer(counts)) }
}
