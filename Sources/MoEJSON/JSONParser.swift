// SPDX-License-Identifier: Apache-2.0

/// Recursive descent over the bytes of a text, once.
struct JSONParser {
    private let text: UnsafeBufferPointer<UInt8>
    private var position = 0
    private var depth = 0
    private var table = JSONTable()

    init(_ text: UnsafeBufferPointer<UInt8>) { self.text = text }

    consuming func document() throws(JSONError) -> JSONTable {
        guard text.count <= JSONTable.textLimit else { throw error("longer than \(JSONTable.textLimit) bytes") }
        if text.starts(with: [0xef, 0xbb, 0xbf]) { position = 3 }
        // Tokenizers, whose texts are the longest, have 12 to 16 bytes per value.
        table.nodes.reserveCapacity(text.count / 16)
        try value()
        skipSpace()
        guard position == text.count else { throw error("text after the end of the value") }
        return table
    }

    private mutating func value() throws(JSONError) {
        switch try nextByte() {
        case UInt8(ascii: "\""): try string()
        case UInt8(ascii: "{"): try container(.object, close: UInt8(ascii: "}"))
        case UInt8(ascii: "["): try container(.array, close: UInt8(ascii: "]"))
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): try number()
        case UInt8(ascii: "t"): try literal("true", Node(.true, offset: position))
        case UInt8(ascii: "f"): try literal("false", Node(.false, offset: position))
        case UInt8(ascii: "n"): try literal("null", Node(.null, offset: position))
        case UInt8(ascii: "N"): try literal("NaN", double(.nan, at: position))
        case UInt8(ascii: "I"): try literal("Infinity", double(.infinity, at: position))
        default: throw error("expected a value")
        }
    }

    private typealias Node = JSONTable.Node

    private mutating func container(_ kind: Node.Kind, close: UInt8) throws(JSONError) {
        guard depth < JSONDocument.depthLimit else { throw error("nested deeper than \(JSONDocument.depthLimit) levels") }
        depth += 1
        let (index, start) = (table.nodes.count, position)
        table.nodes.append(Node(kind, offset: start))
        position += 1
        var count = 0
        if try nextByte() != close {
            while true {
                if kind == .object {
                    guard try nextByte() == UInt8(ascii: "\"") else { throw error("expected '\"'") }
                    try string()
                    guard try nextByte() == UInt8(ascii: ":") else { throw error("expected ':'") }
                    position += 1
                }
                try value()
                count += 1
                let byte = try nextByte()
                if byte == close { break }
                guard byte == UInt8(ascii: ",") else {
                    throw error("expected ',' or '\(Character(UnicodeScalar(close)))'")
                }
                position += 1
            }
        }
        position += 1
        table.nodes[index] = Node(kind, offset: start, table.nodes.count, count: count)
        depth -= 1
    }

    // MARK: Strings

    /// At the opening quote.
    private mutating func string() throws(JSONError) {
        position += 1
        let start = position
        // Where what is not yet copied begins; nothing is copied before the first escape.
        var rest = start
        var copied: Int?
        while true {
            skipPlain()
            guard position < text.count else { throw error("the text ends inside a string") }
            switch text[position] {
            case UInt8(ascii: "\""):
                if let copied {
                    table.unescaped.append(contentsOf: text[rest..<position])
                    table.nodes.append(Node(.escapedString, offset: start, copied, count: table.unescaped.count - copied))
                } else {
                    table.nodes.append(Node(.string, offset: start, start, count: position - start))
                }
                position += 1
                return
            case UInt8(ascii: "\\"):
                if copied == nil { copied = table.unescaped.count }
                table.unescaped.append(contentsOf: text[rest..<position])
                position += 1
                table.unescaped.append(contentsOf: UTF8.encode(try escape())!)
                rest = position
            case 0x80...: try multibyte()
            default: throw error("control character in a string")
            }
        }
    }

    /// Passes over ASCII that stands for itself.
    private mutating func skipPlain() {
        var end = position
        while end < text.count, text[end] &- 0x20 < 0x60, text[end] != UInt8(ascii: "\""), text[end] != UInt8(ascii: "\\") {
            end += 1
        }
        position = end
    }

    /// Passes over one character of several bytes.
    private mutating func multibyte() throws(JSONError) {
        // How many bytes, and what the second one may be: the Unicode Standard, table 3-7.
        let count: Int
        var second: ClosedRange<UInt8> = 0x80...0xbf
        switch text[position] {
        case 0xc2...0xdf: count = 2
        case 0xe0: (count, second) = (3, 0xa0...0xbf)
        case 0xed: (count, second) = (3, 0x80...0x9f)
        case 0xe1...0xef: count = 3
        case 0xf0: (count, second) = (4, 0x90...0xbf)
        case 0xf1...0xf3: count = 4
        case 0xf4: (count, second) = (4, 0x80...0x8f)
        default: throw error("invalid UTF-8 in a string")
        }
        guard count <= text.count - position, second.contains(text[position + 1]),
            count < 3 || text[position + 2] & 0xc0 == 0x80, count < 4 || text[position + 3] & 0xc0 == 0x80
        else { throw error("invalid UTF-8 in a string") }
        position += count
    }

    /// What follows a backslash.
    private mutating func escape() throws(JSONError) -> UnicodeScalar {
        guard let byte = peek() else { throw error("the text ends inside a string") }
        position += 1
        switch byte {
        case UInt8(ascii: "\""): return "\""
        case UInt8(ascii: "\\"): return "\\"
        case UInt8(ascii: "/"): return "/"
        case UInt8(ascii: "b"): return "\u{8}"
        case UInt8(ascii: "f"): return "\u{c}"
        case UInt8(ascii: "n"): return "\n"
        case UInt8(ascii: "r"): return "\r"
        case UInt8(ascii: "t"): return "\t"
        case UInt8(ascii: "u"): return try unicodeEscape()
        default: throw error("unknown escape")
        }
    }

    private mutating func unicodeEscape() throws(JSONError) -> UnicodeScalar {
        let first = try hexadecimal()
        if let scalar = UnicodeScalar(first) { return scalar }
        // A character outside the basic plane: a high surrogate and a low one.
        guard (0xd800..<0xdc00).contains(first), text[position...].starts(with: "\\u".utf8) else {
            throw error("lone surrogate")
        }
        position += 2
        let second = try hexadecimal()
        guard (0xdc00..<0xe000).contains(second),
            let scalar = UnicodeScalar(0x10000 + (first - 0xd800) << 10 + (second - 0xdc00))
        else { throw error("lone surrogate") }
        return scalar
    }

    private mutating func hexadecimal() throws(JSONError) -> UInt32 {
        var value: UInt32 = 0
        for _ in 0..<4 {
            guard let byte = peek(), let digit = Character(UnicodeScalar(byte)).hexDigitValue else {
                throw error("expected four hexadecimal digits")
            }
            value = value << 4 | UInt32(digit)
            position += 1
        }
        return value
    }

    // MARK: Numbers

    private mutating func number() throws(JSONError) {
        let start = position
        let isNegative = text[position] == UInt8(ascii: "-")
        if isNegative { position += 1 }
        if peek() == UInt8(ascii: "I") { return try literal("Infinity", double(-.infinity, at: start)) }
        let magnitude = try integerDigits()
        var isInteger = true
        if peek() == UInt8(ascii: ".") {
            isInteger = false
            position += 1
            try digits()
        }
        if peek() == UInt8(ascii: "e") || peek() == UInt8(ascii: "E") {
            isInteger = false
            position += 1
            if peek() == UInt8(ascii: "+") || peek() == UInt8(ascii: "-") { position += 1 }
            try digits()
        }
        if isInteger, position - start <= 18 {
            table.nodes.append(integer(isNegative ? -magnitude : magnitude, at: start))
            return
        }
        let written = String(decoding: UnsafeBufferPointer(rebasing: text[start..<position]), as: UTF8.self)
        if isInteger, let value = Int(written) {
            table.nodes.append(integer(value, at: start))
        } else if let value = Double(written), value.isFinite {
            table.nodes.append(double(value, at: start))
        } else {
            throw error("number out of range")
        }
    }

    /// Their value, which is right for 18 of them.
    private mutating func integerDigits() throws(JSONError) -> Int {
        let start = position
        var value = 0
        while let byte = peek(), isDigit(byte) {
            value = value &* 10 &+ Int(byte & 15)
            position += 1
            if byte == UInt8(ascii: "0"), position == start + 1 { break }  // nothing follows a leading zero
        }
        guard position > start else { throw error("expected a digit") }
        return value
    }

    private mutating func digits() throws(JSONError) {
        let start = position
        while let byte = peek(), isDigit(byte) { position += 1 }
        guard position > start else { throw error("expected a digit") }
    }

    private func isDigit(_ byte: UInt8) -> Bool { byte &- UInt8(ascii: "0") < 10 }

    private func integer(_ value: Int, at offset: Int) -> Node {
        Node(.integer, offset: offset, payload: UInt64(bitPattern: Int64(value)))
    }

    private func double(_ value: Double, at offset: Int) -> Node {
        Node(.double, offset: offset, payload: value.bitPattern)
    }

    // MARK: Parts

    private func error(_ what: String) -> JSONError { JSONError(what: what, offset: position) }

    private func peek() -> UInt8? { position < text.count ? text[position] : nil }

    private mutating func skipSpace() {
        while position < text.count {
            switch text[position] {
            case 0x20, 0x09, 0x0a, 0x0d: position += 1
            default: return
            }
        }
    }

    /// What comes after white space, not consumed.
    private mutating func nextByte() throws(JSONError) -> UInt8 {
        skipSpace()
        guard position < text.count else { throw error("the text ends too early") }
        return text[position]
    }

    private mutating func literal(_ word: String, _ node: Node) throws(JSONError) {
        guard text[position...].starts(with: word.utf8) else { throw error("expected '\(word)'") }
        position += word.utf8.count
        table.nodes.append(node)
    }
}
