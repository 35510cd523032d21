// SPDX-License-Identifier: Apache-2.0

/// Python's methods of `str`.
enum StringMethods {
    typealias Method = @Sendable (Interpreter, Text, Arguments) throws(JinjaError) -> Value

    static let table: [String: Method] = searching.merging(changing) { a, _ in a }.merging(asking) { a, _ in a }

    /// For the type checker.
    private static func method(_ name: String, _ body: @escaping Method) -> (String, Method) { (name, body) }

    // MARK: Changing

    private static func mapping(_ name: String, _ change: @escaping @Sendable (String) -> String) -> (String, Method) {
        (
            name,
            { interpreter, text, arguments throws(JinjaError) in
                _ = try interpreter.bind(arguments, name, [])
                try interpreter.spend(text.byteCount / 4)
                return try interpreter.text(change(text.string), isMarkup: text.isMarkup)
            }
        )
    }

    private static func stripping(_ name: String, start: Bool, end: Bool) -> (String, Method) {
        (
            name,
            { interpreter, text, arguments throws(JinjaError) in
                let values = try interpreter.bind(arguments, name, ["chars"])
                return try interpreter.strip(text, values[0], start: start, end: end)
            }
        )
    }

    private static func padding(
        _ name: String, _ sides: @escaping @Sendable (_ missing: Int, _ width: Int) -> (Int, Int)
    ) -> (String, Method) {
        (
            name,
            { interpreter, text, arguments throws(JinjaError) in
                let values = try interpreter.bind(arguments, name, ["width", "fillchar"], required: 1)
                let width = try interpreter.integer(values[0], name)
                let fill = try values[1].map { value throws(JinjaError) in try interpreter.string(value, name) } ?? " "
                guard fill.unicodeScalars.count == 1 else {
                    throw interpreter.fail("the fill character must be exactly one character long")
                }
                return try interpreter.pad(text, width, fill) { sides($0, width) }
            }
        )
    }

