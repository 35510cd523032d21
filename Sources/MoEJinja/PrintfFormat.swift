// SPDX-License-Identifier: Apache-2.0

extension Interpreter {
    /// `text % value`
    func printf(_ format: Text, _ value: Value) throws(JinjaError) -> Value {
        var formatter = PrintfFormatter(self, format, value)
        return try text(try formatter.run(), isMarkup: format.isMarkup)
    }
}

/// Python's `%` for strings.
private struct PrintfFormatter {
    private let interpreter: Interpreter
    private let isMarkup: Bool
    private let format: [Unicode.Scalar]
    private var position = 0
    private let value: Value
    private let arguments: [Value]
    private let isMapping: Bool
    private var argumentIndex = 0
    private var result = ""

    private struct Specification {
        var isLeft = false
        var hasSign = false
        var hasSpace = false
        var isAlternate = false
        var isZeroPadded = false
        var width = 0
        var precision: Int?
    }

    init(_ interpreter: Interpreter, _ format: Text, _ value: Value) {
        self.interpreter = interpreter
        self.isMarkup = format.isMarkup
        self.format = Array(format.string.unicodeScalars)
        self.value = value
        if case .tuple(let elements) = value {
            (arguments, isMapping) = (elements.items, false)
        } else {
            arguments = [value]
            switch value {
            case .dictionary, .list, .undefined: isMapping = true
            default: isMapping = false
            }
        }
    }

    mutating func run() throws(JinjaError) -> String {
        try interpreter.spend(format.count / 8)
        while position < format.count {
            let scalar = format[position]
            position += 1
            if scalar == "%" { try conversion() } else { result.unicodeScalars.append(scalar) }
        }
        if argumentIndex < arguments.count, !isMapping {
            throw interpreter.fail("not all arguments converted during string formatting")
        }
        return result
    }

    private mutating func next() throws(JinjaError) -> Unicode.Scalar {
        guard position < format.count else { throw interpreter.fail("incomplete format") }
        position += 1
        return format[position - 1]
    }

    private mutating func nextArgument() throws(JinjaError) -> Value {
        guard argumentIndex < arguments.count else { throw interpreter.fail("not enough arguments for format string") }
        argumentIndex += 1
        return arguments[argumentIndex - 1]
    }

    private mutating func number() throws(JinjaError) -> Int? {
        if position < format.count, format[position] == "*" {
            position += 1
            guard let number = try nextArgument().asInteger else { throw interpreter.fail("* wants int") }
            return number
        }
        var number: Int?
        while position < format.count, "0"..."9" ~= format[position] {
            number = min((number ?? 0) * 10 + Int(format[position].value - 48), 1 << 40)
            position += 1
        }
        return number
    }

    private mutating func conversion() throws(JinjaError) {
        var specification = Specification()
        var member: Value?
        if position < format.count, format[position] == "(" {
            member = try key()
        }
        flags: while position < format.count {
            switch format[position] {
            case "-": specification.isLeft = true
            case "+": specification.hasSign = true
            case " ": specification.hasSpace = true
            case "#": specification.isAlternate = true
            case "0": specification.isZeroPadded = true
            default: break flags
            }
            position += 1
        }
        if let width = try number() {
            specification.width = abs(width)
            if width < 0 { specification.isLeft = true }
        }
        if position < format.count, format[position] == "." {
            position += 1
            specification.precision = max(0, try number() ?? 0)
        }
        try interpreter.willMake(max(specification.width, specification.precision ?? 0))
        if position < format.count, "hlL".unicodeScalars.contains(format[position]) { position += 1 }
        let conversion = try next()
        if conversion == "%" {
            result += "%"
            return
        }
        let argument: Value = if let member { member } else { try nextArgument() }
        let text = try convert(argument, conversion, specification)
        try interpreter.willMake(result.utf8.count / 64 + text.utf8.count)
        result += text
        guard result.utf8.count <= interpreter.limits.outputSize else { throw interpreter.fail("a text that is too long") }
    }

    private mutating func key() throws(JinjaError) -> Value {
        guard case .dictionary(let members) = value else { throw interpreter.fail("format requires a mapping") }
        position += 1
        let start = position
        var depth = 1
        while depth > 0 {
            switch try next() {
            case "(": depth += 1
            case ")": depth -= 1
            default: break
            }
        }
        let name = String(format[start..<position - 1])
        guard let member = members[name] else { throw interpreter.fail("key \(PythonText.quoted(name)) is not there") }
        return member
    }

