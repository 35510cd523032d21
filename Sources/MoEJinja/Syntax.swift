// SPDX-License-Identifier: Apache-2.0

// The tree of a template. Chains of operators of one level are lists, so that depth comes from nesting alone.

struct Expression: Sendable {
    let kind: Kind
    /// In code points of the source.
    let offset: Int

    indirect enum Kind: Sendable {
        case none
        case bool(Bool)
        case integer(Int)
        case double(Double)
        case string(String)
        case name(String)
        case list([Expression])
        case tuple([Expression])
        case dictionary([(key: Expression, value: Expression)])
        case not(Expression)
        case negative(Expression)
        case positive(Expression)
        /// Operators of one level, from the left to the right.
        case arithmetic(Expression, [(Arithmetic, Expression)])
        case concatenation([Expression])
        case comparison(Expression, [(Comparison, Expression)])
        case and([Expression])
        case or([Expression])
        case conditional([(value: Expression, test: Expression)], otherwise: Expression?)
        case postfix(Expression, [Postfix])
    }

    enum Arithmetic: String, Sendable {
        case add = "+"
        case subtract = "-"
        case multiply = "*"
        case divide = "/"
        case floorDivide = "//"
        case modulo = "%"
        case power = "**"
    }

    enum Comparison: String, Sendable {
        case equal = "=="
        case notEqual = "!="
        case greater = ">"
        case greaterOrEqual = ">="
        case less = "<"
        case lessOrEqual = "<="
        case isIn = "in"
        case isNotIn = "not in"
    }
}

/// What follows an operand.
struct Postfix: Sendable {
    let kind: Kind
    let offset: Int

    enum Kind: Sendable {
        case attribute(String)
        case item(Expression)
        case slice(start: Expression?, stop: Expression?, step: Expression?)
        case call(ArgumentList)
        case filter(String, ArgumentList)
        case test(String, ArgumentList, isNegated: Bool)
    }
}

struct ArgumentList: Sendable {
    var positional: [Expression] = []
    var keywords: [(name: String, value: Expression)] = []
    /// `*expression`
    var spread: Expression?
    /// `**expression`
    var keywordSpread: Expression?
}

indirect enum Target: Sendable {
    case name(String, offset: Int)
    case member(namespace: String, name: String, offset: Int)
    case tuple([Target], offset: Int)
}

struct Statement: Sendable {
    let kind: Kind
    let offset: Int

    indirect enum Kind: Sendable {
        case text(String)
        case output([Expression])
        case set(Target, Expression)
        case setBlock(Target, filters: [Postfix], body: [Statement])
        case conditional([(test: Expression, body: [Statement])], otherwise: [Statement])
        case loop(Loop)
        case breakLoop
        case continueLoop
        case macro(Macro)
        case callBlock(callee: Expression, arguments: ArgumentList, body: Macro)
        case filterBlock([Postfix], body: [Statement])
        case with([(target: Target, value: Expression)], body: [Statement])
        case block(name: String, isScoped: Bool)
        case autoescape(Expression, body: [Statement])
        /// The assistant's part; a scope of its own.
        case generation([Statement])
        /// What needs other templates: an error when it is reached.
        case foreign(String)
    }

    struct Loop: Sendable {
        let target: Target
        let iterable: Expression
        let test: Expression?
        let isRecursive: Bool
        let body: [Statement]
        let otherwise: [Statement]
    }

    final class Macro: Sendable {
        /// nil: the body of a call block.
        let name: String?
        let parameters: [(name: String, fallback: Expression?)]
        let body: [Statement]
        let usesCaller: Bool
        let usesKeywords: Bool
        let usesSpread: Bool

        init(
            name: String?, parameters: [(name: String, fallback: Expression?)], body: [Statement], uses: Set<String>
        ) {
            self.name = name
            self.parameters = parameters
            self.body = body
            usesCaller = uses.contains("caller")
            usesKeywords = uses.contains("kwargs")
            usesSpread = uses.contains("varargs")
        }
    }
}

/// A template, parsed.
struct Program: Sendable {
    let body: [Statement]
    let blocks: [String: [Statement]]
    let lines: LineTable
}
