// SPDX-License-Identifier: Apache-2.0

/// How many rows of prompts a step may take so that those who decode in it hardly notice: measured, because it depends on the model,
/// on the machine and on how many decode.
///
/// A step of decoding rows alone takes as long as its kind took lately. What a step takes longer for its prompt rows, by row, is
/// measured as well; the next one gets as many as fit in ``share`` of the first. A row is dearer in a short slice than in a long one, so
/// the number settles over some steps.
package struct StepPace: Sendable {
    /// What a step may take longer for its prompt rows, as a share of a step without any.
    package static let share = 1.0
    /// Fewer rows are never given: a prompt goes on whatever it costs.
    package static let least = 4
    /// Before anything is measured.
    private static let first = 32
    /// Of a new measurement in the running means.
    private static let weight = 0.25

    /// Element n: seconds of a step of n decoding rows alone; 0: not seen yet.
    private var decode: [Double] = []
    private var secondsPerRow: Double?

    package init() {}

    package mutating func record(decoding: Int, prompt: Int, seconds: Double) {
        if prompt == 0 {
            if decoding == 0 { return }
            while decode.count <= decoding { decode.append(0) }
            decode[decoding] = Self.mean(decode[decoding] == 0 ? nil : decode[decoding], seconds)
        } else if decoding == 0 {
            // A whole chunk's rows are cheaper than a short slice's: a first guess only.
            if secondsPerRow == nil { secondsPerRow = seconds / Double(prompt) }
        } else if let alone = alone(decoding) {
            secondsPerRow = Self.mean(secondsPerRow, max(seconds - alone, 0.05 * seconds) / Double(prompt))
        }
    }

    /// - Parameter decoding: the rows that decode in the step.
    package func rows(decoding: Int, most: Int) -> Int {
        guard let alone = alone(decoding), let secondsPerRow, secondsPerRow > 0 else { return min(Self.first, most) }
        let rows = Int(min(Self.share * alone / secondsPerRow, Double(most)))
        // Kernels take eight rows at a time.
        return min(most, rows < 8 ? Self.least : rows / 8 * 8)
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
