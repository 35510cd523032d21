// SPDX-License-Identifier: Apache-2.0

/// A JSON text, read once: strings stay in the text until asked for, so a vocabulary of 150,000 costs no allocation per string.
struct JSONDocument {
    enum Value {
        case null
        case bool(Bool)
        case number(Double)
        /// Between the quotes, as it is written.
        case string(Range<Int>, hasEscapes: Bool)
        case array([Value])
        case object([(key: Value, value: Value)])
    }

    struct Problem: Error {
        let what: String
        let offset: Int
    }

    private let text: [UInt8]
    let root: Value

    init(_ text: [UInt8]) throws(Problem) {
        self.text = text
        var parser = JSONParser(text: text)
        root = try parser.document()
    }

    /// The bytes of a string (UTF-8), nil when `value` is none. An escape that makes no character is U+FFFD.
    func bytes(_ value: Value?) -> [UInt8]? {
        guard case .string(let range, let hasEscapes)? = value else { return nil }
        return hasEscapes ? Self.unescape(text[range]) : Array(text[range])
    }

    func string(_ value: Value?) -> String? { bytes(value).map { String(decoding: $0, as: UTF8.self) } }

    func bool(_ value: Value?) -> Bool? {
        if case .bool(let flag)? = value { flag } else { nil }
    }

    func int(_ value: Value?) -> Int? {
        if case .number(let number)? = value { Int(exactly: number) } else { nil }
    }

    func array(_ value: Value?) -> [Value]? {
        if case .array(let elements)? = value { elements } else { nil }
    }

    func object(_ value: Value?) -> [(key: Value, value: Value)]? {
        if case .object(let members)? = value { members } else { nil }
    }

    /// The member of that name (the last of several); nil when there is none or `value` is no object.
    func member(_ name: StaticString, of value: Value?) -> Value? {
        guard case .object(let members)? = value else { return nil }
        return name.withUTF8Buffer { name in
            members.last { member in
                guard case .string(let range, let hasEscapes) = member.key else { return false }
                return hasEscapes
                    ? Self.unescape(text[range]).elementsEqual(name)
                    : range.count == name.count && text[range].elementsEqual(name)
            }?.value
        }
    }

    func isNull(_ value: Value?) -> Bool {
        if case .null? = value { true } else { value == nil }
    }

    private static func unescape(_ raw: ArraySlice<UInt8>) -> [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity(raw.count)
        var i = raw.startIndex
        func hex(at index: Int) -> UInt32? {
            guard index + 4 <= raw.endIndex else { return nil }
            return UInt32(String(decoding: raw[index..<index + 4], as: UTF8.self), radix: 16)
        }
        while i < raw.endIndex {
            guard raw[i] == UInt8(ascii: "\\"), i + 1 < raw.endIndex else {
                result.append(raw[i])
                i += 1
                continue
            }
            let escaped = raw[i + 1]
            i += 2
            switch escaped {
            case UInt8(ascii: "n"): result.append(0x0A)
            case UInt8(ascii: "t"): result.append(0x09)
            case UInt8(ascii: "r"): result.append(0x0D)
            case UInt8(ascii: "b"): result.append(0x08)
            case UInt8(ascii: "f"): result.append(0x0C)
            case UInt8(ascii: "u"):
                var codePoint = hex(at: i) ?? 0xFFFD
                i = min(i + 4, raw.endIndex)
                if (0xD800..<0xDC00).contains(codePoint), i + 6 <= raw.endIndex, raw[i] == UInt8(ascii: "\\"),
                    raw[i + 1] == UInt8(ascii: "u"), let low = hex(at: i + 2), (0xDC00..<0xE000).contains(low)
                {
                    codePoint = 0x10000 + (codePoint - 0xD800) << 10 + (low - 0xDC00)
                    i += 6
                }
                result += Array(String(Character(Unicode.Scalar(codePoint) ?? "\u{FFFD}")).utf8)
            default: result.append(escaped)
            }
        }
        return result
    }
}

