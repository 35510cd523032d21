// SPDX-License-Identifier: Apache-2.0

/// The cuts alone, for the tools that compare them with other programs' (Tools/tokenizers).
package struct SplitProbe {
    private let preTokenizer: PreTokenizer

    /// The names of `tokenizer.ggml.pre` that are known.
    package static var names: [String] { NamedPreTokenizer.all.flatMap(\.names).filter { !$0.isEmpty } }

    /// Each way to spell a hand-written cut, and the expressions of the named pre-tokenizers.
    package static var handWrittenPatterns: [String] { SplitPattern.handWrittenPatterns }
    package static var namedPatterns: [String] {
        NamedPreTokenizer.all.flatMap(\.rules).compactMap { rule in
            if case .pattern(let pattern) = rule { pattern } else { nil }
        }
    }

    package static var isPCRE2Available: Bool { PCREExpression.isAvailable }

    /// The engines that an expression can be run by.
    package enum Engine: String {
        case program, pcre2, chosen
    }

    /// The pre-tokenizer of that name; nil for a name that is not known.
    package init?(name: String) {
        guard let preTokenizer = NamedPreTokenizer.named(name)?.preTokenizer() else { return nil }
        self.preTokenizer = preTokenizer
    }

    /// An expression and an engine; nil where the engine does not read it.
    package init?(pattern: String, engine: Engine, isRust: Bool) {
        let dialect: PatternParser.Dialect = isRust ? .rust : .oniguruma
        let cut: PreTokenizer.Cut?
        switch engine {
        case .program: cut = SplitPattern.program(pattern, dialect).map { .pattern($0) }
        case .pcre2: cut = (try? PCREExpression(pattern, dialect)).map { .expression($0) }
        case .chosen: cut = try? SplitPattern.cut(pattern, dialect)
        }
        guard let cut else { return nil }
        preTokenizer = PreTokenizer(cuts: [cut])
    }

    /// The lengths of the pieces that `text` is cut into; what is removed is negative.
    package func pieces(of text: [UInt8]) -> [Int] {
        var ends: [Int] = []
        text.withUnsafeBufferPointer { preTokenizer.words(of: $0, into: &ends) }
        var lengths: [Int] = []
        var start = 0
        for end in ends {
            lengths.append(end >= 0 ? end - start : start - ~end)
            start = end >= 0 ? end : ~end
        }
        return lengths
    }
}
