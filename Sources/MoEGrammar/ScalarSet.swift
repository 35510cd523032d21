// SPDX-License-Identifier: Apache-2.0

/// A set of Unicode scalar values, as sorted ranges that neither touch nor overlap. Surrogates are never members.
struct ScalarSet: Hashable, Sendable {
    private(set) var ranges: [ClosedRange<UInt32>]

    static let none = ScalarSet([])
    static let all = ScalarSet([0...0x10ffff])

    init(_ ranges: [ClosedRange<UInt32>]) {
        var sorted: [ClosedRange<UInt32>] = []
        for range in ranges {
            // Without the surrogates.
            if range.lowerBound < 0xd800 { sorted.append(range.lowerBound...min(range.upperBound, 0xd7ff)) }
            if range.upperBound > 0xdfff, range.lowerBound <= 0x10ffff {
                sorted.append(max(range.lowerBound, 0xe000)...min(range.upperBound, 0x10ffff))
            }
        }
        sorted.sort { $0.lowerBound < $1.lowerBound }
        self.ranges = []
        for range in sorted {
            if let last = self.ranges.last, range.lowerBound <= last.upperBound + 1 {
                self.ranges[self.ranges.count - 1] = last.lowerBound...max(last.upperBound, range.upperBound)
            } else {
                self.ranges.append(range)
            }
        }
    }

    init(_ scalar: UInt32) { self.init([scalar...scalar]) }
    init(_ text: String) { self.init(text.unicodeScalars.map { $0.value...$0.value }) }

    var isEmpty: Bool { ranges.isEmpty }

    func contains(_ scalar: UInt32) -> Bool { ranges.contains { $0.contains(scalar) } }

    func union(_ other: ScalarSet) -> ScalarSet { ScalarSet(ranges + other.ranges) }

    var inverted: ScalarSet {
        var result: [ClosedRange<UInt32>] = []
        var next: UInt32 = 0
        for range in ranges {
            if range.lowerBound > next { result.append(next...range.lowerBound - 1) }
            next = range.upperBound + 1
        }
        if next <= 0x10ffff { result.append(next...0x10ffff) }
        return ScalarSet(result)
    }

    func intersection(_ other: ScalarSet) -> ScalarSet {
        var result: [ClosedRange<UInt32>] = []
        var (a, b) = (0, 0)
        while a < ranges.count, b < other.ranges.count {
            let low = max(ranges[a].lowerBound, other.ranges[b].lowerBound)
            let high = min(ranges[a].upperBound, other.ranges[b].upperBound)
            if low <= high { result.append(low...high) }
            if ranges[a].upperBound < other.ranges[b].upperBound { a += 1 } else { b += 1 }
        }
        return ScalarSet(result)
    }
}

extension ScalarSet {
    /// The UTF-8 of the members, as sequences of byte ranges: every choice of one byte from each range is a member, once.
    var byteSequences: [[ClosedRange<UInt8>]] {
        var result: [[ClosedRange<UInt8>]] = []
        for range in ranges {
            // Cut where the length of the encoding changes.
            for (low, high) in [(0, 0x7f), (0x80, 0x7ff), (0x800, 0xffff), (0x10000, 0x10ffff)] as [(UInt32, UInt32)] {
                let (from, to) = (max(range.lowerBound, low), min(range.upperBound, high))
                if from <= to { Self.split(Self.encoding(from), Self.encoding(to), into: &result) }
            }
        }
        return result
    }

    private static func encoding(_ scalar: UInt32) -> [UInt8] { Array(UTF8.encode(UnicodeScalar(scalar)!)!) }

    /// The byte strings from `low` to `high`, both of one length, as rectangles. The last bytes of each cut are the whole range
    /// of continuation bytes, but at the two ends.
    private static func split(_ low: [UInt8], _ high: [UInt8], into result: inout [[ClosedRange<UInt8>]]) {
        let count = low.count
        guard let first = (0..<count).first(where: { low[$0] != high[$0] }) else {
            result.append(low.map { $0...$0 })
            return
        }
        let lowIsFull = low[(first + 1)...].allSatisfy { $0 == 0x80 }
        let highIsFull = high[(first + 1)...].allSatisfy { $0 == 0xbf }
        let prefix = low[..<first].map { $0...$0 }
        let rest = [ClosedRange<UInt8>](repeating: 0x80...0xbf, count: count - first - 1)
        if !lowIsFull {
            split(low, Array(low[...first]) + [UInt8](repeating: 0xbf, count: count - first - 1), into: &result)
        }
        let from = lowIsFull ? low[first] : low[first] + 1
        let to = highIsFull ? high[first] : high[first] - 1
        if from <= to { result.append(prefix + [from...to] + rest) }
        if !highIsFull {
            split(Array(high[...first]) + [UInt8](repeating: 0x80, count: count - first - 1), high, into: &result)
        }
    }
}
