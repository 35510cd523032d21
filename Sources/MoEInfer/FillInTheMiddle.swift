// SPDX-License-Identifier: Apache-2.0

package import MoEModel
import MoETensors
package import MoETokenizer

/// The tokens between which code models write what comes between two texts, and their order.
package struct FillInTheMiddle: Sendable, Equatable {
    package enum Order: Sendable { case prefixFirst, suffixFirst }

    package let prefix: Int32
    package let suffix: Int32
    /// After which the model writes; nil where it does so right after both texts.
    package let middle: Int32?
    package let order: Order

    /// Names of the three tokens by model family; of Mistral's there are two, in the other order (mistral-common's FIM encoding).
    /// The other names are those that llama.cpp recognises.
    private static let families: [(prefix: String, suffix: String, middle: String?, order: Order)] = [
        ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", .prefixFirst),  // Qwen, CodeGemma
        ("<fim_prefix>", "<fim_suffix>", "<fim_middle>", .prefixFirst),  // StarCoder, Granite
        ("<fim-prefix>", "<fim-suffix>", "<fim-middle>", .prefixFirst),  // SantaCoder
        ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>", .prefixFirst),  // DeepSeek
        ("<PRE>", "<SUF>", "<MID>", .prefixFirst),
        ("▁<PRE>", "▁<SUF>", "▁<MID>", .prefixFirst),  // CodeLlama
        ("<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>", .prefixFirst),  // GLM
        ("<|prefix|>", "<|suffix|>", "<|middle|>", .prefixFirst),  // Falcon
        ("[PREFIX]", "[SUFFIX]", nil, .suffixFirst),  // Codestral
    ]

    /// nil: the model was not trained for it.
    /// - Throws: ``ModelFileError`` for metadata that cannot be.
    package init?(_ file: ModelFile, tokenizer: Tokenizer) throws {
        if case .gguf(let gguf) = file,
            let stated = try Self(gguf.metadata, vocabularySize: tokenizer.vocabularySize, source: gguf.source)
        {
            self = stated
            return
        }
        for family in Self.families {
            guard let prefix = tokenizer.token(named: family.prefix), let suffix = tokenizer.token(named: family.suffix)
            else { continue }
            let middle = family.middle.flatMap { tokenizer.token(named: $0) }
            if family.middle != nil, middle == nil { continue }
            (self.prefix, self.suffix, self.middle, order) = (prefix, suffix, middle, family.order)
            return
        }
        return nil
    }

    /// As GGUF metadata names them; files before 2024-10 say `prefix_token_id` for `fim_pre_token_id`.
    private init?(_ metadata: GGUFMetadata, vocabularySize: Int, source: String) throws {
        func id(_ names: [String]) throws -> Int32? {
            for name in names {
                let key = "tokenizer.ggml.\(name)_token_id"
                guard let id = try metadata.int(key) else { continue }
                guard (0..<vocabularySize).contains(id) else {
                    throw ModelFileError(
                        file: source, problem: "bad metadata '\(key)'", expected: "a token below \(vocabularySize)",
                        found: "\(id)")
                }
                return Int32(id)
            }
            return nil
        }
        guard let prefix = try id(["fim_pre", "prefix"]), let suffix = try id(["fim_suf", "suffix"]),
            let middle = try id(["fim_mid", "middle"])
        else { return nil }
        (self.prefix, self.suffix, self.middle, order) = (prefix, suffix, middle, .prefixFirst)
    }

    /// The prompt whose continuation belongs between the two texts.
    package func prompt(prefix: String, suffix: String, tokenizer: Tokenizer) -> [Int32] {
        // What a text spells is text: no user's file begins a part of its own.
        let before = [self.prefix] + tokenizer.encode(prefix, addSpecial: false, parseSpecial: false)
        let after = [self.suffix] + tokenizer.encode(suffix, addSpecial: false, parseSpecial: false)
        let start = tokenizer.addsBOS ? tokenizer.bos.map { [$0] } ?? [] : []
        return start + (order == .prefixFirst ? before + after : after + before) + (middle.map { [$0] } ?? [])
    }
}

extension LLM {
    /// The prompt whose continuation belongs between two texts, for code models that were trained for it.
    ///
    /// Bavarian et al. 2022, arXiv 2207.14255: prefix, suffix, middle; Mistral's models have the suffix first. The file names the tokens,
    /// or they are known by their names.
    /// - Throws: ``RequestError`` where the model has no such tokens, or no tokenizer.
    public func fillInTheMiddle(prefix: String, suffix: String) throws -> [Int32] {
        let tokenizer = try tokenizer
        guard let format = try middleFormat.get() else {
            throw RequestError("the model has no tokens for filling in the middle: it takes no suffix")
        }
        return format.prompt(prefix: prefix, suffix: suffix, tokenizer: tokenizer)
    }
}
