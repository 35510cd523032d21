// SPDX-License-Identifier: Apache-2.0

/// Tokenizers in files of their own, outside GGUF.
extension Tokenizer {
    /// The files of a folder in Hugging Face's layout that can be a tokenizer, in the order in which they are looked for.
    package static let fileNames = ["tokenizer.json", "tekken.json", "tokenizer.model", "tiktoken.model", "qwen.tiktoken"]

    /// The tokenizer of a folder.
    ///
    /// - Parameters:
    ///   - folder: its name, for errors.
    ///   - read: the contents of a file in it, or nil where there is none.
    package static func load(folder: String, _ read: (String) throws -> [UInt8]?) throws -> Tokenizer {
        for name in fileNames {
            guard let contents = try read(name) else { continue }
            return try load(contents: contents, source: folder + "/" + name, besides: read)
        }
        throw TokenizerError(
            file: folder, problem: "no tokenizer", expected: "one of \(fileNames.joined(separator: ", "))", found: "none")
    }

    /// The tokenizer of a file, whose kind its contents say.
    ///
    /// - Parameter besides: the contents of a file in the same folder, or nil where there is none.
    package static func load(contents: [UInt8], source: String, besides read: (String) throws -> [UInt8]?) throws
        -> Tokenizer
    {
        guard !contents.isEmpty else { throw TokenizerError(file: source, problem: "no tokenizer: the file is empty") }
        if isRanks(contents) {
            return try Tokenizer(ranks: contents, tokenizerConfig: try read("tokenizer_config.json"), source: source)
        }
        if contents.first(where: { !" \t\r\n\u{FEFF}".utf8.contains($0) }) == UInt8(ascii: "{") {
            let json = try TokenizerJSON(contents, source: source)
            if json.member("config") != nil, json.member("vocab") != nil, json.member("model") == nil {
                return try Tokenizer(tekken: contents, source: source)
            }
            return try Tokenizer(
                tokenizerJSON: contents, tokenizerConfig: try read("tokenizer_config.json"),
                generationConfig: try read("generation_config.json"), source: source)
        }
        if SentencePieceModel.isLikely(contents) {
            return try Tokenizer(
                sentencePiece: contents, tokenizerConfig: try read("tokenizer_config.json"), source: source)
        }
        throw TokenizerError(
            file: source, problem: "no tokenizer",
            expected: "tokenizer.json, tekken.json, a SentencePiece model, tiktoken's ranks or GGUF", found: "another file")
    }
}
