// SPDX-License-Identifier: Apache-2.0

import MoEJSON

/// Translates literals of other notations to JSON, byte by byte, as they come.
///
/// Python's: `'…'` and `"…"` with Python's escapes, `True`, `False`, `None`, lists, tuples, dictionaries, keyword arguments. Gemma's:
/// strings between `<|"|>`, without escapes, and keys without quotes. The words of JSON are read in both.
struct LiteralTranslator: Sendable {
    enum Step: Sendable { case more, done, wrong }

    enum Root: Sendable {
        /// A value, which ends with the text.
        case value
        /// Keyword arguments up to their `)`.
        case arguments
        /// Members up to their `}`.
        case members
    }

    private enum Container: Sendable { case arguments, members, list, tuple }

    private enum State: Sendable {
        case key(first: Bool)
        /// A key without quotes.
        case bareKey
        case separator
        case value(orEnd: Bool)
        case string(quote: UInt8, isKey: Bool)
        case escape(quote: UInt8, isKey: Bool)
        /// Digits of an escape: how many are left, and what they say so far.
        case code(left: Int, radix: UInt32, value: UInt32, quote: UInt8, isKey: Bool)
        /// Between two `<|"|>`, of the next of which some bytes have come.
        case marked(matched: Int, isKey: Bool)
        /// The marker that begins such a string.
        case mark(matched: Int, isKey: Bool)
        /// A number or a word.
        case token(isKey: Bool)
        case afterValue
        case done
    }

    private static let mark = Array("<|\"|>".utf8)

    private let root: Root
    private var open: [Container] = []
    private var state: State
    private var token: [UInt8] = []
    private var high: UInt16?

    /// - Parameter root: What is translated; for `arguments` and `members`, what opens them has been read.
    init(_ root: Root) {
        self.root = root
        switch root {
        case .value: state = .value(orEnd: false)
        case .arguments: (state, open) = (.key(first: true), [.arguments])
        case .members: (state, open) = (.key(first: true), [.members])
        }
    }

    /// What the translation of arguments or members begins with.
    static let opening = [UInt8(ascii: "{")]

    /// A whole literal in JSON, nil when it is none.
    static func json(_ literal: some Collection<UInt8>) -> [UInt8]? {
        var translator = LiteralTranslator(.value)
        var json: [UInt8] = []
        for byte in literal {
            if translator.take(byte, into: &json) == .wrong { return nil }
        }
        return translator.finish(into: &json) ? json : nil
    }

    /// For a value: its text is complete.
    mutating func finish(into json: inout [UInt8]) -> Bool {
        if case .token(let isKey) = state {
            guard endToken(isKey: isKey, into: &json) else { return false }
        }
        guard open.isEmpty else { return false }
        switch state {
        case .afterValue, .done: return true
        default: return false
        }
    }

    mutating func take(_ byte: UInt8, into json: inout [UInt8]) -> Step {
        switch state {
        case .string, .escape, .code, .marked, .mark: return takeInString(byte, into: &json)
        case .token(let isKey):
            if byte.isTokenByte {
                guard token.count < 64 else { return .wrong }
                token.append(byte)
                return .more
            }
            guard endToken(isKey: isKey, into: &json) else { return .wrong }
            return take(byte, into: &json)
        case .bareKey:
            let end = UInt8(ascii: open.last == .arguments ? "=" : ":")
            if byte == end {
                while token.last?.isSpace == true { token.removeLast() }
                json += JSONEscape.quoted(token) + Array(": ".utf8)
                token = []
                state = .value(orEnd: false)
                return .more
            }
            guard token.count < 256, byte.isKeyByte || byte.isSpace else { return .wrong }
            token.append(byte)
            return .more
        case .key(let first):
            if byte.isSpace { return .more }
            if byte == UInt8(ascii: open.last == .arguments ? ")" : "}") { return close(into: &json) }
            if !first { json += Array(", ".utf8) }
            return beginKey(byte, into: &json)
        case .separator:
            if byte.isSpace { return .more }
            guard byte == UInt8(ascii: ":") else { return .wrong }
            json += Array(": ".utf8)
            state = .value(orEnd: false)
            return .more
        case .value(let orEnd):
            if byte.isSpace { return .more }
            if orEnd, let container = open.last, container != .members, container != .arguments,
                byte == UInt8(ascii: container == .list ? "]" : ")")
            {
                return close(into: &json)
            }
            if isAfterComma { json += Array(", ".utf8) }
            isAfterComma = false
            return beginValue(byte, into: &json)
        case .afterValue:
            if byte.isSpace { return .more }
            guard let container = open.last else { return .wrong }
            if byte == UInt8(ascii: ",") {
                switch container {
                case .arguments, .members: state = .key(first: false)
                case .list, .tuple:
                    isAfterComma = true
                    state = .value(orEnd: true)
                }
                return .more
            }
            let end: UInt8 =
                switch container {
                case .arguments, .tuple: UInt8(ascii: ")")
                case .members: UInt8(ascii: "}")
                case .list: UInt8(ascii: "]")
                }
            return byte == end ? close(into: &json) : .wrong
        case .done: return byte.isSpace && root == .value ? .more : .wrong
        }
    }

