// SPDX-License-Identifier: Apache-2.0

import MoEJSON

/// Byte pairs by rank, as `tiktoken` has them: of two neighbours whose bytes together are a token, those with the lowest rank merge
/// first. A vocabulary is all there is; the merges follow from it.
struct RankedVocabulary {
    /// Rank -> bytes, empty where there is none.
    private(set) var tokens: [[UInt8]] = []
    private(set) var table = PieceTable(capacity: 1 << 16)
    let source: String

    static let rankLimit = 1 << 22
    /// Longer tokens are refused: the merges into each are looked for.
    static let longestToken = 4096

    init(source: String) { self.source = source }

    func error(_ problem: String, _ expected: String? = nil, _ found: String? = nil) -> TokenizerError {
        TokenizerError(file: source, problem: problem, expected: expected, found: found)
    }

    mutating func insert(_ bytes: [UInt8], rank: Int) throws(TokenizerError) {
        guard rank >= 0, rank < Self.rankLimit else {
            throw error("a token has no valid rank", "0 to \(Self.rankLimit - 1)", "\(rank)")
        }
        guard !bytes.isEmpty, bytes.count <= Self.longestToken else {
            throw error("token \(rank) has no valid length", "1 to \(Self.longestToken) bytes", "\(bytes.count)")
        }
        while tokens.count <= rank { tokens.append([]) }
        guard tokens[rank].isEmpty else { throw error("two tokens have one rank", "a rank each", "\(rank) twice") }
        guard table.insert(bytes, value: Int32(rank)) else {
            throw error("duplicate token", "different bytes for rank \(rank)", "those of rank \(table.find(bytes) ?? -1)")
        }
        tokens[rank] = bytes
    }

    /// - Parameter offset: what an id is more than its rank.
    func encoder(offset: Int32, count: Int32) throws(TokenizerError) -> BytePairEncoder {
        guard !tokens.isEmpty else { throw error("no tokens") }
        var singles = [Int32](repeating: -1, count: 256)
        for byte in 0..<256 { if let rank = table.find([UInt8(byte)]) { singles[byte] = rank + offset } }
        if let missing = singles.firstIndex(of: -1) {
            throw error("no token for a byte", "256 tokens of one byte", "none for \(missing)")
        }
        var pairs: [(left: Int32, right: Int32, rank: Int32)] = []
        for (rank, token) in tokens.enumerated() where token.count > 1 {
            token.withUnsafeBufferPointer { token in
                for middle in 1..<token.count {
                    if let left = table.find(UnsafeBufferPointer(rebasing: token[..<middle])),
                        let right = table.find(UnsafeBufferPointer(rebasing: token[middle...]))
                    {
                        pairs.append((left, right, Int32(rank)))
                    }
                }
            }
        }
        var merges = PairTable(capacity: pairs.count)
        for (left, right, rank) in pairs {
            merges.insert(left + offset, right + offset, rank: UInt32(rank), merged: rank + offset, replacing: false)
        }
        var words = PieceTable(capacity: tokens.count)
        for (rank, token) in tokens.enumerated() where !token.isEmpty { words.insert(token, value: Int32(rank) + offset) }
        var encoder = BytePairEncoder(alphabet: .bytes(singles), merges: merges, vocabularySize: count)
        encoder.wholeWords = words
        return encoder
    }
}

extension Tokenizer {
    /// The tokenizer of Mistral's `tekken.json`.
    /// - Throws: `TokenizerError` for a file that contradicts itself, or that needs what is not supported.
    package convenience init(tekken: [UInt8], source: String) throws(TokenizerError) {
        let json = try TokenizerJSON(tekken, source: source)
        let document = json.document
        let config = json.member("config")
        func number(_ name: String) throws(TokenizerError) -> Int {
            guard let value = document.int(document.member(name, of: config)), value >= 0,
                value <= RankedVocabulary.rankLimit
            else {
                throw json.error(
                    "config.\(name) is no valid number", expected: "0 to \(RankedVocabulary.rankLimit)",
                    found: document.int(document.member(name, of: config)).map(String.init))
            }
            return value
        }
        guard let pattern = document.string(document.member("pattern", of: config)) else {
            throw json.error("no pattern", expected: "config.pattern")
        }
        let specialCount = try number("default_num_special_tokens")
        let size = try number("default_vocab_size")
        guard size > specialCount else {
            throw json.error(
                "config.default_vocab_size is too small", expected: "more than \(specialCount)", found: "\(size)")
        }
        guard let entries = document.array(json.member("vocab")) else {
            throw json.error("no vocabulary", expected: "vocab")
        }

        var ranks = RankedVocabulary(source: source)
        for (k, entry) in entries.enumerated() {
            guard let rank = document.int(document.member("rank", of: entry)),
                let text = document.bytes(document.member("token_bytes", of: entry)), let bytes = Base64.decode(text)
            else { throw json.error("vocab's element \(k) is no token", expected: "a rank and token_bytes in base64") }
            // The file may have more tokens than the model.
            if rank < size - specialCount { try ranks.insert(bytes, rank: rank) }
        }

        var names = Self.tekkenSpecialTokens
        if let listed = document.array(json.member("special_tokens")) {
            names = [:]
            for entry in listed {
                guard let rank = document.int(document.member("rank", of: entry)), rank >= 0, rank < specialCount,
                    let name = document.string(document.member("token_str", of: entry))
                else { throw json.error("a special token is none", expected: "a rank below \(specialCount) and token_str") }
                names[rank] = name
            }
        }
        var vocabulary = Vocabulary(capacity: size)
        var special: [SpecialTokenSplitter.Entry] = []
        for id in 0..<specialCount {
            let name = Array((names[id] ?? "<SPECIAL_\(id)>").utf8)
            vocabulary.append(name, kind: .special)
            vocabulary.name(Int32(id), name)
            special.append(.init(id: Int32(id), text: name, isSpecial: true))
        }
        for token in ranks.tokens { vocabulary.append(token, kind: token.isEmpty ? .unused : .text) }

        let encoder = try ranks.encoder(offset: Int32(specialCount), count: Int32(vocabulary.count))
        var parts = Parts(
            splitter: SpecialTokenSplitter(special, precedence: .leftmostLongest), model: .bytePairs(encoder))
        parts.preTokenizer = PreTokenizer(cuts: [try Self.cut(pattern, source: source)])
        let bos = vocabulary.named[Array("<s>".utf8)]
        let eos = vocabulary.named[Array("</s>".utf8)]
        self.init(
            vocabulary: vocabulary, bos: bos, eos: eos,
            endOfGeneration: EndOfGeneration.ids(of: vocabulary.namedStrings).union([eos].compactMap { $0 }),
            prefix: [bos].compactMap { $0 }, suffix: [], parts: parts)
    }

