// SPDX-License-Identifier: Apache-2.0

package import MoEModel
import MoETensors
public import MoETokenizer

extension Tokenizer {
    /// The tokenizer of a model file, without its weights.
    /// - Throws: ``ModelFileError`` or ``TokenizerError``.
    public static func load(_ source: ModelSource) throws -> Tokenizer { try load(from: ModelFile.open(source)) }

    package static func load(from file: ModelFile) throws -> Tokenizer {
        switch file {
        case .gguf(let file):
            return try Tokenizer(TokenizerDescription(file.metadata, source: file.source), source: file.source)
        case .huggingFace(let folder):
            guard let json = try folder.data("tokenizer.json") else {
                throw ModelFileError(
                    file: folder.path, problem: "no tokenizer", expected: "a file tokenizer.json", found: "nothing")
            }
            return try Tokenizer(
                tokenizerJSON: json, tokenizerConfig: try folder.data("tokenizer_config.json"),
                generationConfig: try folder.data("generation_config.json"), source: folder.path + "/tokenizer.json")
        }
    }
}

extension TokenizerDescription {
    /// - Throws: ``ModelFileError`` when the file has no vocabulary, or metadata of a wrong type.
    init(_ metadata: GGUFMetadata, source: String) throws {
        func key(_ name: String) -> String { "tokenizer.ggml.\(name)" }
        guard let model = try metadata.string(key("model")), let tokens = try metadata.rawStrings(key("tokens")) else {
            throw ModelFileError(
                file: source, problem: "no vocabulary", expected: "metadata '\(key("model"))' and '\(key("tokens"))'",
                found: "nothing")
        }
        self.init(
            model: model, preTokenizer: try metadata.string(key("pre")), tokens: tokens,
            tokenTypes: try metadata.ints(key("token_type"))?.map { Int32(clamping: $0) } ?? [],
            scores: try metadata.floats(key("scores")) ?? [], merges: try metadata.rawStrings(key("merges")) ?? [],
            bos: try metadata.int(key("bos_token_id")), eos: try metadata.int(key("eos_token_id")),
            eot: try metadata.int(key("eot_token_id")), eom: try metadata.int(key("eom_token_id")),
            unknown: try metadata.int(key("unknown_token_id")), padding: try metadata.int(key("padding_token_id")),
            addBOS: try metadata.bool(key("add_bos_token")), addEOS: try metadata.bool(key("add_eos_token")),
            addSpacePrefix: try metadata.bool(key("add_space_prefix")))
    }
}
