// SPDX-License-Identifier: Apache-2.0

/// A regular expression over characters.
indirect enum Pattern: Sendable {
    case empty
    case set(ScalarSet)
    case sequence([Pattern])
    case choice([Pattern])
    case repeated(Pattern, min: Int, max: Int?)
    /// `^`
    case atStart
    /// `$`
    case atEnd

    static func text(_ text: String) -> Pattern { .sequence(text.unicodeScalars.map { .set(ScalarSet($0.value)) }) }
    static func range(_ low: Unicode.Scalar, _ high: Unicode.Scalar) -> Pattern {
        .set(ScalarSet([low.value...high.value]))
    }
}

/// Why a pattern cannot be used.
struct PatternError: Error {
    let problem: String

    /// Runs `body`, whose errors get the path of the schema that has the pattern.
    static func located<Result>(
        at path: String, _ body: () throws(PatternError) -> Result
    ) throws(GrammarError) -> Result {
        do throws(PatternError) {
            return try body()
        } catch {
            throw GrammarError(error.problem, at: path)
        }
    }
}

/// Reads the part of ECMA-262 regular expressions that is regular, as with the flag `u`: alternatives, groups of all kinds, classes,
/// `. \d \w \s` and their opposites, `\p{…}` with a general category, escapes, quantifiers (lazy ones too), `^` and `$`. Not
/// regular, or not worth it: backreferences, lookaround, `\b`.
struct PatternParser {
    private let text: [UInt32]
    private var position = 0
    private var depth = 0

    static func parse(_ text: String) throws(PatternError) -> Pattern {
        var parser = PatternParser(text: text.unicodeScalars.map(\.value))
        let pattern = try parser.alternatives()
        guard parser.position == parser.text.count else { throw parser.error("')' without '('") }
        return pattern
    }

    private init(text: [UInt32]) { self.text = text }

    private mutating func alternatives() throws(PatternError) -> Pattern {
        var result = [try sequence()]
        while take("|") { result.append(try sequence()) }
        return result.count == 1 ? result[0] : .choice(result)
    }

    private mutating func sequence() throws(PatternError) -> Pattern {
        var items: [Pattern] = []
        while let next = peek(), next != "|", next != ")" {
            let item = try atom()
            items.append(try quantified(item))
        }
        return items.count == 1 ? items[0] : .sequence(items)
    }

    private mutating func quantified(_ item: Pattern) throws(PatternError) -> Pattern {
        let range: (min: Int, max: Int?)
        if take("*") {
            range = (0, nil)
        } else if take("+") {
            range = (1, nil)
        } else if take("?") {
            range = (0, 1)
        } else if let counted = try counted() {
            range = counted
        } else {
            return item
        }
        if case .atStart = item { throw error("a quantifier after an assertion") }
        if case .atEnd = item { throw error("a quantifier after an assertion") }
        _ = take("?")  // lazy: the same texts
        if let next = peek(), "*+?".unicodeScalars.contains(next) { throw error("a quantifier after a quantifier") }
        return .repeated(item, min: range.min, max: range.max)
    }

    /// `{m,n}`; nil, and nothing is read, for a brace that is no quantifier.
    private mutating func counted() throws(PatternError) -> (min: Int, max: Int?)? {
        let start = position
        guard take("{") else { return nil }
        guard let min = try number() else {
            position = start
            return nil
        }
        var max: Int? = min
        if take(",") { max = try number() }
        guard take("}") else {
            position = start
            return nil
        }
        if let max, max < min { throw error("a quantifier whose ends are reversed") }
        return (min, max)
    }

    private mutating func number() throws(PatternError) -> Int? {
        var value: Int?
        while let digit = peek(), ("0"..."9").contains(digit) {
            value = (value ?? 0) * 10 + Int(digit.value & 15)
            position += 1
            if value! > 100_000 { throw error("a quantifier above 100000") }
        }
        return value
    }

    private mutating func atom() throws(PatternError) -> Pattern {
        guard let next = peek() else { throw error("the pattern ends too early") }
        position += 1
        switch next {
        case "^": return .atStart
        case "$": return .atEnd
        case ".": return .set(ScalarSet("\n\r\u{2028}\u{2029}").inverted)
        case "(": return try group()
        case "[": return .set(try characterClass())
        case "\\": return .set(try escape(inClass: false))
        case "*", "+", "?": throw error("nothing to repeat before '\(next)'")
        case "{":
            position -= 1
            if try counted() != nil { throw error("nothing to repeat before '{'") }
            position += 1
            return .set(ScalarSet(next.value))
        default: return .set(ScalarSet(next.value))
        }
    }

