// SPDX-License-Identifier: Apache-2.0

import MoEJSON

extension Tokenizer {
    /// The tokenizer of a SentencePiece `.model` file: unigram or byte pairs.
    ///
    /// - Parameters:
    ///   - sentencePiece: the file's contents.
    ///   - tokenizerConfig: of `tokenizer_config.json` beside it: whether BOS and EOS are added, more tokens.
    ///   - source: the file's name, for errors.
    /// - Throws: `TokenizerError` for a file that contradicts itself, or that needs what is not supported.
    package convenience init(sentencePiece: [UInt8], tokenizerConfig: [UInt8]? = nil, source: String) throws(TokenizerError)
    {
        let model = try SentencePieceModel(sentencePiece, source: source)
        let extra = try ExtraTokens(tokenizerConfig, source: source)
        var charsmap: PrecompiledCharsmap?
        if !model.charsmap.isEmpty {
            charsmap = PrecompiledCharsmap(model.charsmap)
            guard charsmap != nil else {
                throw TokenizerError(file: source, problem: "normalizer_spec.precompiled_charsmap is no valid table")
            }
        }

        let ids = model.pieces.indices
        var bytes = [Int32](repeating: -1, count: 256)
        var usable: [(text: [UInt8], value: Int32)] = []
        var userDefined: [(text: [UInt8], value: Int32)] = []
        var vocabulary = Vocabulary(capacity: model.pieces.count)
        var special: [SpecialTokenSplitter.Entry] = []
        let unmark = Normalizer.Step.replace(pattern: Normalizer.spaceMark, with: [UInt8(ascii: " ")])
        for id in ids {
            let piece = model.pieces[id]
            switch piece.type {
            case .normal, .unused, .userDefined:
                // An unused piece is never the result.
                if piece.type != .unused { usable.append((piece.text, Int32(id))) }
                if piece.type == .userDefined { userDefined.append((piece.text, Int32(id))) }
                vocabulary.append(unmark.apply(to: piece.text), kind: .text)
            case .byte:
                guard let byte = ByteToken.byte(spelledAs: piece.text) else {
                    throw TokenizerError(
                        file: source, problem: "a byte piece is not spelled as one", expected: "<0x00> to <0xFF>",
                        found: "'\(String(decoding: piece.text.prefix(64), as: UTF8.self))'")
                }
                bytes[Int(byte)] = Int32(id)
                vocabulary.append(CollectionOfOne(byte), kind: .text)
            case .control, .unknown:
                vocabulary.append(piece.text, kind: .special)
                vocabulary.name(Int32(id), piece.text)
                if piece.type == .control { special.append(.init(id: Int32(id), text: piece.text, isSpecial: true)) }
            }
        }
        extra.add(to: &vocabulary, &special)

        let allBytes = bytes.allSatisfy { $0 >= 0 } ? bytes : []
        let normal = ids.filter { model.pieces[$0].type == .normal }.map(Int32.init)
        let encoder: Parts.Model
        var steps: [PreTokenizer.Step] = []
        switch model.kind {
        case .unigram:
            encoder = .unigram(
                UnigramEncoder(
                    pieces: usable, scores: model.pieces.map { Double($0.score) },
                    userDefined: Set(userDefined.map(\.value)), normal: normal, unknown: Int32(model.unknown),
                    bytes: allBytes, flavor: .sentencePiece))
        default:
            var pieces = PieceTable(capacity: usable.count)
            for (text, id) in usable { pieces.insert(text, value: id) }
            if !model.putsSpacesLast, pieces.keepsWordsApart {
                steps = [.init(cut: .beforeSpaceMarks)]
            }
            var merging = SentencePieceEncoder(
                pieces: pieces, priorities: model.pieces.map { SentencePieceEncoder.priority(score: $0.score) },
                bytes: allBytes.isEmpty ? [Int32](repeating: -1, count: 256) : allBytes, unknown: Int32(model.unknown))
            merging.userDefined = PieceTrie(userDefined)
            merging.fusesUnknown = allBytes.isEmpty
            encoder = .sentencePiece(merging)
        }

        let normalizer = SentencePieceNormalizer(
            charsmap: charsmap, userDefined: PieceTrie(userDefined), addsSpace: model.addsSpace,
            removesExtraSpaces: model.removesExtraSpaces, writesMarks: model.writesMarks,
            putsSpacesLast: model.putsSpacesLast)
        var parts = Parts(
            splitter: SpecialTokenSplitter(special, precedence: .leftmostLongest),
            normalizer: Normalizer(steps: [.sentencePiece(normalizer)]), model: encoder)
        parts.preTokenizer = PreTokenizer(steps: steps)
        parts.dropsFirstSpace = model.addsSpace && !model.putsSpacesLast
        parts.dropsLeadingSpaces = parts.dropsFirstSpace && model.removesExtraSpaces
        let bos = extra.id("bos_token", in: vocabulary) ?? Self.control(model.bos, model)
        let eos = extra.id("eos_token", in: vocabulary) ?? Self.control(model.eos, model)
        self.init(
            vocabulary: vocabulary, bos: bos, eos: eos,
            endOfGeneration: EndOfGeneration.ids(of: vocabulary.namedStrings).union([eos].compactMap { $0 }),
            prefix: extra.addsBOS ?? true ? [bos].compactMap { $0 } : [],
            suffix: extra.addsEOS ?? false ? [eos].compactMap { $0 } : [], parts: parts)
    }

    private static func control(_ id: Int, _ model: SentencePieceModel) -> Int32? {
        model.pieces.indices.contains(id) && model.pieces[id].type == .control ? Int32(id) : nil
    }
}

/// What `tokenizer_config.json` says of a tokenizer that has no tokenizer.json.
struct ExtraTokens {
    private let config: TokenizerJSON?
    private var tokens: [AddedToken] = []
    let addsBOS: Bool?
    let addsEOS: Bool?

    init(_ tokenizerConfig: [UInt8]?, source: String) throws(TokenizerError) {
        guard let tokenizerConfig else {
            (config, addsBOS, addsEOS) = (nil, nil, nil)
            return
        }
        let config = try TokenizerJSON(tokenizerConfig, source: "tokenizer_config.json beside \(source)")
        self.config = config
        tokens = try config.addedTokens(config: config)
        addsBOS = config.document.bool(config.member("add_bos_token"))
        addsEOS = config.document.bool(config.member("add_eos_token"))
    }

    var tokenizerClass: String? { config.flatMap { $0.document.string($0.member("tokenizer_class")) } }

    func id(_ name: String, in vocabulary: Vocabulary) -> Int32? {
        config?.token(name).flatMap { vocabulary.named[$0] }
    }

    /// Tokens beyond the model's own, and those of the model that are special.
    func add(to vocabulary: inout Vocabulary, _ special: inout [SpecialTokenSplitter.Entry]) {
        let known = Set(special.map(\.id))
        for token in tokens.sorted(by: { $0.id < $1.id }) {
            vocabulary.name(token.id, token.content)
            while vocabulary.count < Int(token.id) { vocabulary.append([], kind: .unused) }
            if vocabulary.count == Int(token.id) {
                vocabulary.append(token.content, kind: token.isSpecial ? .special : .text)
            }
            // The unknown token's name in a text is text.
            guard !known.contains(token.id), vocabulary.content(of: token.id).elementsEqual(token.content) else { continue }
            special.append(
                .init(
                    id: token.id, text: token.content, isSpecial: token.isSpecial, stripsLeft: token.stripsLeft,
                    stripsRight: token.stripsRight, isWholeWord: token.isWholeWord))
        }
    }
}
