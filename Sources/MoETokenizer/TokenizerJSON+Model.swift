// SPDX-License-Identifier: Apache-2.0

import MoEJSON

extension TokenizerJSON {
    /// The model's vocabulary: the tokens' text and their ids.
    struct ModelVocabulary {
        var pieces: PieceTable
        /// id -> text, empty where there is none.
        var texts: [[UInt8]]
        /// id -> score, of a list of pairs only.
        var scores: [Double] = []
    }

    /// The kinds of models.
    enum ModelType: String {
        case bytePairs = "BPE"
        case unigram = "Unigram"
        case wordPiece = "WordPiece"
        case wordLevel = "WordLevel"
    }

    func modelType() throws(TokenizerError) -> ModelType {
        let model = member("model")
        let name = document.string(document.member("type", of: model))
        if let type = name.flatMap(ModelType.init) { return type }
        // Files from before models had types are known by what they have.
        if name == nil, document.member("merges", of: model) != nil { return .bytePairs }
        if name == nil, document.array(document.member("vocab", of: model)) != nil { return .unigram }
        throw error(
            "model is not supported", expected: "BPE, Unigram, WordPiece, WordLevel", found: "'\(name ?? "none")'")
    }

    func modelVocabulary() throws(TokenizerError) -> ModelVocabulary {
        let vocab = document.member("vocab", of: member("model"))
        if let list = document.array(vocab) { return try scoredVocabulary(list) }
        guard let entries = document.object(vocab), !entries.isEmpty else {
            throw error("no vocabulary", expected: "model.vocab")
        }
        var result = ModelVocabulary(pieces: PieceTable(capacity: entries.count), texts: [])
        result.texts = [[UInt8]](repeating: [], count: entries.count)
        for entry in entries {
            let text = document.bytes(entry.key) ?? []
            let id = try id(entry.value, of: "token '\(String(decoding: text.prefix(64), as: UTF8.self))'")
            guard result.pieces.insert(text, value: id) else {
                throw error("duplicate token", found: "'\(String(decoding: text.prefix(64), as: UTF8.self))'")
            }
            while result.texts.count <= id { result.texts.append([]) }
            guard result.texts[Int(id)].isEmpty else {
                throw error("two tokens have one id", expected: "an id each", found: "\(id) twice")
            }
            result.texts[Int(id)] = text
        }
        return result
    }

    /// A list of pairs (piece, score): Unigram's.
    private func scoredVocabulary(_ list: JSONDocument.Elements) throws(TokenizerError) -> ModelVocabulary {
        guard !list.isEmpty, list.count < Self.idLimit else { throw error("no vocabulary", expected: "model.vocab") }
        var result = ModelVocabulary(pieces: PieceTable(capacity: list.count), texts: [])
        for (id, value) in list.enumerated() {
            let pair = document.array(value)
            guard let pair, pair.count == 2, let text = document.bytes(pair.first),
                let score = document.double(pair.dropFirst().first)
            else { throw error("token \(id) is no pair", expected: "a piece and a score") }
            // Of two with the same text the last counts.
            result.pieces.insert(text, value: Int32(id))
            result.texts.append(text)
            result.scores.append(score)
        }
        return result
    }

    // MARK: Unigram

    /// Longer pieces are refused: they could make a text cost its length times theirs.
    static let longestPiece = 1024

    func unigram(_ vocabulary: ModelVocabulary) throws(TokenizerError) -> UnigramEncoder {
        let model = member("model")
        guard vocabulary.scores.count == vocabulary.texts.count else {
            throw error("Unigram's vocabulary has no scores", expected: "model.vocab: a list of pairs")
        }
        if let long = vocabulary.texts.first(where: { $0.count > Self.longestPiece }) {
            throw error(
                "a piece is too long", expected: "at most \(Self.longestPiece) bytes", found: "\(long.count) bytes")
        }
        var unknown: Int32?
        if let value = document.member("unk_id", of: model), !document.isNull(value) {
            guard let id = document.int(value), id >= 0, id < vocabulary.texts.count else {
                throw error(
                    "model.unk_id is no token", expected: "0 to \(vocabulary.texts.count - 1)",
                    found: document.int(value).map(String.init))
            }
            unknown = Int32(id)
        }
        let hasBytes = document.bool(document.member("byte_fallback", of: model)) ?? false
        return UnigramEncoder(
            pieces: vocabulary.texts.enumerated().map { ($0.element, Int32($0.offset)) }, scores: vocabulary.scores,
            userDefined: [], normal: 0..<Int32(vocabulary.texts.count), unknown: unknown,
            bytes: hasBytes ? byteTokens(vocabulary.pieces) : [], flavor: .huggingFace)
    }

    // MARK: Words

    func wordPiece(_ vocabulary: ModelVocabulary) throws(TokenizerError) -> WordPieceEncoder {
        let model = member("model")
        let unknown = try namedToken("unk_token", vocabulary) ?? vocabulary.pieces.find(Array("[UNK]".utf8))
        guard let unknown else { throw error("model.unk_token is no token", expected: "a token") }
        return WordPieceEncoder(
            pieces: vocabulary.texts.enumerated().map { ($0.element, Int32($0.offset)) },
            continuationPrefix: document.bytes(document.member("continuing_subword_prefix", of: model))
                ?? Array("##".utf8), unknown: unknown,
            longestWord: document.int(document.member("max_input_chars_per_word", of: model)) ?? 100)
    }

