// SPDX-License-Identifier: Apache-2.0

extension Tokenizer {
    /// The tokenizer of a GGUF file.
    ///
    /// - Parameter source: the file's name, for errors.
    /// - Throws: `TokenizerError` for a vocabulary that contradicts itself, or that needs what is not supported.
    package convenience init(_ description: TokenizerDescription, source: String) throws(TokenizerError) {
        let reader = try DescriptionReader(description, source: source)
        var parts: Parts
        var addsBOS = false
        var addsEOS = false
        switch description.model {
        case "gpt2", "gemma4", "whitespace":
            let (encoder, preTokenizer, named) = try reader.bytePairs()
            addsBOS = named.addsBOS
            parts = Parts(splitter: reader.splitter, preTokenizer: preTokenizer, model: .bytePairs(encoder))
            if named.mergesCharacters, !named.dropsSpaces { parts.normalizer = Self.spaceMarks }
        case "llama":
            let prefixesSpace = description.addSpacePrefix ?? true
            addsBOS = true
            parts = Parts(
                splitter: reader.splitter, normalizer: Self.spaceMarks,
                spacePrefix: prefixesSpace ? .always(ifMissing: false) : .never, prefix: Normalizer.spaceMark,
                preTokenizer: PreTokenizer(cuts: reader.sentencePieceCuts),
                model: .sentencePiece(reader.sentencePiece()),
                dropsFirstSpace: prefixesSpace)
        case "t5":
            addsEOS = true
            let normalizer = try reader.unigramNormalizer()
            parts = Parts(
                splitter: reader.splitter, normalizer: Normalizer(steps: [.sentencePiece(normalizer)]),
                model: .unigram(try reader.unigram()),
                dropsFirstSpace: normalizer.addsSpace || normalizer.removesExtraSpaces)
        case "rwkv":
            parts = Parts(splitter: reader.splitter, model: .longestMatch(reader.longestMatch()))
        default:
            throw reader.error(
                "model is not supported (tokenizer.ggml.model)", expected: "gemma4, gpt2, llama, rwkv, t5, whitespace",
                found: "'\(description.model)'")
        }

        let prefix =
            (description.addBOS ?? addsBOS) ? try reader.required(reader.bos, "bos_token_id", for: "add_bos_token") : []
        let suffix =
            (description.addEOS ?? addsEOS) ? try reader.required(reader.eos, "eos_token_id", for: "add_eos_token") : []
        self.init(
            vocabulary: reader.vocabulary, bos: reader.bos, eos: reader.eos, endOfGeneration: reader.endOfGeneration,
            prefix: prefix, suffix: suffix, parts: parts)
    }

    private static let spaceMarks = Normalizer(steps: [
        .replace(pattern: [UInt8(ascii: " ")], with: Normalizer.spaceMark)
    ])
}

/// Checks a description and makes its tables.
private struct DescriptionReader {
    let description: TokenizerDescription
    let source: String
    let vocabulary: Vocabulary
    let splitter: SpecialTokenSplitter
    let bos: Int32?
    let eos: Int32?
    let endOfGeneration: Set<Int32>
    /// The pieces as the file spells them -> id.
    private let spelled: PieceTable
    private let unknown: Int32?

    private let named: NamedPreTokenizer?
    private var isByteLevel: Bool { description.model == "gpt2" && !(named?.mergesCharacters ?? false) }

    /// `token_type`, as llama.cpp numbers it.
    private enum TokenType: Int32 {
        case undefined, normal, unknown, control, userDefined, unused, byte
    }

