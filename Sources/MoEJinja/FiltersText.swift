// SPDX-License-Identifier: Apache-2.0

extension Filters {
    /// Any value as a string; one that is a string stays what it is.
    private static func text(_ interpreter: Interpreter, _ value: Value) throws(JinjaError) -> Text {
        if case .string(let text) = value { return text }
        return try interpreter.makeText(try interpreter.string(value))
    }

    private static func mapping(_ name: String, keepsMarkup: Bool = true, _ change: @escaping @Sendable (String) -> String)
        -> Filter
    {
        { interpreter, value, arguments throws(JinjaError) in
            _ = try interpreter.bind(arguments, name, [])
            let text = try text(interpreter, value)
            try interpreter.spend(text.byteCount / 4)
            return try interpreter.text(change(text.string), isMarkup: keepsMarkup && text.isMarkup)
        }
    }

    static let texts: [String: Filter] = [
        "upper": mapping("upper", PythonText.upper),
        "lower": mapping("lower", PythonText.lower),
        "capitalize": mapping("capitalize", PythonText.capitalized),
        "title": mapping("title", keepsMarkup: false, title),
        "string": { interpreter, value, arguments throws(JinjaError) in
            _ = try interpreter.bind(arguments, "string", [])
            return .string(try text(interpreter, value))
        },
        "trim": { interpreter, value, arguments throws(JinjaError) in
            let characters = try interpreter.bind(arguments, "trim", ["chars"])[0]
            return try interpreter.strip(try text(interpreter, value), characters, start: true, end: true)
        },
        "center": { interpreter, value, arguments throws(JinjaError) in
            let width = try interpreter.bind(arguments, "center", ["width"])[0] ?? .integer(80)
            guard let method = StringMethods.table["center"] else { return value }
            return try method(interpreter, try text(interpreter, value), Arguments([width]))
        },
        "replace": { interpreter, value, arguments throws(JinjaError) in
            let values = try interpreter.bind(arguments, "replace", ["old", "new", "count"], required: 2)
            let count = values[2] ?? .none
            let limit = count.isNone ? -1 : try interpreter.integer(count, "replace")
            let plain = try interpreter.makeText(try interpreter.string(value))
            return try interpreter.replace(
                plain, try interpreter.string(values[0] ?? .none), try interpreter.string(values[1] ?? .none), limit)
        },
        "format": { interpreter, value, arguments throws(JinjaError) in
            guard arguments.positional.isEmpty || arguments.keywords.isEmpty else {
                throw interpreter.fail("can't handle positional and keyword arguments at the same time")
            }
            let format = try text(interpreter, value)
            guard !arguments.keywords.isEmpty else {
                return try interpreter.printf(format, try interpreter.tuple(arguments.positional))
            }
            var builder = MembersBuilder()
            for (name, value) in arguments.keywords {
                builder.set(.string(ExactKey(name)), try interpreter.text(name), value)
            }
            return try interpreter.printf(format, try interpreter.dictionary(builder))
        },
        "indent": indent,
        "truncate": truncate,
        "wordwrap": wordWrap,
        "wordcount": { interpreter, value, arguments throws(JinjaError) in
            _ = try interpreter.bind(arguments, "wordcount", [])
            let text = try text(interpreter, value)
            try interpreter.spend(text.byteCount / 4)
            var (count, wasWord) = (0, false)
            for scalar in text.string.unicodeScalars {
                let isWord = scalar == "_" || scalar.isPythonAlphanumeric
                if isWord, !wasWord { count += 1 }
                wasWord = isWord
            }
            return .integer(count)
        },
    ]

    /// Words begin after space, hyphens and opening brackets.
    private static let title: @Sendable (String) -> String = { text in
        var (result, word) = ("", "")
        func flush() {
            guard let first = word.unicodeScalars.first else { return }
            result += PythonText.upper(String(first)) + PythonText.lower(String(word.unicodeScalars.dropFirst()))
            word = ""
        }
        for scalar in text.unicodeScalars {
            if scalar.isPythonSpace || "-({[<".unicodeScalars.contains(scalar) {
                flush()
                result.unicodeScalars.append(scalar)
            } else {
                word.unicodeScalars.append(scalar)
            }
        }
        flush()
        return result
    }

    private static let indent: Filter = { interpreter, value, arguments throws(JinjaError) in
        let values = try interpreter.bind(arguments, "indent", ["width", "first", "blank"])
        let isFirst = values[1].map(interpreter.isTrue) ?? false
        let isBlank = values[2].map(interpreter.isTrue) ?? false
        guard case .string(let text) = value else {
            if case .undefined(let undefined) = value { throw interpreter.fail(undefined.message) }
            throw interpreter.fail("indent() needs a string, not \(value.typeName)")
        }
        var indentation = "    "
        if case .string(let width)? = values[0] {
            indentation = width.string
        } else if let width = values[0] {
            let count = try interpreter.integer(width, "indent")
            try interpreter.willMake(count)
            indentation = String(repeating: " ", count: max(0, count))
        }
        try interpreter.spend(text.byteCount / 8)
        let lines = PythonText.lines(text.string + "\n")
        let (growth, isOverflow) = lines.count.multipliedReportingOverflow(by: indentation.utf8.count)
        try interpreter.willMake(isOverflow ? .max : text.byteCount + min(growth, .max / 2))
        var result = isFirst ? indentation : ""
        for (index, line) in lines.enumerated() {
            if index > 0 {
                result += "\n"
                if isBlank || !line.isEmpty { result += indentation }
            }
            result += line
        }
        return try interpreter.text(result, isMarkup: text.isMarkup)
    }

