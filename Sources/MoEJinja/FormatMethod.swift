// SPDX-License-Identifier: Apache-2.0

extension Interpreter {
    /// `text.format(…)`; `mapping` instead of the arguments for `format_map`.
    func format(_ format: Text, _ arguments: Arguments, mapping: Members? = nil) throws(JinjaError) -> Value {
        var formatter = FieldFormatter(self, arguments, mapping, isMarkup: format.isMarkup)
        let result = try formatter.run(Array(format.string.unicodeScalars), level: 2)
        return try text(result, isMarkup: format.isMarkup)
    }
}

/// Replacement fields of Python's `str.format`.
private struct FieldFormatter {
    private let interpreter: Interpreter
    private let arguments: Arguments
    private let mapping: Members?
    private let isMarkup: Bool
    /// nil once fields are numbered by hand.
    private var automatic: Int? = 0
    private var isAutomatic = false

    init(_ interpreter: Interpreter, _ arguments: Arguments, _ mapping: Members?, isMarkup: Bool) {
        (self.interpreter, self.arguments, self.mapping, self.isMarkup) = (interpreter, arguments, mapping, isMarkup)
    }

    mutating func run(_ format: [Unicode.Scalar], level: Int) throws(JinjaError) -> String {
        guard level > 0 else { throw interpreter.fail("max string recursion exceeded") }
        try interpreter.spend(format.count / 8)
        var result = ""
        var position = 0
        while position < format.count {
            let scalar = format[position]
            position += 1
            guard scalar == "{" || scalar == "}" else {
                result.unicodeScalars.append(scalar)
                continue
            }
            if position < format.count, format[position] == scalar {
                result.unicodeScalars.append(scalar)
                position += 1
                continue
            }
            guard scalar == "{" else { throw interpreter.fail("single '}' encountered in format string") }
            let start = position
            var depth = 1
            while depth > 0 {
                guard position < format.count else { throw interpreter.fail("expected '}' before end of string") }
                if format[position] == "{" { depth += 1 } else if format[position] == "}" { depth -= 1 }
                position += 1
            }
            result += try field(Array(format[start..<position - 1]), level: level)
            try interpreter.willMake(result.utf8.count / 64)
            guard result.utf8.count <= interpreter.limits.outputSize else {
                throw interpreter.fail("a text that is too long")
            }
        }
        return result
    }

    /// `name!conversion:specification`
    private mutating func field(_ field: [Unicode.Scalar], level: Int) throws(JinjaError) -> String {
        var end = 0
        var isInBrackets = false
        while end < field.count, isInBrackets || (field[end] != ":" && field[end] != "!") {
            if field[end] == "[" { isInBrackets = true } else if field[end] == "]" { isInBrackets = false }
            end += 1
        }
        var value = try lookUp(Array(field[..<end]))
        var rest = field[end...]
        if rest.first == "!" {
            rest = rest.dropFirst()
            guard let conversion = rest.popFirst(), rest.isEmpty || rest.first == ":" else {
                throw interpreter.fail("expected ':' after conversion specifier")
            }
            switch conversion {
            case "s": value = try interpreter.text(try interpreter.string(value))
            case "r": value = try interpreter.text(try interpreter.repr(value))
            case "a": value = try interpreter.text(asciiOnly(try interpreter.repr(value)))
            default: throw interpreter.fail("unknown conversion specifier '\(conversion)'")
            }
        }
        let specification = rest.isEmpty ? "" : try run(Array(rest.dropFirst()), level: level - 1)
        let text = try interpreter.formatted(value, specification)
        return isMarkup && value.asText?.isMarkup != true ? try interpreter.escapeHTML(text) : text
    }

    private mutating func lookUp(_ name: [Unicode.Scalar]) throws(JinjaError) -> Value {
        var position = 0
        while position < name.count, name[position] != ".", name[position] != "[" { position += 1 }
        let first = String(name[..<position])
        var value = try root(first)
        while position < name.count {
            let start = position + 1
            if name[position] == "." {
                position = start
                while position < name.count, name[position] != ".", name[position] != "[" { position += 1 }
                guard position > start else { throw interpreter.fail("empty attribute in format string") }
                value = try interpreter.attribute(String(name[start..<position]), of: value)
            } else if name[position] == "[" {
                guard let end = name[start...].firstIndex(of: "]") else {
                    throw interpreter.fail("missing ']' in format string")
                }
                let index = String(name[start..<end])
                guard !index.isEmpty else { throw interpreter.fail("empty attribute in format string") }
                position = end + 1
                let number = index.utf8.allSatisfy { 48...57 ~= $0 } ? Int(index) : nil
                let key: Value = if let number { .integer(number) } else { try interpreter.text(index) }
                value = try interpreter.item(key, of: value)
            } else {
                throw interpreter.fail("only '.' or '[' may follow ']' in format field specifier")
            }
        }
        return value
    }