    private mutating func group() throws(PatternError) -> Pattern {
        guard depth < GrammarLimits.nesting else { throw error("groups nest deeper than \(GrammarLimits.nesting) levels") }
        if take("?") {
            let python = take("P")
            if take("<"), let next = peek(), next != "=", next != "!" {
                while let next = peek(), next != ">" { position += 1 }
                guard take(">") else { throw error("a group's name that is not closed") }
            } else if python || !take(":") {
                throw error("lookahead, lookbehind and flags are not supported")
            }
        }
        depth += 1
        let inner = try alternatives()
        depth -= 1
        guard take(")") else { throw error("'(' without ')'") }
        return inner
    }

    private mutating func characterClass() throws(PatternError) -> ScalarSet {
        let isNegated = take("^")
        var ranges: [ClosedRange<UInt32>] = []
        while !take("]") {
            let (first, single) = try classMember()
            if peek() == "-", position + 1 < text.count, text[position + 1] != 0x5d {
                position += 1
                let (last, lastSingle) = try classMember()
                guard let single, let lastSingle else {
                    ranges += first.ranges + [0x2d...0x2d] + last.ranges
                    continue
                }
                guard single <= lastSingle else { throw error("a range that runs backwards") }
                ranges.append(single...lastSingle)
            } else {
                ranges += first.ranges
            }
        }
        let set = ScalarSet(ranges)
        return isNegated ? set.inverted : set
    }

    private mutating func classMember() throws(PatternError) -> (set: ScalarSet, single: UInt32?) {
        guard let next = peek() else { throw error("'[' without ']'") }
        position += 1
        let set = next == "\\" ? try escape(inClass: true) : ScalarSet(next.value)
        let range = set.ranges.first
        return (set, set.ranges.count == 1 && range?.count == 1 ? range?.lowerBound : nil)
    }

    // MARK: Escapes

    private static let digits = ScalarSet([0x30...0x39])
    private static let word = ScalarSet([0x30...0x39, 0x41...0x5a, 0x5f...0x5f, 0x61...0x7a])
    private static let space = ScalarSet([
        0x9...0xd, 0x20...0x20, 0xa0...0xa0, 0x1680...0x1680, 0x2000...0x200a, 0x2028...0x2029, 0x202f...0x202f,
        0x205f...0x205f, 0x3000...0x3000, 0xfeff...0xfeff,
    ])

    /// What follows a backslash.
    private mutating func escape(inClass: Bool) throws(PatternError) -> ScalarSet {
        guard let next = peek() else { throw error("the pattern ends with a backslash") }
        position += 1
        switch next {
        case "d": return Self.digits
        case "D": return Self.digits.inverted
        case "w": return Self.word
        case "W": return Self.word.inverted
        case "s": return Self.space
        case "S": return Self.space.inverted
        case "t": return ScalarSet(9)
        case "n": return ScalarSet(10)
        case "v": return ScalarSet(11)
        case "f": return ScalarSet(12)
        case "r": return ScalarSet(13)
        case "b" where inClass: return ScalarSet(8)
        case "0":
            if let next = peek(), ("0"..."9").contains(next) { throw error("octal escapes are not supported") }
            return ScalarSet(0)
        case "c":
            guard let letter = peek(), letter.isASCII, letter.properties.isAlphabetic else {
                throw error("'\\c' without a letter")
            }
            position += 1
            return ScalarSet(letter.value & 31)
        case "x": return ScalarSet(try hexadecimal(2))
        case "u": return ScalarSet(try unicodeEscape())
        case "p", "P":
            let set = try category()
            return next == "p" ? set : set.inverted
        case "b", "B": throw error("word boundaries are not supported")
        case "1"..."9", "k": throw error("backreferences are not supported")
        case _ where next.isASCII && !next.properties.isAlphabetic: return ScalarSet(next.value)
        default: throw error("unknown escape '\\\(next)'")
        }
    }

