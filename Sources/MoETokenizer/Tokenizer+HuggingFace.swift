// SPDX-License-Identifier: Apache-2.0

import MoEJSON

extension Tokenizer {
    /// The tokenizer of a Hugging Face folder.
    ///
    /// What goes around a text is what the file's post-processor says, as in `tokenizers` and in transformers 5: the flags
    /// `add_bos_token` and `add_eos_token` of older configurations are not looked at.
    ///
    /// - Parameters:
    ///   - tokenizerJSON: the contents of `tokenizer.json`.
    ///   - tokenizerConfig: of `tokenizer_config.json`: names of BOS and EOS, more added tokens.
    ///   - generationConfig: of `generation_config.json`: every token that ends a generation.
    ///   - source: the file's name, for errors.
    /// - Throws: `TokenizerError` for a file that contradicts itself, or that needs what is not supported.
    package convenience init(
        tokenizerJSON: [UInt8], tokenizerConfig: [UInt8]?, generationConfig: [UInt8]?, source: String
    ) throws(TokenizerError) {
        let json = try TokenizerJSON(tokenizerJSON, source: source)
        var config: TokenizerJSON?
        if let tokenizerConfig {
            config = try TokenizerJSON(tokenizerConfig, source: "tokenizer_config.json beside \(source)")
        }
        var generation: TokenizerJSON?
        if let generationConfig {
            generation = try TokenizerJSON(generationConfig, source: "generation_config.json beside \(source)")
        }

        let normalizer = try json.normalizer()
        let preTokenization = try json.preTokenization()
        let decoding = try json.decoding()
        let type = try json.modelType()
        let model = try json.modelVocabulary()
        let added = try json.addedTokens(config: config)
        var steps = preTokenization.steps
        let encoder: Parts.Model
        switch type {
        case .bytePairs:
            let pairs = try json.encoder(model, isByteLevel: preTokenization.isByteLevel)
            let isWhole = steps.isEmpty && preTokenization.lateChanges.isEmpty && !preTokenization.isByteLevel
            if isWhole, pairs.wholeWords == nil, model.pieces.keepsWordsApart {
                steps = [.init(cut: .beforeSpaceMarks)]  // as good as the whole text at once, and faster
            }
            encoder = .bytePairs(pairs)
        case .unigram: encoder = .unigram(try json.unigram(model))
        case .wordPiece: encoder = .wordPiece(try json.wordPiece(model))
        case .wordLevel: encoder = .wordLevel(try json.wordLevel(model))
        }
        if preTokenization.isByteLevel, case .bytePairs = encoder {
        } else if preTokenization.isByteLevel {
            throw json.error("pre-tokenizer ByteLevel is supported with model BPE only")
        }
        let vocabulary = Vocabulary(model, added: added, normalizer: normalizer, decoding: decoding)

        var parts = Parts(
            splitter: SpecialTokenSplitter(
                added.filter { !$0.isNormalized }.map { $0.entry() }, precedence: .leftmostLongest),
            normalizer: normalizer, model: encoder)
        parts.preTokenizer = PreTokenizer(steps: steps)
        parts.lateChanges = preTokenization.lateChanges
        let inNormalized = added.filter(\.isNormalized)
        if !inNormalized.isEmpty {
            parts.normalizedSplitter = SpecialTokenSplitter(
                inNormalized.map { $0.entry(text: normalizer.apply(to: $0.content)) }, precedence: .leftmostLongest)
        }
        parts.spacePrefix = preTokenization.spacePrefix
        parts.prefix = preTokenization.prefix
        parts.marksSpaces = preTokenization.marksSpaces
        parts.dropsFirstSpace = decoding.dropsFirstSpace

        let ids = SpecialIDs(json: json, config: config, generation: generation, added: added, vocabulary: vocabulary)
        let (prefix, suffix) = try json.template()
        for id in prefix + suffix where vocabulary.kind(of: id) == nil {
            throw json.error(
                "template has an id that is no token", expected: "0 to \(vocabulary.count - 1)", found: "\(id)")
        }
        self.init(
            vocabulary: vocabulary, bos: ids.bos ?? (prefix.count == 1 ? prefix[0] : nil), eos: ids.eos,
            endOfGeneration: ids.endOfGeneration, prefix: prefix, suffix: suffix, parts: parts)
    }
}

extension AddedToken {
    /// - Parameter text: what is looked for, if it is not the content as it stands.
    fileprivate func entry(text: [UInt8]? = nil) -> SpecialTokenSplitter.Entry {
        SpecialTokenSplitter.Entry(
            id: id, text: text ?? content, isSpecial: isSpecial, stripsLeft: stripsLeft, stripsRight: stripsRight,
            isWholeWord: isWholeWord)
    }
}

extension Vocabulary {
    fileprivate init(
        _ model: TokenizerJSON.ModelVocabulary, added: [AddedToken], normalizer: Normalizer,
        decoding: TokenizerJSON.Decoding
    ) {
        let addedByID = Dictionary(added.map { ($0.id, $0) }, uniquingKeysWith: { first, _ in first })
        let count = max(model.texts.count, Int(added.map(\.id).max() ?? -1) + 1)
        self.init(capacity: count)
        for id in 0..<count {
            let token = addedByID[Int32(id)]
            var text = token?.content ?? (id < model.texts.count ? model.texts[id] : [])
            if let token { name(Int32(id), token.content) }
            // It was found in normalised text, so that is what it stands for.
            if let token, token.isNormalized, !token.isSpecial { text = normalizer.apply(to: text) }
            if token?.isSpecial ?? false {
                append(text, kind: .special)
            } else if text.isEmpty {
                append(text, kind: .unused)
            } else {
                append(decoding.bytes(of: text), kind: .text)
            }
        }
    }
}

extension TokenizerJSON {
    /// The text of a token that the configuration names: a string, or an object with its content.
    func token(_ name: String) -> [UInt8]? {
        document.bytes(member(name)) ?? document.bytes(document.member("content", of: member(name)))
    }

    /// One id or a list of them.
    fileprivate func ids(_ name: String) -> [Int32] {
        let value = member(name)
        let listed = document.array(value).map(Array.init) ?? value.map { [$0] } ?? []
        return listed.compactMap { document.int($0).flatMap(Int32.init(exactly:)) }
    }
}

/// The tokens that start and end a text.
private struct SpecialIDs {
    let bos: Int32?
    let eos: Int32?
    let endOfGeneration: Set<Int32>

    init(
        json: TokenizerJSON, config: TokenizerJSON?, generation: TokenizerJSON?, added: [AddedToken], vocabulary: Vocabulary
    ) {
        func id(_ name: String, _ key: String) -> Int32? {
            if let text = config?.token(name), let id = vocabulary.named[text] { return id }
            return generation?.ids(key).first { vocabulary.kind(of: $0) != nil }
        }
        bos = id("bos_token", "bos_token_id")
        eos = id("eos_token", "eos_token_id")
        let named = Dictionary(
            added.map { (String(decoding: $0.content, as: UTF8.self), $0.id) }, uniquingKeysWith: { first, _ in first })
        let listed = generation?.ids("eos_token_id").filter { vocabulary.kind(of: $0) != nil } ?? []
        endOfGeneration = EndOfGeneration.ids(of: named).union(listed).union([eos].compactMap { $0 })
    }
}