    init(_ description: TokenizerDescription, source: String) throws(TokenizerError) {
        self.description = description
        self.source = source
        // What llama.cpp calls gemma4 and whitespace are byte pairs over characters, with a pre-tokenizer of that name.
        let preTokenizer =
            ["gemma4", "whitespace"].contains(description.model) ? description.model : description.preTokenizer
        named = NamedPreTokenizer.named(preTokenizer ?? "default")
        let isByteLevel = description.model == "gpt2" && !(named?.mergesCharacters ?? false)
        let count = description.tokens.count
        func error(_ problem: String, _ expected: String, _ found: String) -> TokenizerError {
            TokenizerError(file: source, problem: problem, expected: expected, found: found)
        }
        guard count > 0 else { throw error("no vocabulary", "tokenizer.ggml.tokens", "none") }
        guard count < Int(Int32.max) else { throw error("too many tokens", "fewer than 2^31", "\(count)") }
        guard description.tokenTypes.isEmpty || description.tokenTypes.count >= count else {
            throw error("token_type has too few elements", "\(count)", "\(description.tokenTypes.count)")
        }
        guard description.scores.isEmpty || description.scores.count >= count else {
            throw error("scores has too few elements", "\(count)", "\(description.scores.count)")
        }
        func id(_ value: Int?, _ key: String) throws(TokenizerError) -> Int32? {
            guard let value else { return nil }
            // -1 (2^32 - 1 as the unsigned number of the file) says that there is none.
            if value == -1 || value == Int(UInt32.max) { return nil }
            guard value >= 0, value < count else { throw error("\(key) is no token", "0 to \(count - 1)", "\(value)") }
            return Int32(value)
        }
        // What a model of that kind has where the file does not say.
        let defaults: (bos: Int32?, eos: Int32?, unknown: Int32?) =
            switch description.model {
            case "llama": (1, 2, 0)
            case "t5": (nil, 1, 2)
            default: (nil, nil, nil)
            }
        func existing(_ id: Int32?) -> Int32? { id.flatMap { $0 < count ? $0 : nil } }
        let bos = try id(description.bos, "bos_token_id") ?? existing(defaults.bos)
        let eos = try id(description.eos, "eos_token_id") ?? existing(defaults.eos)
        let unknown = try id(description.unknown, "unknown_token_id") ?? existing(defaults.unknown)
        let eot = try id(description.eot, "eot_token_id")
        let eom = try id(description.eom, "eom_token_id")

        var spelled = PieceTable(capacity: count)
        var vocabulary = Vocabulary(capacity: count)
        var special: [SpecialTokenSplitter.Entry] = []
        var named: [String: Int32] = [:]
        let spaceMark = Normalizer.spaceMark
        for (i, token) in description.tokens.enumerated() {
            let id = Int32(i)
            let text = token.isEmpty ? Array("[EMPTY_\(i)]".utf8) : token
            guard spelled.insert(text, value: id) else {
                throw error(
                    "duplicate token", "a different text for id \(i)",
                    "'\(String(decoding: text.prefix(64), as: UTF8.self))' as for id \(spelled.find(text) ?? -1)")
            }
            var type =
                description.tokenTypes.isEmpty ? .normal : TokenType(rawValue: description.tokenTypes[i]) ?? .undefined
            if EndOfGeneration.mayName(text) {
                let name = String(decoding: text, as: UTF8.self)
                let isEnd = EndOfGeneration.names.contains(name)
                if isEnd || EndOfGeneration.codeMarks.contains(name) || EndOfGeneration.otherCodeMarks.contains(name) {
                    // Converters are known to write these as normal tokens.
                    type = .control
                    named[name] = id
                }
            }
            switch type {
            case .control, .unknown:
                vocabulary.append(text, kind: .special)
                vocabulary.name(id, text)
                special.append(.init(id: id, text: text, isSpecial: true))
            case .userDefined:
                vocabulary.append(text, kind: .text)
                vocabulary.name(id, text)
                special.append(.init(id: id, text: text))
            case .byte:
                guard let byte = ByteToken.byte(spelledAs: text) else {
                    throw error(
                        "a byte token is not spelled as one", "<0x00> to <0xFF>", String(decoding: text, as: UTF8.self))
                }
                vocabulary.append(CollectionOfOne(byte), kind: .text)
            case .normal:
                if isByteLevel {
                    let bytes = text.withUnsafeBufferPointer(ByteLevelAlphabet.decode)
                    vocabulary.append(bytes ?? text, kind: .text)
                } else if description.model == "rwkv" {
                    vocabulary.append(Self.unescaped(text), kind: .text)
                } else if text.contains(spaceMark[0]) {
                    let step = Normalizer(steps: [.replace(pattern: spaceMark, with: [UInt8(ascii: " ")])])
                    vocabulary.append(step.apply(to: text), kind: .text)
                } else {
                    vocabulary.append(text, kind: .text)
                }
            case .unused, .undefined:
                vocabulary.append(text, kind: .unused)
            }
        }
        self.spelled = spelled
        self.vocabulary = vocabulary
        self.splitter = SpecialTokenSplitter(special, precedence: .longest)
        self.bos = bos
        self.eos = eos
        self.unknown = unknown
        self.endOfGeneration = EndOfGeneration.ids(of: named).union([eos, eot, eom].compactMap { $0 })
    }

