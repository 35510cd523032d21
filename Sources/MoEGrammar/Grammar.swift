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

    /// The JSON documents that satisfy a schema (draft 2020-12, or what `$schema` names of the earlier ones).
    ///
    /// Written compactly, with at most one space after `:` and `,`. Members come in the order of their declaration, optional ones
    /// may be left out, and where names are declared others may come only if `additionalProperties` says so.
    ///
    /// - Throws: ``GrammarError`` with the path of a keyword that is not supported or makes no sense, or of what no value satisfies.
    public init(jsonSchema: String) throws(GrammarError) {
        pushdown = try Pushdown(try SchemaCompiler.compile(jsonSchema))
    }

    init(_ rules: RuleSet) throws(GrammarError) { pushdown = try Pushdown(rules) }
}
