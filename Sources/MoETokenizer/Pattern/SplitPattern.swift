// SPDX-License-Identifier: Apache-2.0

/// Makes a cut of a regular expression: one of the hand-written ones where there is one, else a program, else PCRE2.
enum SplitPattern {
    struct Failure: Error {
        let what: String
    }

    static func cut(_ pattern: String, _ dialect: PatternParser.Dialect) throws(Failure) -> PreTokenizer.Cut {
        if let known = handWritten[pattern] { return known }
        if pattern == #"\d{1,3}(?=(?:\d{3})*\b)"# {
            return .groupsFromRight(.decimalsBeforeBoundary(word: CharacterBitmap(PatternParser.word(dialect))))
        }
        if let program = program(pattern, dialect) { return .pattern(program) }
        do throws(PCREExpression.Failure) {
            return .expression(try PCREExpression(pattern, dialect))
        } catch {
            throw Failure(what: error.what)
        }
    }

    static func program(_ pattern: String, _ dialect: PatternParser.Dialect) -> PatternProgram? {
        guard let node = PatternParser.parse(pattern, dialect) else { return nil }
        return PatternProgram(node, word: PatternParser.word(dialect))
    }

    /// The two families that most models have, however they are spelled.
    private static let handWritten: [String: PreTokenizer.Cut] = {
        var known: [String: PreTokenizer.Cut] = [:]
        for contractions in ["'s|'t|'re|'ve|'m|'ll|'d", "'(?:[sdmt]|ll|ve|re)"] {
            known[contractions + #"| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#] = .gpt2
        }
        let spelledOut = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
        let folding = ["(?i:'s|'t|'re|'ve|'m|'ll|'d)", "'(?i:[sdmt]|ll|ve|re)", "(?i:'(?:[sdmt]|ll|ve|re))"]
        let others = #"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
        let plain = #"|[^\r\n\p{L}\p{N}]?\p{L}+|"#
        for contractions in folding + [spelledOut] {
            let longS = contractions != spelledOut
            for (digits, most) in [(#"\p{N}"#, 1), (#"\p{N}{1}"#, 1), (#"\p{N}{1,3}"#, 3), (#"\p{N}{1,2}"#, 2)] {
                known[contractions + plain + digits + others] = .modern(digits: most, marks: false, longS: longS)
            }
            known[
                contractions + #"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"#
                    + #"|\s*[\r\n]+|\s+(?!\S)|\s+"#] = .modern(digits: 1, marks: true, longS: longS)
        }
        return known
    }()

    /// Each way to spell a hand-written cut, for the tests that compare it with what the expression means.
    static var handWrittenPatterns: [String] { handWritten.keys.sorted() }
}
