// SPDX-License-Identifier: Apache-2.0

/// What a regular expression means.
indirect enum PatternNode: Equatable {
    enum Mode { case greedy, lazy, possessive }

    case set(CharacterSet)
    case sequence([PatternNode])
    case alternatives([PatternNode])
    /// `maximum` nil: without limit.
    case repeated(PatternNode, minimum: Int, maximum: Int?, Mode)
    case lookahead(PatternNode, isNegative: Bool)
    /// \b, or \B.
    case wordBoundary(isNegative: Bool)
    case textStart
    case textEnd
    /// Oniguruma's ^ and $: of every line.
    case lineStart
    case lineEnd
}

/// Reads the regular expressions that tokenizers cut texts with: sets of characters, groups, repetitions, lookahead. nil for what
/// goes beyond that (lookbehind, references, conditions …): then another engine has to do it.
struct PatternParser {
    enum Dialect {
        /// Oniguruma with Ruby's syntax, in Python's `tokenizers`.
        case oniguruma
        /// Rust's regex crates, in `tiktoken`; also PCRE's with Unicode properties.
        case rust
    }

    private let text: [UInt32]
    private let dialect: Dialect
    private var position = 0
    private var depth = 0
    private var ignoresCase = false

    private static let depthLimit = 32
    private static let lengthLimit = 1 << 14

    static func parse(_ pattern: String, _ dialect: Dialect) -> PatternNode? {
        guard pattern.utf8.count <= lengthLimit else { return nil }
        var parser = PatternParser(pattern, dialect)
        guard let node = parser.alternatives(), parser.position == parser.text.count else { return nil }
        return node
    }

    private init(_ pattern: String, _ dialect: Dialect) {
        text = pattern.unicodeScalars.map(\.value)
        self.dialect = dialect
    }

    private var next: Character? {
        position < text.count ? Unicode.Scalar(text[position]).map(Character.init) : nil
    }

    /// Passes over `literal` if it is next.
    private mutating func skip(_ literal: String) -> Bool {
        let scalars = literal.unicodeScalars.map(\.value)
        guard text[position...].starts(with: scalars) else { return false }
        position += scalars.count
        return true
    }

    // MARK: Structure

    private mutating func alternatives() -> PatternNode? {
        depth += 1
        defer { depth -= 1 }
        guard depth <= Self.depthLimit else { return nil }
        var all: [PatternNode] = []
        repeat {
            guard let one = sequence() else { return nil }
            all.append(one)
        } while skip("|")
        return all.count == 1 ? all[0] : .alternatives(all)
    }

    private mutating func sequence() -> PatternNode? {
        var items: [PatternNode] = []
        while let next, next != "|", next != ")" {
            guard let atom = atom(), let item = quantified(atom) else { return nil }
            items.append(item)
        }
        return items.count == 1 ? items[0] : .sequence(items)
    }

    private mutating func quantified(_ atom: PatternNode) -> PatternNode? {
        var minimum = 0
        var maximum: Int?
        var isBraced = false
        switch next {
        case "?": maximum = 1
        case "*": break
        case "+": minimum = 1
        case "{":
            let start = position
            guard let range = braces() else {
                // Not a quantifier: the brace stands for itself.
                position = start
                return atom
            }
            (minimum, maximum) = range
            isBraced = true
        default: return atom
        }
        if !isBraced { position += 1 }
        switch atom {
        case .lookahead, .wordBoundary, .textStart, .textEnd, .lineStart, .lineEnd: return nil
        default: break
        }
        var mode = PatternNode.Mode.greedy
        var isRepeatedAgain = false
        if skip("?") {
            // Ruby's {n}? is no lazy repetition.
            guard !(isBraced && dialect == .oniguruma && maximum == minimum) else { return nil }
            mode = .lazy
        } else if skip("+") {
            // After braces it is another repetition to Oniguruma.
            isRepeatedAgain = isBraced && dialect == .oniguruma
            if !isRepeatedAgain { mode = .possessive }
        }
        guard minimum <= 1024, maximum ?? 0 <= 1024, maximum.map({ $0 >= minimum }) ?? true else { return nil }
        let node = PatternNode.repeated(atom, minimum: minimum, maximum: maximum, mode)
        // A repetition of a repetition is not needed by anybody.
        if let next, "?*+{".contains(next) { return nil }
        return isRepeatedAgain ? .repeated(node, minimum: 1, maximum: nil, .greedy) : node
    }

    /// {n}, {n,} or {n,m}; Oniguruma's {,m}.
    private mutating func braces() -> (Int, Int?)? {
        guard skip("{") else { return nil }
        let minimum = number()
        if skip("}") { return minimum.map { ($0, $0) } }
        guard skip(",") else { return nil }
        let maximum = number()
        guard skip("}"), minimum != nil || (maximum != nil && dialect == .oniguruma) else { return nil }
        return (minimum ?? 0, maximum)
    }

