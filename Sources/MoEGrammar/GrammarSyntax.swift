// SPDX-License-Identifier: Apache-2.0

/// What a rule of a grammar matches. GBNF and JSON Schema both become this.
indirect enum Expression: Sendable {
    /// The empty text.
    case empty
    /// These bytes, in this order.
    case bytes([UInt8])
    /// One character of the set, as UTF-8.
    case characters(ScalarSet)
    /// One token (see ``TokenReference``).
    case token(Int)
    case rule(Int)
    case sequence([Expression])
    /// One of them; nothing at all matches no alternatives.
    case choice([Expression])
    /// - max: nil for no end.
    case repeated(Expression, min: Int, max: Int?)
    case graph(ExpressionGraph)

    static func text(_ text: String) -> Expression { .bytes(Array(text.utf8)) }

    static func optional(_ expression: Expression) -> Expression { .repeated(expression, min: 0, max: 1) }
}

/// Alternatives that share their beginnings and ends: paths from node 0 to a final node.
struct ExpressionGraph: Sendable {
    struct Edge: Sendable {
        let from: Int
        let label: Expression
        let to: Int
    }

    var nodeCount = 1
    var edges: [Edge] = []
    var finals: Set<Int> = []

    mutating func node() -> Int {
        nodeCount += 1
        return nodeCount - 1
    }

    mutating func connect(_ from: Int, _ label: Expression, _ to: Int) {
        edges.append(Edge(from: from, label: label, to: to))
    }
}

/// A token that a grammar names: `<[17]>`, `<think>`, or any but it with `!`.
struct TokenReference: Hashable, Sendable {
    enum Name: Hashable, Sendable {
        case id(Int32)
        /// With its angle brackets.
        case text(String)
    }

    let name: Name
    let isNegated: Bool
    /// In the grammar.
    let place: String
}

/// Rules and where to start.
struct RuleSet: Sendable {
    struct Rule: Sendable {
        var name: String
        var body: Expression
        /// Of its definition, for messages.
        var place: String
        /// Kept as one rule, so that its states are the same wherever it stands.
        var isShared = false
    }

    var rules: [Rule] = []
    var root = 0
    var tokens: [TokenReference] = []
    /// What to say when no text matches.
    var emptyProblem: String?

    mutating func add(_ name: String, _ body: Expression = .empty, place: String, isShared: Bool = false) -> Int {
        rules.append(Rule(name: name, body: body, place: place, isShared: isShared))
        return rules.count - 1
    }
}