    private static let changing: [String: Method] = Dictionary(
        uniqueKeysWithValues: [
            mapping("upper", PythonText.upper), mapping("lower", PythonText.lower),
            mapping("capitalize", PythonText.capitalized), mapping("title", PythonText.title),
            mapping("swapcase", PythonText.swappedCase),
            // Without the full foldings: of what lowers to itself only the sharp s is met in practice.
            mapping("casefold") { PythonText.replacing("ß", with: "ss", in: PythonText.lower($0), limit: .max) },
            stripping("strip", start: true, end: true), stripping("lstrip", start: true, end: false),
            stripping("rstrip", start: false, end: true),
            padding("ljust") { missing, _ in (0, missing) }, padding("rjust") { missing, _ in (missing, 0) },
            padding("center") { missing, width in
                let left = missing / 2 + (missing & width & 1)
                return (left, missing - left)
            },
            method("zfill") { interpreter, text, arguments throws(JinjaError) in
                let width = try interpreter.integer(
                    try interpreter.bind(arguments, "zfill", ["width"], required: 1)[0], "zfill")
                let missing = max(0, width - text.count)
                try interpreter.willMake(missing)
                let hasSign = text.string.utf8.first == UInt8(ascii: "-") || text.string.utf8.first == UInt8(ascii: "+")
                let sign = hasSign ? String(text.string.unicodeScalars.prefix(1)) : ""
                let digits = String(text.string.unicodeScalars.dropFirst(hasSign ? 1 : 0))
                return try interpreter.text(sign + String(repeating: "0", count: missing) + digits)
            },
            method("replace") { interpreter, text, arguments throws(JinjaError) in
                let values = try interpreter.bind(arguments, "replace", ["old", "new", "count"], required: 2)
                let old = try interpreter.string(values[0], "replace")
                let new = try interpreter.string(values[1], "replace")
                let limit =
                    try values[2].map { value throws(JinjaError) in try interpreter.integer(value, "replace") } ?? -1
                return try interpreter.replace(text, old, new, limit)
            },
            method("removeprefix") { interpreter, text, arguments throws(JinjaError) in
                let part = try interpreter.string(
                    try interpreter.bind(arguments, "removeprefix", ["prefix"], required: 1)[0], "removeprefix")
                guard text.string.utf8.starts(with: part.utf8) else { return .string(text) }
                return try interpreter.text(PythonText.part(text.string, part.utf8.count..<text.byteCount))
            },
            method("removesuffix") { interpreter, text, arguments throws(JinjaError) in
                let part = try interpreter.string(
                    try interpreter.bind(arguments, "removesuffix", ["suffix"], required: 1)[0], "removesuffix")
                guard text.string.utf8.reversed().starts(with: part.utf8.reversed()) else { return .string(text) }
                return try interpreter.text(PythonText.part(text.string, 0..<text.byteCount - part.utf8.count))
            },
            method("expandtabs") { interpreter, text, arguments throws(JinjaError) in
                let values = try interpreter.bind(arguments, "expandtabs", ["tabsize"])
                let size =
                    try values[0].map { value throws(JinjaError) in try interpreter.integer(value, "expandtabs") } ?? 8
                try interpreter.willMake(text.byteCount)
                var (result, column) = ("", 0)
                for scalar in text.string.unicodeScalars {
                    if scalar == "\t" {
                        let missing = size > 0 ? size - column % size : 0
                        try interpreter.willMake(missing)
                        result += String(repeating: " ", count: missing)
                        column += missing
                    } else {
                        result.unicodeScalars.append(scalar)
                        column = scalar == "\n" || scalar == "\r" ? 0 : column + 1
                    }
                    guard result.utf8.count <= interpreter.limits.outputSize else {
                        throw interpreter.fail("a text that is too long")
                    }
                }
                return try interpreter.text(result)
            },
            method("format") { interpreter, text, arguments throws(JinjaError) in try interpreter.format(text, arguments) },
            method("format_map") { interpreter, text, arguments throws(JinjaError) in
                guard
                    case .dictionary(let members)? = try interpreter.bind(
                        arguments, "format_map", ["mapping"], required: 1)[0]
                else { throw interpreter.fail("format_map() argument must be a mapping") }
                return try interpreter.format(text, Arguments(), mapping: members)
            },
            method("join") { interpreter, text, arguments throws(JinjaError) in
                let value = try interpreter.bind(arguments, "join", ["iterable"], required: 1)[0] ?? .none
                var pieces: [String] = []
                for (index, item) in try interpreter.collect(value).enumerated() {
                    guard case .string(let piece) = item else {
                        throw interpreter.fail("sequence item \(index): expected str instance, \(item.typeName) found")
                    }
                    pieces.append(piece.string)
                }
                return try interpreter.text(try interpreter.joined(pieces, text.string))
            },
            method("encode") { interpreter, _, _ throws(JinjaError) in throw interpreter.fail("bytes are not supported") },
            method("translate") { interpreter, _, _ throws(JinjaError) in
                throw interpreter.fail("str.translate() is not supported")
            },
            method("maketrans") { interpreter, _, _ throws(JinjaError) in
                throw interpreter.fail("str.maketrans() is not supported")
            },
        ])

    // MARK: Searching

    private static func finding(_ name: String, last: Bool, fails: Bool) -> (String, Method) {
        (
            name,
            { interpreter, text, arguments throws(JinjaError) in
                let values = try interpreter.bind(arguments, name, ["sub", "start", "end"], required: 1)
                let part = try interpreter.string(values[0], name)
                if let start = values[1]?.asInteger, start > text.count {
                    if fails { throw interpreter.fail("substring not found") }
                    return .integer(-1)
                }
                let range = try interpreter.range(values[1], values[2], text.count)
                let window = try interpreter.scalars(of: text, range)
                try interpreter.spend((window.utf8.count + part.utf8.count) / 8 + 1)
                let place =
                    last ? PythonText.findLast(part, in: window, end: window.utf8.count) : PythonText.find(part, in: window)
                guard let place else {
                    if fails { throw interpreter.fail("substring not found") }
                    return .integer(-1)
                }
                return .integer(range.lowerBound + PythonText.part(window, 0..<place).unicodeScalars.count)
            }
        )
    }

