// SPDX-License-Identifier: Apache-2.0

import MoETestSupport
import MoETokenizer
import Testing

/// Ids and texts are those of the reference implementations (Python's tokenizers and sentencepiece), id for id.
@Suite("Tokenizers against their references")
struct ReferenceTests {
    @Test(
        "tokenizer.json: ids, special tokens, template and text",
        arguments: [
            "qwen", "llama-3", "gpt-2-prefix", "smollm", "olmo", "mixtral", "metaspace", "deepseek", "o200k", "behaviours",
            "wordpiece", "unigram-bytes", "unigram-t5",
        ])
    func huggingFace(name: String) throws {
        let tokenizer = try TokenizerFixtures.huggingFace(name)
        let cases = try TokenizerFixtures.cases(name)
        #expect(cases.count > 50)
        for row in cases {
            let ids = try #require(row.ids)
            #expect(tokenizer.encode(row.text, addSpecial: false) == ids, "\(row.text.debugDescription)")
            #expect(tokenizer.encode(row.text) == row.withSpecial ?? ids, "\(row.text.debugDescription)")
            #expect(
                tokenizer.encode(row.text, addSpecial: false, parseSpecial: false) == row.plain ?? ids,
                "\(row.text.debugDescription)")
            #expect(tokenizer.decode(ids) == row.decoded ?? row.text, "\(row.text.debugDescription)")
        }
    }

    @Test(
        "A GGUF vocabulary: ids, special tokens and text",
        arguments: ["gguf-gpt-2", "gguf-qwen2", "gguf-smollm", "gguf-default", "sentencepiece"])
    func vocabulary(name: String) throws {
        let tokenizer = try Tokenizer(TokenizerFixtures.description(name), source: name)
        for row in try TokenizerFixtures.cases(name) {
            let plain = try #require(row.plain ?? row.ids)
            #expect(
                tokenizer.encode(row.text, addSpecial: false, parseSpecial: false) == plain, "\(row.text.debugDescription)")
            if let ids = row.ids {
                #expect(tokenizer.encode(row.text, addSpecial: false) == ids, "\(row.text.debugDescription)")
            }
            if let decoded = row.decoded {
                #expect(tokenizer.decode(row.ids ?? plain) == decoded, "\(row.text.debugDescription)")
            }
        }
    }

    @Test("A SentencePiece model: ids and text", arguments: ["sp-bpe", "sp-unigram", "sp-unigram-bytes"])
    func sentencePiece(name: String) throws {
        let tokenizer = try TokenizerFixtures.file(name + ".model")
        for row in try TokenizerFixtures.cases(name) {
            let plain = try #require(row.plain)
            #expect(
                tokenizer.encode(row.text, addSpecial: false, parseSpecial: false) == plain, "\(row.text.debugDescription)")
            if let decoded = row.decoded, !tokenizer.usesUnknown(plain) {
                #expect(tokenizer.decode(plain) == decoded, "\(row.text.debugDescription)")
            }
        }
    }

    @Test("tekken.json: ids, and the text again")
    func tekken() throws {
        let tokenizer = try TokenizerFixtures.file("tekken.json")
        #expect(tokenizer.bos == 1 && tokenizer.eos == 2 && tokenizer.addsBOS)
        for row in try TokenizerFixtures.cases("tekken") {
            let plain = try #require(row.plain)
            #expect(
                tokenizer.encode(row.text, addSpecial: false, parseSpecial: false) == plain, "\(row.text.debugDescription)")
            #expect(Array(tokenizer.decode(plain).utf8) == Array(row.text.utf8))
        }
        #expect(tokenizer.encode("[INST]x", addSpecial: false).first == 3)
    }

    @Test(
        "Byte-level text comes back as it went in", arguments: ["gguf-gpt-2", "gguf-qwen2", "gguf-smollm", "gguf-default"])
    func roundTrip(name: String) throws {
        let tokenizer = try Tokenizer(TokenizerFixtures.description(name), source: name)
        var generator = SplitMix64(state: 5)
        for _ in 0..<300 {
            var text = ""
            for _ in 0..<Int.random(in: 0..<60, using: &generator) {
                let range: ClosedRange<UInt32> =
                    [0...0x7F, 0xA0...0x2FF, 0x300...0xD7FF, 0xE000...0x10FFFF]
                    .randomElement(using: &generator) ?? 0...0x7F
                text.unicodeScalars.append(Unicode.Scalar(UInt32.random(in: range, using: &generator)) ?? " ")
            }
            let ids = tokenizer.encode(text, addSpecial: false, parseSpecial: false)
            #expect(Array(tokenizer.decode(ids).utf8) == Array(text.utf8))
        }
    }
}

extension Tokenizer {
    /// SentencePiece writes an unknown token as a character of its own.
    fileprivate func usesUnknown(_ ids: [Int32]) -> Bool { ids.contains { isSpecial($0) } }
}