    private mutating func number() -> Int? {
        var value: Int?
        while position < text.count, (0x30...0x39).contains(text[position]), value ?? 0 < 100_000 {
            value = (value ?? 0) * 10 + Int(text[position] - 0x30)
            position += 1
        }
        return value
    }

    private mutating func atom() -> PatternNode? {
        switch next {
        case "(": return group()
        case "[": return characterClass().map { .set($0) }
        case "\\": return escape()
        case ".":
            position += 1
            return .set(CharacterSet([0x0A]).inverted)
        case "^":
            position += 1
            return dialect == .oniguruma ? .lineStart : .textStart
        case "$":
            position += 1
            return dialect == .oniguruma ? .lineEnd : .textEnd
        case "*", "+", "?", nil: return nil
        default:
            let c = text[position]
            position += 1
            return literal(c)
        }
    }

    private func literal(_ c: UInt32) -> PatternNode? {
        let set = CharacterSet([c])
        guard ignoresCase else { return .set(set) }
        // Beyond ASCII, folding needs tables.
        guard c < 0x80 else { return nil }
        return .set(set.foldedASCII)
    }

    private mutating func group() -> PatternNode? {
        guard skip("(") else { return nil }
        let outer = ignoresCase
        defer { ignoresCase = outer }
        var wrap: (PatternNode) -> PatternNode = { $0 }
        if skip("?i:") {
            ignoresCase = true
        } else if skip("?-i:") {
            ignoresCase = false
        } else if skip("?=") {
            wrap = { .lookahead($0, isNegative: false) }
        } else if skip("?!") {
            wrap = { .lookahead($0, isNegative: true) }
        } else if skip("?>") {
            wrap = { .repeated($0, minimum: 1, maximum: 1, .possessive) }
        } else if skip("?:") {
        } else if next == "?" || next == "*" {
            return nil
        }
        guard let inner = alternatives(), skip(")") else { return nil }
        return wrap(inner)
    }

    // MARK: Characters

    private mutating func escape() -> PatternNode? {
        let start = position
        if let set = escapedSet() { return .set(ignoresCase ? set.foldedASCII : set) }
        position = start + 1
        defer { position += 1 }
        switch next {
        case "b": return .wordBoundary(isNegative: false)
        case "B": return .wordBoundary(isNegative: true)
        case "A": return .textStart
        case "z": return .textEnd
        default: return nil
        }
    }

    /// \w of the dialect. Oniguruma's has Latin-1's superscripts and fractions, Rust's the joiners.
    static func word(_ dialect: Dialect) -> CharacterSet {
        var set = CharacterSet([.letter, .mark, .decimal, .letterNumber, .connector])
        for range: ClosedRange<UInt32> in [0x24B6...0x24E9, 0x1F130...0x1F149, 0x1F150...0x1F169, 0x1F170...0x1F189] {
            set.formUnion(CharacterSet(range))
        }
        return set.union(CharacterSet(dialect == .oniguruma ? [0xB2, 0xB3, 0xB9, 0xBC, 0xBD, 0xBE] : [0x200C, 0x200D]))
    }

    /// What an escape stands for, if that is characters.
    private mutating func escapedSet() -> CharacterSet? {
        guard skip("\\"), let c = next else { return nil }
        position += 1
        switch c {
        case "r": return CharacterSet([0x0D])
        case "n": return CharacterSet([0x0A])
        case "t": return CharacterSet([0x09])
        case "f": return CharacterSet([0x0C])
        case "v": return dialect == .oniguruma ? CharacterSet([0x0B]) : nil
        case "a": return CharacterSet([0x07])
        case "e": return dialect == .oniguruma ? CharacterSet([0x1B]) : nil
        case "s": return CharacterSet(.space)
        case "S": return CharacterSet(.space).inverted
        case "d": return CharacterSet(.decimal)
        case "D": return CharacterSet(.decimal).inverted
        case "w": return Self.word(dialect)
        case "W": return Self.word(dialect).inverted
        case "p", "P": return property(isNegative: c == "P")
        case "x":
            if skip("{") { return hexadecimal(1...6, closing: true) }
            return hexadecimal(2...2, closing: false)
        case "u":
            if skip("{") { return hexadecimal(1...6, closing: true) }
            return hexadecimal(4...4, closing: false)
        default:
            // Punctuation stands for itself; letters and digits might mean anything.
            guard let scalar = c.unicodeScalars.first, scalar.value < 0x80,
                !CharacterClasses.shared[scalar.value].isIn([.letter, .number])
            else { return nil }
            return CharacterSet([scalar.value])
        }
    }

    private mutating func hexadecimal(_ count: ClosedRange<Int>, closing: Bool) -> CharacterSet? {
        var value: UInt32 = 0
        var digits = 0
        while digits < count.upperBound, position < text.count, let scalar = Unicode.Scalar(text[position]),
            scalar.isASCII, let digit = Character(scalar).hexDigitValue
        {
            value = value << 4 | UInt32(digit)
            digits += 1
            position += 1
        }
        guard digits >= count.lowerBound, value < CharacterSet.limit, !closing || skip("}") else { return nil }
        return CharacterSet([value])
    }