    private mutating func root(_ name: String) throws(JinjaError) -> Value {
        var index = name.utf8.allSatisfy { 48...57 ~= $0 } ? Int(name) : nil
        if name.isEmpty {
            guard let next = automatic else {
                throw interpreter.fail("cannot switch from manual field specification to automatic field numbering")
            }
            index = next
            automatic = next + 1
            isAutomatic = true
        } else if index != nil {
            guard !isAutomatic else {
                throw interpreter.fail("cannot switch from automatic field numbering to manual field specification")
            }
            automatic = nil
        }
        if let index {
            guard arguments.positional.indices.contains(index), mapping == nil else {
                throw interpreter.fail("replacement index \(index) out of range for positional args tuple")
            }
            return arguments.positional[index]
        }
        if let mapping {
            if let member = mapping[name] { return member }
        } else if let keyword = arguments.keywords.first(where: { isSameText($0.name, name) }) {
            return keyword.value
        }
        throw interpreter.fail("key \(PythonText.quoted(name)) is not there")
    }
}

// MARK: One value

/// `[[fill]align][sign][#][0][width][grouping][.precision][type]`
private struct FormatSpecification {
    var fill: Unicode.Scalar = " "
    var align: Unicode.Scalar?
    var sign: Unicode.Scalar = "-"
    var isAlternate = false
    var width = 0
    var grouping: Unicode.Scalar?
    var precision: Int?
    var type: Unicode.Scalar?

    /// nil: not of that form.
    init?(_ text: String) {
        let scalars = Array(text.unicodeScalars)
        var position = 0
        func has(_ characters: String, at place: Int) -> Bool {
            place < scalars.count && characters.unicodeScalars.contains(scalars[place])
        }
        func number() -> Int? {
            var number: Int?
            while has("0123456789", at: position) {
                number = min((number ?? 0) * 10 + Int(scalars[position].value - 48), 1 << 40)
                position += 1
            }
            return number
        }
        if has("<>=^", at: 1) {
            (fill, align) = (scalars[0], scalars[1])
            position = 2
        } else if has("<>=^", at: 0) {
            align = scalars[0]
            position = 1
        }
        if has("+- ", at: position) {
            sign = scalars[position]
            position += 1
        }
        if has("z", at: position) { position += 1 }
        if has("#", at: position) {
            isAlternate = true
            position += 1
        }
        if has("0", at: position) {
            if align == nil { (fill, align) = ("0", "0") }
            position += 1
        }
        width = number() ?? 0
        if has(",_", at: position) {
            grouping = scalars[position]
            position += 1
        }
        if has(".", at: position) {
            position += 1
            guard let digits = number() else { return nil }
            precision = digits
        }
        if position < scalars.count {
            type = scalars[position]
            position += 1
        }
        guard position == scalars.count else { return nil }
    }

    /// Puts fill around; `sign` stands before the digits.
    func padded(_ text: String, sign: String = "", isNumber: Bool) -> String {
        let missing = max(0, width - text.unicodeScalars.count - sign.unicodeScalars.count)
        func fill(_ count: Int) -> String { String(repeating: String(self.fill), count: count) }
        switch align == "0" ? (isNumber ? "=" : "<") : align ?? (isNumber ? ">" : "<") {
        case "<": return sign + text + fill(missing)
        case "^": return fill(missing / 2) + sign + text + fill(missing - missing / 2)
        case "=": return sign + fill(missing) + text
        default: return fill(missing) + sign + text
        }
    }

    /// Groups digits, and the zeros that fill the width.
    func grouped(_ digits: String, size: Int, width: Int) -> String {
        guard let grouping else { return digits }
        var plain = digits
        if align == "0" || (align == "=" && fill == "0") {
            while Self.groupedCount(plain.count, size) < width { plain = "0" + plain }
        }
        var result: [Character] = []
        for (index, digit) in plain.reversed().enumerated() {
            if index > 0, index % size == 0 { result.append(Character(grouping)) }
            result.append(digit)
        }
        return String(result.reversed())
    }

