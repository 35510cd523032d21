// SPDX-License-Identifier: Apache-2.0

import Glibc

/// 95 % intervals by resampling windows of text with replacement. Windows, not tokens: tokens of one window are not
/// independent. Paired: both policies are resampled alike, so what makes a window hard cancels. Efron 1979.
package struct PairedBootstrap: Sendable {
    /// `[draws][windows]`: how often each window is in a draw. Made once, so that all intervals of a report rest on the same draws.
    private let draws: [[UInt16]]
    static let drawCount = 2000

    /// - Parameter strata: the windows of each domain, which are resampled among themselves: every draw has as much text of each
    ///   domain as the original. Together they name each window once.
    package init(seed: UInt64, strata: [[Int]]) {
        var random = SplitMix(state: seed)
        let count = strata.reduce(0) { $0 + $1.count }
        draws = (0..<Self.drawCount).map { _ in
            var counts = [UInt16](repeating: 0, count: count)
            for stratum in strata {
                for _ in stratum { counts[stratum[Int.random(in: stratum.indices, using: &random)]] += 1 }
            }
            return counts
        }
    }

    package init(seed: UInt64, windows: Int) { self.init(seed: seed, strata: [Array(0..<windows)]) }

    /// Of Σ value / Σ rows over the windows, all of them or those named.
    package func interval(of values: [Double], rows: [Double], only indices: [Int]? = nil) -> [Double] {
        let chosen = indices ?? Array(values.indices)
        let means = draws.map { counts -> Double in
            var (sum, weight) = (0.0, 0.0)
            for index in chosen {
                sum += Double(counts[index]) * values[index]
                weight += Double(counts[index]) * rows[index]
            }
            return sum / max(1, weight)
        }.sorted()
        return [means[Self.drawCount / 40], means[Self.drawCount - 1 - Self.drawCount / 40]]
    }

    /// Mean KL of one policy less another's.
    package func klDifference(_ ours: PolicyScore, _ theirs: PolicyScore, only indices: [Int]? = nil) -> [Double] {
        interval(
            of: zip(ours.windows, theirs.windows).map { $0.kl - $1.kl }, rows: ours.windows.map(\.rows), only: indices)
    }

    /// Mean loss of one policy less another's, in nats per token.
    func lossDifference(_ ours: PolicyScore, _ theirs: PolicyScore, only indices: [Int]? = nil) -> [Double] {
        interval(
            of: zip(ours.windows, theirs.windows).map { $0.loss - $1.loss }, rows: ours.windows.map(\.rows),
            only: indices)
    }

    func kl(_ score: PolicyScore, only indices: [Int]? = nil) -> [Double] {
        interval(of: score.windows.map(\.kl), rows: score.windows.map(\.rows), only: indices)
    }
}