    private static let properties: [String: CharacterClass] = [
        "L": .letter, "Lu": .upper, "Ll": .lower, "Lt": .title, "Lm": .modifier, "Lo": .otherLetter, "Letter": .letter,
        "M": .mark, "Mark": .mark, "Mn": CharacterClass(categories: 10...10), "Mc": CharacterClass(categories: 11...11),
        "Me": CharacterClass(categories: 12...12), "N": .number, "Nd": .decimal, "Nl": .letterNumber,
        "No": CharacterClass(categories: 15...15), "Number": .number, "P": .punctuation, "Pc": .connector,
        "Pd": CharacterClass(categories: 17...17), "Ps": CharacterClass(categories: 18...18),
        "Pe": CharacterClass(categories: 19...19), "Pi": CharacterClass(categories: 20...20),
        "Pf": CharacterClass(categories: 21...21), "Po": CharacterClass(categories: 22...22), "Punctuation": .punctuation,
        "S": .symbol, "Sm": CharacterClass(categories: 23...23), "Sc": CharacterClass(categories: 24...24),
        "Sk": CharacterClass(categories: 25...25), "So": CharacterClass(categories: 26...26), "Symbol": .symbol,
        "Z": .separator, "Zs": CharacterClass(categories: 27...27), "Zl": CharacterClass(categories: 28...28),
        "Zp": CharacterClass(categories: 29...29), "Separator": .separator, "C": .other, "Cc": .control,
        "Cf": CharacterClass(categories: 2...2), "Co": CharacterClass(categories: 3...3),
        "Cn": CharacterClass(categories: 0...0),
    ]

    private mutating func property(isNegative: Bool) -> CharacterSet? {
        var name = ""
        if skip("{") {
            while let c = next, c != "}", name.count < 32 {
                name.append(c)
                position += 1
            }
            guard skip("}") else { return nil }
        } else if dialect == .rust, let c = next {
            name = String(c)
            position += 1
        }
        var isNegative = isNegative
        if name.hasPrefix("^") {
            isNegative.toggle()
            name.removeFirst()
        }
        guard let set = name == "Han" ? CharacterSet.han : Self.properties[name].map({ CharacterSet($0) }) else {
            return nil
        }
        return isNegative ? set.inverted : set
    }

    /// [...], with nested classes and intersections.
    private mutating func characterClass() -> CharacterSet? {
        depth += 1
        defer { depth -= 1 }
        guard depth <= Self.depthLimit, skip("[") else { return nil }
        let isNegative = skip("^")
        var result: CharacterSet?
        var set = CharacterSet()
        var isFirst = true
        while true {
            guard let c = next else { return nil }
            if c == "]", !isFirst {
                position += 1
                break
            }
            // A bracket that comes first is a character in some dialects only; POSIX classes are for the other engine.
            if c == "]" { return nil }
            if c == "[", position + 1 < text.count, text[position + 1] == 0x3A { return nil }
            isFirst = false
            if c == "[" {
                guard let inner = characterClass() else { return nil }
                set.formUnion(inner)
                continue
            }
            if skip("&&") {
                result = result?.intersection(set) ?? set
                set = CharacterSet()
                continue
            }
            guard let low = classMember() else { return nil }
            // A hyphen between two characters makes a range; at an end of the class it is itself.
            if next == "-", position + 1 < text.count, text[position + 1] != 0x5D {
                guard let first = low.single, position + 1 < text.count, text[position + 1] != 0x5B else { return nil }
                position += 1
                guard let last = classMember()?.single, first <= last else { return nil }
                set.formUnion(CharacterSet(first...last))
            } else {
                set.formUnion(low)
            }
        }
        if let known = result { set = known.intersection(set) }
        if ignoresCase {
            guard set.isFoldable else { return nil }
            set = set.foldedASCII
        }
        return isNegative ? set.inverted : set
    }

    private mutating func classMember() -> CharacterSet? {
        if next == "\\" { return escapedSet() }
        guard position < text.count else { return nil }
        position += 1
        return CharacterSet([text[position - 1]])
    }
}

extension CharacterSet {
    /// The code point of a set of one.
    fileprivate var single: UInt32? {
        boundaries.count == 2 && boundaries[1] == boundaries[0] + 1 ? boundaries[0] : nil
    }

    /// Whether folding the case of ASCII is all that folding would do: beyond it there are whole classes only, or nothing cased.
    fileprivate var isFoldable: Bool {
        let beyond = subtracting(CharacterSet(0...0x7F))
        let cased = CharacterSet([.upper, .lower, .title])
        let part = beyond.intersection(cased)
        return part.isEmpty || part == cased.subtracting(CharacterSet(0...0x7F))
    }
}
