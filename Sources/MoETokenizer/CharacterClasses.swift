// SPDX-License-Identifier: Apache-2.0

/// What a pre-tokenizer needs to know of a character.
struct CharacterClass: OptionSet {
    let rawValue: UInt8
    /// \p{L}
    static let letter = CharacterClass(rawValue: 1)
    /// \p{N}
    static let number = CharacterClass(rawValue: 2)
    /// \s: the property White_Space
    static let space = CharacterClass(rawValue: 4)
    /// \p{P}
    static let punctuation = CharacterClass(rawValue: 8)
    /// \p{S}
    static let symbol = CharacterClass(rawValue: 16)
    /// \p{M}
    static let mark = CharacterClass(rawValue: 32)
    /// No character: the end of the text.
    static let end = CharacterClass(rawValue: 64)

    /// [^\s\p{L}\p{N}]
    var isOther: Bool { rawValue & 0b100_0111 == 0 }
}

/// The class of every code point: a table of pages of 256, most of them shared.
struct CharacterClasses: Sendable {
    static let shared = CharacterClasses()

    private let pageOf: [UInt16]
    private let classes: [UInt8]

    private init() {
        var all = [UInt8](repeating: 0, count: 0x110000)
        let ranges = UnicodeTables.generalCategories
        for (k, entry) in ranges.enumerated() {
            let end = k + 1 < ranges.count ? Int(ranges[k + 1] >> 5) : all.count
            let value = Self.classes(ofCategory: entry & 31).rawValue
            if value != 0 { for c in Int(entry >> 5)..<end { all[c] = value } }
        }
        // White_Space also has these six controls (the separators, categories Z, are already in).
        for c in [0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x85] { all[c] = CharacterClass.space.rawValue }

        var pages: [ArraySlice<UInt8>: UInt16] = [:]
        var pageOf: [UInt16] = []
        var classes: [UInt8] = []
        for start in stride(from: 0, to: all.count, by: 256) {
            let page = all[start..<start + 256]
            if let known = pages[page] {
                pageOf.append(known)
            } else {
                let number = UInt16(classes.count / 256)
                pages[page] = number
                pageOf.append(number)
                classes += page
            }
        }
        self.pageOf = pageOf
        self.classes = classes
    }

    /// The classes of a general category, numbered as in `UnicodeTables`.
    private static func classes(ofCategory category: UInt32) -> CharacterClass {
        switch category {
        case 5...9: .letter
        case 10...12: .mark
        case 13...15: .number
        case 16...22: .punctuation
        case 23...26: .symbol
        case 27...29: .space
        default: []
        }
    }

    subscript(codePoint: UInt32) -> CharacterClass {
        guard codePoint < 0x110000 else { return [] }
        return CharacterClass(rawValue: classes[Int(pageOf[Int(codePoint >> 8)]) << 8 | Int(codePoint & 255)])
    }

    /// The class of the character at `index`, and its length in bytes; (`.end`, 0) from `end` on.
    @inline(__always)
    func character(in text: UnsafeBufferPointer<UInt8>, at index: Int, end: Int) -> (class: CharacterClass, length: Int) {
        guard index < end else { return (.end, 0) }
        let first = text[index]
        if first < 0x80 { return (CharacterClass(rawValue: classes[Int(first)]), 1) }
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
        return (value, length)
    }

    /// The length of a character that starts with `byte`; 1 for a byte that cannot start one.
    static func expectedLength(_ byte: UInt8) -> Int {
        switch byte {
        case 0xC2...0xDF: 2
        case 0xE0...0xEF: 3
        case 0xF0...0xF4: 4
        default: 1
        }
    }
}