    private static let truncate: Filter = { interpreter, value, arguments throws(JinjaError) in
        let values = try interpreter.bind(arguments, "truncate", ["length", "killwords", "end", "leeway"])
        let length = try values[0].map { value throws(JinjaError) in try interpreter.integer(value, "truncate") } ?? 255
        let killsWords = values[1].map(interpreter.isTrue) ?? false
        let end = try values[2].map { value throws(JinjaError) in try interpreter.string(value, "truncate") } ?? "..."
        var leeway = 5
        if let value = values[3], !value.isNone { leeway = try interpreter.integer(value, "truncate") }
        let endCount = end.unicodeScalars.count
        guard length >= endCount else { throw interpreter.fail("expected length >= \(endCount), got \(length)") }
        guard leeway >= 0 else { throw interpreter.fail("expected leeway >= 0, got \(leeway)") }
        guard let count = interpreter.count(value) else {
            throw interpreter.fail("object of type '\(value.typeName)' has no len()")
        }
        // Whatever is short enough stays, string or not.
        guard count > length.addingReportingOverflow(leeway).partialValue else { return value }
        guard case .string(let text) = value else {
            throw interpreter.fail("truncate() needs a string, not \(value.typeName)")
        }
        var kept = try interpreter.scalars(of: text, 0..<length - endCount)
        if !killsWords, let place = PythonText.findLast(" ", in: kept, end: kept.utf8.count) {
            kept = PythonText.part(kept, 0..<place)
        }
        return try interpreter.text(kept + end, isMarkup: text.isMarkup)
    }

    /// Python's `textwrap` for each line, without its rules for hyphens in words that must be cut.
    private static let wordWrap: Filter = { interpreter, value, arguments throws(JinjaError) in
        let names = ["width", "break_long_words", "wrapstring", "break_on_hyphens"]
        let values = try interpreter.bind(arguments, "wordwrap", names)
        let width = try values[0].map { value throws(JinjaError) in try interpreter.integer(value, "wordwrap") } ?? 79
        let breaksWords = values[1].map(interpreter.isTrue) ?? true
        let separator = values[2].map { $0.isNone } ?? true ? "\n" : try interpreter.string(values[2], "wordwrap")
        let breaksHyphens = values[3].map(interpreter.isTrue) ?? true
        let text = try interpreter.string(value, "wordwrap")
        guard width > 0 else { throw interpreter.fail("invalid width \(width) (must be > 0)") }
        try interpreter.willMake(text.utf8.count * (1 + separator.utf8.count))
        var lines: [String] = []
        for line in PythonText.lines(text) {
            let wrapped = TextWrapper.wrap(line, width: width, breaksWords: breaksWords, breaksHyphens: breaksHyphens)
            lines.append(wrapped.joined(separator: separator))
        }
        return try interpreter.text(try interpreter.joined(lines, separator))
    }
}

/// Lines of a width, made of words and the space between them.
private enum TextWrapper {
    static func wrap(_ text: String, width: Int, breaksWords: Bool, breaksHyphens: Bool) -> [String] {
        var chunks = Array(chunks(text, breaksHyphens: breaksHyphens).reversed())
        var lines: [String] = []
        while !chunks.isEmpty {
            if !lines.isEmpty, isSpace(chunks[chunks.count - 1]) { chunks.removeLast() }
            var (line, count): ([[Unicode.Scalar]], Int) = ([], 0)
            while let chunk = chunks.last, count + chunk.count <= width {
                line.append(chunk)
                count += chunk.count
                chunks.removeLast()
            }
            if let chunk = chunks.last, chunk.count > width {
                if breaksWords {
                    var end = max(1, width - count)
                    if breaksHyphens, chunk.count > end, let hyphen = chunk[..<end].lastIndex(of: "-"), hyphen > 0,
                        chunk[..<hyphen].contains(where: { $0 != "-" })
                    {
                        end = hyphen + 1
                    }
                    line.append(Array(chunk[..<end]))
                    chunks[chunks.count - 1] = Array(chunk[end...])
                } else if line.isEmpty {
                    line.append(chunk)
                    chunks.removeLast()
                }
            }
            if let last = line.last, isSpace(last) { line.removeLast() }
            if !line.isEmpty { lines.append(String(line.joined())) }
        }
        return lines
    }

    private static func isSpace(_ chunk: [Unicode.Scalar]) -> Bool { chunk.allSatisfy(isSpace) }
    private static func isSpace(_ scalar: Unicode.Scalar) -> Bool { "\t\n\u{b}\u{c}\r ".unicodeScalars.contains(scalar) }

    /// Words and runs of space; words are cut after hyphens between letters.
    private static func chunks(_ text: String, breaksHyphens: Bool) -> [[Unicode.Scalar]] {
        let scalars = Array(text.unicodeScalars)
        var result: [[Unicode.Scalar]] = []
        var chunk: [Unicode.Scalar] = []
        func isLetter(_ index: Int) -> Bool {
            scalars.indices.contains(index) && (scalars[index].isPythonLetter || scalars[index] == "_")
        }
        for (index, scalar) in scalars.enumerated() {
            if let last = chunk.last, isSpace(last) != isSpace(scalar) {
                result.append(chunk)
                chunk = []
            }
            chunk.append(scalar)
            let isBreak =
                breaksHyphens && scalar == "-" && isLetter(index - 1) && isLetter(index - 2) && isLetter(index + 1)
                && (isLetter(index + 2) || (scalars.indices.contains(index + 2) && scalars[index + 2] == "-"))
            if isBreak {
                result.append(chunk)
                chunk = []
            }
        }
        if !chunk.isEmpty { result.append(chunk) }
        return result
    }
}