    /// A comma of a list waits to be written until a value follows: Python allows one at the end.
    private var isAfterComma = false

    // MARK: Beginnings and ends

    private mutating func beginKey(_ byte: UInt8, into json: inout [UInt8]) -> Step {
        switch byte {
        case UInt8(ascii: "'"), UInt8(ascii: "\""):
            guard open.last == .members else { return .wrong }
            json.append(UInt8(ascii: "\""))
            state = .string(quote: byte, isKey: true)
        case UInt8(ascii: "<"):
            guard open.last == .members else { return .wrong }
            state = .mark(matched: 1, isKey: true)
        default:
            guard byte.isKeyByte else { return .wrong }
            token = [byte]
            state = .bareKey
        }
        return .more
    }

    private mutating func beginValue(_ byte: UInt8, into json: inout [UInt8]) -> Step {
        switch byte {
        case UInt8(ascii: "'"), UInt8(ascii: "\""):
            json.append(UInt8(ascii: "\""))
            state = .string(quote: byte, isKey: false)
        case UInt8(ascii: "<"): state = .mark(matched: 1, isKey: false)
        case UInt8(ascii: "["), UInt8(ascii: "("), UInt8(ascii: "{"):
            guard open.count < JSONChecker.depthLimit else { return .wrong }
            let isMembers = byte == UInt8(ascii: "{")
            open.append(isMembers ? .members : byte == UInt8(ascii: "[") ? .list : .tuple)
            json.append(UInt8(ascii: isMembers ? "{" : "["))
            state = isMembers ? .key(first: true) : .value(orEnd: true)
        default:
            guard byte.isTokenByte else { return .wrong }
            token = [byte]
            state = .token(isKey: false)
        }
        return .more
    }

    private mutating func close(into json: inout [UInt8]) -> Step {
        switch open.removeLast() {
        case .arguments, .members: json.append(UInt8(ascii: "}"))
        case .list, .tuple: json.append(UInt8(ascii: "]"))
        }
        isAfterComma = false
        guard open.isEmpty else {
            state = .afterValue
            return .more
        }
        state = .done
        return .done
    }

    private mutating func endToken(isKey: Bool, into json: inout [UInt8]) -> Bool {
        state = .afterValue
        defer { token = [] }
        switch String(decoding: token, as: UTF8.self) {
        case "True", "true": json += Array("true".utf8)
        case "False", "false": json += Array("false".utf8)
        case "None", "null": json += Array("null".utf8)
        default:
            var number = token.filter { $0 != UInt8(ascii: "_") }
            let sign: [UInt8] = number.first == UInt8(ascii: "-") ? [UInt8(ascii: "-")] : []
            if number.first == UInt8(ascii: "+") || !sign.isEmpty { number.removeFirst() }
            // Python writes a zero before or after the point only where it pleases.
            if number.first == UInt8(ascii: ".") { number.insert(UInt8(ascii: "0"), at: 0) }
            if number.last == UInt8(ascii: ".") { number.append(UInt8(ascii: "0")) }
            number = sign + number
            guard let type = JSONChecker.type(of: number), type == .integer || type == .number else { return false }
            json += number
        }
        return true
    }

    // MARK: Strings

