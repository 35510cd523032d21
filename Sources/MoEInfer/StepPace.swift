// SPDX-License-Identifier: Apache-2.0

/// How many rows of prompts a step may take so that those who decode in it hardly notice: measured, because it depends on the model,
/// on the machine and on how many decode.
///
/// A step of decoding rows alone takes as long as its kind took lately. Prompt rows beside them cost what a row of a long slice costs, and
/// a sum on top: short slices are dear, because the weights are prepared for few rows. Both are measured, the sum at the number of rows
/// that was last given, so the number settles over some steps.
package struct StepPace: Sendable {
    /// What a step may take longer for its prompt rows, as a share of a step without any; and where more prompts wait than sequences
    /// decode: more wait then for their first token than for their next one.
    package static let share = 1.0...1.8
    /// Fewer rows are never given: a prompt goes on whatever it costs.
    package static let least = 4
    /// Before anything is measured.
    private static let first = 32
    /// Of a new measurement in the running means.
    private static let weight = 0.25

    /// Element n: seconds of a step of n decoding rows alone; 0: not seen yet.
    private var decode: [Double] = []
    private var secondsPerRow: Double?
    /// Seconds of a prompt's row in a long slice.
    private var bulk: Double?
    /// Rows of a slice whose rows cost what they cost in the longest.
    private static let long = 64
    /// Seconds of the prompt rows beside decoding ones, less what they would take in a long slice.
    private var overhead = 0.0

    package init() {}

    package mutating func record(decoding: Int, prompt: Int, seconds: Double) {
        if prompt == 0 {
            if decoding == 0 { return }
            while decode.count <= decoding { decode.append(0) }
            decode[decoding] = Self.mean(decode[decoding] == 0 ? nil : decode[decoding], seconds)
        } else if decoding == 0 {
            if prompt >= Self.long { bulk = Self.mean(bulk, seconds / Double(prompt)) }
        } else if let alone = alone(decoding) {
            let extra = max(seconds - alone, 0.05 * seconds)
            secondsPerRow = Self.mean(secondsPerRow, extra / Double(prompt))
            if let bulk { overhead = Self.mean(overhead, extra - bulk * Double(prompt)) }
        }
    }

    /// - Parameters:
    ///   - decoding: the rows that decode in the step.
    ///   - prompts: sequences whose prompt is not computed yet.
    package func rows(decoding: Int, prompts: Int, most: Int) -> Int {
        guard let alone = alone(decoding) else { return min(Self.first, most) }
        let share = min(max(Double(prompts) / Double(max(1, decoding)), Self.share.lowerBound), Self.share.upperBound)
        let rows: Double
        if let bulk, bulk > 0 {
            rows = (share * alone - overhead) / bulk
        } else if let secondsPerRow, secondsPerRow > 0 {
            rows = share * alone / secondsPerRow
        } else {
            return min(Self.first, most)
        }
        // Kernels take eight rows at a time.
        return min(most, rows < 8 ? Self.least : Int(min(rows, Double(most))) / 8 * 8)
    }

    /// Seconds of a step without prompt rows; of the nearest number of rows where this one was not seen, rather fewer.
    private func alone(_ decoding: Int) -> Double? {
        let near = decode.indices.filter { decode[$0] > 0 }
        let known = near.last { $0 <= decoding } ?? near.first
        return known.map { decode[$0] }
    }

    private static func mean(_ old: Double?, _ new: Double) -> Double {
        old.map { $0 + weight * (new - $0) } ?? new
    }
}
