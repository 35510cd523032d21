// SPDX-License-Identifier: Apache-2.0

import MoETestSupport
import MoETokenizer
import Testing

/// Tokenizers' own files: which kind a file is, and files that are wrong or made to do harm.
@Suite("Tokenizer files")
struct TokenizerFileTests {
    private func message(_ contents: [UInt8], _ name: String = "file") -> String {
        do {
            _ = try TokenizerFixtures.load(contents, name)
            return "no error"
        } catch {
            return "\(error)"
        }
    }

    @Test("A folder's tokenizer: the first of the files that can be one")
    func folder() throws {
        func load(_ files: [String: String]) throws -> Tokenizer {
            try Tokenizer.load(folder: "folder") { try files[$0].map(TokenizerFixtures.bytes) }
        }
        #expect(try load(["tokenizer.json": "qwen.tokenizer.json", "tekken.json": "tekken.json"]).bos == nil)
        #expect(try load(["tekken.json": "tekken.json", "tokenizer.model": "sp-bpe.model"]).token(named: "[INST]") == 3)
        #expect(try load(["tokenizer.model": "sp-bpe.model"]).bos == 1)
        let error = #expect(throws: TokenizerError.self) { _ = try load([:]) }
        #expect(error?.description.contains("expected one of tokenizer.json, tekken.json, tokenizer.model") ?? false)
    }

    @Test("Files that are something else, or broken: one line that says what")
    func errors() throws {
        #expect(message([]).contains("the file is empty"))
        #expect(message(Array("hello".utf8)).contains("expected tokenizer.json, tekken.json, a SentencePiece model"))
        #expect(message(Array("{".utf8)).contains("no JSON"))
        #expect(message([0x0A, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F]).contains("expected tokenizer.json"))
        let ranks = try TokenizerFixtures.bytes("ranks.tiktoken")
        #expect(message(ranks).contains("its model is not known"))
        #expect(message(ranks + Array("a b c\n".utf8)).contains("is no token"))
        #expect(message(ranks + Array("IQ== 33\n".utf8)).contains("two tokens have one rank"))
        #expect(message(ranks + Array("IQ== 99999\n".utf8)).contains("duplicate token"))
        #expect(message(ranks + Array("IQ== 999999999\n".utf8)).contains("no valid rank"))
        let tekken = String(decoding: try TokenizerFixtures.bytes("tekken.json"), as: UTF8.self)
        func changed(_ part: String, _ other: String) -> String {
            #expect(tekken.contains(part))
            return message(Array(tekken.replacing(part, with: other, maxReplacements: 1).utf8))
        }
        #expect(changed(#""pattern""#, #""no pattern""#).contains("no pattern"))
        #expect(
            changed(#""default_num_special_tokens":20"#, #""default_num_special_tokens":-1"#).contains("no valid number"))
        #expect(changed(#""rank":7,"#, #""rank":8,"#).contains("two tokens have one rank"))
        #expect(changed(#""token_bytes":"Bw==""#, #""token_bytes":"!""#).contains("vocab's element 7"))
        #expect(changed(#""rank":255,"#, #""rank":5000,"#).contains("no token for a byte"))
        let model = try TokenizerFixtures.bytes("sp-unigram.model")
        #expect(message(Array(model.prefix(model.count - 3))).contains("no SentencePiece model"))
    }

    @Test(
        "Mutated files: an error or a tokenizer that works", .timeLimit(.minutes(3)),
        arguments: [
            "sp-bpe.model", "sp-unigram.model", "sp-unigram-bytes.model", "tekken.json", "unigram-t5.tokenizer.json",
            "behaviours.tokenizer.json", "o200k.tokenizer.json",
        ])
    func mutations(name: String) throws {
        let original = try TokenizerFixtures.bytes(name)
        var generator = SplitMix64(state: 21)
        for _ in 0..<60 {
            var changed = original
            if Int.random(in: 0..<4, using: &generator) == 0 {
                changed.removeLast(Int.random(in: 1..<changed.count, using: &generator))
            }
            for _ in 0..<Int.random(in: 1...6, using: &generator) {
                let place = Int.random(in: 0..<changed.count, using: &generator)
                // A digit or a byte of the file's own keeps more of it readable than any byte does.
                changed[place] =
                    Bool.random(using: &generator)
                    ? changed[Int.random(in: 0..<changed.count, using: &generator)]
                    : UInt8.random(in: 0...255, using: &generator)
            }
            guard let tokenizer = try? TokenizerFixtures.load(changed, name) else { continue }
            _ = tokenizer.decode(tokenizer.encode("Hello wörld <s> [INST] 1234 \u{1F600} 模型\n\n  x"))
        }
    }
}
