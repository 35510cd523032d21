// SPDX-License-Identifier: Apache-2.0

/// Cuts a template into text and tokens as Jinja2 does with `trim_blocks` and `lstrip_blocks` on: the newline after a block tag
/// or a comment goes, and so does the space before one that begins a line.
struct Lexer {
    private let source: [Unicode.Scalar]
    let lines: LineTable
    private var position = 0
    private var tokens: [Token] = []
    /// Whether what was read last ends a line.
    private var isLineStart = true

    private enum Tag { case block, variable, comment }

    /// - Parameter text: with any line ends; one at the very end is dropped.
    init(_ text: String) {
        var source: [Unicode.Scalar] = []
        source.reserveCapacity(text.utf8.count)
        var previous: Unicode.Scalar = " "
        for scalar in text.unicodeScalars {
            if scalar == "\r" { source.append("\n") } else if scalar != "\n" || previous != "\r" { source.append(scalar) }
            previous = scalar
        }
        if source.last == "\n" { source.removeLast() }
        self.source = source
        lines = LineTable(source)
    }

    mutating func run() throws(JinjaError) -> [Token] {
        while position < source.count { try text() }
        tokens.append(Token(kind: .end, offset: source.count))
        return tokens
    }

    private func fail(_ problem: String, at offset: Int) -> JinjaError { lines.error(problem, at: offset) }

    // MARK: Text

    /// Text up to the next tag, and that tag.
    private mutating func text() throws(JinjaError) {
        let start = position
        while let tag = nextTag() {
            let sign = sign(at: position + 2)
            append(text: start..<position, sign: sign, isStripped: tag != .variable)
            isLineStart = false
            let begin = position
            if tag == .block, try raw() { return }
            position += sign == nil ? 2 : 3
            switch tag {
            case .comment: try comment(from: begin)
            case .block: try inside(.block, from: begin)
            case .variable: try inside(.variable, from: begin)
            }
            return
        }
        append(text: start..<source.count, sign: "+", isStripped: false)
        position = source.count
    }

    /// Goes to the next tag's first brace.
    private mutating func nextTag() -> Tag? {
        while position + 1 < source.count {
            if source[position] == "{" {
                switch source[position + 1] {
                case "%": return .block
                case "{": return .variable
                case "#": return .comment
                default: break
                }
            }
            position += 1
        }
        return nil
    }

    private func sign(at offset: Int) -> Unicode.Scalar? {
        guard offset < source.count, source[offset] == "-" || source[offset] == "+" else { return nil }
        return source[offset]
    }

    /// - Parameter isStripped: whether `lstrip_blocks` acts on space before the tag that follows.
    private mutating func append(text range: Range<Int>, sign: Unicode.Scalar?, isStripped: Bool) {
        var end = range.upperBound
        if sign == "-" {
            while end > range.lowerBound, source[end - 1].isPythonSpace { end -= 1 }
        } else if sign != "+", isStripped {
            var line = end
            while line > range.lowerBound, source[line - 1] != "\n", source[line - 1].isPythonSpace { line -= 1 }
            let beginsLine = line > range.lowerBound ? source[line - 1] == "\n" : isLineStart
            if beginsLine { end = line }
        }
        guard end > range.lowerBound else { return }
        tokens.append(Token(kind: .data(String(source[range.lowerBound..<end])), offset: range.lowerBound))
    }

    private func has(_ text: StaticString, at offset: Int) -> Bool {
        // All that is looked for is ASCII.
        guard text.utf8CodeUnitCount <= source.count - offset else { return false }
        for index in 0..<text.utf8CodeUnitCount where source[offset + index].value != UInt32(text.utf8Start[index]) {
            return false
        }
        return true
    }

    private func skippingSpace(from offset: Int) -> Int {
        var offset = offset
        while offset < source.count, source[offset].isPythonSpace { offset += 1 }
        return offset
    }

    /// The end of a tag that ends at `offset` (`%}`, `-%}`, `+%}`, with what it swallows), or nil.
    private func tagEnd(_ mark: Unicode.Scalar, at offset: Int, isBlock: Bool) -> Int? {
        func ends(at offset: Int) -> Bool {
            offset + 1 < source.count && source[offset] == mark && source[offset + 1] == "}"
        }
        if ends(at: offset) { return isBlock && has("\n", at: offset + 2) ? offset + 3 : offset + 2 }
        guard ends(at: offset + 1) else { return nil }
        switch source[offset] {
        case "-": return skippingSpace(from: offset + 3)
        case "+" where isBlock: return offset + 3
        default: return nil
        }
    }

