// SPDX-License-Identifier: Apache-2.0

/// Checks one JSON value (RFC 8259) byte by byte, as it comes.
struct JSONChecker: Sendable {
    enum Step: Sendable { case more, done, wrong }

    /// What may come next.
    private enum State: Sendable {
        case value, valueOrEnd
        case key, keyOrEnd, colon
        case commaOrEnd
        case string, escape, hex(Int)
        case number(Number)
        /// The rest of `true`, `false` or `null`.
        case word(StaticString, Int)
        case done
    }

    private enum Number: Sendable {
        case minus, zero, whole, point, fraction, exponent, sign, power

        var isComplete: Bool {
            switch self {
            case .zero, .whole, .fraction, .power: true
            case .minus, .point, .exponent, .sign: false
            }
        }
    }

    /// What follows a model's calls reads JSON with ``JSONDocument``, which has a limit as well; this one leaves room around it.
    static let depthLimit = 100

    private var state = State.value
    /// Open containers: true for an object.
    private var open: [Bool] = []
    private var isKey = false

    /// How many containers are open.
    var depth: Int { open.count }

    /// The value is complete.
    var isDone: Bool { if case .done = state { true } else { false } }

    /// Takes the next byte. A number is complete only when something else follows it, see ``isCompleteNumber``.
    mutating func take(_ byte: UInt8) -> Step {
        switch state {
        case .string: return takeInString(byte)
        case .value, .valueOrEnd:
            if byte.isSpace { return .more }
            if case .valueOrEnd = state, byte == UInt8(ascii: "]") { return close(isObject: false) }
            return begin(byte)
        case .key, .keyOrEnd:
            if byte.isSpace { return .more }
            if case .keyOrEnd = state, byte == UInt8(ascii: "}") { return close(isObject: true) }
            guard byte == UInt8(ascii: "\"") else { return .wrong }
            (state, isKey) = (.string, true)
            return .more
        case .colon:
            if byte.isSpace { return .more }
            guard byte == UInt8(ascii: ":") else { return .wrong }
            state = .value
            return .more
        case .commaOrEnd:
            if byte.isSpace { return .more }
            guard let isObject = open.last else { return .wrong }
            if byte == UInt8(ascii: ",") {
                state = isObject ? .key : .value
                return .more
            }
            if byte == UInt8(ascii: isObject ? "}" : "]") { return close(isObject: isObject) }
            return .wrong
        case .escape:
            switch Character(Unicode.Scalar(byte)) {
            case "\"", "\\", "/", "b", "f", "n", "r", "t": state = .string
            case "u": state = .hex(4)
            default: return .wrong
            }
            return .more
        case .hex(let count):
            guard byte.isHexDigit else { return .wrong }
            state = count == 1 ? .string : .hex(count - 1)
            return .more
        case .number(let number): return takeInNumber(byte, number)
        case .word(let word, let index):
            guard byte == word.utf8Start[index] else { return .wrong }
            if index + 1 == word.utf8CodeUnitCount { return complete() }
            state = .word(word, index + 1)
            return .more
        case .done: return .wrong
        }
    }

    /// Whether the value is a number at the top that would be complete if nothing more came.
    var isCompleteNumber: Bool {
        guard open.isEmpty, case .number(let number) = state else { return false }
        return number.isComplete
    }

    private mutating func begin(_ byte: UInt8) -> Step {
        switch Character(Unicode.Scalar(byte)) {
        case "{", "[":
            guard open.count < Self.depthLimit else { return .wrong }
            let isObject = byte == UInt8(ascii: "{")
            open.append(isObject)
            state = isObject ? .keyOrEnd : .valueOrEnd
        case "\"": (state, isKey) = (.string, false)
        case "-": state = .number(.minus)
        case "0": state = .number(.zero)
        case "1"..."9": state = .number(.whole)
        case "t": state = .word("true", 1)
        case "f": state = .word("false", 1)
        case "n": state = .word("null", 1)
        default: return .wrong
        }
        return .more
    }

    private mutating func takeInString(_ byte: UInt8) -> Step {
        if byte == UInt8(ascii: "\"") {
            guard isKey else { return complete() }
            state = .colon
            return .more
        }
        guard byte >= 0x20 else { return .wrong }
        if byte == UInt8(ascii: "\\") { state = .escape }
        return .more
    }

    private mutating func takeInNumber(_ byte: UInt8, _ number: Number) -> Step {
        let next: Number? =
            switch (number, Character(Unicode.Scalar(byte))) {
            case (.minus, "0"): .zero
            case (.minus, "1"..."9"), (.whole, "0"..."9"): .whole
            case (.zero, "."), (.whole, "."): .point
            case (.point, "0"..."9"), (.fraction, "0"..."9"): .fraction
            case (.zero, "e"), (.zero, "E"), (.whole, "e"), (.whole, "E"), (.fraction, "e"), (.fraction, "E"): .exponent
            case (.exponent, "+"), (.exponent, "-"): .sign
            case (.exponent, "0"..."9"), (.sign, "0"..."9"), (.power, "0"..."9"): .power
            default: nil
            }
        if let next {
            state = .number(next)
            return .more
        }
        guard number.isComplete, !open.isEmpty else { return .wrong }
        state = .commaOrEnd
        return take(byte)
    }

    private mutating func close(isObject: Bool) -> Step {
        guard open.last == isObject else { return .wrong }
        open.removeLast()
        return complete()
    }

    private mutating func complete() -> Step {
        state = open.isEmpty ? .done : .commaOrEnd
        return open.isEmpty ? .done : .more
    }

    /// The type of a whole text, nil when it is no JSON.
    static func type(of text: some Collection<UInt8>) -> JSONType? {
        var checker = JSONChecker()
        var first: UInt8?
        var isDone = false
        var isInteger = true
        for byte in text {
            if isDone {
                guard byte.isSpace else { return nil }
                continue
            }
            if first == nil, !byte.isSpace { first = byte }
            if byte == UInt8(ascii: ".") || byte == UInt8(ascii: "e") || byte == UInt8(ascii: "E") { isInteger = false }
            // A number ends where white space begins.
            if byte.isSpace, checker.isCompleteNumber {
                isDone = true
                continue
            }
            switch checker.take(byte) {
            case .more: break
            case .done: isDone = true
            case .wrong: return nil
            }
        }
        guard let first, isDone || checker.isCompleteNumber else { return nil }
        switch Character(Unicode.Scalar(first)) {
        case "{": return .object
        case "[": return .array
        case "\"": return .string
        case "t", "f": return .boolean
        case "n": return .null
        default: return isInteger ? .integer : .number
        }
    }
}

/// The types of JSON Schema.
enum JSONType: String, Sendable, Hashable, CaseIterable {
    case string, integer, number, boolean, object, array, null
}

extension UInt8 {
    var isHexDigit: Bool { hexValue != nil }

    var hexValue: UInt8? {
        switch self {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): self - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): self - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): self - UInt8(ascii: "A") + 10
        default: nil
        }
    }
}
