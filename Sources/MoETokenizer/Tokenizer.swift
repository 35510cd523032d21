// SPDX-License-Identifier: Apache-2.0

/// Text to token ids and back.
///
/// Made from a vocabulary in a GGUF file, from a Hugging Face `tokenizer.json`, from a SentencePiece model, from Mistral's
/// `tekken.json` or from tiktoken's ranks, and faithful to the program that defines each: llama.cpp, Python's `tokenizers`,
/// `sentencepiece`, `mistral-common`, `tiktoken`. Immutable, so it may be used from any thread; the same text always gives the same
/// ids.
public final class Tokenizer: Sendable {
    /// One more than the highest id.
    public let vocabularySize: Int
    /// The token that starts a text, if the vocabulary has one.
    public let bos: Int32?
    /// The token that ends a text, if the vocabulary has one.
    public let eos: Int32?
    /// Every token after which generation stops: end of text, of turn, of message.
    public let endOfGeneration: Set<Int32>

    /// Whether `encode` puts BOS first, and EOS last, when it adds special tokens.
    public var addsBOS: Bool { bos.map(prefix.contains) ?? false }
    public var addsEOS: Bool { eos.map(suffix.contains) ?? false }

    let vocabulary: Vocabulary
    let prefix: [Int32]
    let suffix: [Int32]
    private let parts: Parts

    /// What `encode` goes through, in order.
    struct Parts: Sendable {
        enum Model: Sendable {
            case bytePairs(BytePairEncoder)
            case sentencePiece(SentencePieceEncoder)
            case unigram(UnigramEncoder)
            case wordPiece(WordPieceEncoder)
            case wordLevel(WordLevelEncoder)
            case longestMatch(LongestMatchEncoder)
        }
        /// Where a space (or `▁`) is put before a stretch of text.
        enum SpacePrefix: Sendable {
            case never
            /// Before every stretch between special tokens: unless it has one, if `ifMissing`.
            case always(ifMissing: Bool)
            /// Before the stretch that starts the text, unless it has one.
            case first
        }

        /// A change of each piece of a text.
        struct LateChange: Sendable {
            var preTokenizer: PreTokenizer
            var marksSpaces = false
            var spacePrefix = SpacePrefix.never
            var prefix: [UInt8]
        }

        /// Special tokens in the text as it is given.
        var splitter: SpecialTokenSplitter
        var normalizer = Normalizer()
        /// Special tokens in the normalised text.
        var normalizedSplitter: SpecialTokenSplitter?
        var spacePrefix = SpacePrefix.never
        /// After the normalizer and the normalised splitter, spaces become `▁`.
        var marksSpaces = false
        /// Put before a text by `spacePrefix`.
        var prefix: [UInt8] = [UInt8(ascii: " ")]
        /// What changes the text again after a cut, each with the cut that goes before.
        var lateChanges: [LateChange] = []
        /// The last cut: into the words that the model gets.
        var preTokenizer = PreTokenizer(steps: [])
        var model: Model
        /// Spaces are `▁` in the pieces: the first of a text was put there by `encode` and is not part of the text.
        var dropsFirstSpace = false
        /// All spaces that a text begins with are left out.
        var dropsLeadingSpaces = false
    }

    init(
        vocabulary: Vocabulary, bos: Int32?, eos: Int32?, endOfGeneration: Set<Int32>, prefix: [Int32], suffix: [Int32],
        parts: Parts
    ) {
        self.vocabulary = vocabulary
        self.vocabularySize = vocabulary.count
        self.bos = bos
        self.eos = eos
        self.endOfGeneration = endOfGeneration
        self.prefix = prefix
        self.suffix = suffix
        self.parts = parts
    }

    // MARK: Text to ids

    /// The ids of `text`.
    ///
    /// - Parameters:
    ///   - addSpecial: put BOS and EOS (or what else the file says) around it, where the model was trained so.
    ///   - parseSpecial: special tokens that are spelled out in `text` become their ids; without it they are plain text.
    public func encode(_ text: String, addSpecial: Bool = true, parseSpecial: Bool = true) -> [Int32] {
        var text = text
        return text.withUTF8 { encode($0, addSpecial: addSpecial, parseSpecial: parseSpecial) }
    }

    /// The same for bytes, which need not be UTF-8: a byte that is part of no character is cut as U+FFFD would be, and encoded as
    /// what it is where the vocabulary has bytes.
    package func encode(bytes: [UInt8], addSpecial: Bool = true, parseSpecial: Bool = true) -> [Int32] {
        bytes.withUnsafeBufferPointer { encode($0, addSpecial: addSpecial, parseSpecial: parseSpecial) }
    }