    private mutating func comment(from begin: Int) throws(JinjaError) {
        let start = position
        while position < source.count {
            if let end = tagEnd("#", at: position, isBlock: true) {
                isLineStart = source[end - 1] == "\n"
                position = end
                return
            }
            position += 1
        }
        // As in Jinja2, nothing after its begin is an empty one.
        guard start == source.count else { throw fail("a comment without its end", at: begin) }
    }

    /// A raw block, if there is one at the block tag here.
    private mutating func raw() throws(JinjaError) -> Bool {
        let begin = position
        var offset = skippingSpace(from: position + (sign(at: position + 2) == nil ? 2 : 3))
        guard has("raw", at: offset) else { return false }
        offset = skippingSpace(from: offset + 3)
        let start: Int
        if has("-%}", at: offset) {
            start = skippingSpace(from: offset + 3)
        } else if has("%}", at: offset) {
            start = offset + 2
        } else {
            return false
        }
        isLineStart = source[start - 1] == "\n"
        position = start
        while position < source.count {
            if has("{%", at: position) {
                let sign = sign(at: position + 2)
                let word = skippingSpace(from: position + (sign == nil ? 2 : 3))
                if has("endraw", at: word),
                    let end = tagEnd("%", at: skippingSpace(from: word + 6), isBlock: true)
                {
                    append(text: start..<position, sign: sign, isStripped: true)
                    isLineStart = source[end - 1] == "\n"
                    position = end
                    return true
                }
            }
            position += 1
        }
        // As in Jinja2, nothing after its begin is an empty one.
        guard start == source.count else { throw fail("a raw block without its end", at: begin) }
        return true
    }

    // MARK: Inside a tag

    private mutating func inside(_ tag: Tag, from begin: Int) throws(JinjaError) {
        tokens.append(Token(kind: tag == .block ? .blockBegin : .variableBegin, offset: begin))
        var open: [Unicode.Scalar] = []
        while position < source.count {
            if open.isEmpty, let end = tagEnd(tag == .block ? "%" : "}", at: position, isBlock: tag == .block) {
                tokens.append(Token(kind: tag == .block ? .blockEnd : .variableEnd, offset: position))
                isLineStart = source[end - 1] == "\n"
                position = end
                return
            }
            let scalar = source[position]
            if scalar.isPythonSpace {
                position += 1
            } else if "0" <= scalar && scalar <= "9" {
                try number()
            } else if scalar == "_" || scalar.properties.isXIDContinue {
                try name()
            } else if scalar == "'" || scalar == "\"" {
                try string(quote: scalar)
            } else {
                try symbol(&open)
            }
        }
    }

    private mutating func symbol(_ open: inout [Unicode.Scalar]) throws(JinjaError) {
        let next = position + 1 < source.count ? source[position + 1] : " "
        guard let symbol = Token.Symbol(source[position], next) else {
            throw fail("unexpected character \(PythonText.quoted(String(source[position])))", at: position)
        }
        switch symbol {
        case .openBrace: open.append("}")
        case .openParenthesis: open.append(")")
        case .openBracket: open.append("]")
        case .closeBrace, .closeParenthesis, .closeBracket:
            guard let expected = open.popLast() else { throw fail("unexpected '\(symbol.rawValue)'", at: position) }
            guard String(expected) == symbol.rawValue else {
                throw fail("unexpected '\(symbol.rawValue)', expected '\(expected)'", at: position)
            }
        default: break
        }
        tokens.append(Token(kind: .symbol(symbol), offset: position))
        position += symbol.rawValue.utf8.count
    }

    private mutating func name() throws(JinjaError) {
        let start = position
        while position < source.count, source[position] == "_" || source[position].properties.isXIDContinue {
            position += 1
        }
        guard source[start] == "_" || source[start].properties.isXIDStart else {
            throw fail("invalid character in a name", at: start)
        }
        tokens.append(Token(kind: .name(String(source[start..<position])), offset: start))
    }

    // MARK: Literals

    private mutating func digits(_ isDigit: (Unicode.Scalar) -> Bool) -> String {
        var result = ""
        while position < source.count {
            if isDigit(source[position]) {
                result.unicodeScalars.append(source[position])
                position += 1
            } else if source[position] == "_", !result.isEmpty, position + 1 < source.count, isDigit(source[position + 1]) {
                position += 1
            } else {
                break
            }
        }
        return result
    }

