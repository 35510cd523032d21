// SPDX-License-Identifier: Apache-2.0

/// How many columns of a terminal text takes.
package enum DisplayWidth {
    /// Of one character as people see it, however many code points that is: 0, 1, 2, or more for some scripts of India.
    package static func of(_ character: Character) -> Int {
        let scalars = character.unicodeScalars
        guard let first = scalars.first else { return 0 }
        if scalars.count == 1 { return of(first) }
        // An emoji of several parts (a flag, a family, a skin colour) is one picture.
        let isPicture = scalars.dropFirst().contains {
            $0.value == 0x200D || $0.value == 0xFE0F || $0.properties.isEmojiModifier || isRegional($0)
        }
        if isPicture, first.properties.isEmoji || isRegional(first) { return 2 }
        return scalars.reduce(0) { $0 + of($1) }
    }

    package static func of(_ text: some StringProtocol) -> Int { text.reduce(0) { $0 + of($1) } }

    private static func isRegional(_ scalar: Unicode.Scalar) -> Bool { (0x1F1E6...0x1F1FF).contains(scalar.value) }

    static func of(_ scalar: Unicode.Scalar) -> Int {
        let value = scalar.value
        if value < 0x20 || 0x7F..<0xA0 ~= value { return 0 }
        if value < 0x300 { return value == 0xAD ? 0 : 1 }
        // Vowels and final consonants of Korean are drawn into the syllable before them.
        if 0x1160...0x11FF ~= value || 0xD7B0...0xD7FF ~= value { return 0 }
        switch scalar.properties.generalCategory {
        case .nonspacingMark, .enclosingMark, .format, .control, .lineSeparator, .paragraphSeparator: return 0
        default: return isWide(value) ? 2 : 1
        }
    }

    private static func isWide(_ value: UInt32) -> Bool {
        let ranges = WideCharacters.ranges
        if value < ranges[0].first { return false }
        var (low, high) = (0, ranges.count)
        while low < high {
            let middle = (low + high) / 2
            if ranges[middle].last < value { low = middle + 1 } else { high = middle }
        }
        return low < ranges.count && ranges[low].first <= value
    }
}

extension String {
    /// The text without what would steer a terminal: control characters (but newline and tab), and marks that turn the direction
    /// of text around, are `?`.
    package var withoutControls: String {
        func isHarmless(_ scalar: Unicode.Scalar) -> Bool {
            switch scalar.value {
            case 0x0A, 0x09: true
            case 0..<0x20, 0x7F..<0xA0: false
            case 0x202A...0x202E, 0x2066...0x2069: false
            default: true
            }
        }
        if unicodeScalars.allSatisfy(isHarmless) { return self }
        return String(String.UnicodeScalarView(unicodeScalars.map { isHarmless($0) ? $0 : "?" }))
    }
}
