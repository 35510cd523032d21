// SPDX-License-Identifier: Apache-2.0

/// Unicode's normalisation forms (UAX #15): decompose, order the marks, compose.
enum CanonicalComposition {
    enum Form: Sendable {
        case nfc, nfd, nfkc, nfkd

        fileprivate var isComposed: Bool { self == .nfc || self == .nfkc }
        fileprivate var isCompatible: Bool { self == .nfkc || self == .nfkd }
    }

    /// `text` (UTF-8) in the form.
    static func normalize(_ text: UnsafeBufferPointer<UInt8>, _ form: Form) -> [UInt8] {
        guard form != .nfc else { return compose(text) }
        var output: [UInt8] = []
        output.reserveCapacity(text.count + 16)
        var start = 0
        var i = 0
        // From one character that nothing before can change to the next: ASCII, mostly.
        while i < text.count {
            let (codePoint, length) = UTF8Text.codePoint(in: text, at: i, end: text.count)
            // A compatibility decomposition may begin with a mark where the character is none.
            let first = form.isCompatible ? compatible[codePoint]?[0] ?? codePoint : codePoint
            if codePoint < 0x80 || !mayChange(codePoint) && !mayChange(first) {
                if i - start == 1, text[start] < 0x80 {
                    output.append(text[start])
                } else {
                    normalize(UnsafeBufferPointer(rebasing: text[start..<i]), form, into: &output)
                }
                start = i
            }
            i += length
        }
        normalize(UnsafeBufferPointer(rebasing: text[start...]), form, into: &output)
        return output
    }

    /// `text` (UTF-8) in form C. What need not change is copied as it is, in stretches as long as possible.
    static func compose(_ text: UnsafeBufferPointer<UInt8>) -> [UInt8] {
        var output: [UInt8] = []
        output.reserveCapacity(text.count + 16)
        /// From here on nothing is written yet.
        var start = 0
        /// Where the last character starts that no character before can change.
        var last = 0
        var i = 0
        while i < text.count {
            // The first character that may change is U+0300: CC 80.
            if text[i] < 0xCC {
                last = i
                i += text[i] < 0xC2 ? 1 : UTF8Text.codePoint(in: text, at: i, end: text.count).length
                continue
            }
            let (codePoint, length) = UTF8Text.codePoint(in: text, at: i, end: text.count)
            guard mayChange(codePoint) else {
                last = i
                i += length
                continue
            }
            // A stretch to normalise: the character before, and what follows as long as it may change.
            i += length
            while i < text.count {
                let (next, length) = UTF8Text.codePoint(in: text, at: i, end: text.count)
                guard mayChange(next) else { break }
                i += length
            }
            output.append(contentsOf: UnsafeBufferPointer(rebasing: text[start..<last]))
            normalize(UnsafeBufferPointer(rebasing: text[last..<i]), .nfc, into: &output)
            start = i
            last = i
        }
        output.append(contentsOf: UnsafeBufferPointer(rebasing: text[start...]))
        return output
    }

    /// Whether form C may change the character, reorder it or join it to the one before. A character for which that is not so
    /// starts anew.
    @inline(__always)
    static func mayChange(_ codePoint: UInt32) -> Bool {
        // The first such character is U+0300; most text has nothing from there on.
        guard codePoint >= 0x300 else { return false }
        return changing.contains(codePoint)
    }

    private static let changing = CharacterBitmap(CharacterSet(boundaries: UnicodeTables.normalizationBoundaries))

    private struct Character {
        var codePoint: UInt32
        var combiningClass: UInt32
    }

    private static func normalize(
        _ text: UnsafeBufferPointer<UInt8>, _ form: Form, into output: inout [UInt8]
    ) {
        var characters: [Character] = []
        var i = 0
        while i < text.count {
            let (codePoint, length) = UTF8Text.codePoint(in: text, at: i, end: text.count)
            if form.isCompatible, let parts = compatible[codePoint] {
                for part in parts { decompose(part, into: &characters) }
            } else {
                decompose(codePoint, into: &characters)
            }
            i += length
        }
        order(&characters)
        guard form.isComposed else {
            for character in characters { UTF8Text.append(character.codePoint, to: &output) }
            return
        }

        // Each character tries to join the last starter, unless one of at least its class stands between.
        var starter = -1
        var composed: [Character] = []
        for character in characters {
            if starter >= 0 {
                let isBlocked =
                    composed.count - 1 > starter
                    && (composed[composed.count - 1].combiningClass >= character.combiningClass
                        || composed[composed.count - 1].combiningClass == 0)
                if !isBlocked, let joined = pair(composed[starter].codePoint, character.codePoint) {
                    composed[starter].codePoint = joined
                    continue
                }
            }
            if character.combiningClass == 0 { starter = composed.count }
            composed.append(character)
        }
        for character in composed { UTF8Text.append(character.codePoint, to: &output) }
    }