    private func encode(_ bytes: UnsafeBufferPointer<UInt8>, addSpecial: Bool, parseSpecial: Bool) -> [Int32] {
        var ids: [Int32] = addSpecial ? prefix : []
        ids.reserveCapacity(bytes.count / 3 + 8)
        var scratch = Scratch(length: bytes.count)
        for segment in parts.splitter.split(bytes, parseSpecial: parseSpecial) {
            if let token = segment.token {
                ids.append(token)
                continue
            }
            let stretch = UnsafeBufferPointer(rebasing: bytes[segment.range])
            let isFirst = segment.range.lowerBound == 0
            let isUnchanged = parts.normalizer.isIdentity || parts.normalizer.keeps(stretch)
            if isUnchanged, parts.normalizedSplitter == nil {
                encode(stretch, isFirst: isFirst, &scratch, into: &ids)
                continue
            }
            parts.normalizer.apply(to: Array(stretch)).withUnsafeBufferPointer { normalized in
                let inner =
                    parts.normalizedSplitter?.split(normalized, parseSpecial: parseSpecial)
                    ?? [.init(range: 0..<normalized.count, token: nil)]
                for part in inner {
                    if let token = part.token {
                        ids.append(token)
                    } else {
                        encode(
                            UnsafeBufferPointer(rebasing: normalized[part.range]),
                            isFirst: isFirst && part.range.lowerBound == 0, &scratch, into: &ids)
                    }
                }
            }
        }
        if addSpecial { ids += suffix }
        return ids
    }

    /// A stretch of text without special tokens.
    private func encode(
        _ text: UnsafeBufferPointer<UInt8>, isFirst: Bool, _ scratch: inout Scratch, into ids: inout [Int32]
    ) {
        guard !text.isEmpty else { return }
        Self.prepared(text, parts.marksSpaces, parts.spacePrefix, parts.prefix, isFirst: isFirst) {
            if parts.lateChanges.isEmpty {
                encodeWords($0, &scratch, into: &ids)
            } else {
                encodeChanged($0, isFirst: isFirst, change: 0, &scratch, into: &ids)
            }
        }
    }

    /// Calls `body` with `text` after its spaces are marked and its prefix is put.
    private static func prepared(
        _ text: UnsafeBufferPointer<UInt8>, _ marksSpaces: Bool, _ spacePrefix: Parts.SpacePrefix, _ prefix: [UInt8],
        isFirst: Bool, _ body: (UnsafeBufferPointer<UInt8>) -> Void
    ) {
        func prefixed(_ text: UnsafeBufferPointer<UInt8>) {
            let isPrefixed =
                switch spacePrefix {
                case .never: false
                case .always(let ifMissing): !ifMissing || !text.starts(with: prefix)
                case .first: isFirst && !text.starts(with: prefix)
                }
            if isPrefixed { (prefix + text).withUnsafeBufferPointer(body) } else { body(text) }
        }
        if marksSpaces, text.contains(UInt8(ascii: " ")) {
            marking.apply(to: Array(text)).withUnsafeBufferPointer(prefixed)
        } else {
            prefixed(text)
        }
    }

    private static let marking = Normalizer.Step.replace(pattern: [UInt8(ascii: " ")], with: Normalizer.spaceMark)

    /// Cuts the text and changes each piece, for every change from `change` on.
    private func encodeChanged(
        _ text: UnsafeBufferPointer<UInt8>, isFirst: Bool, change: Int, _ scratch: inout Scratch, into ids: inout [Int32]
    ) {
        guard change < parts.lateChanges.count else { return encodeWords(text, &scratch, into: &ids) }
        let late = parts.lateChanges[change]
        var ends: [Int] = []
        late.preTokenizer.words(of: text, into: &ends)
        var start = 0
        for end in ends {
            defer { start = end >= 0 ? end : ~end }
            guard end > start else { continue }
            let piece = UnsafeBufferPointer(rebasing: text[start..<end])
            let isFirst = isFirst && start == 0
            Self.prepared(piece, late.marksSpaces, late.spacePrefix, late.prefix, isFirst: isFirst) {
                encodeChanged($0, isFirst: isFirst, change: change + 1, &scratch, into: &ids)
            }
        }
    }

    /// Room that is used again from word to word.
    private struct Scratch {
        var ends: [Int] = []
        var cache: WordCache
        var merger = PairMerger()

        init(length: Int) { cache = WordCache(length: length) }
    }

