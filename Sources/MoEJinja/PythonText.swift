// SPDX-License-Identifier: Apache-2.0

/// Python's notions of text: space, lines, letter case, searching.
package enum PythonText {
    /// Where `part` begins in `text`, in bytes: the first place from `start` on.
    package static func find(_ part: String, in text: String, from start: Int = 0) -> Int? {
        var (part, text) = (part, text)
        return text.withUTF8 { text in part.withUTF8 { part in find(part, in: text, from: start) } }
    }

    /// Short parts byte by byte; long ones by the table of Knuth, Morris and Pratt, because no text shall take quadratic time.
    static func find(_ part: UnsafeBufferPointer<UInt8>, in text: UnsafeBufferPointer<UInt8>, from start: Int) -> Int? {
        guard let first = part.first else { return start <= text.count ? start : nil }
        guard part.count <= text.count - start else { return nil }
        if part.count <= 24 {
            let last = text.count - part.count
            var place = start
            while place <= last {
                if text[place] == first {
                    var matched = 1
                    while matched < part.count, text[place + matched] == part[matched] { matched += 1 }
                    if matched == part.count { return place }
                }
                place += 1
            }
            return nil
        }
        // For each prefix, the length of its longest proper prefix that ends it.
        var borders = [Int](repeating: 0, count: part.count)
        var length = 0
        for index in 1..<part.count {
            while length > 0, part[index] != part[length] { length = borders[length - 1] }
            if part[index] == part[length] { length += 1 }
            borders[index] = length
        }
        var matched = 0
        for place in start..<text.count {
            while matched > 0, text[place] != part[matched] { matched = borders[matched - 1] }
            if text[place] == part[matched] { matched += 1 }
            if matched == part.count { return place + 1 - matched }
        }
        return nil
    }

    /// All places without overlaps, in bytes.
    static func findAll(_ part: String, in text: String, limit: Int = .max) -> [Int] {
        var (part, text) = (part, text)
        return text.withUTF8 { text in
            part.withUTF8 { part in
                var places: [Int] = []
                var start = 0
                while places.count < limit, let place = find(part, in: text, from: start) {
                    places.append(place)
                    start = place + part.count
                }
                return places
            }
        }
    }

    /// The last place, in bytes, of those that end by `end`.
    package static func findLast(_ part: String, in text: String, end: Int) -> Int? {
        // Backwards is forwards in what is turned round.
        let reversedText = Array(text.utf8.prefix(end).reversed())
        let reversedPart = Array(part.utf8.reversed())
        return reversedText.withUnsafeBufferPointer { text in
            reversedPart.withUnsafeBufferPointer { part in
                find(part, in: text, from: 0).map { text.count - $0 - part.count }
            }
        }
    }

    /// Bytes of a string, which must begin and end with characters.
    static func part(_ text: String, _ range: Range<Int>) -> String {
        let view = text.utf8
        let start = view.index(view.startIndex, offsetBy: range.lowerBound)
        return String(text[start..<view.index(start, offsetBy: range.count)])
    }

    static func replacing(_ old: String, with new: String, in text: String, limit: Int) -> String {
        if old.isEmpty {
            var result = ""
            var left = limit
            for scalar in text.unicodeScalars {
                if left > 0 { result += new }
                left -= 1
                result.unicodeScalars.append(scalar)
            }
            return left > 0 ? result + new : result
        }
        let places = findAll(old, in: text, limit: limit)
        guard !places.isEmpty else { return text }
        var result: [UInt8] = []
        result.reserveCapacity(text.utf8.count + places.count * (new.utf8.count - old.utf8.count))
        var text = text
        text.withUTF8 { text in
            var start = 0
            for place in places {
                result += text[start..<place]
                result += new.utf8
                start = place + old.utf8.count
            }
            result += text[start...]
        }
        return String(decoding: result, as: UTF8.self)
    }

    // MARK: Space

    static func stripped(
        _ text: String, _ isStripped: (Unicode.Scalar) -> Bool, start: Bool = true, end: Bool = true
    ) -> String {
        let view = text.unicodeScalars
        var (low, high) = (view.startIndex, view.endIndex)
        if start { while low < high, isStripped(view[low]) { low = view.index(after: low) } }
        if end { while low < high, isStripped(view[view.index(before: high)]) { high = view.index(before: high) } }
        return String(text[low..<high])
    }

    static func lines(_ text: String, keepEnds: Bool = false) -> [String] {
        var result: [String] = []
        let view = text.unicodeScalars
        var start = view.startIndex
        var place = start
        while place < view.endIndex {
            let scalar = view[place]
            var next = view.index(after: place)
            switch scalar {
            case "\r":
                if next < view.endIndex, view[next] == "\n" { next = view.index(after: next) }
                fallthrough
            case "\n", "\u{b}", "\u{c}", "\u{1c}", "\u{1d}", "\u{1e}", "\u{85}", "\u{2028}", "\u{2029}":
                result.append(String(text[start..<(keepEnds ? next : place)]))
                start = next
            default: break
            }
            place = next
        }
        if start < view.endIndex { result.append(String(text[start...])) }
        return result
    }

    /// Between runs of space. `limit` cuts at most; the rest keeps its space at the end.
    static func words(_ text: String, limit: Int) -> [String] {
        let view = text.unicodeScalars
        var result: [String] = []
        var place = view.startIndex
        while true {
            while place < view.endIndex, view[place].isPythonSpace { place = view.index(after: place) }
            guard place < view.endIndex else { return result }
            if result.count == limit {
                result.append(String(text[place...]))
                return result
            }
            let start = place
            while place < view.endIndex, !view[place].isPythonSpace { place = view.index(after: place) }
            result.append(String(text[start..<place]))
        }
    }

    /// The same from the end.
    static func lastWords(_ text: String, limit: Int) -> [String] {
        let view = text.unicodeScalars
        var result: [String] = []
        var place = view.endIndex
        func before() -> Unicode.Scalar { view[view.index(before: place)] }
        while true {
            while place > view.startIndex, before().isPythonSpace { place = view.index(before: place) }
            guard place > view.startIndex else { break }
            if result.count == limit {
                result.append(String(text[..<place]))
                break
            }
            let end = place
            while place > view.startIndex, !before().isPythonSpace { place = view.index(before: place) }
            result.append(String(text[place..<end]))
        }
        return result.reversed()
    }

    // MARK: Letter case

    static func upper(_ text: String) -> String { text.unicodeScalars.map { $0.properties.uppercaseMapping }.joined() }

    static func lower(_ text: String) -> String {
        guard text.unicodeScalars.contains("\u{3a3}") else {
            return text.unicodeScalars.map { $0.properties.lowercaseMapping }.joined()
        }
        // A capital sigma at a word's end becomes the final one.
        let scalars = Array(text.unicodeScalars)
        var result = ""
        for (index, scalar) in scalars.enumerated() {
            guard scalar == "\u{3a3}" else {
                result += scalar.properties.lowercaseMapping
                continue
            }
            let before = scalars[..<index].last { !$0.properties.isCaseIgnorable }
            let after = scalars[(index + 1)...].first { !$0.properties.isCaseIgnorable }
            let isFinal = before?.properties.isCased == true && after?.properties.isCased != true
            result += isFinal ? "\u{3c2}" : "\u{3c3}"
        }
        return result
    }

    static func capitalized(_ text: String) -> String {
        guard let first = text.unicodeScalars.first else { return text }
        let rest = String(text.unicodeScalars.dropFirst())
        // The rest is lowered in its context.
        return first.properties.titlecaseMapping + String(lower("a" + rest).unicodeScalars.dropFirst())
    }

    /// Letters after what is no letter are capitals, as in Python's `title()`.
    static func title(_ text: String) -> String {
        var result = ""
        var wasCased = false
        for scalar in text.unicodeScalars {
            let properties = scalar.properties
            result += wasCased ? properties.lowercaseMapping : properties.titlecaseMapping
            wasCased = properties.isCased
        }
        return result
    }

    static func swappedCase(_ text: String) -> String {
        text.unicodeScalars.map {
            $0.properties.isUppercase
                ? $0.properties.lowercaseMapping : $0.properties.isLowercase ? $0.properties.uppercaseMapping : String($0)
        }.joined()
    }

    // MARK: As Python writes it

    /// In quotes, with escapes.
    static func quoted(_ text: String) -> String {
        let quote: Unicode.Scalar =
            text.unicodeScalars.contains("'") && !text.unicodeScalars.contains("\"") ? "\"" : "'"
        var result = String(quote)
        for scalar in text.unicodeScalars {
            switch scalar {
            case quote, "\\": result += "\\\(scalar)"
            case "\n": result += "\\n"
            case "\r": result += "\\r"
            case "\t": result += "\\t"
            case _ where scalar.isPythonPrintable: result.unicodeScalars.append(scalar)
            default:
                let code = String(scalar.value, radix: 16)
                switch scalar.value {
                case ..<0x100: result += "\\x" + padded(code, 2)
                case ..<0x10000: result += "\\u" + padded(code, 4)
                default: result += "\\U" + padded(code, 8)
                }
            }
        }
        return result + String(quote)
    }

    static func padded(_ digits: String, _ width: Int) -> String {
        String(repeating: "0", count: max(0, width - digits.utf8.count)) + digits
    }
}

extension Unicode.Scalar {
    /// Python's `isspace`, which regular expressions and `strip` go by.
    package var isPythonSpace: Bool {
        switch value {
        case 0x20, 0x09...0x0d, 0x1c...0x1f: true
        case ..<0x85: false
        case 0x85, 0xa0, 0x1680, 0x2000...0x200a, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000: true
        default: false
        }
    }

    /// Whether Python shows it as it is.
    var isPythonPrintable: Bool {
        if isASCII { return value >= 0x20 && value < 0x7f }
        switch properties.generalCategory {
        case .control, .format, .surrogate, .privateUse, .unassigned, .lineSeparator, .paragraphSeparator, .spaceSeparator:
            return false
        default: return true
        }
    }
}
