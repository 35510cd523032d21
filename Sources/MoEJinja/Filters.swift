// SPDX-License-Identifier: Apache-2.0

/// What may stand after `|`: Jinja2's built-in filters but for `urlize`, with transformers' `tojson`.
enum Filters {
    typealias Filter = @Sendable (Interpreter, Value, Arguments) throws(JinjaError) -> Value

    static let table: [String: Filter] = texts.merging(sequences) { a, _ in a }.merging(selections) { a, _ in a }
        .merging(numbers) { a, _ in a }.merging(markup) { a, _ in a }

    // MARK: Numbers and any values

    private static let numbers: [String: Filter] = [
        "abs": { interpreter, value, arguments throws(JinjaError) in
            _ = try interpreter.bind(arguments, "abs", [])
            if case .double(let number) = value { return .double(number.magnitude) }
            let number = try interpreter.integer(value, "abs")
            return number < 0 ? try interpreter.negative(.integer(number)) : .integer(number)
        },
        "default": defaultValue,
        "d": defaultValue,
        "attr": { interpreter, value, arguments throws(JinjaError) in
            let name = try interpreter.string(try interpreter.bind(arguments, "attr", ["name"], required: 1)[0], "attr")
            if case .undefined(let undefined) = value { throw interpreter.fail(undefined.message) }
            return try interpreter.ownAttribute(name, of: value)
                ?? .undefined(Undefined(.attribute(name, ownerType: value.typeName)))
        },
        "int": integer,
        "float": { interpreter, value, arguments throws(JinjaError) in
            let fallback = try interpreter.bind(arguments, "float", ["default"])[0] ?? .double(0)
            if case .undefined(let undefined) = value { throw interpreter.fail(undefined.message) }
            if let text = value.asText {
                try interpreter.spend(text.byteCount / 8)
                return PythonNumber.double(text.string).map { .double($0) } ?? fallback
            }
            return value.asNumber.map { .double($0) } ?? fallback
        },
        "round": round,
        "filesizeformat": fileSize,
        "tojson": toJSON,
        "pprint": { interpreter, value, arguments throws(JinjaError) in
            _ = try interpreter.bind(arguments, "pprint", [])
            return try interpreter.text(try PrettyPrinter(interpreter).run(value))
        },
    ]

    private static let defaultValue: Filter = { interpreter, value, arguments throws(JinjaError) in
        let values = try interpreter.bind(arguments, "default", ["default_value", "boolean"])
        let isMissing = value.isUndefined || (values[1].map(interpreter.isTrue) == true && !interpreter.isTrue(value))
        guard isMissing else { return value }
        if let fallback = values[0] { return fallback }
        return try interpreter.text("")
    }

    private static let integer: Filter = { interpreter, value, arguments throws(JinjaError) in
        let values = try interpreter.bind(arguments, "int", ["default", "base"])
        let fallback = values[0] ?? .integer(0)
        // What is no base refuses the text as a whole number.
        let base = values[1].map { $0.asInteger ?? -1 } ?? 10
        func truncated(_ number: Double) -> Value? { Int(exactly: number.rounded(.towardZero)).map { .integer($0) } }
        switch value {
        case .undefined(let undefined): throw interpreter.fail(undefined.message)
        case .string(let text):
            try interpreter.spend(text.byteCount / 4)
            if let number = PythonNumber.integer(text.string, base: base) { return .integer(number) }
            guard let number = PythonNumber.double(text.string), number.isFinite else { return fallback }
            guard let result = truncated(number) else { throw interpreter.fail("an integer beyond 64 bits") }
            return result
        case .double(let number):
            if number.isNaN { return fallback }
            guard let result = truncated(number) else {
                throw interpreter.fail(
                    number.isInfinite ? "cannot convert float infinity to integer" : "an integer beyond 64 bits")
            }
            return result
        default: return value.asInteger.map { .integer($0) } ?? fallback
        }
    }

