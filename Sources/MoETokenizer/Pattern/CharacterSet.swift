// SPDX-License-Identifier: Apache-2.0

/// A set of code points as sorted boundaries: inside from an even index to the next, outside after.
struct CharacterSet: Equatable, Sendable {
    private(set) var boundaries: [UInt32] = []

    static let limit: UInt32 = 0x110000
    static let all = CharacterSet(boundaries: [0, limit])

    init() {}

    init(boundaries: [UInt32]) { self.boundaries = boundaries }

    init(_ range: ClosedRange<UInt32>) { boundaries = [range.lowerBound, range.upperBound + 1] }

    init(_ characters: some Sequence<UInt32>) {
        for c in Set(characters).sorted() {
            if boundaries.last == c { boundaries.removeLast() } else { boundaries.append(c) }
            boundaries.append(c + 1)
        }
    }

    init(_ kinds: CharacterClass) {
        let ranges = UnicodeTables.generalCategories
        var isInside = false
        for entry in ranges {
            let isMember = kinds.rawValue >> (entry & 31) & 1 == 1
            if isMember != isInside {
                boundaries.append(entry >> 5)
                isInside = isMember
            }
        }
        if isInside { boundaries.append(Self.limit) }
        // The white space among the controls is of a kind of its own.
        let isControl = kinds.rawValue >> 1 & 1 == 1
        if kinds.rawValue >> 30 & 1 == 1 {
            if !isControl { formUnion(Self.spaceControls) }
        } else if isControl {
            self = intersection(Self.spaceControls.inverted)
        }
    }

    private static let spaceControls = CharacterSet([0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x85])
    static let han = CharacterSet(boundaries: UnicodeTables.hanBoundaries)

    var isEmpty: Bool { boundaries.isEmpty }

    func contains(_ codePoint: UInt32) -> Bool { Boundaries.contain(codePoint, boundaries) }

    var inverted: CharacterSet {
        var result = boundaries
        if result.first == 0 { result.removeFirst() } else { result.insert(0, at: 0) }
        if result.last == Self.limit { result.removeLast() } else { result.append(Self.limit) }
        return CharacterSet(boundaries: result)
    }

    mutating func formUnion(_ other: CharacterSet) { self = combined(with: other) { $0 || $1 } }
    func union(_ other: CharacterSet) -> CharacterSet { combined(with: other) { $0 || $1 } }
    func intersection(_ other: CharacterSet) -> CharacterSet { combined(with: other) { $0 && $1 } }
    func subtracting(_ other: CharacterSet) -> CharacterSet { combined(with: other) { $0 && !$1 } }

    private func combined(with other: CharacterSet, _ rule: (Bool, Bool) -> Bool) -> CharacterSet {
        var result: [UInt32] = []
        var i = 0
        var j = 0
        var isInside = false
        while i < boundaries.count || j < other.boundaries.count {
            let next = min(
                i < boundaries.count ? boundaries[i] : .max, j < other.boundaries.count ? other.boundaries[j] : .max)
            if i < boundaries.count, boundaries[i] == next { i += 1 }
            if j < other.boundaries.count, other.boundaries[j] == next { j += 1 }
            let isMember = rule(i % 2 == 1, j % 2 == 1)
            if isMember != isInside {
                result.append(next)
                isInside = isMember
            }
        }
        return CharacterSet(boundaries: result)
    }

    /// With the other case of every ASCII letter, and the characters beyond ASCII that fold to one: U+017F (s) and U+212A (k).
    var foldedASCII: CharacterSet {
        var added: [UInt32] = []
        for c in UInt32(0x41)...0x5A where contains(c) || contains(c + 0x20) {
            added += [c, c + 0x20]
            if c == 0x53 { added.append(0x17F) }
            if c == 0x4B { added.append(0x212A) }
        }
        if contains(0x17F) { added += [0x53, 0x73] }
        if contains(0x212A) { added += [0x4B, 0x6B] }
        return union(CharacterSet(added))
    }
}

/// A set to be asked often: pages of 256 bits, most of them shared.
final class CharacterBitmap: @unchecked Sendable {
    /// `pages[c >> 8]` is the first of the four words of the page of `c`; the page of ASCII comes first.
    private let pages: UnsafeMutablePointer<UInt16>
    private let words: UnsafeMutablePointer<UInt64>

    init(_ set: CharacterSet) {
        let count = Int(CharacterSet.limit >> 8)
        pages = .allocate(capacity: count)
        var all: [UInt64] = []
        var known: [[UInt64]: UInt16] = [:]
        var next = 0
        var isInside = false
        let boundaries = set.boundaries
        for page in 0..<count {
            var bits = [UInt64](repeating: 0, count: 4)
            let start = UInt32(page) << 8
            if next < boundaries.count, boundaries[next] < start + 256 {
                for c in start..<start + 256 {
                    while next < boundaries.count, boundaries[next] == c {
                        isInside.toggle()
                        next += 1
                    }
                    if isInside { bits[Int(c & 255) >> 6] |= 1 << UInt64(c & 63) }
                }
            } else if isInside {
                bits = [.max, .max, .max, .max]
            }
            if let same = known[bits] {
                pages[page] = same
            } else {
                let number = UInt16(all.count)
                known[bits] = number
                pages[page] = number
                all += bits
            }
        }
        words = .allocate(capacity: all.count)
        words.initialize(from: all, count: all.count)
    }

    deinit {
        pages.deallocate()
        words.deallocate()
    }

    /// The same without the object, which must live on: nothing is counted where it is used.
    var view: View { View(pages: pages, words: words) }

    struct View {
        fileprivate let pages: UnsafeMutablePointer<UInt16>
        fileprivate let words: UnsafeMutablePointer<UInt64>

        @inline(__always)
        func contains(_ codePoint: UInt32) -> Bool {
            let page = Int(pages[Int(codePoint >> 8)])
            return words[page + Int(codePoint & 255) >> 6] >> UInt64(codePoint & 63) & 1 == 1
        }

        @inline(__always)
        func contains(ascii byte: UInt8) -> Bool { words[Int(byte >> 6)] >> UInt64(byte & 63) & 1 == 1 }
    }

    func contains(_ codePoint: UInt32) -> Bool { view.contains(codePoint) }
}
