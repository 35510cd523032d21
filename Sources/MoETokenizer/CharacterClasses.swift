// SPDX-License-Identifier: Apache-2.0

/// A set of kinds of characters. A character is of exactly one kind: its general category, with white space among the controls
/// apart. So one bit test says whether it is in a class.
struct CharacterClass: OptionSet, Hashable {
    let rawValue: UInt32

    init(rawValue: UInt32) { self.rawValue = rawValue }

    /// The categories, numbered as in `UnicodeTables`.
    init(categories: ClosedRange<UInt32>) {
        rawValue = categories.reduce(0) { $0 | 1 << $1 }
    }

    /// A control that is white space is of a kind of its own, the number that follows the last category.
    fileprivate static let spaceControl: UInt32 = 30

    /// \p{L}
    static let letter = CharacterClass(categories: 5...9)
    /// \p{Lu}, \p{Ll}, \p{Lt}, \p{Lm}, \p{Lo}
    static let upper = CharacterClass(categories: 5...5)
    static let lower = CharacterClass(categories: 6...6)
    static let title = CharacterClass(categories: 7...7)
    static let modifier = CharacterClass(categories: 8...8)
    static let otherLetter = CharacterClass(categories: 9...9)
    /// \p{M}
    static let mark = CharacterClass(categories: 10...12)
    /// \p{N}, \p{Nd}, \p{Nl}
    static let number = CharacterClass(categories: 13...15)
    static let decimal = CharacterClass(categories: 13...13)
    static let letterNumber = CharacterClass(categories: 14...14)
    /// \p{P}, \p{Pc}
    static let punctuation = CharacterClass(categories: 16...22)
    static let connector = CharacterClass(categories: 16...16)
    /// \p{S}
    static let symbol = CharacterClass(categories: 23...26)
    /// \p{Z}
    static let separator = CharacterClass(categories: 27...29)
    /// \s: the property White_Space
    static let space = CharacterClass(rawValue: CharacterClass.separator.rawValue | 1 << spaceControl)
    /// \p{Cc}, \p{C}
    static let control = CharacterClass(rawValue: 1 << 1 | 1 << spaceControl)
    static let other = CharacterClass(rawValue: 0b11111 | 1 << spaceControl)
    /// No character: the end of the text.
    static let end = CharacterClass(rawValue: 1 << 31)
    static let any = CharacterClass(rawValue: ~(1 << 31))

    /// Whether a character of this kind is of a class.
    @inline(__always)
    func isIn(_ set: CharacterClass) -> Bool { rawValue & set.rawValue != 0 }

    /// [^\s\p{L}\p{N}]
    @inline(__always)
    var isNeither: Bool { rawValue & Self.notNeither == 0 }
    private static let notNeither =
        CharacterClass.space.rawValue | CharacterClass.letter.rawValue | CharacterClass.number.rawValue | 1 << 31
}

/// The kind of every code point: a table of pages of 256, most of them shared.
struct CharacterClasses: @unchecked Sendable {
    static let shared = CharacterClasses()

    // Never freed and never written after `init`: `shared` is the only instance.
    private let pageOf: UnsafePointer<UInt16>
    private let kinds: UnsafePointer<UInt8>

    private init() {
        var all = [UInt8](repeating: 0, count: 0x110000)
        let ranges = UnicodeTables.generalCategories
        for (k, entry) in ranges.enumerated() {
            let end = k + 1 < ranges.count ? Int(ranges[k + 1] >> 5) : all.count
            let value = UInt8(entry & 31)
            if value != 0 { for c in Int(entry >> 5)..<end { all[c] = value } }
        }
        // White_Space also has these six controls (the separators, categories Z, are already in).
        for c in [0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x85] { all[c] = UInt8(CharacterClass.spaceControl) }

        var pages: [ArraySlice<UInt8>: UInt16] = [:]
        var pageOf: [UInt16] = []
        var kinds: [UInt8] = []
        for start in stride(from: 0, to: all.count, by: 256) {
            let page = all[start..<start + 256]
            if let known = pages[page] {
                pageOf.append(known)
            } else {
                let number = UInt16(kinds.count / 256)
                pages[page] = number
                pageOf.append(number)
                kinds += page
            }
        }
        self.pageOf = Self.keep(pageOf)
        self.kinds = Self.keep(kinds)
    }

    private static func keep<T>(_ array: [T]) -> UnsafePointer<T> {
        let memory = UnsafeMutablePointer<T>.allocate(capacity: array.count)
        memory.initialize(from: array, count: array.count)
        return UnsafePointer(memory)
    }