    /// Those of the first versions, whose files do not list them.
    private static let tekkenSpecialTokens: [Int: String] = {
        let names = [
            "<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]",
            "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]", "[PREFIX]", "[MIDDLE]",
            "[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]",
        ]
        return Dictionary(uniqueKeysWithValues: names.enumerated().map { ($0.offset, $0.element) })
    }()

    private static func cut(_ pattern: String, source: String) throws(TokenizerError) -> PreTokenizer.Cut {
        do throws(SplitPattern.Failure) {
            return try SplitPattern.cut(pattern, .rust)
        } catch {
            throw TokenizerError(
                file: source, problem: "its expression is not supported: \(error.what)",
                expected: "a regular expression", found: "'\(pattern.prefix(200))'")
        }
    }
}

/// Models whose files are ranks alone: the expression and the special tokens are in the program that reads them.
private struct RankedModel {
    /// How many ranks there are.
    let counts: Set<Int>
    /// `tokenizer_class` of `tokenizer_config.json`.
    let classes: Set<String>
    let pattern: String
    /// The first special ids and their names.
    let special: [(Int, String)]
    var eos: String

    private static let contraction = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
    private static let rest = #"[^\r\n\p{L}\p{N}]?\p{L}+|DIGITS| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
    private static func modern(_ digits: String) -> String {
        // The three parts around the digits are the family's.
        let parts = rest.split(separator: "DIGITS")
        return contraction + "|" + parts[0] + digits + parts[1]
    }

    private static let capital = #"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}"#
    private static let small = #"[\p{Ll}\p{Lm}\p{Lo}\p{M}"#
    private static func cased(_ except: String, _ ending: String) -> String {
        #"[^\r\n\p{L}\p{N}]?\#(capital)\#(except)]*\#(small)\#(except)]+\#(contraction)?|"#
            + #"[^\r\n\p{L}\p{N}]?\#(capital)\#(except)]+\#(small)\#(except)]*\#(contraction)?|"#
            + #"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+\#(ending)|\s*[\r\n]+|\s+(?!\S)|\s+"#
    }

