// SPDX-License-Identifier: Apache-2.0

/// Reads GBNF, the notation of llama.cpp's `grammars/README.md`: rules `name ::= …` of literals, classes, `.`, groups,
/// alternatives, `* + ?` and `{m,n}`, token references, and comments.
///
/// Stricter in three places where llama.cpp guesses: a rule may not be defined twice, a class may not be empty, and a range may
/// not run backwards.
struct GBNFParser {
    private let text: [UInt8]
    private var position = 0
    private var depth = 0
    private var mark = Mark()
    private var rules = RuleSet()
    private var numbers: [String: Int] = [:]
    private var defined: Set<Int> = []
    private var tokenNumbers: [TokenReference: Int] = [:]

    /// - Throws: ``GrammarError`` with line and column.
    static func parse(_ text: String, root: String) throws(GrammarError) -> RuleSet {
        var parser = GBNFParser(text: Array(text.utf8))
        return try parser.grammar(root: root)
    }

    private init(text: [UInt8]) { self.text = text }

    private mutating func grammar(root: String) throws(GrammarError) -> RuleSet {
        guard text.count <= GrammarLimits.text else {
            throw GrammarError(
                "a grammar has at most \(GrammarLimits.text) bytes, found \(text.count)", at: "line 1, column 1")
        }
        skipSpace(newlines: true)
        while position < text.count { try rule() }
        for (number, rule) in rules.rules.enumerated() where !defined.contains(number) {
            throw GrammarError("the rule '\(rule.name)' is not defined", at: rule.place)
        }
        guard let number = numbers[root] else {
            throw GrammarError("there is no rule '\(root)', where a text would start", at: "line 1, column 1")
        }
        rules.root = number
        return rules
    }

    private mutating func rule() throws(GrammarError) {
        let start = position
        let name = try name("a rule's name")
        let number = try number(of: name, at: start)
        guard defined.insert(number).inserted else { throw error("the rule '\(name)' is defined twice", at: start) }
        rules.rules[number].place = passingPlace(start)
        skipSpace(newlines: false)
        guard take("::=") else { throw error("expected '::=' after '\(name)'") }
        skipSpace(newlines: true)
        rules.rules[number].body = try alternatives(nested: false)
        guard position == text.count || isNewline(text[position]) else { throw unexpected("a new line") }
        skipSpace(newlines: true)
    }

    private mutating func alternatives(nested: Bool) throws(GrammarError) -> Expression {
        var alternatives = [try sequence(nested: nested)]
        while take("|") {
            skipSpace(newlines: true)
            alternatives.append(try sequence(nested: nested))
        }
        return alternatives.count == 1 ? alternatives[0] : .choice(alternatives)
    }

    private mutating func sequence(nested: Bool) throws(GrammarError) -> Expression {
        var items: [Expression] = []
        while let item = try item() {
            var item = item
            skipSpace(newlines: nested)
            while let (min, max) = try repetition(nested: nested) {
                item = .repeated(item, min: min, max: max)
                skipSpace(newlines: nested)
            }
            items.append(item)
        }
        if let byte = peek(), "*+?{".utf8.contains(byte) {
            throw error("there is nothing before '\(Character(UnicodeScalar(byte)))' to repeat")
        }
        return items.count == 1 ? items[0] : .sequence(items)
    }

    private mutating func item() throws(GrammarError) -> Expression? {
        guard let byte = peek() else { return nil }
        switch byte {
        case UInt8(ascii: "\""): return try literal()
        case UInt8(ascii: "["): return try characterClass()
        case UInt8(ascii: "."):
            position += 1
            return .characters(.all)
        case UInt8(ascii: "<"), UInt8(ascii: "!"): return try token()
        case UInt8(ascii: "("):
            let open = position
            guard depth < GrammarLimits.nesting else {
                throw error("parentheses nest deeper than \(GrammarLimits.nesting) levels")
            }
            depth += 1
            position += 1
            skipSpace(newlines: true)
            let inner = try alternatives(nested: true)
            guard take(")") else {
                if position == text.count { throw error("the parenthesis is not closed", at: open) }
                throw unexpected("')'")
            }
            depth -= 1
            return inner
        case _ where isWord(byte):
            let start = position
            return .rule(try number(of: try name("a rule's name"), at: start))
        default: return nil
        }
    }

