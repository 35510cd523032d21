// SPDX-License-Identifier: Apache-2.0

import MoEJSON

/// A token that is not of the model's own vocabulary, or that is and is special.
struct AddedToken {
    let id: Int32
    let content: [UInt8]
    let isSpecial: Bool
    let isNormalized: Bool
    let stripsLeft: Bool
    let stripsRight: Bool
    let isWholeWord: Bool
}

extension TokenizerJSON {
    /// Ids from here on are refused: a file that lies about one id must not cost memory.
    private static let idLimit = 1 << 22

    private func id(_ value: Value?, of what: @autoclosure () -> String) throws(TokenizerError) -> Int32 {
        guard let id = document.int(value), id >= 0, id < Self.idLimit else {
            throw error(
                "\(what()) has no valid id", expected: "0 to \(Self.idLimit - 1)",
                found: document.int(value).map(String.init))
        }
        return Int32(id)
    }

    // MARK: Added tokens

    /// `added_tokens`, and what `tokenizer_config.json` adds in `added_tokens_decoder`.
    func addedTokens(config: TokenizerJSON?) throws(TokenizerError) -> [AddedToken] {
        var tokens: [AddedToken] = []
        var known: Set<Int32> = []
        for value in document.array(member("added_tokens")) ?? .init() {
            let token = try addedToken(value, id: id(document.member("id", of: value), of: "an added token"))
            if known.insert(token.id).inserted { tokens.append(token) }
        }
        for entry in config?.document.object(config?.member("added_tokens_decoder")) ?? .init() {
            guard let config, let number = config.document.string(entry.key).flatMap(Int32.init), number >= 0,
                number < Self.idLimit
            else {
                throw error("added_tokens_decoder has no valid id", found: config?.document.string(entry.key))
            }
            if known.insert(number).inserted { tokens.append(try config.addedToken(entry.value, id: number)) }
        }
        return tokens
    }

    private func addedToken(_ value: Value, id: Int32) throws(TokenizerError) -> AddedToken {
        guard let content = document.bytes(document.member("content", of: value)) else {
            throw error("added token \(id) has no content")
        }
        func flag(_ name: String) -> Bool? { document.bool(document.member(name, of: value)) }
        let isSpecial = flag("special") ?? false
        return AddedToken(
            id: id, content: content, isSpecial: isSpecial, isNormalized: flag("normalized") ?? !isSpecial,
            stripsLeft: flag("lstrip") ?? false, stripsRight: flag("rstrip") ?? false,
            isWholeWord: flag("single_word") ?? false)
    }

    // MARK: Model

    /// The model's vocabulary: the tokens' text and their ids.
    struct ModelVocabulary {
        var pieces: PieceTable
        /// id -> text, empty where there is none.
        var texts: [[UInt8]]
    }

    func modelVocabulary() throws(TokenizerError) -> ModelVocabulary {
        let model = member("model")
        let type = document.string(document.member("type", of: model))
        // Files from before models had types are byte-pair ones when they have merges.
        guard type == "BPE" || type == nil && document.member("merges", of: model) != nil else {
            throw error("model is not supported", expected: "BPE", found: "'\(type ?? "none")'")
        }
        guard let entries = document.object(document.member("vocab", of: model)), !entries.isEmpty else {
            throw error("no vocabulary", expected: "model.vocab")
        }
        var pieces = PieceTable(capacity: entries.count)
        var texts = [[UInt8]](repeating: [], count: entries.count)
        for entry in entries {
            let text = document.bytes(entry.key) ?? []
            let id = try id(entry.value, of: "token '\(String(decoding: text.prefix(64), as: UTF8.self))'")
            guard pieces.insert(text, value: id) else {
                throw error("duplicate token", found: "'\(String(decoding: text.prefix(64), as: UTF8.self))'")
            }
            while texts.count <= id { texts.append([]) }
            guard texts[Int(id)].isEmpty else {
                throw error("two tokens have one id", expected: "an id each", found: "\(id) twice")
            }
            texts[Int(id)] = text
        }
        return ModelVocabulary(pieces: pieces, texts: texts)
    }

    func encoder(_ vocabulary: ModelVocabulary, isByteLevel: Bool) throws(TokenizerError) -> BytePairEncoder {
        let model = member("model")
        func setting(_ name: String) -> Value? { document.member(name, of: model) }
        for name in ["continuing_subword_prefix", "end_of_word_suffix"]
        where !(document.bytes(setting(name)) ?? []).isEmpty {
            throw error("model.\(name) is not supported", expected: "none", found: document.string(setting(name)))
        }
        if let dropout = document.double(setting("dropout")), dropout != 0 {
            throw error("model.dropout is not supported", expected: "none", found: "\(dropout)")
        }

        let merges = try mergeTable(document.array(setting("merges")) ?? .init(), vocabulary.pieces)
        let hasByteTokens = document.bool(setting("byte_fallback")) ?? false
        let alphabet: BytePairEncoder.Alphabet =
            isByteLevel
            ? .bytes((0..<256).map { vocabulary.pieces.find(ByteLevelAlphabet.character(of: UInt8($0))) ?? -1 })
            : .characters(pieces: vocabulary.pieces, bytes: hasByteTokens ? byteTokens(vocabulary.pieces) : [])
        var encoder = BytePairEncoder(alphabet: alphabet, merges: merges, vocabularySize: Int32(vocabulary.texts.count))
        if let name = document.bytes(setting("unk_token")) {
            guard let unknown = vocabulary.pieces.find(name) else {
                throw error("model.unk_token is no token", found: String(decoding: name, as: UTF8.self))
            }
            encoder.unknown = unknown
        }
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
        (0..<256).map { byte in
            let digits = String(byte, radix: 16, uppercase: true)
            return pieces.find(Array("<0x\(byte < 16 ? "0" : "")\(digits)>".utf8)) ?? -1
        }
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