    /// 0 to 30, as the bits of `CharacterClass`.
    @inline(__always)
    func kind(of codePoint: UInt32) -> UInt8 {
        guard codePoint < 0x110000 else { return 0 }
        return kinds[Int(pageOf[Int(codePoint >> 8)]) << 8 | Int(codePoint & 255)]
    }

    @inline(__always)
    subscript(codePoint: UInt32) -> CharacterClass { CharacterClass(rawValue: 1 << UInt32(kind(of: codePoint))) }

    /// The class of the character at `index`, and its length in bytes; (`.end`, 0) from `end` on.
    @inline(__always)
    func character(in text: UnsafeBufferPointer<UInt8>, at index: Int, end: Int) -> (class: CharacterClass, length: Int) {
        guard index < end else { return (.end, 0) }
        let first = text[index]
        if first < 0x80 { return (CharacterClass(rawValue: 1 << UInt32(kinds[Int(first)])), 1) }
        let (codePoint, length) = UTF8Text.codePoint(in: text, at: index, end: end)
        return (self[codePoint], length)
    }
}

/// UTF-8 by hand.
enum UTF8Text {
    /// The code point at `index` < `end`, and its length in bytes; a byte that starts none is U+FFFD and has length 1.
    static func codePoint(in text: UnsafeBufferPointer<UInt8>, at index: Int, end: Int) -> (value: UInt32, length: Int) {
        let first = UInt32(text[index])
        if first < 0x80 { return (first, 1) }
        let length = expectedLength(UInt8(first))
        guard length > 1, index + length <= end else { return (0xFFFD, 1) }
        var value = first & (0x7F >> UInt32(length))
        for k in 1..<length {
            let next = UInt32(text[index + k])
            guard next & 0xC0 == 0x80 else { return (0xFFFD, 1) }
            value = value << 6 | next & 0x3F
        }
        // Overlong forms, surrogates and what is beyond Unicode are no characters.
        guard value >= (length == 3 ? 0x800 : length == 4 ? 0x10000 : 0x80), value & 0x1F_F800 != 0xD800, value < 0x110000
        else { return (0xFFFD, 1) }
        return (value, length)
    }

    /// The length of a character that starts with `byte`; 1 for a byte that cannot start one.
    @inline(__always)
    static func expectedLength(_ byte: UInt8) -> Int {
        switch byte {
        case 0xC2...0xDF: 2
        case 0xE0...0xEF: 3
        case 0xF0...0xF4: 4
        default: 1
        }
    }

    /// Where the character that ends at `index` > `start` starts.
    static func start(before index: Int, in text: UnsafeBufferPointer<UInt8>, from start: Int) -> Int {
        let lowest = max(start, index - 4)
        var i = index - 1
        while i > lowest, text[i] & 0xC0 == 0x80 { i -= 1 }
        // A continuation byte that belongs to no character stands for itself.
        return i + codePoint(in: text, at: i, end: index).length == index ? i : index - 1
    }

    /// The characters of a text.
    static func codePoints(of text: UnsafeBufferPointer<UInt8>) -> [UInt32] {
        var points: [UInt32] = []
        points.reserveCapacity(text.count)
        var i = 0
        while i < text.count {
            let (value, length) = codePoint(in: text, at: i, end: text.count)
            points.append(value)
            i += length
        }
        return points
    }

    static func append(_ codePoint: UInt32, to bytes: inout [UInt8]) {
        switch codePoint {
        case 0..<0x80:
            bytes.append(UInt8(codePoint))
        case 0x80..<0x800:
            bytes.append(0xC0 | UInt8(codePoint >> 6))
            bytes.append(0x80 | UInt8(codePoint & 0x3F))
        case 0x800..<0x10000:
            bytes.append(0xE0 | UInt8(codePoint >> 12))
            bytes.append(0x80 | UInt8(codePoint >> 6 & 0x3F))
            bytes.append(0x80 | UInt8(codePoint & 0x3F))
        default:
            bytes.append(0xF0 | UInt8(codePoint >> 18 & 7))
            bytes.append(0x80 | UInt8(codePoint >> 12 & 0x3F))
            bytes.append(0x80 | UInt8(codePoint >> 6 & 0x3F))
            bytes.append(0x80 | UInt8(codePoint & 0x3F))
        }
    }
}

/// A set of code points as sorted boundaries: inside from an even index to the next, outside after.
enum Boundaries {
    static func contain(_ codePoint: UInt32, _ boundaries: [UInt32]) -> Bool {
        var low = 0
        var high = boundaries.count
        while low < high {
            let middle = (low + high) / 2
            if boundaries[middle] <= codePoint { low = middle + 1 } else { high = middle }
        }
        return low % 2 == 1
    }
}
