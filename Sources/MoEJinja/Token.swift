// SPDX-License-Identifier: Apache-2.0

struct Token: Sendable {
    enum Kind: Sendable, Equatable {
        case data(String)
        case blockBegin, blockEnd, variableBegin, variableEnd
        case name(String)
        case string(String)
        case integer(Int)
        case double(Double)
        case symbol(Symbol)
        case end
    }

    /// What stands between operands.
    enum Symbol: String, Sendable {
        case floorDivide = "//"
        case power = "**"
        case equal = "=="
        case notEqual = "!="
        case greaterOrEqual = ">="
        case lessOrEqual = "<="
        case add = "+"
        case subtract = "-"
        case divide = "/"
        case multiply = "*"
        case modulo = "%"
        case concatenate = "~"
        case openBracket = "["
        case closeBracket = "]"
        case openParenthesis = "("
        case closeParenthesis = ")"
        case openBrace = "{"
        case closeBrace = "}"
        case greater = ">"
        case less = "<"
        case assign = "="
        case dot = "."
        case colon = ":"
        case pipe = "|"
        case comma = ","
        case semicolon = ";"

        /// The longest one that begins with these two.
        init?(_ first: Unicode.Scalar, _ second: Unicode.Scalar) {
            switch (first, second) {
            case ("/", "/"): self = .floorDivide
            case ("*", "*"): self = .power
            case ("=", "="): self = .equal
            case ("!", "="): self = .notEqual
            case (">", "="): self = .greaterOrEqual
            case ("<", "="): self = .lessOrEqual
            default:
                guard let symbol = Symbol(rawValue: String(first)) else { return nil }
                self = symbol
            }
        }
    }

    let kind: Kind
    /// In code points of the source with its line ends as `\n`.
    let offset: Int

    /// For messages.
    var text: String {
        switch kind {
        case .data: "text"
        case .blockBegin: "{%"
        case .blockEnd: "%}"
        case .variableBegin: "{{"
        case .variableEnd: "}}"
        case .name(let name): name
        case .string: "a string"
        case .integer, .double: "a number"
        case .symbol(let symbol): symbol.rawValue
        case .end: "the end of the template"
        }
    }
}

/// Where lines begin, to tell the line and column of an offset.
struct LineTable: Sendable {
    private var starts = [0]

    init(_ source: [Unicode.Scalar]) {
        for (index, scalar) in source.enumerated() where scalar == "\n" { starts.append(index + 1) }
    }

    func error(_ problem: String, at offset: Int) -> JinjaError {
        // The last line that begins at the offset or before.
        var (low, high) = (0, starts.count)
        while high - low > 1 {
            let middle = (low + high) / 2
            if starts[middle] <= offset { low = middle } else { high = middle }
        }
        return JinjaError(problem, line: low + 1, column: offset - starts[low] + 1)
    }
}