    private static func testing(_ name: String, _ has: @escaping @Sendable (String, String) -> Bool) -> (String, Method) {
        (
            name,
            { interpreter, text, arguments throws(JinjaError) in
                let values = try interpreter.bind(arguments, name, ["prefix", "start", "end"], required: 1)
                var window = text.string
                if values[1] != nil || values[2] != nil {
                    if let start = values[1]?.asInteger, start > text.count { return .bool(false) }
                    window = try interpreter.scalars(of: text, try interpreter.range(values[1], values[2], text.count))
                }
                var parts: [Value] = [values[0] ?? .none]
                if case .tuple(let elements) = parts[0] { parts = elements.items }
                for part in parts {
                    let part = try interpreter.string(part, name)
                    try interpreter.spend(part.utf8.count / 32 + 1)
                    if has(window, part) { return .bool(true) }
                }
                return .bool(false)
            }
        )
    }

    private static func partitioning(_ name: String, last: Bool) -> (String, Method) {
        (
            name,
            { interpreter, text, arguments throws(JinjaError) in
                let part = try interpreter.string(try interpreter.bind(arguments, name, ["sep"], required: 1)[0], name)
                guard !part.isEmpty else { throw interpreter.fail("empty separator") }
                try interpreter.spend((text.byteCount + part.utf8.count) / 8)
                let place =
                    last
                    ? PythonText.findLast(part, in: text.string, end: text.byteCount)
                    : PythonText.find(part, in: text.string)
                let empty = try interpreter.text("")
                guard let place else {
                    return try interpreter.tuple(last ? [empty, empty, .string(text)] : [.string(text), empty, empty])
                }
                return try interpreter.tuple([
                    try interpreter.text(PythonText.part(text.string, 0..<place)), try interpreter.text(part),
                    try interpreter.text(PythonText.part(text.string, place + part.utf8.count..<text.byteCount)),
                ])
            }
        )
    }

    private static func splitting(_ name: String, last: Bool) -> (String, Method) {
        (
            name,
            { interpreter, text, arguments throws(JinjaError) in
                let values = try interpreter.bind(arguments, name, ["sep", "maxsplit"])
                let limit = try values[1].map { value throws(JinjaError) in try interpreter.integer(value, name) } ?? -1
                var separator: String?
                if let value = values[0], !value.isNone { separator = try interpreter.string(value, name) }
                return try interpreter.split(text, separator, limit: limit < 0 ? .max : limit, last: last)
            }
        )
    }

    private static let searching: [String: Method] = Dictionary(
        uniqueKeysWithValues: [
            finding("find", last: false, fails: false), finding("index", last: false, fails: true),
            finding("rfind", last: true, fails: false), finding("rindex", last: true, fails: true),
            testing("startswith") { $0.utf8.starts(with: $1.utf8) },
            testing("endswith") { text, part in
                text.utf8.count >= part.utf8.count && text.utf8.suffix(part.utf8.count).elementsEqual(part.utf8)
            },
            partitioning("partition", last: false), partitioning("rpartition", last: true),
            splitting("split", last: false), splitting("rsplit", last: true),
            method("splitlines") { interpreter, text, arguments throws(JinjaError) in
                let values = try interpreter.bind(arguments, "splitlines", ["keepends"])
                try interpreter.spend(text.byteCount / 8)
                let keepEnds =
                    try values[0].map { value throws(JinjaError) in try interpreter.integer(value, "splitlines") } ?? 0
                return try interpreter.list(try interpreter.texts(PythonText.lines(text.string, keepEnds: keepEnds != 0)))
            },
            method("count") { interpreter, text, arguments throws(JinjaError) in
                let values = try interpreter.bind(arguments, "count", ["sub", "start", "end"], required: 1)
                let part = try interpreter.string(values[0], "count")
                if let start = values[1]?.asInteger, start > text.count { return .integer(0) }
                let window = try interpreter.scalars(of: text, try interpreter.range(values[1], values[2], text.count))
                try interpreter.spend(window.utf8.count / 4 + 1)
                if part.isEmpty { return .integer(window.unicodeScalars.count + 1) }
                return .integer(PythonText.findAll(part, in: window).count)
            },
        ])

