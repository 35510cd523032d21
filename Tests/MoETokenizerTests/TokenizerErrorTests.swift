// SPDX-License-Identifier: Apache-2.0

import Foundation
import MoETestSupport
import MoETokenizer
import Testing

/// Files that are wrong, or ask for what is not supported: one clear line, never a wrong split and never a trap.
@Suite("Tokenizer errors")
struct TokenizerErrorTests {
    private func message(_ body: () throws -> Void) -> String {
        do {
            try body()
            return "no error"
        } catch {
            return "\(error)"
        }
    }

    @Test("A vocabulary that contradicts itself")
    func descriptions() throws {
        let good = try TokenizerFixtures.description("gguf-qwen2")
        func error(_ change: (inout TokenizerDescription) -> Void) -> String {
            var description = good
            change(&description)
            return message { _ = try Tokenizer(description, source: "model.gguf") }
        }
        let supported = error { $0.preTokenizer = "unheard-of" }
        #expect(supported.hasPrefix("model.gguf: tokenizer: pre-tokenizer is not supported"))
        #expect(supported.contains("qwen2") && supported.contains("found 'unheard-of'"))
        #expect(error { $0.model = "bert" }.contains("found 'bert'"))
        #expect(error { $0.tokens = [] }.contains("no vocabulary"))
        #expect(error { $0.tokens[7] = $0.tokens[5] }.contains("duplicate token"))
        #expect(error { $0.tokenTypes.removeLast() }.contains("token_type has too few elements"))
        #expect(error { $0.bos = 1_000_000 }.contains("bos_token_id is no token"))
        #expect(error { $0.eos = -5 }.contains("eos_token_id is no token"))
        #expect(error { $0.addBOS = true }.contains("add_bos_token is set"))
        #expect(error { $0.merges = [] }.contains("no merges"))
        #expect(error { $0.merges[3] = Array("ab".utf8) }.contains("merge 3 is not a pair"))
        #expect(error { $0.merges[3] = Array("ab ".utf8) }.contains("merge 3 is not a pair"))
        #expect(error { $0.merges[3] = [] }.contains("merge 3 is not a pair"))
        // Not errors: no pre-tokenizer, empty and malformed pieces, merges of strings that are no tokens.
        #expect(error { $0.preTokenizer = nil } == "no error")
        #expect(error { $0.tokens[9] = [] } == "no error")
        #expect(error { $0.tokens[9] = [0xFF, 0xC0] } == "no error")
        #expect(error { $0.merges[3] = Array("never seen".utf8) } == "no error")

        var pieces = try TokenizerFixtures.description("sentencepiece")
        pieces.scores.removeLast()
        #expect(message { _ = try Tokenizer(pieces, source: "m") }.contains("scores has too few elements"))
        pieces = try TokenizerFixtures.description("sentencepiece")
        pieces.scores[300] = .nan
        pieces.scores[301] = .infinity
        #expect(!(try Tokenizer(pieces, source: "m").encode("The experts don't").isEmpty))
    }

    @Test("Components of tokenizer.json that are not supported are named")
    func components() throws {
        let text = String(decoding: try TokenizerFixtures.json("qwen"), as: UTF8.self)
        func error(_ part: String, _ replacement: String) -> String {
            #expect(text.contains(part))
            let changed = text.replacingOccurrences(of: part, with: replacement)
            return message {
                _ = try Tokenizer(
                    tokenizerJSON: Array(changed.utf8), tokenizerConfig: nil, generationConfig: nil,
                    source: "tokenizer.json")
            }
        }
        #expect(error(#""type":"BPE""#, #""type":"Markov""#).contains("expected BPE, Unigram, WordPiece, WordLevel"))
        #expect(error(#""type":"BPE""#, #""type":"Unigram""#).contains("Unigram's vocabulary has no scores"))
        #expect(error(#""type":"NFC""#, #""type":"NFX""#).contains("normalizer is not supported"))
        #expect(error(#""type":"Split""#, #""type":"UnicodeScripts""#).contains("found 'UnicodeScripts'"))
        #expect(error(#"\\p{N}|"#, #"\\p{N}{1,2}(|"#).contains("has an expression that is not supported"))
        #expect(error(#""behavior":"Isolated""#, #""behavior":"Gone""#).contains("Split's behavior; expected Contiguous"))
        #expect(error(#""dropout":null"#, #""dropout":0.1"#) == "no error")
        #expect(error(#""unk_token":null"#, #""unk_token":"nowhere""#).contains("model.unk_token is no token"))
        #expect(error(#""end_of_word_suffix":null"#, #""end_of_word_suffix":"</w>""#).contains("end_of_word_suffix"))
        #expect(error(#""decoder":{"type":"ByteLevel""#, #""decoder":{"type":"CTC""#).contains("decoder is not supported"))
        #expect(error(#""merges":[["#, #""merges":[["nowhere","at all"],["#).contains("merge 0 uses what is no token"))
        #expect(
            error(#""post_processor":null"#, #""post_processor":{"type":"BertProcessing"}"#).contains("cls is no token"))
        #expect(error(#""vocab":{"#, #""vocab":{"!!!!!!!":123456789012,"#).contains("has no valid id"))
    }

    @Test("Broken and mutated JSON", .timeLimit(.minutes(2)))
    func mutations() throws {
        let original = try TokenizerFixtures.json("mixtral")
        #expect(message { _ = try load([]) }.contains("no JSON"))
        #expect(message { _ = try load(Array("[]".utf8)) }.contains("expected a JSON object"))
        #expect(message { _ = try load(Array("{}".utf8)) }.contains("model is not supported"))
        #expect(
            message { _ = try load([UInt8](repeating: UInt8(ascii: "["), count: 100_000)) }.contains("nested deeper than"))
        #expect(message { _ = try load(Array(#"{"model": "\"#.utf8)) }.contains("no JSON"))
        var generator = SplitMix64(state: 11)
        for _ in 0..<200 {
            var changed = original
            if Bool.random(using: &generator) { changed.removeLast(Int.random(in: 1..<changed.count, using: &generator)) }
            for _ in 0..<Int.random(in: 1...8, using: &generator) {
                changed[Int.random(in: 0..<changed.count, using: &generator)] = UInt8.random(in: 0...255, using: &generator)
            }
            // Either an error or a tokenizer that works on any text.
            if let tokenizer = try? load(changed) {
                _ = tokenizer.decode(tokenizer.encode("Hello wörld <s> 1234 \u{1F600}"))
            }
        }
    }

    private func load(_ json: [UInt8]) throws -> Tokenizer {
        try Tokenizer(tokenizerJSON: json, tokenizerConfig: nil, generationConfig: nil, source: "tokenizer.json")
    }
}