    static let all: [RankedModel] = [
        RankedModel(
            counts: [50256], classes: ["GPT2Tokenizer"],
            pattern: #"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#,
            special: [(50256, "<|endoftext|>")], eos: "<|endoftext|>"),
        RankedModel(
            counts: [100256], classes: [],
            pattern: #"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$"#
                + #"|\s*[\r\n]|\s+(?!\S)|\s"#,
            special: [
                (100257, "<|endoftext|>"), (100258, "<|fim_prefix|>"), (100259, "<|fim_middle|>"),
                (100260, "<|fim_suffix|>"), (100276, "<|endofprompt|>"),
            ], eos: "<|endoftext|>"),
        RankedModel(
            counts: [199998], classes: [], pattern: cased("", #"[\r\n/]*"#),
            special: [(199999, "<|endoftext|>"), (200018, "<|endofprompt|>")], eos: "<|endoftext|>"),
        RankedModel(
            counts: [128000], classes: ["Llama3Tokenizer"], pattern: modern(#"\p{N}{1,3}"#),
            special: [
                (128000, "<|begin_of_text|>"), (128001, "<|end_of_text|>"), (128006, "<|start_header_id|>"),
                (128007, "<|end_header_id|>"), (128008, "<|eom_id|>"), (128009, "<|eot_id|>"), (128010, "<|python_tag|>"),
            ], eos: "<|end_of_text|>"),
        RankedModel(
            counts: [151643], classes: ["QWenTokenizer"], pattern: modern(#"\p{N}"#),
            special: [(151643, "<|endoftext|>"), (151644, "<|im_start|>"), (151645, "<|im_end|>")]
                + (0..<205).map { (151646 + $0, "<|extra_\($0)|>") }, eos: "<|endoftext|>"),
        RankedModel(
            counts: [151329], classes: ["ChatGLM4Tokenizer"], pattern: modern(#"\p{N}{1,3}"#),
            special: [
                (151329, "<|endoftext|>"), (151330, "[MASK]"), (151331, "[gMASK]"), (151332, "[sMASK]"), (151333, "<sop>"),
                (151334, "<eop>"), (151335, "<|system|>"), (151336, "<|user|>"), (151337, "<|assistant|>"),
                (151338, "<|observation|>"),
            ], eos: "<|endoftext|>"),
        RankedModel(
            counts: [163584], classes: ["TikTokenTokenizer"],
            pattern: #"[\p{Han}]+|"# + cased(#"&&[^\p{Han}]"#, #"[\r\n]*"#),
            special: [
                (163584, "[BOS]"), (163585, "[EOS]"), (163586, "<|im_end|>"), (163587, "<|im_user|>"),
                (163588, "<|im_assistant|>"), (163594, "<|im_system|>"), (163601, "<|im_middle|>"), (163838, "[UNK]"),
                (163839, "[PAD]"),
            ], eos: "[EOS]"),
    ]
}

extension Tokenizer {
    /// Whether the bytes begin as ranks in base64 do: `IQ== 0`.
    static func isRanks(_ bytes: [UInt8]) -> Bool {
        let line = bytes.prefix(while: { $0 != 0x0A }).prefix(8192)
        guard let space = line.firstIndex(of: 0x20), space > line.startIndex, line.count > space + 1 else { return false }
        return Base64.decode(line[..<space]) != nil
            && line[(space + 1)...].allSatisfy { (0x30...0x39).contains($0) || $0 == 0x0D }
    }

    /// The tokenizer of a file of tiktoken's ranks (`*.tiktoken`, some `tokenizer.model`): a line for each, bytes in base64 and the
    /// rank. Which model it is says the `tokenizer_class` beside it, or else the number of ranks.
    /// - Throws: `TokenizerError` for a file that contradicts itself, or of a model that is not known.
    package convenience init(ranks: [UInt8], tokenizerConfig: [UInt8]? = nil, source: String) throws(TokenizerError) {
        var vocabulary = RankedVocabulary(source: source)
        for (k, line) in ranks.split(whereSeparator: { $0 == 0x0A || $0 == 0x0D }).enumerated() {
            let parts = line.split(separator: 0x20)
            guard parts.count == 2, let bytes = Base64.decode(parts[0]), parts[1].count < 10,
                let rank = Int(String(decoding: parts[1], as: UTF8.self))
            else {
                throw vocabulary.error(
                    "line \(k + 1) is no token", "bytes in base64 and a rank",
                    "'\(String(decoding: line.prefix(64), as: UTF8.self))'")
            }
            try vocabulary.insert(bytes, rank: rank)
        }
        let extra = try ExtraTokens(tokenizerConfig, source: source)
        let count = vocabulary.tokens.count
        let known =
            RankedModel.all.first { extra.tokenizerClass.map($0.classes.contains) ?? false }
            ?? RankedModel.all.first { $0.counts.contains(count) }
        guard let known else {
            throw vocabulary.error(
                "its model is not known, and ranks do not say how text is cut",
                "\(RankedModel.all.flatMap(\.counts).sorted().map(String.init).joined(separator: ", ")) ranks", "\(count)")
        }

        var all = Vocabulary(capacity: count + 512)
        for token in vocabulary.tokens { all.append(token, kind: token.isEmpty ? .unused : .text) }
        var special: [SpecialTokenSplitter.Entry] = []
        extra.add(to: &all, &special)
        for (id, name) in known.special where all.kind(of: Int32(id)) == nil || all.kind(of: Int32(id)) == .unused {
            let name = Array(name.utf8)
            guard all.named[name] == nil else { continue }
            while all.count < id { all.append([], kind: .unused) }
            guard all.count == id else { continue }
            all.append(name, kind: .special)
            all.name(Int32(id), name)
            special.append(.init(id: Int32(id), text: name, isSpecial: true))
        }
        let encoder = try vocabulary.encoder(offset: 0, count: Int32(all.count))
        var parts = Parts(
            splitter: SpecialTokenSplitter(special, precedence: .leftmostLongest), model: .bytePairs(encoder))
        parts.preTokenizer = PreTokenizer(cuts: [try Self.cut(known.pattern, source: source)])
        let bos = extra.id("bos_token", in: all)
        let eos = extra.id("eos_token", in: all) ?? all.named[Array(known.eos.utf8)]
        self.init(
            vocabulary: all, bos: bos, eos: eos,
            endOfGeneration: EndOfGeneration.ids(of: all.namedStrings).union([eos].compactMap { $0 }), prefix: [],
            suffix: [], parts: parts)
    }
}