    func wordLevel(_ vocabulary: ModelVocabulary) throws(TokenizerError) -> WordLevelEncoder {
        WordLevelEncoder(words: vocabulary.pieces, unknown: try? namedToken("unk_token", vocabulary))
    }

    /// The token that a setting of the model names.
    private func namedToken(_ setting: String, _ vocabulary: ModelVocabulary) throws(TokenizerError) -> Int32? {
        guard let name = document.bytes(document.member(setting, of: member("model"))) else { return nil }
        guard let id = vocabulary.pieces.find(name) else {
            throw error("model.\(setting) is no token", found: "'\(String(decoding: name.prefix(64), as: UTF8.self))'")
        }
        return id
    }

    // MARK: Byte pairs

    func encoder(_ vocabulary: ModelVocabulary, isByteLevel: Bool) throws(TokenizerError) -> BytePairEncoder {
        let model = member("model")
        func setting(_ name: String) -> Value? { document.member(name, of: model) }
        for name in ["continuing_subword_prefix", "end_of_word_suffix"]
        where !(document.bytes(setting(name)) ?? []).isEmpty {
            throw error("model.\(name) is not supported", expected: "none", found: document.string(setting(name)))
        }

        let merges = try mergeTable(document.array(setting("merges")) ?? .init(), vocabulary.pieces)
        let hasByteTokens = document.bool(setting("byte_fallback")) ?? false
        let alphabet: BytePairEncoder.Alphabet =
            isByteLevel
            ? .bytes((0..<256).map { vocabulary.pieces.find(ByteLevelAlphabet.character(of: UInt8($0))) ?? -1 })
            : .characters(pieces: vocabulary.pieces, bytes: hasByteTokens ? byteTokens(vocabulary.pieces) : [])
        var encoder = BytePairEncoder(alphabet: alphabet, merges: merges, vocabularySize: Int32(vocabulary.texts.count))
        encoder.unknown = try namedToken("unk_token", vocabulary)
        encoder.fusesUnknown = document.bool(setting("fuse_unk")) ?? false
        if document.bool(setting("ignore_merges")) ?? false {
            var words = PieceTable(capacity: vocabulary.texts.count)
            for (id, text) in vocabulary.texts.enumerated() where !text.isEmpty {
                let bytes: [UInt8]? = isByteLevel ? text.withUnsafeBufferPointer(ByteLevelAlphabet.decode) : text
                if let bytes { words.insert(bytes, value: Int32(id)) }
            }
            encoder.wholeWords = words
        }
        return encoder
    }

    private func byteTokens(_ pieces: PieceTable) -> [Int32] {
        (0..<256).map { pieces.find(ByteToken.name(of: $0)) ?? -1 }
    }

    /// Merges are "left right", or in newer files ["left", "right"].
    private func mergeTable(_ merges: JSONDocument.Elements, _ pieces: PieceTable) throws(TokenizerError) -> PairTable {
        guard merges.count < Int(UInt32.max) else { throw error("too many merges") }
        var table = PairTable(capacity: merges.count)
        var joined: [UInt8] = []
        for (rank, merge) in merges.enumerated() {
            guard let split = join(merge, into: &joined) else {
                throw error("merge \(rank) is not a pair", expected: "two strings")
            }
            let found = joined.withUnsafeBufferPointer { joined -> (Int32, Int32, Int32)? in
                guard let left = pieces.find(UnsafeBufferPointer(rebasing: joined[..<split])),
                    let right = pieces.find(UnsafeBufferPointer(rebasing: joined[split...])),
                    let merged = pieces.find(joined)
                else { return nil }
                return (left, right, merged)
            }
            guard let (left, right, merged) = found else {
                throw error(
                    "merge \(rank) uses what is no token", expected: "three tokens: left, right and both together",
                    found: "'\(String(decoding: joined.prefix(64), as: UTF8.self))'")
            }
            table.insert(left, right, rank: UInt32(rank), merged: merged, replacing: true)
        }
        return table
    }

    /// Both sides of a merge and where the right one begins; nil when `merge` is no pair.
    private func join(_ merge: Value, into joined: inout [UInt8]) -> Int? {
        joined.removeAll(keepingCapacity: true)
        func append(_ value: Value?) -> Bool { document.withBytes(value) { joined.append(contentsOf: $0) } != nil }
        guard let pair = document.array(merge) else {
            let space = UInt8(ascii: " ")
            guard append(merge), let split = joined.firstIndex(of: space), joined.lastIndex(of: space) == split else {
                return nil
            }
            joined.remove(at: split)
            return split
        }
        guard pair.count == 2, append(pair.first) else { return nil }
        let split = joined.count
        return append(pair.dropFirst().first) ? split : nil
    }
}
