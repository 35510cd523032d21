// SPDX-License-Identifier: Apache-2.0

import Foundation
import MoETensors
import MoETestSupport
import MoETokenizer
import Testing

/// llama.cpp's vectors for vocabularies of real models: each text must give the ids of its line, and the text again.
@Suite("Vectors of real vocabularies")
struct VocabularyVectorTests {
    private static let folder = Fixtures.shared.appendingPathComponent("tokenizers")

    @Test(
        "ggml-vocab",
        .enabled(if: Fixtures.exists(Self.folder), "needs ../shared/data/tokenizers"),
        arguments: ["gpt-2", "llama-bpe", "llama-spm", "qwen2", "mpt", "phi-3", "deepseek-llm", "falcon"])
    func vectors(name: String) throws {
        let path = Self.folder.appendingPathComponent("ggml-vocab-\(name).gguf").path
        let tokenizer = try Tokenizer(Self.description(path), source: path)
        let texts = try String(contentsOfFile: path + ".inp", encoding: .utf8)
            .components(separatedBy: "\n__ggml_vocab_test__\n")
        let lines = try String(contentsOfFile: path + ".out", encoding: .utf8)
            .split(separator: "\n", omittingEmptySubsequences: false)
            .map { $0.split(separator: " ").compactMap { Int32($0) } }
        #expect(texts.count == 47)
        #expect(lines.count >= texts.count)
        for (text, expected) in zip(texts, lines) {
            let ids = tokenizer.encode(text, addSpecial: false, parseSpecial: false)
            #expect(ids == expected, "\(text.debugDescription)")
            #expect(tokenizer.decode(ids) == text)
        }
    }

    private static func description(_ path: String) throws -> TokenizerDescription {
        let metadata = try GGUFFile(path: path).metadata
        return TokenizerDescription(
            model: try #require(try metadata.string("tokenizer.ggml.model")),
            preTokenizer: try metadata.string("tokenizer.ggml.pre"),
            tokens: try #require(try metadata.rawStrings("tokenizer.ggml.tokens")),
            tokenTypes: try metadata.ints("tokenizer.ggml.token_type")?.map { Int32(clamping: $0) } ?? [],
            scores: try metadata.floats("tokenizer.ggml.scores") ?? [],
            merges: try metadata.rawStrings("tokenizer.ggml.merges") ?? [],
            bos: try metadata.int("tokenizer.ggml.bos_token_id"), eos: try metadata.int("tokenizer.ggml.eos_token_id"),
            unknown: try metadata.int("tokenizer.ggml.unknown_token_id"))
    }
}