    private static let round: Filter = { interpreter, value, arguments throws(JinjaError) in
        let values = try interpreter.bind(arguments, "round", ["precision", "method"])
        let precision = try values[0].map { value throws(JinjaError) in try interpreter.integer(value, "round") } ?? 0
        let method = try values[1].map { value throws(JinjaError) in try interpreter.string(value, "round") } ?? "common"
        guard ["common", "ceil", "floor"].contains(method) else {
            throw interpreter.fail("method must be common, ceil or floor")
        }
        if case .undefined(let undefined) = value { throw interpreter.fail(undefined.message) }
        guard let number = value.asNumber else {
            throw interpreter.fail("type \(value.typeName) doesn't define __round__ method")
        }
        if method == "common" {
            if let integer = value.asInteger {
                return precision >= 0 ? .integer(integer) : .integer(rounded(integer, digits: -precision))
            }
            guard number.isFinite, precision < 330 else { return value }
            if precision >= 0 {
                return .double(Double(PythonNumber.formatted(number, "f", precision: precision)) ?? number)
            }
            guard precision > -310 else { return .double(0 * number) }
            let unit = PythonNumber.power(10, Double(-precision))
            return .double((number / unit).rounded(.toNearestOrEven) * unit)
        }
        let unit = PythonNumber.power(10, Double(precision))
        let scaled = number * unit
        guard scaled.isFinite else {
            throw interpreter.fail("cannot convert float \(PythonNumber.repr(scaled)) to integer")
        }
        return .double(scaled.rounded(method == "ceil" ? .up : .down) / unit)
    }

    /// To a multiple of a power of ten; halves to the even one.
    private static func rounded(_ number: Int, digits: Int) -> Int {
        guard digits < 19 else { return 0 }
        var unit = 1
        for _ in 0..<digits { unit *= 10 }
        let (quotient, remainder) = number.quotientAndRemainder(dividingBy: unit)
        let twice = remainder.magnitude.multipliedReportingOverflow(by: 2).partialValue
        let isUp = twice > UInt(unit) || (twice == UInt(unit) && quotient % 2 != 0)
        return (quotient + (isUp ? (number < 0 ? -1 : 1) : 0)).multipliedReportingOverflow(by: unit).partialValue
    }

    private static let fileSize: Filter = { interpreter, value, arguments throws(JinjaError) in
        let isBinary = try interpreter.bind(arguments, "filesizeformat", ["binary"])[0].map(interpreter.isTrue) ?? false
        let number = value.asText.map { PythonNumber.double($0.string) } ?? value.asNumber
        guard let number else { throw interpreter.fail("filesizeformat() needs a number, not \(value.typeName)") }
        let base: Double = isBinary ? 1024 : 1000
        if number == 1 { return try interpreter.text("1 Byte") }
        if number < base {
            guard let whole = Int(exactly: number.rounded(.towardZero)) else {
                throw interpreter.fail("a size beyond 64 bits")
            }
            return try interpreter.text("\(whole) Bytes")
        }
        var (unit, prefix) = (base, "")
        for letter in ["k", "M", "G", "T", "P", "E", "Z", "Y"] {
            unit *= base
            prefix = isBinary ? letter.uppercased() + "iB" : letter + "B"
            if number < unit { break }
        }
        return try interpreter.text(PythonNumber.formatted(base * number / unit, "f", precision: 1) + " " + prefix)
    }

    private static let toJSON: Filter = { interpreter, value, arguments throws(JinjaError) in
        let names = ["ensure_ascii", "indent", "separators", "sort_keys"]
        let values = try interpreter.bind(arguments, "tojson", names)
        var indent: String?
        if let value = values[1], !value.isNone {
            if case .string(let text) = value {
                indent = text.string
            } else {
                let width = try interpreter.integer(value, "tojson")
                try interpreter.willMake(width)
                indent = String(repeating: " ", count: max(0, width))
            }
        }
        var separators: (String, String)?
        if let value = values[2], !value.isNone {
            let pair = try interpreter.collect(value, limit: 2)
            guard pair.count == 2 else { throw interpreter.fail("tojson() needs two separators") }
            separators = (try interpreter.string(pair[0], "tojson"), try interpreter.string(pair[1], "tojson"))
        }
        let output = JSONOutput(
            interpreter, isASCII: values[0].map(interpreter.isTrue) ?? false, indent: indent, separators: separators,
            sortsKeys: values[3].map(interpreter.isTrue) ?? false)
        return try interpreter.text(try output.run(value))
    }

