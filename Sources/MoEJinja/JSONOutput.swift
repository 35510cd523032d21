// SPDX-License-Identifier: Apache-2.0

/// JSON as Python's `json.dumps` writes it, with its options.
struct JSONOutput {
    private let interpreter: Interpreter
    private let isASCII: Bool
    /// One level's; nil: all in one line.
    private let indent: String?
    private let itemSeparator: String
    private let keySeparator: String
    private let sortsKeys: Bool
    private var result = ""

    init(
        _ interpreter: Interpreter, isASCII: Bool, indent: String?, separators: (item: String, key: String)?,
        sortsKeys: Bool
    ) {
        self.interpreter = interpreter
        self.isASCII = isASCII
        self.indent = indent
        self.sortsKeys = sortsKeys
        itemSeparator = separators?.item ?? (indent == nil ? ", " : ",")
        keySeparator = separators?.key ?? ": "
    }

    consuming func run(_ value: Value) throws(JinjaError) -> String {
        try write(value, level: 0)
        return result
    }

    private mutating func write(_ value: Value, level: Int) throws(JinjaError) {
        let size = result.utf8.count
        switch value {
        case .none: result += "null"
        case .bool(let flag): result += flag ? "true" : "false"
        case .integer(let number): result += String(number)
        case .double(let number): result += Self.text(number)
        case .string(let text): append(text.string)
        case .list(let elements), .tuple(let elements):
            try container(elements.items.count, "[", "]", level: level) { output, index throws(JinjaError) in
                try output.write(elements.items[index], level: level + 1)
            }
        case .dictionary(let members):
            let order = try order(of: members)
            try container(order.count, "{", "}", level: level) { output, index throws(JinjaError) in
                output.append(try output.keyText(members.keys[order[index]]))
                output.result += output.keySeparator
                try output.write(members.values[order[index]], level: level + 1)
            }
        case .undefined, .object:
            throw interpreter.fail("Object of type \(value.typeName) is not JSON serializable")
        }
        try interpreter.willMake(max(0, result.utf8.count - size))
        guard result.utf8.count <= interpreter.limits.outputSize else { throw interpreter.fail("JSON that is too long") }
    }

    private mutating func container(
        _ count: Int, _ begin: String, _ end: String, level: Int,
        _ element: (inout JSONOutput, Int) throws(JinjaError) -> Void
    ) throws(JinjaError) {
        try interpreter.checkStack()
        result += begin
        for index in 0..<count {
            if index > 0 { result += itemSeparator }
            newLine(level + 1)
            try element(&self, index)
        }
        if count > 0 { newLine(level) }
        result += end
    }

    private mutating func newLine(_ level: Int) {
        guard let indent else { return }
        result += "\n"
        for _ in 0..<level { result += indent }
    }

    private func order(of members: Members) throws(JinjaError) -> [Int] {
        let order = Array(0..<members.count)
        guard sortsKeys else { return order }
        return try interpreter.sorted(order) { a, b throws(JinjaError) in
            try interpreter.isLess(members.keys[a], members.keys[b])
        }
    }

    private func keyText(_ key: Value) throws(JinjaError) -> String {
        switch key {
        case .string(let text): return text.string
        case .none: return "null"
        case .bool(let flag): return flag ? "true" : "false"
        case .integer(let number): return String(number)
        case .double(let number): return Self.text(number)
        default: throw interpreter.fail("keys must be str, int, float, bool or None, not \(key.typeName)")
        }
    }

    private static func text(_ number: Double) -> String {
        if number.isNaN { return "NaN" }
        if number.isInfinite { return number < 0 ? "-Infinity" : "Infinity" }
        return PythonNumber.repr(number)
    }

    private mutating func append(_ string: String) {
        result += "\""
        var plainStart = string.startIndex
        let view = string.unicodeScalars
        var place = plainStart
        while place < view.endIndex {
            let scalar = view[place]
            let next = view.index(after: place)
            if let escape = escape(scalar) {
                result += string[plainStart..<place]
                result += escape
                plainStart = next
            }
            place = next
        }
        result += string[plainStart...]
        result += "\""
    }

    private func escape(_ scalar: Unicode.Scalar) -> String? {
        switch scalar {
        case "\"": return "\\\""
        case "\\": return "\\\\"
        case "\n": return "\\n"
        case "\r": return "\\r"
        case "\t": return "\\t"
        case "\u{c}": return "\\f"
        case "\u{8}": return "\\b"
        case "\u{0}"..<" ": return Self.unit(UInt16(scalar.value))
        case " "..<"\u{7f}": return nil
        default:
            guard isASCII else { return nil }
            return UTF16.encode(scalar).map { $0.map(Self.unit).joined() }
        }
    }

    private static func unit(_ unit: UInt16) -> String { "\\u" + PythonText.padded(String(unit, radix: 16), 4) }
}
