// SPDX-License-Identifier: Apache-2.0

import Glibc
import MoEModel

/// A family of policies with one dial, and how its dial is turned to a wanted mean number of experts.
struct PolicyFamily: Sendable {
    let name: String
    /// A value of the dial that gives the most experts, and one that gives the fewest.
    let most: Double
    let fewest: Double
    /// The policy at a value of the dial, and as `--routing` takes it.
    let policy: @Sendable (Double) -> (policy: any RoutingPolicy, specification: String)
}

/// Turns a dial until a policy's mean number of experts is as wanted. Every run is kept, so later searches start closer.
struct DialSearch {
    let family: PolicyFamily
    let evaluator: PolicyEvaluator
    let tolerance: Double
    /// By dial from the most experts to the fewest.
    private var samples: [(dial: Double, mean: Double)]

    /// - Parameter range: mean experts at the two ends.
    init(_ family: PolicyFamily, evaluator: PolicyEvaluator, range: (fewest: Double, most: Double), tolerance: Double) {
        self.family = family
        self.evaluator = evaluator
        self.tolerance = tolerance
        samples = [(family.most, range.most), (family.fewest, range.fewest)]
    }

    /// False position between the nearest runs on both sides; halving whenever that did not halve the interval (Dekker 1969 in
    /// spirit), so that a dial of any scale is found in a bounded number of runs.
    mutating func dial(for mean: Double) async throws -> Double {
        var (width, halves) = (Double.infinity, false)
        for _ in 0..<48 {
            let hit = samples.min { abs($0.mean - mean) < abs($1.mean - mean) }!
            if abs(hit.mean - mean) <= tolerance { return hit.dial }
            guard let above = samples.last(where: { $0.mean >= mean }), let below = samples.first(where: { $0.mean < mean })
            else { break }
            let interval = abs(below.dial - above.dial)
            // A policy may have no setting between two means: tokens that are all alike.
            if interval <= 1e-6 * max(1e-3, abs(above.dial)) { return hit.dial }
            halves = !halves && interval > width / 2
            width = interval
            let share = halves ? 0.5 : (above.mean - mean) / (above.mean - below.mean)
            let dial = above.dial + (below.dial - above.dial) * min(0.98, max(0.02, share))
            let found = try await evaluator.meanExperts(of: family.policy(dial).policy)
            insert(dial, found)
        }
        return samples.min { abs($0.mean - mean) < abs($1.mean - mean) }!.dial
    }

    /// Keeps the runs in the order of the dial; the mean falls along it.
    private mutating func insert(_ dial: Double, _ mean: Double) {
        let ascends = family.fewest > family.most
        let index = samples.firstIndex { ascends ? $0.dial > dial : $0.dial < dial } ?? samples.count
        samples.insert((dial, mean), at: index)
    }
}

/// One policy's measured points from few experts to many, and what lies between two of them.
package struct PolicyCurve {
    struct Point {
        let specification: String
        let score: PolicyScore
        let latency: PolicyLatency
    }

    let name: String
    /// By mean experts, ascending; the last is static routing at the model's own k.
    let points: [Point]
    /// Decode time relative to static, made monotone in the mean number of experts: what is measured is noisy, and more experts
    /// never take less time. Pool adjacent violators (Barlow et al. 1972), every point of the same weight.
    let times: [Double]

    init(name: String, points: [Point]) {
        self.name = name
        self.points = points.sorted { $0.score.meanExperts < $1.score.meanExperts }
        times = Self.isotonic(self.points.map(\.latency.decode.timeRatio))
    }

    package static func isotonic(_ values: [Double]) -> [Double] {
        var pools: [(mean: Double, count: Int)] = []
        for value in values {
            pools.append((value, 1))
            while pools.count > 1, pools[pools.count - 2].mean > pools[pools.count - 1].mean {
                let last = pools.removeLast()
                let before = pools.removeLast()
                let count = before.count + last.count
                let mean = (before.mean * Double(before.count) + last.mean * Double(last.count)) / Double(count)
                pools.append((mean, count))
            }
        }
        return pools.flatMap { [Double](repeating: $0.mean, count: $0.count) }
    }

    /// nil: outside what was measured.
    func score(meanExperts: Double) -> PolicyScore? { score(at: meanExperts, on: points.map(\.score.meanExperts)) }

    /// - Parameter timeRatio: decode time relative to static.
    func score(timeRatio: Double) -> PolicyScore? { score(at: timeRatio, on: times) }

    private func score(at value: Double, on axis: [Double]) -> PolicyScore? {
        let slack = 1e-9 + 0.002 * abs(value)
        guard let first = axis.first, let last = axis.last, value >= first - slack, value <= last + slack else {
            return nil
        }
        // The rightmost point that is not dearer: of points that cost the same, the one with most experts.
        guard let low = axis.lastIndex(where: { $0 <= value }) else { return points[0].score }
        guard low + 1 < axis.count, axis[low] < value else { return points[low].score }
        let share = (value - axis[low]) / (axis[low + 1] - axis[low])
        return points[low].score.blended(with: points[low + 1].score, share: share)
    }
}