    private func convert(
        _ value: Value, _ conversion: Unicode.Scalar, _ specification: Specification
    ) throws(JinjaError) -> String {
        switch conversion {
        case "s", "r", "a":
            var text = conversion == "s" ? try interpreter.string(value) : try interpreter.repr(value)
            if conversion == "a" { text = asciiOnly(text) }
            if isMarkup, value.asText?.isMarkup != true { text = try interpreter.escapeHTML(text) }
            if let precision = specification.precision { text = String(text.unicodeScalars.prefix(precision)) }
            return pad(text, specification)
        case "c":
            var text = value.asText?.string ?? ""
            if let code = value.asInteger {
                guard let scalar = UInt32(exactly: code).flatMap(Unicode.Scalar.init) else {
                    throw interpreter.fail("%c arg not in range")
                }
                text = String(scalar)
            }
            guard text.unicodeScalars.count == 1 else { throw interpreter.fail("%c requires int or char") }
            return pad(text, specification)
        case "d", "i", "u", "x", "X", "o": return try integer(value, conversion, specification)
        case "e", "E", "f", "F", "g", "G":
            guard let number = value.asNumber else { throw mustBeNumber(value) }
            let text = PythonNumber.formatted(
                number.magnitude, Character(conversion), precision: specification.precision ?? 6,
                flags: specification.isAlternate ? "#" : "")
            return pad(text, specification, sign: number.sign == .minus && !number.isNaN ? "-" : "")
        default: throw interpreter.fail("unsupported format character '\(conversion)'")
        }
    }

    private func mustBeNumber(_ value: Value) -> JinjaError {
        if case .undefined(let undefined) = value { return interpreter.fail(undefined.message) }
        return interpreter.fail("a number is required, not \(value.typeName)")
    }

    private func integer(
        _ value: Value, _ conversion: Unicode.Scalar, _ specification: Specification
    ) throws(JinjaError) -> String {
        var number = value.asInteger
        if case .double(let double) = value, "diu".unicodeScalars.contains(conversion) {
            guard let truncated = Int(exactly: double.rounded(.towardZero)) else {
                throw interpreter.fail("cannot convert a float that large to integer")
            }
            number = truncated
        }
        guard let number else { throw mustBeNumber(value) }
        var prefix = number < 0 ? "-" : ""
        var digits: String
        switch conversion {
        case "x": digits = String(number.magnitude, radix: 16)
        case "X": digits = String(number.magnitude, radix: 16, uppercase: true)
        case "o": digits = String(number.magnitude, radix: 8)
        default: digits = String(number.magnitude)
        }
        if let precision = specification.precision { digits = PythonText.padded(digits, precision) }
        let mark = specification.isAlternate && "xXo".unicodeScalars.contains(conversion) ? "0\(conversion)" : ""
        if prefix.isEmpty { prefix = specification.hasSign ? "+" : specification.hasSpace ? " " : "" }
        return pad(digits, specification, sign: prefix + mark, hasSign: true)
    }

    private func pad(
        _ text: String, _ specification: Specification, sign: String? = nil, hasSign: Bool = false
    ) -> String {
        var sign = sign
        if sign == "", !hasSign { sign = specification.hasSign ? "+" : specification.hasSpace ? " " : "" }
        let missing = max(0, specification.width - text.unicodeScalars.count - (sign ?? "").unicodeScalars.count)
        if specification.isLeft { return (sign ?? "") + text + String(repeating: " ", count: missing) }
        if specification.isZeroPadded, let sign { return sign + String(repeating: "0", count: missing) + text }
        return String(repeating: " ", count: missing) + (sign ?? "") + text
    }
}

/// Escapes what is not ASCII, as `ascii()` does.
func asciiOnly(_ text: String) -> String {
    text.unicodeScalars.map { scalar in
        if scalar.isASCII { return String(scalar) }
        let code = String(scalar.value, radix: 16)
        switch scalar.value {
        case ..<0x100: return "\\x" + PythonText.padded(code, 2)
        case ..<0x10000: return "\\u" + PythonText.padded(code, 4)
        default: return "\\U" + PythonText.padded(code, 8)
        }
    }.joined()
}
