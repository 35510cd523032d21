// SPDX-License-Identifier: Apache-2.0

/// Text to token ids and back.
///
/// Made from a vocabulary in a GGUF file (`init(_:source:)`) or from a Hugging Face `tokenizer.json`
/// (`init(tokenizerJSON:tokenizerConfig:generationConfig:source:)`), and faithful to the program that defines each: llama.cpp for
/// the former, Python's `tokenizers` for the latter. Immutable, so it may be used from any thread; the same text always gives
/// the same ids.
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
            case bytePairs(BytePairEncoder, PreTokenizer)
            case sentencePiece(SentencePieceEncoder, PreTokenizer)
        }
        /// Where a space (or `▁`) is put before a stretch of text.
        enum SpacePrefix: Sendable {
            case never
            /// Before every stretch between special tokens: unless it has one, if `ifMissing`.
            case always(ifMissing: Bool)
            /// Before the stretch that starts the text, unless it has one.
            case first
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
        var model: Model
        /// Spaces are `▁` in the pieces: the first of a text was put there by `encode` and is not part of the text.
        var dropsFirstSpace = false
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
        var ids: [Int32] = addSpecial ? prefix : []
        var text = text
        text.withUTF8 { bytes in
            ids.reserveCapacity(bytes.count / 3 + 8)
            var scratch = Scratch()
            for segment in parts.splitter.split(bytes, parseSpecial: parseSpecial) {
                if let token = segment.token {
                    ids.append(token)
                    continue
                }
                let stretch = UnsafeBufferPointer(rebasing: bytes[segment.range])
                if parts.normalizer.isIdentity, parts.normalizedSplitter == nil {
                    encode(stretch, isFirst: segment.range.lowerBound == 0, &scratch, into: &ids)
                    continue
                }
                let normalized = parts.normalizer.apply(to: Array(stretch))
                normalized.withUnsafeBufferPointer { normalized in
                    let inner =
                        parts.normalizedSplitter?.split(normalized, parseSpecial: parseSpecial)
                        ?? [.init(range: 0..<normalized.count, token: nil)]
                    for part in inner {
                        if let token = part.token {
                            ids.append(token)
                        } else {
                            encode(
                                UnsafeBufferPointer(rebasing: normalized[part.range]),
                                isFirst: segment.range.lowerBound == 0 && part.range.lowerBound == 0, &scratch, into: &ids)
                        }
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
        if parts.marksSpaces, text.contains(UInt8(ascii: " ")) {
            Self.marking.apply(to: Array(text)).withUnsafeBufferPointer {
                encodeStretch($0, isFirst: isFirst, &scratch, into: &ids)
            }
        } else {
            encodeStretch(text, isFirst: isFirst, &scratch, into: &ids)
        }
    }

    private static let marking = Normalizer(steps: [.replace(pattern: [UInt8(ascii: " ")], with: Normalizer.spaceMark)])

    private func encodeStretch(
        _ text: UnsafeBufferPointer<UInt8>, isFirst: Bool, _ scratch: inout Scratch, into ids: inout [Int32]
    ) {
        let isPrefixed =
            switch parts.spacePrefix {
            case .never: false
            case .always(let ifMissing): !ifMissing || !text.starts(with: parts.prefix)
            case .first: isFirst && !text.starts(with: parts.prefix)
            }
        if isPrefixed {
            (parts.prefix + text).withUnsafeBufferPointer { encodeWords($0, &scratch, into: &ids) }
        } else {
            encodeWords(text, &scratch, into: &ids)
        }
    }

    /// Room that is used again from word to word.
    private struct Scratch {
        var ends: [Int] = []
        var cache = WordCache()
        var merger = PairMerger()
    }

    private func encodeWords(_ text: UnsafeBufferPointer<UInt8>, _ scratch: inout Scratch, into ids: inout [Int32]) {
        switch parts.model {
        case .bytePairs(let encoder, let preTokenizer):
            forEachWord(of: text, preTokenizer, &scratch, into: &ids) { encoder.encode($0, merger: &$1, into: &$2) }
        case .sentencePiece(let encoder, let preTokenizer):
            forEachWord(of: text, preTokenizer, &scratch, into: &ids) { encoder.encode($0, merger: &$1, into: &$2) }
        }
    }

    /// Cuts `text` into words and appends the ids of each: those met before, or those that `encode` appends.
    @inline(__always)
    private func forEachWord(
        of text: UnsafeBufferPointer<UInt8>, _ preTokenizer: PreTokenizer, _ scratch: inout Scratch,
        into ids: inout [Int32],
        _ encode: (UnsafeBufferPointer<UInt8>, inout PairMerger, inout [Int32]) -> Void
    ) {
        preTokenizer.words(of: text, into: &scratch.ends)
        var start = 0
        for end in scratch.ends {
            let word = UnsafeBufferPointer(rebasing: text[start..<end])
            start = end
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
        let dropped = parts.dropsFirstSpace && bytes.first == UInt8(ascii: " ") ? 1 : 0
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