    // MARK: Characters

    private mutating func literal() throws(GrammarError) -> Expression {
        let open = position
        position += 1
        var bytes: [UInt8] = []
        while !take("\"") {
            guard let byte = peek() else { throw error("the literal is not closed", at: open) }
            if byte == UInt8(ascii: "\\") {
                bytes.append(contentsOf: UTF8.encode(UnicodeScalar(try character())!)!)
            } else {
                bytes.append(byte)
                position += 1
            }
        }
        return .bytes(bytes)
    }

    private mutating func characterClass() throws(GrammarError) -> Expression {
        let open = position
        position += 1
        let isNegated = take("^")
        var ranges: [ClosedRange<UInt32>] = []
        while !take("]") {
            guard peek() != nil else { throw error("the class is not closed", at: open) }
            let start = position
            let first = try character()
            if peek() == UInt8(ascii: "-"), position + 1 < text.count, text[position + 1] != UInt8(ascii: "]") {
                position += 1
                let last = try character()
                guard first <= last else { throw error("the range runs backwards", at: start) }
                ranges.append(first...last)
            } else {
                ranges.append(first...first)
            }
        }
        if ranges.isEmpty {
            guard isNegated else { throw error("the class has no characters", at: open) }
            return .characters(.all)
        }
        let set = ScalarSet(ranges)
        return .characters(isNegated ? set.inverted : set)
    }

    /// One character, or an escape for one.
    private mutating func character() throws(GrammarError) -> UInt32 {
        let start = position
        if take("\\") {
            guard let byte = peek() else { throw error("the text ends inside an escape", at: start) }
            position += 1
            switch byte {
            case UInt8(ascii: "x"): return try hexadecimal(2, at: start)
            case UInt8(ascii: "u"): return try hexadecimal(4, at: start)
            case UInt8(ascii: "U"): return try hexadecimal(8, at: start)
            case UInt8(ascii: "t"): return 9
            case UInt8(ascii: "n"): return 10
            case UInt8(ascii: "r"): return 13
            case UInt8(ascii: "\\"), UInt8(ascii: "\""), UInt8(ascii: "["), UInt8(ascii: "]"), UInt8(ascii: "-"):
                return UInt32(byte)
            default: throw error("unknown escape '\\\(Character(UnicodeScalar(byte)))'", at: start)
            }
        }
        // The text came as a String: its UTF-8 is valid.
        var iterator = text[position...].makeIterator()
        var decoder = UTF8()
        guard case .scalarValue(let scalar) = decoder.decode(&iterator) else { throw error("the text ends too early") }
        position += UTF8.width(scalar)
        return scalar.value
    }

    private mutating func hexadecimal(_ digits: Int, at start: Int) throws(GrammarError) -> UInt32 {
        var value: UInt32 = 0
        for _ in 0..<digits {
            guard let byte = peek(), let digit = Character(UnicodeScalar(byte)).hexDigitValue else {
                throw error("the escape needs \(digits) hexadecimal digits", at: start)
            }
            value = value << 4 | UInt32(digit)
            position += 1
        }
        guard UnicodeScalar(value) != nil else { throw error("the escape is no Unicode character", at: start) }
        return value
    }

    // MARK: Repetitions and tokens

    private mutating func repetition(nested: Bool) throws(GrammarError) -> (min: Int, max: Int?)? {
        if take("*") { return (0, nil) }
        if take("+") { return (1, nil) }
        if take("?") { return (0, 1) }
        let start = position
        guard take("{") else { return nil }
        skipSpace(newlines: nested)
        let min = try count()
        skipSpace(newlines: nested)
        var max: Int? = min
        if take(",") {
            skipSpace(newlines: nested)
            max = peek().map(isDigit) == true ? try count() : nil
            skipSpace(newlines: nested)
        }
        guard take("}") else { throw unexpected("'}'") }
        if let max, max < min { throw error("the repetition {\(min),\(max)} has its ends reversed", at: start) }
        return (min, max)
    }

    private mutating func count() throws(GrammarError) -> Int {
        let start = position
        var value = 0
        guard peek().map(isDigit) == true else { throw unexpected("a number") }
        while let byte = peek(), isDigit(byte) {
            value = value * 10 + Int(byte & 15)
            position += 1
            guard value <= GrammarLimits.repetitions else {
                throw error("a repetition counts to at most \(GrammarLimits.repetitions)", at: start)
            }
        }
        return value
    }