    func error(_ problem: String, expected: String? = nil, found: String? = nil) -> TokenizerError {
        TokenizerError(file: source, problem: problem, expected: expected, found: found)
    }

    /// `id` as a list, which must be there because the file wants it at an end of every text.
    func required(_ id: Int32?, _ key: String, for flag: String) throws(TokenizerError) -> [Int32] {
        guard let id else { throw error("\(flag) is set", expected: key, found: "none") }
        return [id]
    }

    /// RWKV's spelling of bytes: \\t, \\n, \\r, \\xHH.
    private static func unescaped(_ text: [UInt8]) -> [UInt8] {
        var bytes: [UInt8] = []
        var rest = text[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "\\"), let next = rest.popFirst() else {
                bytes.append(byte)
                continue
            }
            switch next {
            case UInt8(ascii: "t"): bytes.append(0x09)
            case UInt8(ascii: "n"): bytes.append(0x0A)
            case UInt8(ascii: "r"): bytes.append(0x0D)
            case UInt8(ascii: "x"):
                bytes.append(UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16) ?? 0)
                rest = rest.dropFirst(2)
            default: bytes.append(next)
            }
        }
        return bytes
    }

    // MARK: Byte-pair encoding

    func bytePairs() throws(TokenizerError) -> (BytePairEncoder, PreTokenizer, NamedPreTokenizer) {
        let name = description.preTokenizer ?? "default"
        guard let named else {
            throw error(
                "pre-tokenizer is not supported (tokenizer.ggml.pre)",
                expected: "one of \(NamedPreTokenizer.supportedNames)",
                found: "'\(name)'")
        }
        guard !description.merges.isEmpty || spelled.count <= 256 || !named.needsMerges else {
            throw error("no merges", expected: "tokenizer.ggml.merges", found: "none")
        }
        guard description.merges.count < Int(UInt32.max) else { throw error("too many merges") }

        let count = Int32(description.tokens.count)
        // Strings that merges name and that are no tokens: they take part, and leave what of them are single ASCII tokens.
        var extra = PieceTable(capacity: 16)
        var substitutes: [[Int32]] = []
        func symbol(_ text: UnsafeBufferPointer<UInt8>) -> Int32 {
            if let id = spelled.find(text) ?? extra.find(text) { return id }
            let new = count + Int32(extra.count)
            extra.insert(text, value: new)
            substitutes.append(text.compactMap { spelled.find([$0]) })
            return new
        }

        var merges = PairTable(capacity: description.merges.count)
        for (rank, merge) in description.merges.enumerated() {
            // The space that separates is not the first character.
            guard let space = merge.dropFirst().firstIndex(of: UInt8(ascii: " ")), space + 1 < merge.count else {
                throw error(
                    "merge \(rank) is not a pair", expected: "two strings with a space between them",
                    found: "'\(String(decoding: merge.prefix(64), as: UTF8.self))'")
            }
            var joined = merge
            joined.remove(at: space)
            joined.withUnsafeBufferPointer { joined in
                let left = symbol(UnsafeBufferPointer(rebasing: joined[..<space]))
                let right = symbol(UnsafeBufferPointer(rebasing: joined[space...]))
                let merged = symbol(joined)
                merges.insert(left, right, rank: UInt32(rank), merged: merged, replacing: false)
            }
        }

        var encoder: BytePairEncoder
        if named.mergesCharacters {
            // Characters that are no token take part in merges too, so they are symbols; at the end they are bytes.
            let byteTokens = (0..<256).map { spelled.find(ByteToken.name(of: $0)) ?? -1 }
            var pieces = spelled
            for entry in 0..<extra.count {
                let text = extra.key(entry)
                pieces.insert(text, value: count + Int32(entry))
                substitutes[entry] = text.map { byteTokens[Int($0)] }.filter { $0 >= 0 }
            }
            encoder = BytePairEncoder(
                alphabet: .characters(pieces: pieces, bytes: byteTokens), merges: merges, vocabularySize: count)
            encoder.skipsMissingBytes = true
            if named.prefersLineFeeds { encoder.lineFeeds = spelled }
            if named.prefersWholeWords { encoder.wholeWords = spelled }
        } else {
            let bytes = (0..<256).map { byte in
                ByteLevelAlphabet.character(of: UInt8(byte)).withUnsafeBufferPointer(symbol)
            }
            encoder = BytePairEncoder(alphabet: .bytes(bytes), merges: merges, vocabularySize: count)
            if named.prefersWholeWords {
                var words = PieceTable(capacity: description.tokens.count)
                for (id, token) in description.tokens.enumerated() {
                    if let bytes = token.withUnsafeBufferPointer(ByteLevelAlphabet.decode) {
                        words.insert(bytes, value: Int32(id))
                    }
                }
                encoder.wholeWords = words
            }
        }
        encoder.substitutes = substitutes
        guard let preTokenizer = named.preTokenizer() else {
            throw error("pre-tokenizer has an expression that is too long", found: "'\(name)'")
        }
        return (encoder, preTokenizer, named)
    }

    // MARK: Unigram

    func unigramNormalizer() throws(TokenizerError) -> SentencePieceNormalizer {
        var normalizer = SentencePieceNormalizer()
        normalizer.isLlama = true
        normalizer.addsSpace = description.addSpacePrefix ?? false
        normalizer.removesExtraSpaces = description.removeExtraSpaces ?? false
        if !description.charsmap.isEmpty {
            normalizer.charsmap = PrecompiledCharsmap(description.charsmap)
            guard normalizer.charsmap != nil else { throw error("precompiled_charsmap is no valid table") }
        }
        normalizer.userDefined = PieceTrie(pieces { $0 == .userDefined })
        return normalizer
    }

    func unigram() throws(TokenizerError) -> UnigramEncoder {
        guard let longest = description.tokens.map(\.count).max(), longest <= TokenizerJSON.longestPiece else {
            throw error("a piece is too long", expected: "at most \(TokenizerJSON.longestPiece) bytes")
        }
        let scores =
            description.scores.isEmpty ? [Float](repeating: 0, count: description.tokens.count) : description.scores
        return UnigramEncoder(
            pieces: pieces { $0 == .normal || $0 == .userDefined || $0 == .unused }, scores: scores.map(Double.init),
            userDefined: Set(pieces { $0 == .userDefined }.map(\.value)), normal: pieces { $0 == .normal }.map(\.value),
            unknown: unknown, bytes: [], flavor: .llama)
    }

    /// The tokens of some types, by their type in the file.
    private func pieces(_ isIncluded: (TokenType) -> Bool) -> [(text: [UInt8], value: Int32)] {
        description.tokens.enumerated().compactMap { id, text in
            let type = description.tokenTypes.isEmpty ? 1 : description.tokenTypes[id]
            return isIncluded(TokenType(rawValue: type) ?? .undefined) ? (text, Int32(id)) : nil
        }
    }

    // MARK: RWKV

    func longestMatch() -> LongestMatchEncoder {
        LongestMatchEncoder(
            pieces: PieceTrie(description.tokens.enumerated().map { (Self.unescaped($0.element), Int32($0.offset)) }),
            unknown: unknown)
    }

    // MARK: SentencePiece

    var sentencePieceCuts: [PreTokenizer.Cut] { spelled.keepsWordsApart ? [.beforeSpaceMarks] : [] }

    func sentencePiece() -> SentencePieceEncoder {
        let bytes = (0..<256).map { spelled.find(ByteToken.name(of: $0)) ?? spelled.find([UInt8($0)]) ?? -1 }
        let scores = description.scores
        let priorities = description.tokens.indices.map {
            SentencePieceEncoder.priority(score: scores.isEmpty ? 0 : scores[$0])
        }
        return SentencePieceEncoder(pieces: spelled, priorities: priorities, bytes: bytes, unknown: unknown)
    }
}