    /// Marks go by ascending class, those of one class stay in order.
    private static func order(_ characters: inout [Character]) {
        var i = 0
        while i < characters.count {
            guard characters[i].combiningClass != 0 else {
                i += 1
                continue
            }
            var end = i
            while end < characters.count, characters[end].combiningClass != 0 { end += 1 }
            if end - i > 1 {
                let sorted = characters[i..<end].enumerated().sorted {
                    ($0.element.combiningClass, $0.offset) < ($1.element.combiningClass, $1.offset)
                }
                characters.replaceSubrange(i..<end, with: sorted.map(\.element))
            }
            i = end
        }
    }

    // MARK: Tables

    private static let hangul: (syllables: UInt32, leads: UInt32, vowels: UInt32, tails: UInt32) = (
        0xAC00, 0x1100, 0x1161, 0x11A7
    )

    private static func decompose(_ codePoint: UInt32, into characters: inout [Character]) {
        if (hangul.syllables..<hangul.syllables + 11172).contains(codePoint) {
            let index = codePoint - hangul.syllables
            characters.append(Character(codePoint: hangul.leads + index / 588, combiningClass: 0))
            characters.append(Character(codePoint: hangul.vowels + index % 588 / 28, combiningClass: 0))
            if index % 28 > 0 { characters.append(Character(codePoint: hangul.tails + index % 28, combiningClass: 0)) }
            return
        }
        let table = UnicodeTables.decompositions
        var low = 0
        var high = table.count / 3
        while low < high {
            let middle = (low + high) / 2
            if table[middle * 3] & 0x7FFF_FFFF < codePoint { low = middle + 1 } else { high = middle }
        }
        if low * 3 < table.count, table[low * 3] & 0x7FFF_FFFF == codePoint {
            decompose(table[low * 3 + 1], into: &characters)
            if table[low * 3 + 2] != 0 { decompose(table[low * 3 + 2], into: &characters) }
        } else {
            characters.append(Character(codePoint: codePoint, combiningClass: combiningClass(codePoint)))
        }
    }

    private static func combiningClass(_ codePoint: UInt32) -> UInt32 {
        let table = UnicodeTables.combiningClasses
        var low = 0
        var high = table.count
        while low < high {
            let middle = (low + high) / 2
            if table[middle] >> 8 <= codePoint { low = middle + 1 } else { high = middle }
        }
        return low > 0 ? table[low - 1] & 0xFF : 0
    }

    /// Full compatibility decompositions, where they are not the canonical ones.
    private static let compatible: [UInt32: [UInt32]] = {
        var parts: [UInt32: [UInt32]] = [:]
        let table = UnicodeTables.compatibleDecompositions
        var k = 0
        while k < table.count {
            let count = Int(table[k] & 255)
            parts[table[k] >> 8] = Array(table[k + 1...k + count])
            k += count + 1
        }
        return parts
    }()

    private static let pairs: [UInt64: UInt32] = {
        var pairs: [UInt64: UInt32] = [:]
        let table = UnicodeTables.decompositions
        for k in stride(from: 0, to: table.count, by: 3) where table[k] >> 31 == 1 {
            pairs[UInt64(table[k + 1]) << 32 | UInt64(table[k + 2])] = table[k] & 0x7FFF_FFFF
        }
        return pairs
    }()

    /// What two characters compose to.
    private static func pair(_ first: UInt32, _ second: UInt32) -> UInt32? {
        if (hangul.leads..<hangul.leads + 19).contains(first), (hangul.vowels..<hangul.vowels + 21).contains(second) {
            return hangul.syllables + ((first - hangul.leads) * 21 + second - hangul.vowels) * 28
        }
        if (hangul.syllables..<hangul.syllables + 11172).contains(first), (first - hangul.syllables) % 28 == 0,
            (hangul.tails + 1..<hangul.tails + 28).contains(second)
        {
            return first + second - hangul.tails
        }
        return pairs[UInt64(first) << 32 | UInt64(second)]
    }
}