    private mutating func number() throws(JinjaError) {
        let start = position
        func isDecimal(_ scalar: Unicode.Scalar) -> Bool { "0" <= scalar && scalar <= "9" }
        func isDecimal(at offset: Int) -> Bool { offset < source.count && isDecimal(source[offset]) }
        if source[start] == "0", start + 1 < source.count {
            let base: (radix: Int, isDigit: (Unicode.Scalar) -> Bool)? =
                switch source[start + 1] {
                case "x", "X": (16, { $0.properties.isASCIIHexDigit })
                case "o", "O": (8, { "0" <= $0 && $0 <= "7" })
                case "b", "B": (2, { $0 == "0" || $0 == "1" })
                default: nil
                }
            if let base {
                position += 2
                if position < source.count, source[position] == "_" { position += 1 }
                let text = digits(base.isDigit)
                if !text.isEmpty { return try integer(text, radix: base.radix, from: start) }
                position = start
            }
        }
        var text = digits(isDecimal)
        // What follows a dot is an index, as in `a.0.1`.
        let mayBeFloat = start == 0 || source[start - 1] != "."
        if mayBeFloat {
            var isFloat = false
            if position < source.count, source[position] == ".", isDecimal(at: position + 1) {
                position += 1
                text += "." + digits(isDecimal)
                isFloat = true
            }
            if position < source.count, source[position] == "e" || source[position] == "E" {
                let hasSign = sign(at: position + 1) != nil
                if isDecimal(at: position + (hasSign ? 2 : 1)) {
                    text += "e" + (hasSign ? String(source[position + 1]) : "")
                    position += hasSign ? 2 : 1
                    text += digits(isDecimal)
                    isFloat = true
                }
            }
            if isFloat {
                tokens.append(Token(kind: .double(Double(text) ?? 0), offset: start))
                return
            }
        }
        // Python has no leading zeros.
        if text.utf8.first == UInt8(ascii: "0"), text.utf8.contains(where: { $0 != UInt8(ascii: "0") }) {
            throw fail("a number with a leading zero", at: start)
        }
        try integer(text, radix: 10, from: start)
    }

    private mutating func integer(_ text: String, radix: Int, from start: Int) throws(JinjaError) {
        guard let value = Int(text, radix: radix) else { throw fail("an integer beyond 64 bits", at: start) }
        tokens.append(Token(kind: .integer(value), offset: start))
    }

    private mutating func string(quote: Unicode.Scalar) throws(JinjaError) {
        let start = position
        position += 1
        var text = String.UnicodeScalarView()
        while position < source.count {
            let scalar = source[position]
            position += 1
            if scalar == quote {
                tokens.append(Token(kind: .string(String(text)), offset: start))
                return
            }
            if scalar == "\\" { try escape(into: &text) } else { text.append(scalar) }
        }
        throw fail("a string without its end", at: start)
    }

    /// What follows a backslash, as in Python; what is no escape stays as it is.
    private mutating func escape(into text: inout String.UnicodeScalarView) throws(JinjaError) {
        guard position < source.count else { return }
        let start = position - 1
        let scalar = source[position]
        position += 1
        switch scalar {
        case "\n": break
        case "\\", "'", "\"": text.append(scalar)
        case "a": text.append("\u{7}")
        case "b": text.append("\u{8}")
        case "f": text.append("\u{c}")
        case "n": text.append("\n")
        case "r": text.append("\r")
        case "t": text.append("\t")
        case "v": text.append("\u{b}")
        case "0"..."7":
            position -= 1
            try hexadecimal(count: 1...3, radix: 8, from: start, into: &text)
        case "x": try hexadecimal(count: 2...2, radix: 16, from: start, into: &text)
        case "u": try hexadecimal(count: 4...4, radix: 16, from: start, into: &text)
        case "U": try hexadecimal(count: 8...8, radix: 16, from: start, into: &text)
        case "N": throw fail("escapes by name (\\N) are not supported", at: start)
        case _ where scalar.isASCII:
            text.append("\\")
            text.append(scalar)
        default:
            // Jinja2 writes it as an escape first, of which the backslash before it then takes away the meaning.
            text.append(contentsOf: asciiOnly(String(scalar)).unicodeScalars)
        }
    }

    private mutating func hexadecimal(
        count: ClosedRange<Int>, radix: Int, from start: Int, into text: inout String.UnicodeScalarView
    ) throws(JinjaError) {
        var digits = ""
        while digits.utf8.count < count.upperBound, position < source.count, source[position].isASCII,
            Int(String(source[position]), radix: radix) != nil
        {
            digits.unicodeScalars.append(source[position])
            position += 1
        }
        guard digits.utf8.count >= count.lowerBound, let value = UInt32(digits, radix: radix),
            let scalar = Unicode.Scalar(value)
        else { throw fail("an escape that is no character", at: start) }
        text.append(scalar)
    }
}

extension String {
    init(_ scalars: some Sequence<Unicode.Scalar>) {
        var view = String.UnicodeScalarView()
        view.append(contentsOf: scalars)
        self.init(view)
    }
}