    private mutating func takeInString(_ byte: UInt8, into json: inout [UInt8]) -> Step {
        switch state {
        case .mark(let matched, let isKey):
            guard byte == Self.mark[matched] else { return .wrong }
            if matched + 1 == Self.mark.count {
                json.append(UInt8(ascii: "\""))
                state = .marked(matched: 0, isKey: isKey)
            } else {
                state = .mark(matched: matched + 1, isKey: isKey)
            }
        case .marked(let matched, let isKey):
            if byte == Self.mark[matched] {
                if matched + 1 == Self.mark.count {
                    endString(isKey: isKey, into: &json)
                } else {
                    state = .marked(matched: matched + 1, isKey: isKey)
                }
                return .more
            }
            JSONEscape.append(Self.mark[..<matched], to: &json)
            state = .marked(matched: 0, isKey: isKey)
            if byte == Self.mark[0] {
                state = .marked(matched: 1, isKey: isKey)
            } else {
                JSONEscape.append(byte, to: &json)
            }
        case .string(let quote, let isKey):
            if byte == quote {
                flushSurrogate(into: &json)
                endString(isKey: isKey, into: &json)
            } else if byte == UInt8(ascii: "\\") {
                state = .escape(quote: quote, isKey: isKey)
            } else {
                flushSurrogate(into: &json)
                JSONEscape.append(byte, to: &json)
            }
        case .escape(let quote, let isKey):
            state = .string(quote: quote, isKey: isKey)
            escape(byte, quote: quote, isKey: isKey, into: &json)
        case .code(let left, let radix, let value, let quote, let isKey):
            guard let digit = byte.hexValue, UInt32(digit) < radix else { return .wrong }
            let value = value &* radix &+ UInt32(digit)
            if left == 1 {
                state = .string(quote: quote, isKey: isKey)
                append(scalar: value, into: &json)
            } else {
                state = .code(left: left - 1, radix: radix, value: value, quote: quote, isKey: isKey)
            }
        default: return .wrong
        }
        return .more
    }

    private mutating func escape(_ byte: UInt8, quote: UInt8, isKey: Bool, into json: inout [UInt8]) {
        let code = { (left: Int) in State.code(left: left, radix: 16, value: 0, quote: quote, isKey: isKey) }
        switch Character(Unicode.Scalar(byte)) {
        case "x": state = code(2)
        case "u": state = code(4)
        case "U": state = code(8)
        case "n": append(scalar: 10, into: &json)
        case "t": append(scalar: 9, into: &json)
        case "r": append(scalar: 13, into: &json)
        case "b": append(scalar: 8, into: &json)
        case "f": append(scalar: 12, into: &json)
        case "v": append(scalar: 11, into: &json)
        case "a": append(scalar: 7, into: &json)
        case "0": append(scalar: 0, into: &json)
        case "\n": break
        case "\\", "'", "\"", "/": append(scalar: UInt32(byte), into: &json)
        default:
            // Python keeps the backslash of what is no escape.
            flushSurrogate(into: &json)
            JSONEscape.append([UInt8(ascii: "\\"), byte], to: &json)
        }
    }

    private mutating func append(scalar value: UInt32, into json: inout [UInt8]) {
        if let high, value >= 0xDC00, value < 0xE000 {
            self.high = nil
            JSONEscape.append(String(decoding: [high, UInt16(value)], as: UTF16.self).utf8, to: &json)
            return
        }
        flushSurrogate(into: &json)
        if value >= 0xD800, value < 0xDC00 {
            high = UInt16(value)
        } else {
            let scalar = Unicode.Scalar(value) ?? "\u{FFFD}"
            JSONEscape.append(String(Character(scalar)).utf8, to: &json)
        }
    }

    private mutating func flushSurrogate(into json: inout [UInt8]) {
        guard high != nil else { return }
        high = nil
        json += Array("\u{FFFD}".utf8)
    }

    private mutating func endString(isKey: Bool, into json: inout [UInt8]) {
        json.append(UInt8(ascii: "\""))
        state = isKey ? .separator : .afterValue
    }
}

extension UInt8 {
    /// Of a number or a word.
    fileprivate var isTokenByte: Bool {
        switch self {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"),
            UInt8(ascii: "_"), UInt8(ascii: "."), UInt8(ascii: "+"), UInt8(ascii: "-"):
            true
        default: false
        }
    }

    /// Of a key without quotes: as above, and whatever is not ASCII.
    fileprivate var isKeyByte: Bool {
        isTokenByte || self >= 0x80 || self == UInt8(ascii: "$") || self == UInt8(ascii: "@")
    }
}
