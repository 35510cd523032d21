// SPDX-License-Identifier: Apache-2.0

import MoETokenizer
import Testing

@Suite("Tokenizer")
struct TokenizerTests {
    private static let config = #"{"bos_token": null, "eos_token": {"content": "<|end|>"}}"#

    @Test("BOS, EOS and what ends a generation come from the files beside tokenizer.json")
    func specialIDs() throws {
        let tokenizer = try TokenizerFixtures.huggingFace(
            "qwen", config: Self.config, generation: #"{"bos_token_id": 600, "eos_token_id": [601, 602]}"#)
        let begin = try #require(tokenizer.token(named: "<|begin|>"))
        let end = try #require(tokenizer.token(named: "<|end|>"))
        #expect(tokenizer.eos == end)
        #expect(tokenizer.endOfGeneration.contains(end))
        #expect(tokenizer.isSpecial(begin) && tokenizer.isSpecial(end))
        #expect(!tokenizer.addsBOS && !tokenizer.addsEOS)
        #expect(try TokenizerFixtures.huggingFace("llama-3").addsBOS)
        #expect(try TokenizerFixtures.huggingFace("mixtral").bos == 1)
    }

    @Test("A token contributes bytes; a special one has a name and contributes none")
    func pieces() throws {
        let tokenizer = try TokenizerFixtures.huggingFace("mixtral")
        let newline = try #require(tokenizer.encode("\n", addSpecial: false).last)
        #expect(tokenizer.bytes(of: newline) == [0x0A])
        #expect(tokenizer.display(newline) == "\\n")
        #expect(tokenizer.bytes(of: 1).isEmpty)
        #expect(tokenizer.display(1) == "<s>")
        #expect(tokenizer.isSpecial(1))
        for id in [-1, Int32(tokenizer.vocabularySize), .max, .min] {
            #expect(tokenizer.bytes(of: id).isEmpty)
            #expect(!tokenizer.isSpecial(id))
            #expect(tokenizer.display(id) == "<no token \(id)>")
        }
        #expect(tokenizer.decode([1, newline], skipSpecial: false) == "<s>\n")
        #expect(tokenizer.display(3 + 0xE2) == "\\xE2")
    }

    @Test("Flags of the GGUF file, and its defaults")
    func flags() throws {
        var description = try TokenizerFixtures.description("sentencepiece")
        var tokenizer = try Tokenizer(description, source: "test")
        #expect(tokenizer.encode("", addSpecial: true) == [1])
        #expect(tokenizer.addsBOS && !tokenizer.addsEOS)
        #expect(tokenizer.endOfGeneration == [2])
        let prefixed = tokenizer.encode("Hello", addSpecial: false)
        #expect(tokenizer.decode(prefixed) == "Hello")

        description.addBOS = false
        description.addEOS = true
        description.addSpacePrefix = false
        tokenizer = try Tokenizer(description, source: "test")
        #expect(tokenizer.encode("") == [2])
        #expect(tokenizer.encode("Hello", addSpecial: false) != prefixed)
        #expect(tokenizer.decode(tokenizer.encode(" Hello")) == " Hello")
        // The control token is text unless special tokens are parsed.
        #expect(tokenizer.encode("</s>", addSpecial: false) == [2])
        #expect(tokenizer.encode("</s>", addSpecial: false, parseSpecial: false) != [2])
    }

    @Test("Long words take n log n: 300,000 characters without a space")
    func longWord() throws {
        let text = String(repeating: "abcdefghij", count: 30_000)
        for name in ["gguf-gpt-2", "sentencepiece"] {
            let tokenizer = try Tokenizer(TokenizerFixtures.description(name), source: name)
            let ids = tokenizer.encode(text, addSpecial: false)
            #expect(tokenizer.decode(ids) == text)
        }
    }

    @Test("The same text gives the same ids, from any thread")
    func threads() async throws {
        let tokenizer = try TokenizerFixtures.huggingFace("qwen")
        let texts = try TokenizerFixtures.cases("qwen").map(\.text)
        let expected = texts.map { tokenizer.encode($0) }
        await withTaskGroup(of: Bool.self) { group in
            for _ in 0..<8 { group.addTask { texts.map { tokenizer.encode($0) } == expected } }
            for await same in group { #expect(same) }
        }
    }

    @Test("Canonical composition follows UAX #15")
    func composition() throws {
        let tokenizer = try TokenizerFixtures.huggingFace("qwen")
        let pairs = [
            ("e\u{301}", "\u{E9}"), ("\u{E9}\u{323}", "\u{1EB9}\u{301}"), ("\u{1100}\u{1161}\u{11A8}", "\u{AC01}"),
            ("\u{AC00}\u{11A8}", "\u{AC01}"), ("\u{212B}", "\u{C5}"), ("\u{958}", "\u{915}\u{93C}"),
            ("\u{F80}\u{F81}", "\u{F71}\u{F80}\u{F80}"), ("a\u{315}\u{300}\u{5AE}\u{300}b", "\u{E0}\u{5AE}\u{300}\u{315}b"),
            ("\u{1D15E}", "\u{1D157}\u{1D165}"), ("\u{D4DB}\u{11B8}\u{11B8}", "\u{D4DB}\u{11B8}\u{11B8}"),
        ]
        for (text, composed) in pairs {
            let ids = tokenizer.encode(text)
            #expect(Array(tokenizer.decode(ids).utf8) == Array(composed.utf8), "\(text.debugDescription)")
        }
    }
}

@Suite("Streaming decoder")
struct StreamingDecoderTests {
    @Test("Never half a character, and in the end the whole text", arguments: ["qwen", "mixtral", "llama-3"])
    func stream(name: String) throws {
        let tokenizer = try TokenizerFixtures.huggingFace(name)
        for text in try TokenizerFixtures.cases(name).map(\.text) + ["日本語👩‍👩‍👧‍👦é", "\u{10FFFF}\u{FFFF}"] {
            let ids = tokenizer.encode(text, addSpecial: false)
            var decoder = StreamingDecoder(tokenizer)
            var streamed = ""
            for id in ids {
                let part = decoder.append(id)
                #expect(!part.contains("\u{FFFD}") || text.contains("\u{FFFD}"))
                streamed += part
            }
            streamed += decoder.finish()
            let bytes = ids.flatMap(tokenizer.bytes)
            #expect(Array(streamed.utf8) == Array(String(decoding: bytes, as: UTF8.self).utf8))
        }
    }

    @Test("Bytes that make no character are replaced as soon as that is certain")
    func invalid() throws {
        let tokenizer = try TokenizerFixtures.huggingFace("mixtral")
        func byte(_ value: Int32) -> Int32 { 3 + value }
        var decoder = StreamingDecoder(tokenizer)
        #expect(decoder.append(byte(0xE2)) == "")
        #expect(decoder.append(byte(0x82)) == "")
        #expect(decoder.append(byte(0xAC)) == "€")
        #expect(decoder.append(byte(0xE2)) == "")
        #expect(decoder.append(byte(0x41)) == "\u{FFFD}A")
        #expect(decoder.append(byte(0x80)) == "\u{FFFD}")
        #expect(decoder.append(byte(0xE0)) == "")
        #expect(decoder.append(byte(0x80)) == "\u{FFFD}\u{FFFD}")
        #expect(decoder.append(byte(0xF0)) == "")
        #expect(decoder.append(1) == "")
        #expect(decoder.finish() == "\u{FFFD}")
        #expect(decoder.finish() == "")
    }
}