    // MARK: Asking

    private static func asking(_ name: String, _ holds: @escaping @Sendable (String) -> Bool) -> (String, Method) {
        (
            name,
            { interpreter, text, arguments throws(JinjaError) in
                _ = try interpreter.bind(arguments, name, [])
                try interpreter.spend(text.byteCount / 8)
                return .bool(holds(text.string))
            }
        )
    }

    private static func asking(
        each name: String, _ holds: @escaping @Sendable (Unicode.Scalar) -> Bool
    ) -> (String, Method) {
        asking(name) { !$0.isEmpty && $0.unicodeScalars.allSatisfy(holds) }
    }

    private static let asking: [String: Method] = Dictionary(
        uniqueKeysWithValues: [
            asking(each: "isspace") { $0.isPythonSpace }, asking(each: "isalpha") { $0.isPythonLetter },
            asking(each: "isalnum") { $0.isPythonAlphanumeric },
            asking(each: "isdecimal") { $0.properties.numericType == .decimal },
            asking(each: "isdigit") { $0.properties.numericType == .decimal || $0.properties.numericType == .digit },
            asking(each: "isnumeric") { $0.properties.numericType != nil },
            asking("isascii") { $0.utf8.allSatisfy { $0 < 0x80 } },
            asking("isprintable") { $0.unicodeScalars.allSatisfy { $0.isPythonPrintable } },
            asking("isidentifier") { text in
                guard let first = text.unicodeScalars.first, first == "_" || first.properties.isXIDStart else {
                    return false
                }
                return text.unicodeScalars.allSatisfy { $0.properties.isXIDContinue }
            },
            asking("islower", isLower), asking("isupper", isUpper), asking("istitle", isTitle),
        ])

    static let isLower: @Sendable (String) -> Bool = { text in
        var hasLower = false
        for scalar in text.unicodeScalars {
            if scalar.properties.isUppercase || scalar.properties.generalCategory == .titlecaseLetter { return false }
            if scalar.properties.isLowercase { hasLower = true }
        }
        return hasLower
    }

    static let isUpper: @Sendable (String) -> Bool = { text in
        var hasUpper = false
        for scalar in text.unicodeScalars {
            if scalar.properties.isLowercase || scalar.properties.generalCategory == .titlecaseLetter { return false }
            if scalar.properties.isUppercase { hasUpper = true }
        }
        return hasUpper
    }

    private static let isTitle: @Sendable (String) -> Bool = { text in
        var (hasCased, wasCased) = (false, false)
        for scalar in text.unicodeScalars {
            if scalar.properties.isUppercase || scalar.properties.generalCategory == .titlecaseLetter {
                if wasCased { return false }
                (hasCased, wasCased) = (true, true)
            } else if scalar.properties.isLowercase {
                if !wasCased { return false }
                (hasCased, wasCased) = (true, true)
            } else {
                wasCased = false
            }
        }
        return hasCased
    }
}

extension Unicode.Scalar {
    var isPythonLetter: Bool {
        switch properties.generalCategory {
        case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter: true
        default: false
        }
    }

    var isPythonAlphanumeric: Bool { isPythonLetter || properties.numericType != nil }
}
