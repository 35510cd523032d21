// SPDX-License-Identifier: Apache-2.0

/// Python's `pprint` at its width of 80: members sorted, and what does not fit in a line broken into several.
struct PrettyPrinter {
    private let interpreter: Interpreter
    private let width = 80
    private var result = ""

    init(_ interpreter: Interpreter) { self.interpreter = interpreter }

    consuming func run(_ value: Value) throws(JinjaError) -> String {
        try format(value, indent: 0, allowance: 0, level: 0)
        return result
    }

    /// - Parameters:
    ///   - indent: where the value begins in its line.
    ///   - allowance: what must fit behind it.
    private mutating func format(_ value: Value, indent: Int, allowance: Int, level: Int) throws(JinjaError) {
        try interpreter.checkStack()
        let line = try oneLine(value)
        try interpreter.willMake(result.utf8.count / 64 + line.utf8.count)
        guard line.unicodeScalars.count > width - indent - allowance else {
            result += line
            return
        }
        switch value {
        case .dictionary(let members):
            result += "{"
            let order = try order(of: members)
            for (place, index) in order.enumerated() {
                let isLast = place == order.count - 1
                let key = try oneLine(members.keys[index])
                result += key + ": "
                try format(
                    members.values[index], indent: indent + 1 + key.unicodeScalars.count + 2,
                    allowance: isLast ? allowance + 1 : 1, level: level + 1)
                if !isLast { newLine(indent + 1) }
            }
            result += "}"
        case .list(let elements):
            try format(elements.items, "[", "]", indent: indent, allowance: allowance, level: level)
        case .tuple(let elements):
            let end = elements.items.count == 1 ? ",)" : ")"
            try format(elements.items, "(", end, indent: indent, allowance: allowance, level: level)
        case .string(let text) where !text.isMarkup && !text.string.isEmpty:
            try format(text.string, line, indent: indent, allowance: allowance, isOutermost: level == 0)
        default: result += line
        }
    }

    private mutating func newLine(_ indent: Int) { result += ",\n" + String(repeating: " ", count: indent) }

    private mutating func format(
        _ items: [Value], _ begin: String, _ end: String, indent: Int, allowance: Int, level: Int
    ) throws(JinjaError) {
        result += begin
        for (index, item) in items.enumerated() {
            let isLast = index == items.count - 1
            try format(
                item, indent: indent + 1, allowance: isLast ? allowance + end.utf8.count : 1, level: level + 1)
            if !isLast { newLine(indent + 1) }
        }
        result += end
    }

    /// Strings one below the other, cut after space.
    private mutating func format(
        _ text: String, _ whole: String, indent: Int, allowance: Int, isOutermost: Bool
    ) throws(JinjaError) {
        let indent = indent + (isOutermost ? 1 : 0)
        let allowance = allowance + (isOutermost ? 1 : 0)
        let lines = PythonText.lines(text, keepEnds: true)
        var chunks: [String] = []
        for (index, line) in lines.enumerated() {
            let isLast = index == lines.count - 1
            let quoted = PythonText.quoted(line)
            if quoted.unicodeScalars.count <= width - indent - (isLast ? allowance : 0) {
                chunks.append(quoted)
                continue
            }
            var current = ""
            let parts = Self.parts(line)
            for (place, part) in parts.enumerated() {
                let limit = width - indent - (isLast && place == parts.count - 1 ? allowance : 0)
                try interpreter.spend(current.utf8.count / 8 + 1)
                if PythonText.quoted(current + part).unicodeScalars.count > limit {
                    if !current.isEmpty { chunks.append(PythonText.quoted(current)) }
                    current = part
                } else {
                    current += part
                }
            }
            if !current.isEmpty { chunks.append(PythonText.quoted(current)) }
        }
        guard chunks.count > 1 else {
            result += chunks.first ?? whole
            return
        }
        let text = chunks.joined(separator: "\n" + String(repeating: " ", count: indent))
        result += isOutermost ? "(" + text + ")" : text
    }

    /// Words, each with the space behind it.
    private static func parts(_ line: String) -> [String] {
        var result: [String] = []
        var part = String.UnicodeScalarView()
        for scalar in line.unicodeScalars {
            if let last = part.last, last.isPythonSpace, !scalar.isPythonSpace {
                result.append(String(part))
                part = String.UnicodeScalarView()
            }
            part.append(scalar)
        }
        if !part.isEmpty { result.append(String(part)) }
        return result
    }

    private func order(of members: Members) throws(JinjaError) -> [Int] {
        try interpreter.sorted(Array(0..<members.count)) { a, b throws(JinjaError) in
            let (a, b) = (members.keys[a], members.keys[b])
            // Keys of types that do not compare go by the types' names.
            if (a.asNumber == nil) != (b.asNumber == nil) || (a.asText == nil) != (b.asText == nil) {
                return Self.className(a) < Self.className(b)
            }
            if a.asNumber == nil, a.asText == nil { return false }
            return try interpreter.isLess(a, b)
        }
    }

    private static func className(_ value: Value) -> String { "<class '\(value.typeName)'>" }

    /// The value in one line, members sorted.
    private func oneLine(_ value: Value) throws(JinjaError) -> String {
        func joined(_ items: [Value]) throws(JinjaError) -> String {
            try interpreter.checkStack()
            var pieces: [String] = []
            for item in items { pieces.append(try oneLine(item)) }
            return try interpreter.joined(pieces, ", ")
        }
        try interpreter.spend(1)
        switch value {
        case .list(let elements): return "[" + (try joined(elements.items)) + "]"
        case .tuple(let elements): return "(" + (try joined(elements.items)) + (elements.items.count == 1 ? ",)" : ")")
        case .dictionary(let members):
            try interpreter.checkStack()
            var pieces: [String] = []
            for index in try order(of: members) {
                pieces.append(try oneLine(members.keys[index]) + ": " + oneLine(members.values[index]))
            }
            return "{" + (try interpreter.joined(pieces, ", ")) + "}"
        default: return try interpreter.repr(value)
        }
    }
}
