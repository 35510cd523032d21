// SPDX-License-Identifier: Apache-2.0

/// Cuts a text into the words within which byte pairs are merged: a chain of cuts, each applied to the pieces of the one before.
struct PreTokenizer: Sendable, Equatable {
    enum Cut: Sendable, Equatable {
        /// GPT-2's expression: `Words.gpt2`.
        case gpt2
        /// The expression of cl100k's family: `Words.modern`; the longest run of digits, and whether marks count as letters.
        case modern(digits: Int, marks: Bool)
        /// \p{N}: each digit by itself.
        case eachNumber
        /// \p{N}+
        case numbers
        /// [0-9][0-9][0-9]
        case digitTriples
        /// [\p{P}$+<=>^~|]+
        case punctuation
        /// Before every `▁` (U+2581), or before every run of them.
        case beforeSpaceMark
        case beforeSpaceMarks
    }

    var cuts: [Cut]

    /// The ends of the words of `text`, ascending; the last is its length. Empty for an empty text.
    func words(of text: UnsafeBufferPointer<UInt8>, into ends: inout [Int]) {
        ends.removeAll(keepingCapacity: true)
        guard !text.isEmpty else { return }
        ends.append(text.count)
        for cut in cuts {
            let pieces = ends
            ends.removeAll(keepingCapacity: true)
            var start = 0
            for end in pieces {
                cut.apply(to: Words(text: text, start: start, end: end), into: &ends)
                start = end
            }
        }
    }
}

extension PreTokenizer.Cut {
    func apply(to words: Words, into ends: inout [Int]) {
        switch self {
        case .gpt2: words.gpt2(into: &ends)
        case .modern(let digits, let marks): words.modern(digits: digits, marks: marks, into: &ends)
        case .eachNumber: words.isolateEach(.number, into: &ends)
        case .numbers: words.isolateRuns(into: &ends) { kind, _ in kind.contains(.number) }
        case .digitTriples: words.isolateDigitTriples(into: &ends)
        case .punctuation:
            words.isolateRuns(into: &ends) { kind, byte in
                kind.contains(.punctuation) || (byte < 0x80 && Self.mathematical[Int(byte)])
            }
        case .beforeSpaceMark: words.cutBeforeSpaceMark(onlyBeforeRun: false, into: &ends)
        case .beforeSpaceMarks: words.cutBeforeSpaceMark(onlyBeforeRun: true, into: &ends)
        }
    }

    /// $ + < = > ^ ~ |
    private static let mathematical: [Bool] = {
        var table = [Bool](repeating: false, count: 128)
        for byte in "$+<=>^~|".utf8 { table[Int(byte)] = true }
        return table
    }()
}

/// A pre-tokenizer that GGUF files name (`tokenizer.ggml.pre`), and what the name implies besides.
struct NamedPreTokenizer {
    let names: [String]
    let cuts: [PreTokenizer.Cut]
    /// A word that is a token as it stands is that token, whatever the merges would give.
    var prefersWholeWords = false
    /// Whether a text starts with BOS where the file does not say.
    var addsBOS = false

    /// Names that mean the same cuts are in one line; the names are those that llama.cpp's converter writes.
    static let all: [NamedPreTokenizer] = [
        NamedPreTokenizer(names: ["default", ""], cuts: [.punctuation, .gpt2, .numbers, .digitTriples]),
        NamedPreTokenizer(names: ["gpt-2", "olmo", "mpt", "phi-2", "jais", "exaone4"], cuts: [.gpt2]),
        NamedPreTokenizer(
            names: ["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"],
            cuts: [.eachNumber, .gpt2]),
        NamedPreTokenizer(
            names: ["llama-bpe", "llama3", "llama-v3"], cuts: [.modern(digits: 3, marks: false)], prefersWholeWords: true,
            addsBOS: true),
        NamedPreTokenizer(names: ["dbrx", "smaug-bpe"], cuts: [.modern(digits: 3, marks: false)]),
        NamedPreTokenizer(
            names: ["qwen2", "deepseek-r1-qwen", "stablelm2", "megrez"], cuts: [.modern(digits: 1, marks: false)]),
        NamedPreTokenizer(names: ["qwen35"], cuts: [.modern(digits: 1, marks: true)]),
    ]

    static func named(_ name: String) -> NamedPreTokenizer? { all.first { $0.names.contains(name) } }

    static var supportedNames: String { all.flatMap(\.names).filter { !$0.isEmpty }.joined(separator: ", ") }
}