    // MARK: HTML

    private static let escape: Filter = { interpreter, value, arguments throws(JinjaError) in
        _ = try interpreter.bind(arguments, "escape", [])
        if value.asText?.isMarkup == true { return value }
        return try interpreter.text(try interpreter.escapeHTML(try interpreter.string(value)), isMarkup: true)
    }

    private static let markup: [String: Filter] = [
        "escape": escape,
        "e": escape,
        "forceescape": { interpreter, value, arguments throws(JinjaError) in
            _ = try interpreter.bind(arguments, "forceescape", [])
            return try interpreter.text(try interpreter.escapeHTML(try interpreter.string(value)), isMarkup: true)
        },
        "safe": { interpreter, value, arguments throws(JinjaError) in
            _ = try interpreter.bind(arguments, "safe", [])
            return try interpreter.text(try interpreter.string(value), isMarkup: true)
        },
        "striptags": { interpreter, value, arguments throws(JinjaError) in
            _ = try interpreter.bind(arguments, "striptags", [])
            let text = try interpreter.string(value)
            try interpreter.spend(text.utf8.count / 4)
            return try interpreter.text(HTMLText.withoutTags(text))
        },
        "urlencode": { interpreter, value, arguments throws(JinjaError) in
            _ = try interpreter.bind(arguments, "urlencode", [])
            func quoted(_ value: Value, isQuery: Bool) throws(JinjaError) -> String {
                let text = try interpreter.string(value)
                try interpreter.willMake(text.utf8.count * 3)
                return HTMLText.percentEncoded(text, isQuery: isQuery)
            }
            let pairs: [Value]
            switch value {
            case .dictionary(let members): pairs = try interpreter.collect(.object(DictionaryView(.items, of: members)))
            case .list, .tuple, .object, .undefined: pairs = try interpreter.collect(value)
            default: return try interpreter.text(try quoted(value, isQuery: false))
            }
            var parts: [String] = []
            for pair in pairs {
                let items = try interpreter.collect(pair, limit: 2)
                guard items.count == 2 else { throw interpreter.fail("urlencode() needs pairs of a key and a value") }
                parts.append(try quoted(items[0], isQuery: true) + "=" + quoted(items[1], isQuery: true))
            }
            return try interpreter.text(try interpreter.joined(parts, "&"))
        },
        "xmlattr": { interpreter, value, arguments throws(JinjaError) in
            let hasSpace = try interpreter.bind(arguments, "xmlattr", ["autospace"])[0].map(interpreter.isTrue) ?? true
            guard case .dictionary(let members) = value else { throw interpreter.fail("xmlattr() needs a mapping") }
            var parts: [String] = []
            for (key, value) in zip(members.keys, members.values) where !value.isNone && !value.isUndefined {
                let name = try interpreter.string(key, "xmlattr")
                if name.utf8.contains(where: { " \t\n\r\u{c}\u{b}/>=".utf8.contains($0) }) {
                    throw interpreter.fail("invalid character in attribute name: \(PythonText.quoted(name))")
                }
                let text =
                    value.asText?.isMarkup == true
                    ? try interpreter.string(value) : try interpreter.escapeHTML(try interpreter.string(value))
                parts.append(try interpreter.escapeHTML(name) + "=\"" + text + "\"")
            }
            let text = try interpreter.joined(parts, " ")
            return try interpreter.text(hasSpace && !text.isEmpty ? " " + text : text)
        },
    ]
}
