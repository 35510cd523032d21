// SPDX-License-Identifier: Apache-2.0

import Glibc

/// 95 % intervals by resampling windows of text with replacement. Windows, not tokens: tokens of one window are not
/// independent. Paired: both policies are resampled alike, so what makes a window hard cancels. Efron 1979.
package struct PairedBootstrap: Sendable {
    private let seed: UInt64
    private let strata: [[Int]]
    static let drawCount = 2000

    /// - Parameter strata: the windows of each domain, which are resampled among themselves: every draw has as much text of each
    ///   domain as the original.
    package init(seed: UInt64, strata: [[Int]]) {
        self.seed = seed
        self.strata = strata
    }

    package init(seed: UInt64, windows: Int) { self.init(seed: seed, strata: [Array(0..<windows)]) }

    /// Of Σ value / Σ rows over the windows: of all strata, or of one alone. The same draws every time.
    package func interval(of values: [Double], rows: [Double], only stratum: [Int]? = nil) -> [Double] {
        var random = SplitMix(state: seed)
        let groups = stratum.map { [$0] } ?? strata
        let means = (0..<Self.drawCount).map { _ -> Double in
            var (sum, weight) = (0.0, 0.0)
            for group in groups {
                for _ in group {
                    let index = group[Int.random(in: group.indices, using: &random)]
                    sum += values[index]
                    weight += rows[index]
                }
            }
            return sum / max(1, weight)
        }.sorted()
        return [means[Self.drawCount / 40], means[Self.drawCount - 1 - Self.drawCount / 40]]
    }

    /// Mean KL of one policy less another's.
    package func klDifference(_ ours: PolicyScore, _ theirs: PolicyScore, only stratum: [Int]? = nil) -> [Double] {
        interval(
            of: zip(ours.windows, theirs.windows).map { $0.kl - $1.kl }, rows: ours.windows.map(\.rows), only: stratum)
    }

    /// Mean loss of one policy less another's, in nats per token.
    func lossDifference(_ ours: PolicyScore, _ theirs: PolicyScore, only stratum: [Int]? = nil) -> [Double] {
        interval(
            of: zip(ours.windows, theirs.windows).map { $0.loss - $1.loss }, rows: ours.windows.map(\.rows),
            only: stratum)
    }

    func kl(_ score: PolicyScore, only stratum: [Int]? = nil) -> [Double] {
        interval(of: score.windows.map(\.kl), rows: score.windows.map(\.rows), only: stratum)
    }
}
