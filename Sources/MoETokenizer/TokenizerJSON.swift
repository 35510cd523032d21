// SPDX-License-Identifier: Apache-2.0

import MoEJSON

/// Reads a Hugging Face `tokenizer.json` into the parts of a `Tokenizer`.
///
/// Whatever the file asks for is either done or refused by name: a component or an expression that is not known here would
/// otherwise give wrong ids without a word.
struct TokenizerJSON {
    typealias Value = JSONDocument.Value

    let document: JSONDocument
    let source: String

    init(_ text: [UInt8], source: String) throws(TokenizerError) {
        self.source = source
        do {
            document = try JSONDocument(text)
        } catch {
            throw TokenizerError(file: source, problem: "no JSON: \(error.what) at byte \(error.offset)")
        }
        guard document.object(document.root) != nil else {
            throw TokenizerError(file: source, problem: "no tokenizer", expected: "a JSON object", found: "another value")
        }
    }

    func member(_ name: String) -> Value? { document.member(name, of: document.root) }

    func error(_ problem: String, expected: String? = nil, found: String? = nil) -> TokenizerError {
        TokenizerError(file: source, problem: problem, expected: expected, found: found)
    }

    private func type(of value: Value?) -> String { document.string(document.member("type", of: value)) ?? "" }

    /// The components of a Sequence, or the component itself; none for null.
    private func components(_ value: Value?, listedAs list: String) -> [Value] {
        guard let value, !document.isNull(value) else { return [] }
        guard type(of: value) == "Sequence" else { return [value] }
        return (document.array(document.member(list, of: value)) ?? .init()).flatMap { components($0, listedAs: list) }
    }

    // MARK: Normalizer

    func normalizer() throws(TokenizerError) -> Normalizer {
        var normalizer = Normalizer()
        for component in components(member("normalizer"), listedAs: "normalizers") {
            switch type(of: component) {
            case "NFC":
                normalizer.steps.append(.nfc)
            case "Prepend":
                normalizer.steps.append(.prepend(document.bytes(document.member("prepend", of: component)) ?? []))
            case "Replace":
                let pattern = document.bytes(document.member("String", of: document.member("pattern", of: component)))
                guard let pattern, !pattern.isEmpty else {
                    throw error("normalizer Replace is supported for a string only", expected: "pattern.String")
                }
                let content = document.bytes(document.member("content", of: component)) ?? []
                normalizer.steps.append(.replace(pattern: pattern, with: content))
            case let other:
                throw error("normalizer is not supported", expected: "NFC, Prepend, Replace, Sequence", found: "'\(other)'")
            }
        }
        return normalizer
    }

    // MARK: Pre-tokenizer

    struct PreTokenization {
        var cuts: [PreTokenizer.Cut] = []
        /// Bytes, not characters, are merged.
        var isByteLevel = false
        var spacePrefix = Tokenizer.Parts.SpacePrefix.never
        var prefix = [UInt8(ascii: " ")]
        /// Spaces become `▁`.
        var marksSpaces = false
    }

    func preTokenization() throws(TokenizerError) -> PreTokenization {
        var result = PreTokenization()
        let list = components(member("pre_tokenizer"), listedAs: "pretokenizers")
        for (i, component) in list.enumerated() {
            guard !result.isByteLevel else { throw error("a pre-tokenizer after ByteLevel is not supported") }
            switch type(of: component) {
            case "Split":
                result.cuts.append(try split(component))
            case "Digits":
                let isEach = document.bool(document.member("individual_digits", of: component)) ?? false
                result.cuts.append(isEach ? .eachNumber : .numbers)
            case "ByteLevel":
                result.isByteLevel = true
                if document.bool(document.member("use_regex", of: component)) ?? true { result.cuts.append(.gpt2) }
                if document.bool(document.member("add_prefix_space", of: component)) ?? true {
                    guard i == 0 else {
                        throw error("ByteLevel with add_prefix_space after other pre-tokenizers is not supported")
                    }
                    result.spacePrefix = .always(ifMissing: true)
                }
            case "Metaspace":
                guard list.count == 1 else { throw error("Metaspace among other pre-tokenizers is not supported") }
                try metaspace(component, into: &result)
            case let other:
                throw error(
                    "pre-tokenizer is not supported", expected: "ByteLevel, Digits, Metaspace, Split, Sequence",
                    found: "'\(other)'")
            }
        }
        return result
    }

    private func metaspace(_ component: Value, into result: inout PreTokenization) throws(TokenizerError) {
        let replacement = document.bytes(document.member("replacement", of: component)) ?? Normalizer.spaceMark
        guard replacement == Normalizer.spaceMark else {
            throw error(
                "Metaspace's replacement is not supported", expected: "'▁'",
                found: String(decoding: replacement, as: UTF8.self))
        }
        result.marksSpaces = true
        result.prefix = replacement
        let scheme = document.string(document.member("prepend_scheme", of: component))
        // Older files have a flag instead of the scheme.
        let adds = document.bool(document.member("add_prefix_space", of: component)) ?? true
        switch scheme ?? (adds ? "always" : "never") {
        case "always": result.spacePrefix = .always(ifMissing: true)
        case "first": result.spacePrefix = .first
        case "never": result.spacePrefix = .never
        case let other: throw error("Metaspace's prepend_scheme", expected: "always, first, never", found: "'\(other)'")
        }
        if document.bool(document.member("split", of: component)) ?? true { result.cuts.append(.beforeSpaceMark) }
    }