    private mutating func token() throws(GrammarError) -> Expression {
        let start = position
        let isNegated = take("!")
        let first = position
        guard take("<") else { throw unexpected("'<' after '!'") }
        let name: TokenReference.Name
        if take("[") {
            let id = try count()
            guard take("]"), take(">") else { throw unexpected("']>'") }
            name = .id(Int32(id))
        } else {
            while let byte = peek(), byte != UInt8(ascii: ">"), !isNewline(byte) { position += 1 }
            guard take(">") else { throw error("the token's name is not closed by '>'", at: start) }
            name = .text(String(decoding: text[first..<position], as: UTF8.self))
        }
        for (reference, number) in tokenNumbers where reference.name == name && reference.isNegated == isNegated {
            return .token(number)
        }
        let reference = TokenReference(name: name, isNegated: isNegated, place: passingPlace(start))
        tokenNumbers[reference] = rules.tokens.count
        rules.tokens.append(reference)
        return .token(rules.tokens.count - 1)
    }

    // MARK: Words

    private mutating func number(of name: String, at start: Int) throws(GrammarError) -> Int {
        if let number = numbers[name] { return number }
        guard rules.rules.count < GrammarLimits.rules else {
            throw error("a grammar has at most \(GrammarLimits.rules) rules", at: start)
        }
        let number = rules.add(name, place: passingPlace(start))
        numbers[name] = number
        return number
    }

    private mutating func name(_ what: String) throws(GrammarError) -> String {
        let start = position
        while let byte = peek(), isWord(byte) { position += 1 }
        guard position > start else { throw unexpected(what) }
        return String(decoding: text[start..<position], as: UTF8.self)
    }

    private func isWord(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "-"): true
        // llama.cpp's own grammars have none, but its users' do.
        case UInt8(ascii: "_"): true
        default: isDigit(byte)
        }
    }

    private func isDigit(_ byte: UInt8) -> Bool { byte &- UInt8(ascii: "0") < 10 }
    private func isNewline(_ byte: UInt8) -> Bool { byte == 10 || byte == 13 }
    private func peek() -> UInt8? { position < text.count ? text[position] : nil }

    private mutating func take(_ word: StaticString) -> Bool {
        let bytes = UnsafeBufferPointer(start: word.utf8Start, count: word.utf8CodeUnitCount)
        guard text[position...].starts(with: bytes) else { return false }
        position += bytes.count
        return true
    }

    private mutating func skipSpace(newlines: Bool) {
        while let byte = peek() {
            if byte == UInt8(ascii: "#") {
                while let byte = peek(), !isNewline(byte) { position += 1 }
            } else if byte == 32 || byte == 9 || (newlines && isNewline(byte)) {
                position += 1
            } else {
                return
            }
        }
    }

    // MARK: Errors

    /// Line and column of an offset.
    private func place(_ offset: Int) -> String {
        var mark = Mark()
        mark.advance(to: offset, in: text)
        return mark.description
    }

    /// The same for offsets that only grow: they are counted on from the last one.
    private mutating func passingPlace(_ offset: Int) -> String {
        guard offset >= mark.offset else { return place(offset) }
        mark.advance(to: offset, in: text)
        return mark.description
    }

    private struct Mark {
        var (offset, line, column) = (0, 1, 1)

        mutating func advance(to end: Int, in text: [UInt8]) {
            while offset < end {
                if text[offset] == 10 {
                    (line, column) = (line + 1, 1)
                } else if text[offset] & 0xc0 != 0x80 {
                    column += 1
                }
                offset += 1
            }
        }

        var description: String { "line \(line), column \(column)" }
    }

    private func error(_ problem: String, at offset: Int? = nil) -> GrammarError {
        GrammarError(problem, at: place(offset ?? position))
    }

    private func unexpected(_ expected: String) -> GrammarError {
        guard position < text.count else { return error("expected \(expected), found the end") }
        let found = String(decoding: text[position...].prefix(4), as: UTF8.self).unicodeScalars.first
        return error("expected \(expected), found \(found.map { $0.value < 32 ? "a new line" : "'\($0)'" } ?? "the end")")
    }
}