    private static func groupedCount(_ count: Int, _ size: Int) -> Int { count + (count - 1) / size }
}

extension Interpreter {
    /// `format(value, specification)`
    fileprivate func formatted(_ value: Value, _ specification: String) throws(JinjaError) -> String {
        if specification.isEmpty { return try string(value) }
        func refuse() -> JinjaError {
            fail("invalid format specifier \(PythonText.quoted(specification)) for '\(value.typeName)'")
        }
        guard let format = FormatSpecification(specification) else { throw refuse() }
        try willMake(max(format.width, format.precision ?? 0) * 4)
        switch value {
        case .string(let text):
            guard format.type == nil || format.type == "s", format.grouping == nil, format.align != "=", format.sign == "-",
                !format.isAlternate
            else { throw refuse() }
            let cut = format.precision.map { String(text.string.unicodeScalars.prefix($0)) } ?? text.string
            return format.padded(cut, isNumber: false)
        case .bool, .integer:
            let number = value.asInteger ?? 0
            if let type = format.type, "eEfFgG%".unicodeScalars.contains(type) {
                guard let text = formatted(Double(number), format) else { throw refuse() }
                return text
            }
            guard let text = formatted(number, format) else { throw refuse() }
            return text
        case .double(let number):
            guard let text = formatted(number, format) else { throw refuse() }
            return text
        default: throw fail("unsupported format string passed to \(value.typeName).__format__")
        }
    }

    private func sign(_ isNegative: Bool, _ format: FormatSpecification) -> String {
        isNegative ? "-" : format.sign == "-" ? "" : String(format.sign)
    }

    private func formatted(_ number: Int, _ format: FormatSpecification) -> String? {
        guard format.precision == nil else { return nil }
        var sign = sign(number < 0, format)
        var (digits, size) = ("", 4)
        switch format.type {
        case "b": digits = String(number.magnitude, radix: 2)
        case "o": digits = String(number.magnitude, radix: 8)
        case "x": digits = String(number.magnitude, radix: 16)
        case "X": digits = String(number.magnitude, radix: 16, uppercase: true)
        case nil, "d", "n": (digits, size) = (String(number.magnitude), 3)
        case "c":
            guard format.sign == "-", format.grouping == nil,
                let scalar = UInt32(exactly: number).flatMap(Unicode.Scalar.init)
            else { return nil }
            return format.padded(String(scalar), isNumber: false)
        default: return nil
        }
        if format.grouping == ",", size == 4 { return nil }
        if format.isAlternate, let type = format.type, size == 4 { sign += "0\(type)" }
        digits = format.grouped(digits, size: size, width: format.width - sign.utf8.count)
        return format.padded(digits, sign: sign, isNumber: true)
    }

    private func formatted(_ number: Double, _ format: FormatSpecification) -> String? {
        let sign = sign(number.sign == .minus && !number.isNaN, format)
        let magnitude = number.magnitude
        let flags = format.isAlternate ? "#" : ""
        var text: String
        switch format.type {
        case nil:
            if let precision = format.precision {
                text = PythonNumber.formatted(magnitude, "g", precision: max(precision, 1), flags: flags)
                // At least one digit after the point, unless there is an exponent.
                if magnitude.isFinite, !text.contains("e"), !text.contains(".") {
                    if text.count >= max(precision, 1) {
                        text = PythonNumber.formatted(magnitude, "e", precision: max(precision, 1) - 1, flags: flags)
                    } else {
                        text += ".0"
                    }
                }
            } else {
                text = PythonNumber.repr(magnitude)
            }
        case "e", "E", "f", "F", "g", "G":
            text = PythonNumber.formatted(
                magnitude, Character(format.type ?? "f"), precision: format.precision ?? 6, flags: flags)
        case "n": text = PythonNumber.formatted(magnitude, "g", precision: format.precision ?? 6, flags: flags)
        case "%": text = PythonNumber.formatted(magnitude * 100, "f", precision: format.precision ?? 6, flags: flags) + "%"
        default: return nil
        }
        if format.grouping != nil, magnitude.isFinite {
            let end = text.firstIndex { !$0.isNumber } ?? text.endIndex
            let rest = text[end...]
            text =
                format.grouped(String(text[..<end]), size: 3, width: format.width - sign.utf8.count - rest.utf8.count)
                + rest
        }
        return format.padded(text, sign: sign, isNumber: true)
    }
}
