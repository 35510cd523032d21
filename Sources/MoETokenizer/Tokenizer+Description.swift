// SPDX-License-Identifier: Apache-2.0

extension Tokenizer {
    /// The tokenizer of a GGUF file.
    ///
    /// - Parameter source: the file's name, for errors.
    /// - Throws: `TokenizerError` for a vocabulary that contradicts itself, or that needs what is not supported.
    package convenience init(_ description: TokenizerDescription, source: String) throws(TokenizerError) {
        let reader = try DescriptionReader(description, source: source)
        let parts: Parts
        var addsBOS = false
        switch description.model {
        case "gpt2":
            let (encoder, preTokenizer, named) = try reader.bytePairs()
            addsBOS = named.addsBOS
            parts = Parts(splitter: reader.splitter, preTokenizer: preTokenizer, model: .bytePairs(encoder))
        case "llama":
            let prefixesSpace = description.addSpacePrefix ?? true
            addsBOS = true
            parts = Parts(
                splitter: reader.splitter,
                normalizer: Normalizer(steps: [.replace(pattern: [UInt8(ascii: " ")], with: Normalizer.spaceMark)]),
                spacePrefix: prefixesSpace ? .always(ifMissing: false) : .never, prefix: Normalizer.spaceMark,
                preTokenizer: PreTokenizer(cuts: reader.sentencePieceCuts),
                model: .sentencePiece(reader.sentencePiece()),
                dropsFirstSpace: prefixesSpace)
        default:
            throw reader.error("model is not supported", expected: "gpt2, llama", found: "'\(description.model)'")
        }

        let prefix =
            (description.addBOS ?? addsBOS) ? try reader.required(reader.bos, "bos_token_id", for: "add_bos_token") : []
        let suffix =
            (description.addEOS ?? false) ? try reader.required(reader.eos, "eos_token_id", for: "add_eos_token") : []
        self.init(
            vocabulary: reader.vocabulary, bos: reader.bos, eos: reader.eos, endOfGeneration: reader.endOfGeneration,
            prefix: prefix, suffix: suffix, parts: parts)
    }
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

    private var isByteLevel: Bool { description.model == "gpt2" }

    /// `token_type`, as llama.cpp numbers it.
    private enum TokenType: Int32 {
        case undefined, normal, unknown, control, userDefined, unused, byte
    }

    init(_ description: TokenizerDescription, source: String) throws(TokenizerError) {
        self.description = description
        self.source = source
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
        let bos = try id(description.bos, "bos_token_id") ?? (description.model == "llama" && count > 1 ? 1 : nil)
        let eos = try id(description.eos, "eos_token_id") ?? (description.model == "llama" && count > 2 ? 2 : nil)
        let unknown = try id(description.unknown, "unknown_token_id") ?? (description.model == "llama" ? 0 : nil)
        let eot = try id(description.eot, "eot_token_id")
        let eom = try id(description.eom, "eom_token_id")

        var spelled = PieceTable(capacity: count)
        var vocabulary = Vocabulary(capacity: count)
        var special: [SpecialTokenSplitter.Entry] = []
        var named: [String: Int32] = [:]
        let spaceMark = Normalizer.spaceMark
        let isByteLevel = description.model == "gpt2"
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
                guard let byte = Self.byte(spelledAs: text) else {
                    throw error(
                        "a byte token is not spelled as one", "<0x00> to <0xFF>", String(decoding: text, as: UTF8.self))
                }
                vocabulary.append(CollectionOfOne(byte), kind: .text)
            case .normal:
                if isByteLevel {
                    let bytes = text.withUnsafeBufferPointer(ByteLevelAlphabet.decode)
                    vocabulary.append(bytes ?? text, kind: .text)
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

    /// The byte that `<0x0A>` spells.
    private static func byte(spelledAs text: [UInt8]) -> UInt8? {
        guard text.count == 6, text.starts(with: "<0x".utf8), text[5] == UInt8(ascii: ">") else { return nil }
        return UInt8(String(decoding: text[3..<5], as: UTF8.self), radix: 16)
    }

    // MARK: Byte-level byte-pair encoding

    func bytePairs() throws(TokenizerError) -> (BytePairEncoder, PreTokenizer, NamedPreTokenizer) {
        let name = description.preTokenizer ?? "default"
        guard let named = NamedPreTokenizer.named(name) else {
            throw error(
                "pre-tokenizer is not supported (tokenizer.ggml.pre)",
                expected: "one of \(NamedPreTokenizer.supportedNames)",
                found: "'\(name)'")
        }
        guard !description.merges.isEmpty || spelled.count <= 256 else {
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

        let bytes = (0..<256).map { byte in
            ByteLevelAlphabet.character(of: UInt8(byte)).withUnsafeBufferPointer(symbol)
        }
        var encoder = BytePairEncoder(alphabet: .bytes(bytes), merges: merges, vocabularySize: count)
        encoder.substitutes = substitutes
        if named.prefersWholeWords {
            var words = PieceTable(capacity: description.tokens.count)
            for (id, token) in description.tokens.enumerated() {
                if let bytes = token.withUnsafeBufferPointer(ByteLevelAlphabet.decode) {
                    words.insert(bytes, value: Int32(id))
                }
            }
            encoder.wholeWords = words
        }
        guard let preTokenizer = named.preTokenizer() else {
            throw error("pre-tokenizer has an expression that is too long", found: "'\(name)'")
        }
        return (encoder, preTokenizer, named)
    }

    // MARK: SentencePiece

    var sentencePieceCuts: [PreTokenizer.Cut] { spelled.keepsWordsApart ? [.beforeSpaceMarks] : [] }

    func sentencePiece() -> SentencePieceEncoder {
        let bytes = (0..<256).map { byte in
            let digits = String(byte, radix: 16, uppercase: true)
            let name = "<0x" + (byte < 16 ? "0" : "") + digits + ">"
            return spelled.find(Array(name.utf8)) ?? spelled.find([UInt8(byte)]) ?? -1
        }
        let scores = description.scores
        let priorities = description.tokens.indices.map {
            SentencePieceEncoder.priority(score: scores.isEmpty ? 0 : scores[$0])
        }
        return SentencePieceEncoder(pieces: spelled, priorities: priorities, bytes: bytes, unknown: unknown)
    }
}
