// SPDX-License-Identifier: Apache-2.0

/// How values are written: as Python's `json.dumps` does without ASCII escapes, with at most one space after `:` and `,`.
enum JSONText {
    static let comma = Expression.sequence([.text(","), .optional(.text(" "))])
    static let colon = Expression.sequence([.text(":"), .optional(.text(" "))])

    /// One character of the set inside a string: escaped where it must be, and only there, so that every text is written one way.
    static func character(_ set: ScalarSet) -> Expression {
        var forms: [Expression] = []
        let plain = set.intersection(self.plain)
        if !plain.isEmpty { forms.append(.characters(plain)) }
        for (scalar, letter) in short where set.contains(scalar) { forms.append(.text("\\" + letter)) }
        for scalar in UInt32(0)..<0x20 where set.contains(scalar) && !short.contains(where: { $0.0 == scalar }) {
            forms.append(.sequence([.text(scalar < 16 ? "\\u000" : "\\u001"), hexadecimal(scalar & 15)]))
        }
        return forms.count == 1 ? forms[0] : .choice(forms)
    }

    /// Any character inside a string, in any way that JSON knows, but half of a character.
    static let anyCharacter: Expression = {
        func digit(_ text: String) -> Expression { .characters(ScalarSet(text)) }
        let hex = digit("0123456789abcdefABCDEF")
        let unit = Expression.choice([
            .sequence([digit("0123456789abcefABCEF"), hex, hex, hex]),
            .sequence([digit("dD"), digit("01234567"), hex, hex]),
            .sequence([digit("dD"), digit("89abAB"), hex, hex, .text("\\u"), digit("dD"), digit("cdefCDEF"), hex, hex]),
        ])
        return .choice([
            .characters(plain), .sequence([.text("\\"), digit("\"\\/bfnrt")]), .sequence([.text("\\u"), unit]),
        ])
    }()

    private static let plain = ScalarSet([0x20...0x10ffff]).intersection(ScalarSet("\"\\").inverted)
    private static let short: [(UInt32, String)] = [
        (0x22, "\""), (0x5c, "\\"), (8, "b"), (12, "f"), (10, "n"), (13, "r"), (9, "t"),
    ]

    private static func hexadecimal(_ value: UInt32) -> Expression {
        let text = String(value, radix: 16)
        return .characters(ScalarSet(text + text.uppercased()))
    }

    /// A whole string with its quotes.
    static func string(_ automaton: CharacterAutomaton) -> Expression {
        var graph = ExpressionGraph()
        while graph.nodeCount < automaton.edges.count { _ = graph.node() }
        for (state, edges) in automaton.edges.enumerated() {
            for edge in edges { graph.connect(state, character(edge.set), edge.target) }
            if automaton.accepting[state] { graph.finals.insert(state) }
        }
        return .sequence([.text("\""), .graph(graph), .text("\"")])
    }
}
