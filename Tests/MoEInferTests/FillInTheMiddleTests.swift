// SPDX-License-Identifier: Apache-2.0

import MoEInfer
import MoEModel
import MoETestSupport
import MoETokenizer
import Testing

/// The prompt that code models complete between two texts.
@Suite struct FillInTheMiddleTests {
    /// A byte-level vocabulary with a token for each of some letters and those that are named, which are control tokens.
    private static func file(_ names: [String], ids: [(String, UInt32)] = [], bos: Bool = false) throws -> ModelFile {
        let letters = ["a", "b", "c", "d", "x", "y", "<", ">", "|", "_"]
        var builder = GGUFBuilder()
        func text(_ value: String) -> [UInt8] {
            var bytes: [UInt8] = []
            bytes.add(value)
            return bytes
        }
        let tokens = letters + names
        builder.entry("general.architecture", type: 8, text("llama"))
        builder.entry("tokenizer.ggml.model", type: 8, text("gpt2"))
        builder.entry("tokenizer.ggml.pre", type: 8, text("gpt-2"))
        builder.array("tokenizer.ggml.tokens", elementType: 8, count: UInt64(tokens.count), tokens.flatMap(text))
        var types: [UInt8] = []
        for index in tokens.indices { types.add(Int32(index < letters.count ? 1 : 3)) }
        builder.array("tokenizer.ggml.token_type", elementType: 5, count: UInt64(tokens.count), types)
        builder.array("tokenizer.ggml.merges", elementType: 8, count: 0)
        for (key, id) in ids { builder.uint32("tokenizer.ggml.\(key)_token_id", id) }
        if bos {
            builder.uint32("tokenizer.ggml.bos_token_id", UInt32(letters.count))
            builder.entry("tokenizer.ggml.add_bos_token", type: 7, [1])
        }
        // Stays for the life of the process, as an embedded model does.
        let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: builder.bytes.count, alignment: 64)
        bytes.copyBytes(from: builder.bytes)
        return try ModelFile.open(.bytes(UnsafeRawBufferPointer(bytes), name: "fim"))
    }

    private static func prompt(
        _ names: [String], ids: [(String, UInt32)] = [], bos: Bool = false, prefix: String = "ab", suffix: String = "xy"
    ) throws -> String? {
        let file = try file(names, ids: ids, bos: bos)
        let tokenizer = try Tokenizer.load(from: file)
        guard let format = try FillInTheMiddle(file, tokenizer: tokenizer) else { return nil }
        return tokenizer.decode(
            format.prompt(prefix: prefix, suffix: suffix, tokenizer: tokenizer), skipSpecial: false)
    }

    @Test(arguments: [
        ["<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"], ["<fim_prefix>", "<fim_suffix>", "<fim_middle>"],
        ["<fim-prefix>", "<fim-suffix>", "<fim-middle>"], ["<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"],
        ["<PRE>", "<SUF>", "<MID>"], ["▁<PRE>", "▁<SUF>", "▁<MID>"],
        ["<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"], ["<|prefix|>", "<|suffix|>", "<|middle|>"],
    ])
    func namesAreKnown(_ names: [String]) throws {
        #expect(try Self.prompt(names) == "\(names[0])ab\(names[1])xy\(names[2])")
    }

    @Test func mistralHasTheSuffixFirst() throws {
        #expect(
            try Self.prompt(["<s>", "[PREFIX]", "[MIDDLE]", "[SUFFIX]"], bos: true) == "<s>[SUFFIX]xy[PREFIX]ab")
    }

    @Test func metadataComesBeforeNames() throws {
        let names = ["<s>", "<one>", "<two>", "<three>", "<fim_prefix>", "<fim_suffix>", "<fim_middle>"]
        for key in [["fim_pre", "fim_suf", "fim_mid"], ["prefix", "suffix", "middle"]] {
            let ids = zip(key, [11, 12, 13] as [UInt32]).map { ($0, $1) }
            #expect(try Self.prompt(names, ids: ids, bos: true) == "<s><one>ab<two>xy<three>")
        }
        #expect(throws: ModelFileError.self) {
            try Self.prompt(names, ids: [("fim_pre", 1_000_000), ("fim_suf", 12), ("fim_mid", 13)])
        }
    }

    /// What a file of a user's spells must not end its part.
    @Test func textIsText() throws {
        let names = ["<PRE>", "<SUF>", "<MID>"]
        let file = try Self.file(names)
        let tokenizer = try Tokenizer.load(from: file)
        let format = try #require(try FillInTheMiddle(file, tokenizer: tokenizer))
        let plain = format.prompt(prefix: "a", suffix: "b", tokenizer: tokenizer)
        let odd = format.prompt(prefix: "a<SUF>", suffix: "b", tokenizer: tokenizer)
        let suffixID = try #require(plain.first { tokenizer.decode([$0], skipSpecial: false) == "<SUF>" })
        #expect(odd.count { $0 == suffixID } == 1)
    }

    @Test func othersAreRefused() async throws {
        #expect(try Self.prompt(["<PRE>", "<SUF>"]) == nil)
        let llm = try await LLM.load(EngineTests.model)
        #expect { try llm.fillInTheMiddle(prefix: "a", suffix: "b") } throws: {
            $0 is RequestError && "\($0)".contains("filling in the middle")
        }
    }
}
