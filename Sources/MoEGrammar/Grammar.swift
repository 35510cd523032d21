// SPDX-License-Identifier: Apache-2.0

/// What a generated text must be: a language, read from GBNF or from a JSON Schema, ready for any vocabulary.
///
/// Immutable: one may serve many requests, on any thread.
public final class Grammar: Sendable {
    let pushdown: Pushdown

    /// A grammar in GBNF, the notation of llama.cpp.
    ///
    /// - Parameter root: the rule that the whole text matches.
    /// - Throws: ``GrammarError`` with line and column: for a text that is no GBNF, a rule that is missing or begins with itself,
    ///   a grammar that matches no text, or one that is too large.
    public init(gbnf: String, root: String = "root") throws(GrammarError) {
        pushdown = try Pushdown(try GBNFParser.parse(gbnf, root: root))
    }

    init(_ rules: RuleSet) throws(GrammarError) { pushdown = try Pushdown(rules) }
}