    private func encodeWords(_ text: UnsafeBufferPointer<UInt8>, _ scratch: inout Scratch, into ids: inout [Int32]) {
        switch parts.model {
        case .bytePairs(let encoder):
            forEachWord(of: text, &scratch, into: &ids) { encoder.encode($0, merger: &$1, into: &$2) }
        case .sentencePiece(let encoder):
            forEachWord(of: text, &scratch, into: &ids) { encoder.encode($0, merger: &$1, into: &$2) }
        case .unigram(let encoder):
            forEachWord(of: text, &scratch, into: &ids) { encoder.encode($0, into: &$2) }
        case .wordPiece(let encoder):
            forEachWord(of: text, &scratch, into: &ids) { encoder.encode($0, into: &$2) }
        case .wordLevel(let encoder):
            forEachWord(of: text, &scratch, into: &ids) { encoder.encode($0, into: &$2) }
        case .longestMatch(let encoder):
            encoder.encode(text, into: &ids)
        }
    }

    /// Cuts `text` into words and appends the ids of each: those met before, or those that `encode` appends.
    @inline(__always)
    private func forEachWord(
        of text: UnsafeBufferPointer<UInt8>, _ scratch: inout Scratch, into ids: inout [Int32],
        _ encode: (UnsafeBufferPointer<UInt8>, inout PairMerger, inout [Int32]) -> Void
    ) {
        parts.preTokenizer.words(of: text, into: &scratch.ends)
        var start = 0
        for end in scratch.ends {
            guard end >= 0 else {  // removed
                start = ~end
                continue
            }
            let word = UnsafeBufferPointer(rebasing: text[start..<end])
            start = end
            guard !word.isEmpty else { continue }
            guard word.count <= WordCache.longestWord else {
                encode(word, &scratch.merger, &ids)
                continue
            }
            let hash = PieceTable.hash(word)
            if scratch.cache.append(word, hash: hash, to: &ids) { continue }
            let first = ids.count
            encode(word, &scratch.merger, &ids)
            scratch.cache.insert(word, hash: hash, ids: ids[first...])
        }
    }

    // MARK: Ids to text

    /// What `token` contributes to text, which may be part of a character; nothing for special tokens and unknown ids.
    public func bytes(of token: Int32) -> [UInt8] {
        var bytes: [UInt8] = []
        append(bytesOf: token, to: &bytes)
        return bytes
    }

    /// The same, to the end of an array: without an array of its own for every token.
    func append(bytesOf token: Int32, to bytes: inout [UInt8]) {
        if vocabulary.kind(of: token) == .text { bytes.append(contentsOf: vocabulary.content(of: token)) }
    }

    /// Whether `token` is a control token (or the unknown token): it has a name and contributes no text.
    public func isSpecial(_ token: Int32) -> Bool { vocabulary.kind(of: token) == .special }

    /// The special or added token of that name, as `<|im_end|>`.
    package func token(named name: String) -> Int32? { vocabulary.named[Array(name.utf8)] }

    /// The text of `tokens`. Bytes that make no character are U+FFFD.
    ///
    /// - Parameter skipSpecial: leave special tokens out instead of writing their names.
    public func decode(_ tokens: [Int32], skipSpecial: Bool = true) -> String {
        var bytes: [UInt8] = []
        for token in tokens {
            switch vocabulary.kind(of: token) {
            case .text: bytes += vocabulary.content(of: token)
            case .special where !skipSpecial: bytes += vocabulary.content(of: token)
            default: break
            }
        }
        var dropped = parts.dropsFirstSpace && bytes.first == UInt8(ascii: " ") ? 1 : 0
        while parts.dropsLeadingSpaces, dropped < bytes.count, bytes[dropped] == UInt8(ascii: " ") { dropped += 1 }
        return String(decoding: bytes[dropped...], as: UTF8.self)
    }

    /// `token` for people: its text with control characters escaped, bytes that are no text as `\xE2`, a special token's name.
    public func display(_ token: Int32) -> String {
        guard vocabulary.kind(of: token) != nil else { return "<no token \(token)>" }
        var shown = ""
        var rest = vocabulary.content(of: token)
        while let first = rest.first {
            let length = UTF8Text.expectedLength(first)
            guard length <= rest.count, let character = String(validating: rest.prefix(length), as: UTF8.self),
                let scalar = character.unicodeScalars.first
            else {
                shown += "\\x" + (first < 16 ? "0" : "") + String(first, radix: 16, uppercase: true)
                rest = rest.dropFirst()
                continue
            }
            shown += scalar.properties.generalCategory == .control ? scalar.escaped(asASCII: true) : character
            rest = rest.dropFirst(length)
        }
        return shown
    }
}