    private mutating func unicodeEscape() throws(PatternError) -> UInt32 {
        if take("{") {
            var value: UInt32 = 0
            var count = 0
            while !take("}") {
                guard let digit = peek().flatMap({ Character($0).hexDigitValue }), count < 6 else {
                    throw error("'\\u{' needs one to six hexadecimal digits and '}'")
                }
                value = value << 4 | UInt32(digit)
                position += 1
                count += 1
            }
            guard count > 0, UnicodeScalar(value) != nil else { throw error("an escape that is no Unicode character") }
            return value
        }
        let first = try hexadecimal(4)
        guard (0xd800..<0xe000).contains(first) else { return first }
        if first < 0xdc00, take("\\"), take("u") {
            let second = try hexadecimal(4)
            if (0xdc00..<0xe000).contains(second) { return 0x10000 + (first - 0xd800) << 10 + (second - 0xdc00) }
        }
        throw error("an escape that is half of a character")
    }

    private mutating func hexadecimal(_ digits: Int) throws(PatternError) -> UInt32 {
        var value: UInt32 = 0
        for _ in 0..<digits {
            guard let digit = peek().flatMap({ Character($0).hexDigitValue }) else {
                throw error("an escape needs \(digits) hexadecimal digits")
            }
            value = value << 4 | UInt32(digit)
            position += 1
        }
        return value
    }

    private mutating func category() throws(PatternError) -> ScalarSet {
        guard take("{") else { throw error("'\\p' without '{'") }
        var name = ""
        while let next = peek(), next != "}" {
            name.unicodeScalars.append(next)
            position += 1
        }
        guard take("}") else { throw error("'\\p{' without '}'") }
        for prefix in ["General_Category=", "gc="] where name.hasPrefix(prefix) { name.removeFirst(prefix.count) }
        guard let set = UnicodeCategory.set(name) else {
            throw error("\\p{\(name)} is not supported: general categories are")
        }
        return set
    }

    // MARK: Characters

    private func peek() -> Unicode.Scalar? { position < text.count ? Unicode.Scalar(text[position]) : nil }

    private mutating func take(_ scalar: Unicode.Scalar) -> Bool {
        guard peek() == scalar else { return false }
        position += 1
        return true
    }

    private func error(_ problem: String) -> PatternError {
        PatternError(problem: "\(problem) (character \(min(position, text.count)) of the pattern)")
    }
}

/// The characters of a general category, as the standard library knows them.
enum UnicodeCategory {
    static func set(_ name: String) -> ScalarSet? {
        guard let wanted = members(of: name) else { return nil }
        var ranges: [ClosedRange<UInt32>] = []
        for value in UInt32(0)...0x10ffff {
            guard let scalar = Unicode.Scalar(value), wanted.contains(scalar.properties.generalCategory) else { continue }
            if let last = ranges.last, last.upperBound + 1 == value {
                ranges[ranges.count - 1] = last.lowerBound...value
            } else {
                ranges.append(value...value)
            }
        }
        return ScalarSet(ranges)
    }

    private static func members(of name: String) -> Set<Unicode.GeneralCategory>? {
        switch name {
        case "L", "Letter":
            [.uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter]
        case "Lu", "Uppercase_Letter": [.uppercaseLetter]
        case "Ll", "Lowercase_Letter": [.lowercaseLetter]
        case "Lt", "Titlecase_Letter": [.titlecaseLetter]
        case "Lm", "Modifier_Letter": [.modifierLetter]
        case "Lo", "Other_Letter": [.otherLetter]
        case "M", "Mark": [.nonspacingMark, .spacingMark, .enclosingMark]
        case "N", "Number": [.decimalNumber, .letterNumber, .otherNumber]
        case "Nd", "Decimal_Number", "digit": [.decimalNumber]
        case "P", "Punctuation", "punct":
            [
                .connectorPunctuation, .dashPunctuation, .openPunctuation, .closePunctuation, .initialPunctuation,
                .finalPunctuation, .otherPunctuation,
            ]
        case "S", "Symbol": [.mathSymbol, .currencySymbol, .modifierSymbol, .otherSymbol]
        case "Z", "Separator": [.spaceSeparator, .lineSeparator, .paragraphSeparator]
        case "Zs", "Space_Separator": [.spaceSeparator]
        default: nil
        }
    }
}
