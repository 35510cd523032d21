// SPDX-License-Identifier: Apache-2.0

/// A strict JSON reader (RFC 8259) that hands out one value after the other and builds nothing: a safetensors header of many
/// megabytes becomes a tensor table without a tree in between, and a key that stands twice is seen.
///
/// Deviations, both because Python's `json` writes or reads them: `NaN`, `Infinity` and `-Infinity` are numbers, and a leading
/// byte order mark is passed over.
struct JSONReader {
    enum Kind: String {
        case object = "an object"
        case array = "an array"
        case string = "a string"
        case number = "a number"
        case bool = "a bool"
        case null = "null"
    }

    enum Number {
        case integer(Int)
        case double(Double)
    }

    let file: String
    /// Whether a key that stands twice in one object is an error.
    let refusesDuplicates: Bool
    private let bytes: UnsafeRawBufferPointer
    private(set) var position = 0
    private var depth = 0

    /// Far beyond any configuration, and no danger to the stack.
    private static let depthLimit = 128

    init(_ bytes: UnsafeRawBufferPointer, file: String, refusesDuplicates: Bool) {
        self.bytes = bytes
        self.file = file
        self.refusesDuplicates = refusesDuplicates
        if bytes.starts(with: [0xef, 0xbb, 0xbf]) { position = 3 }
    }

    // MARK: Values