    /// The expressions that are known, each with the cut that does the same.
    static let expressions: [(pattern: String, cut: PreTokenizer.Cut)] = {
        let contractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
        let spelledOut = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
        let spaces = #"\s*[\r\n]+|\s+(?!\S)|\s+"#
        let plain = #"[^\r\n\p{L}\p{N}]?\p{L}+"#
        let others = #" ?[^\s\p{L}\p{N}]+[\r\n]*"#
        var known: [(String, PreTokenizer.Cut)] = [
            (#"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#, .gpt2),
            (#"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#, .gpt2),
            (#"\p{N}"#, .eachNumber),
            (#"\p{N}+"#, .numbers),
        ]
        for prefix in [contractions, spelledOut] {
            known += [
                ("\(prefix)|\(plain)|\\p{N}|\(others)|\(spaces)", .modern(digits: 1, marks: false)),
                ("\(prefix)|\(plain)|\\p{N}{1}|\(others)|\(spaces)", .modern(digits: 1, marks: false)),
                ("\(prefix)|\(plain)|\\p{N}{1,3}|\(others)|\(spaces)", .modern(digits: 3, marks: false)),
                (
                    "\(prefix)|" + #"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|"# + spaces,
                    .modern(digits: 1, marks: true)
                ),
            ]
        }
        return known
    }()

    private func split(_ component: Value) throws(TokenizerError) -> PreTokenizer.Cut {
        guard let pattern = document.string(document.member("Regex", of: document.member("pattern", of: component))) else {
            throw error("pre-tokenizer Split is supported for an expression only", expected: "pattern.Regex")
        }
        guard let known = Self.expressions.first(where: { $0.pattern == pattern }) else {
            throw error(
                "pre-tokenizer Split has an expression that is not supported", expected: "that of GPT-2, Llama 3 or Qwen",
                found: "'\(pattern.prefix(200))'")
        }
        let behavior = document.string(document.member("behavior", of: component)) ?? ""
        let isInverted = document.bool(document.member("invert", of: component)) ?? false
        // These expressions match everything, so removing what does not match removes nothing.
        var matchesEverything: Bool {
            switch known.cut {
            case .gpt2, .modern: true
            default: false
            }
        }
        guard behavior == "Isolated" && !isInverted || behavior == "Removed" && isInverted && matchesEverything else {
            throw error("pre-tokenizer Split's behavior is not supported", expected: "Isolated", found: "'\(behavior)'")
        }
        return known.cut
    }

    // MARK: Decoder

    struct Decoding {
        var isByteLevel = false
        /// `▁` is a space.
        var unmarksSpaces = false
        /// `<0x0A>` is that byte.
        var hasByteTokens = false
        var dropsFirstSpace = false
    }

    func decoding() throws(TokenizerError) -> Decoding {
        var result = Decoding()
        for component in components(member("decoder"), listedAs: "decoders") {
            switch type(of: component) {
            case "ByteLevel": result.isByteLevel = true
            case "ByteFallback": result.hasByteTokens = true
            case "Fuse": break
            case "Metaspace":
                result.unmarksSpaces = true
                let scheme = document.string(document.member("prepend_scheme", of: component))
                result.dropsFirstSpace =
                    scheme.map { $0 != "never" } ?? document.bool(document.member("add_prefix_space", of: component))
                    ?? true
            case "Replace":
                let pattern = document.bytes(document.member("String", of: document.member("pattern", of: component)))
                let content = document.bytes(document.member("content", of: component))
                guard pattern == Normalizer.spaceMark, content == [UInt8(ascii: " ")] else {
                    throw error("decoder Replace is supported for '▁' to ' ' only")
                }
                result.unmarksSpaces = true
            case "Strip":
                let content = document.string(document.member("content", of: component))
                let start = document.int(document.member("start", of: component)) ?? 0
                let stop = document.int(document.member("stop", of: component)) ?? 0
                guard content == " ", start == 0 || start == 1, stop == 0 else {
                    throw error("decoder Strip is supported for one space at the start only")
                }
                result.dropsFirstSpace = start == 1
            case let other:
                throw error(
                    "decoder is not supported",
                    expected: "ByteFallback, ByteLevel, Fuse, Metaspace, Replace, Strip, Sequence",
                    found: "'\(other)'")
            }
        }
        return result
    }

    // MARK: Post-processor

    /// What goes before and after a text: the single-sequence template.
    func template() throws(TokenizerError) -> (prefix: [Int32], suffix: [Int32]) {
        var prefix: [Int32] = []
        var suffix: [Int32] = []
        for component in components(member("post_processor"), listedAs: "processors") {
            switch type(of: component) {
            case "ByteLevel": break  // moves offsets only
            case "TemplateProcessing":
                var isAfterText = false
                for piece in document.array(document.member("single", of: component)) ?? .init() {
                    if document.member("Sequence", of: piece) != nil {
                        isAfterText = true
                    } else if let special = document.member("SpecialToken", of: piece),
                        let name = document.string(document.member("id", of: special))
                    {
                        let tokens = document.member("special_tokens", of: component)
                        let entry = document.member(name, of: tokens)
                        guard let ids = document.array(document.member("ids", of: entry)) else {
                            throw error("template names a token that it does not define", found: name)
                        }
                        for id in ids {
                            guard let id = document.int(id), id >= 0, id < Int(Int32.max) else {
                                throw error("template has an id that is none")
                            }
                            if isAfterText { suffix.append(Int32(id)) } else { prefix.append(Int32(id)) }
                        }
                    } else {
                        throw error("template has a piece that is neither text nor token")
                    }
                }
            case let other:
                throw error(
                    "post-processor is not supported", expected: "ByteLevel, TemplateProcessing, Sequence",
                    found: "'\(other)'")
            }
        }
        return (prefix, suffix)
    }
}