/// Recursive descent over the bytes.
private struct JSONParser {
    let text: [UInt8]
    var position = 0
    static let deepest = 64

    init(text: [UInt8]) { self.text = text }

    private func problem(_ what: String) -> JSONDocument.Problem { JSONDocument.Problem(what: what, offset: position) }

    mutating func document() throws(JSONDocument.Problem) -> JSONDocument.Value {
        let value = try value(depth: 0)
        skipSpaces()
        guard position == text.count else { throw problem("something after the end") }
        return value
    }

    private mutating func skipSpaces() {
        while position < text.count {
            switch text[position] {
            case 0x20, 0x0A, 0x0D, 0x09: position += 1
            default: return
            }
        }
    }

    private mutating func accept(_ byte: UInt8) -> Bool {
        skipSpaces()
        guard position < text.count, text[position] == byte else { return false }
        position += 1
        return true
    }

    private mutating func value(depth: Int) throws(JSONDocument.Problem) -> JSONDocument.Value {
        skipSpaces()
        guard depth < Self.deepest else { throw problem("nested too deeply") }
        guard position < text.count else { throw problem("the end where a value should be") }
        switch text[position] {
        case UInt8(ascii: "\""): return try string()
        case UInt8(ascii: "["):
            position += 1
            var elements: [JSONDocument.Value] = []
            if accept(UInt8(ascii: "]")) { return .array(elements) }
            repeat { elements.append(try value(depth: depth + 1)) } while accept(UInt8(ascii: ","))
            guard accept(UInt8(ascii: "]")) else { throw problem("no ',' or ']' in an array") }
            return .array(elements)
        case UInt8(ascii: "{"):
            position += 1
            var members: [(key: JSONDocument.Value, value: JSONDocument.Value)] = []
            if accept(UInt8(ascii: "}")) { return .object(members) }
            repeat {
                skipSpaces()
                guard position < text.count, text[position] == UInt8(ascii: "\"") else {
                    throw problem("no key in an object")
                }
                let key = try string()
                guard accept(UInt8(ascii: ":")) else { throw problem("no ':' after a key") }
                members.append((key, try value(depth: depth + 1)))
            } while accept(UInt8(ascii: ","))
            guard accept(UInt8(ascii: "}")) else { throw problem("no ',' or '}' in an object") }
            return .object(members)
        case UInt8(ascii: "t"): return try word("true", .bool(true))
        case UInt8(ascii: "f"): return try word("false", .bool(false))
        case UInt8(ascii: "n"): return try word("null", .null)
        default: return try number()
        }
    }

    private mutating func word(
        _ word: StaticString, _ value: JSONDocument.Value
    ) throws(JSONDocument.Problem) -> JSONDocument.Value {
        let end = position + word.utf8CodeUnitCount
        guard end <= text.count, word.withUTF8Buffer({ text[position..<end].elementsEqual($0) }) else {
            throw problem("no value")
        }
        position = end
        return value
    }

    private mutating func number() throws(JSONDocument.Problem) -> JSONDocument.Value {
        let start = position
        while position < text.count, "+-.0123456789eE".utf8.contains(text[position]) { position += 1 }
        // Most numbers are ids: few digits and nothing else.
        if position > start, position - start <= 15, text[start..<position].allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }) {
            return .number(Double(text[start..<position].reduce(0) { $0 * 10 + Int($1 & 15) }))
        }
        guard let number = Double(String(decoding: text[start..<position], as: UTF8.self)) else {
            position = start
            throw problem("no value")
        }
        return .number(number)
    }

    private mutating func string() throws(JSONDocument.Problem) -> JSONDocument.Value {
        position += 1
        let start = position
        var hasEscapes = false
        while position < text.count {
            switch text[position] {
            case UInt8(ascii: "\""):
                position += 1
                return .string(start..<position - 1, hasEscapes: hasEscapes)
            case UInt8(ascii: "\\"):
                hasEscapes = true
                position += 2
            default:
                position += 1
            }
        }
        position = start
        throw problem("a string without end")
    }
}