    /// What comes next, not consumed.
    mutating func kind() throws(ModelFileError) -> Kind {
        switch try nextByte() {
        case UInt8(ascii: "{"): return .object
        case UInt8(ascii: "["): return .array
        case UInt8(ascii: "\""): return .string
        case UInt8(ascii: "t"), UInt8(ascii: "f"): return .bool
        case UInt8(ascii: "n"): return .null
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "N"), UInt8(ascii: "I"): return .number
        default: throw syntax("expected a value")
        }
    }

    /// Reads an object; `member` must read exactly the value of each key.
    mutating func object(
        _ member: (String, inout JSONReader) throws(ModelFileError) -> Void
    ) throws(ModelFileError) {
        try open(UInt8(ascii: "{"), "an object")
        var seen: Set<String> = []
        if try !closes(UInt8(ascii: "}")) {
            repeat {
                let key = try string()
                if refusesDuplicates, !seen.insert(key).inserted {
                    throw ModelFileError(file: file, problem: "duplicate key '\(key)' before byte \(position)")
                }
                try consume(UInt8(ascii: ":"))
                try member(key, &self)
            } while try continues(UInt8(ascii: "}"))
        }
        depth -= 1
    }

    /// Reads an array; `element` must read exactly one value each time.
    mutating func array(_ element: (inout JSONReader) throws(ModelFileError) -> Void) throws(ModelFileError) {
        try open(UInt8(ascii: "["), "an array")
        if try !closes(UInt8(ascii: "]")) {
            repeat { try element(&self) } while try continues(UInt8(ascii: "]"))
        }
        depth -= 1
    }

    mutating func bool() throws(ModelFileError) -> Bool {
        if try nextByte() == UInt8(ascii: "t") {
            try literal("true")
            return true
        }
        try literal("false")
        return false
    }

    mutating func null() throws(ModelFileError) { try literal("null") }

    mutating func string() throws(ModelFileError) -> String {
        try consume(UInt8(ascii: "\""))
        let start = position
        // Nearly all strings have no escape: found by one scan, made by one copy.
        while position < bytes.count, bytes[position] != UInt8(ascii: "\""), bytes[position] != UInt8(ascii: "\\"),
            bytes[position] >= 0x20
        { position += 1 }
        guard position < bytes.count else { throw syntax("the text ends inside a string") }
        let plain = UnsafeRawBufferPointer(rebasing: bytes[start..<position])
        if bytes[position] == UInt8(ascii: "\"") {
            position += 1
            return try validated(plain)
        }
        var content = [UInt8](plain)
        while true {
            guard position < bytes.count else { throw syntax("the text ends inside a string") }
            let byte = bytes[position]
            guard byte >= 0x20 else { throw syntax("control character in a string") }
            position += 1
            if byte == UInt8(ascii: "\"") { break }
            if byte == UInt8(ascii: "\\") {
                content.append(contentsOf: UTF8.encode(try escape())!)
            } else {
                content.append(byte)
            }
        }
        return try content.withUnsafeBufferPointer { buffer throws(ModelFileError) in
            try validated(UnsafeRawBufferPointer(buffer))
        }
    }

    mutating func number() throws(ModelFileError) -> Number {
        switch try nextByte() {
        case UInt8(ascii: "N"):
            try literal("NaN")
            return .double(.nan)
        case UInt8(ascii: "I"):
            try literal("Infinity")
            return .double(.infinity)
        default: break
        }
        let start = position
        let negative = bytes[position] == UInt8(ascii: "-")
        if negative { position += 1 }
        if negative, peek() == UInt8(ascii: "I") {
            try literal("Infinity")
            return .double(-.infinity)
        }
        var isInteger = true
        if peek() == UInt8(ascii: "0") { position += 1 } else { try digits() }
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
        let text = String(decoding: UnsafeRawBufferPointer(rebasing: bytes[start..<position]), as: UTF8.self)
        if isInteger, let value = Int(text) { return .integer(value) }
        guard let value = Double(text), value.isFinite else { throw syntax("number out of range") }
        return .double(value)
    }

    /// Passes over one value of any kind.
    mutating func skip() throws(ModelFileError) {
        switch try kind() {
        case .object: try object { _, reader throws(ModelFileError) in try reader.skip() }
        case .array: try array { reader throws(ModelFileError) in try reader.skip() }
        case .string: _ = try string()
        case .number: _ = try number()
        case .bool: _ = try bool()
        case .null: try null()
        }
    }

    /// Nothing but white space may follow.
    mutating func end() throws(ModelFileError) {
        skipSpace()
        guard position == bytes.count else { throw syntax("text after the end of the value") }
    }

    func syntax(_ problem: String) -> ModelFileError {
        ModelFileError(file: file, problem: "not valid JSON: \(problem) at byte \(position)")
    }

    // MARK: Parts

    private func peek() -> UInt8? { position < bytes.count ? bytes[position] : nil }

    private mutating func skipSpace() {
        while position < bytes.count {
            switch bytes[position] {
            case 0x20, 0x09, 0x0a, 0x0d: position += 1
            default: return
            }
        }
    }

    private mutating func nextByte() throws(ModelFileError) -> UInt8 {
        skipSpace()
        guard position < bytes.count else { throw syntax("the text ends too early") }
        return bytes[position]
    }

    private mutating func consume(_ byte: UInt8) throws(ModelFileError) {
        guard try nextByte() == byte else { throw syntax("expected '\(Character(UnicodeScalar(byte)))'") }
        position += 1
    }

    private mutating func open(_ byte: UInt8, _ what: String) throws(ModelFileError) {
        guard try nextByte() == byte else { throw syntax("expected \(what)") }
        guard depth < JSONReader.depthLimit else { throw syntax("nested deeper than \(JSONReader.depthLimit) levels") }
        depth += 1
        position += 1
    }

    private mutating func closes(_ byte: UInt8) throws(ModelFileError) -> Bool {
        guard try nextByte() == byte else { return false }
        position += 1
        return true
    }

    private mutating func continues(_ close: UInt8) throws(ModelFileError) -> Bool {
        if try closes(close) { return false }
        guard try nextByte() == UInt8(ascii: ",") else {
            throw syntax("expected ',' or '\(Character(UnicodeScalar(close)))'")
        }
        position += 1
        return true
    }

    private mutating func literal(_ word: String) throws(ModelFileError) {
        skipSpace()
        guard bytes[position...].starts(with: word.utf8) else { throw syntax("expected '\(word)'") }
        position += word.utf8.count
    }

    private mutating func digits() throws(ModelFileError) {
        let start = position
        while let byte = peek(), (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) { position += 1 }
        guard position > start else { throw syntax("expected a digit") }
    }

    private func validated(_ bytes: UnsafeRawBufferPointer) throws(ModelFileError) -> String {
        guard let string = String(validating: bytes, as: UTF8.self) else { throw syntax("invalid UTF-8 in a string") }
        return string
    }

    /// What follows a backslash.
    private mutating func escape() throws(ModelFileError) -> UnicodeScalar {
        guard let byte = peek() else { throw syntax("the text ends inside a string") }
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
        default: throw syntax("unknown escape")
        }
    }

    private mutating func unicodeEscape() throws(ModelFileError) -> UnicodeScalar {
        let first = try hexadecimal()
        if let scalar = UnicodeScalar(first) { return scalar }
        // A character outside the basic plane: a high surrogate and a low one.
        guard (0xd800..<0xdc00).contains(first), bytes[position...].starts(with: "\\u".utf8) else {
            throw syntax("lone surrogate")
        }
        position += 2
        let second = try hexadecimal()
        guard (0xdc00..<0xe000).contains(second),
            let scalar = UnicodeScalar(0x10000 + (first - 0xd800) << 10 + (second - 0xdc00))
        else { throw syntax("lone surrogate") }
        return scalar
    }

    private mutating func hexadecimal() throws(ModelFileError) -> UInt32 {
        var value: UInt32 = 0
        for _ in 0..<4 {
            guard let byte = peek(), let digit = Character(UnicodeScalar(byte)).hexDigitValue else {
                throw syntax("expected four hexadecimal digits")
            }
            value = value << 4 | UInt32(digit)
            position += 1
        }
        return value
    }
}
