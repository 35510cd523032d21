// SPDX-License-Identifier: Apache-2.0

import MoETestSupport
import Testing

@testable import MoETokenizer

/// The cuts of texts, against PCRE2 (where libpcre2-8.so.0 is installed) and against each other: a wrong cut gives wrong ids that
/// look right.
@Suite("Splitting")
struct SplitTests {
    private static let pieces: [String] = [
        "the", "Hello", "WORLD", "don't", "I'LL", "we'Ve", "'ſt", "naïve", "Größe", "мир", "Мир", "你好", "世界", "カタカナ", "한국어",
        "हिन्दी",
        "ไทย", "عربي", "ǅ", "👩‍👧", "e\u{301}", "\u{200B}", "\u{0}", "\u{7F}", "\u{85}", "\u{2028}", "\u{A0}", "\u{3000}",
        "\t", "\n", "\r\n", "\r",
        " ", "  ", "   ", " \n ", "'", "''", "...", "!?", "--", "/", "//\n", "$", "+", "=", "_", "`", "1", "12", "1234567",
        "٣٤٥", "½", "Ⅷ", "〇",
        "々", "𝒳", "a", "B", "aB", "HTTPServer", "IMGIMGABZ", "<sentinel:12>", "(", "|", "…", "。",
    ]

    private static func texts(_ count: Int, seed: UInt64) -> [[UInt8]] {
        var generator = SplitMix64(state: seed)
        return (0..<count).map { _ in
            var text = ""
            for _ in 0..<Int.random(in: 1...24, using: &generator) {
                text += pieces.randomElement(using: &generator) ?? ""
            }
            return Array(text.utf8)
        }
    }

    private static func pieces(_ cut: PreTokenizer.Cut, _ text: [UInt8]) -> [Int] {
        var ends: [Int] = []
        text.withUnsafeBufferPointer { PreTokenizer(cuts: [cut]).words(of: $0, into: &ends) }
        return ends
    }

    @Test("The hand-written cuts and the programs of every spelling of them cut alike")
    func handWritten() throws {
        let texts = Self.texts(200, seed: 3)
        for pattern in SplitPattern.handWrittenPatterns {
            let program = try #require(SplitPattern.program(pattern, .oniguruma), "\(pattern)")
            let cut = try SplitPattern.cut(pattern, .oniguruma)
            for text in texts {
                let ours = Self.pieces(cut, text)
                #expect(ours == Self.pieces(.pattern(program), text), "\(pattern) on \(text)")
            }
        }
    }

    @Test(
        "Every expression of a named pre-tokenizer cuts as PCRE2 has it",
        .enabled(if: PCREExpression.isAvailable, "needs libpcre2-8.so.0"))
    func named() throws {
        let texts = Self.texts(120, seed: 4)
        var patterns = Set(SplitPattern.handWrittenPatterns)
        for named in NamedPreTokenizer.all {
            for case .pattern(let pattern) in named.rules { patterns.insert(pattern) }
        }
        patterns.formUnion(Self.others)
        var compared = 0
        for pattern in patterns {
            let program = try #require(SplitPattern.program(pattern, .rust), "\(pattern)")
            // PCRE2 has no intersections, and writes code points its own way.
            guard !pattern.contains("&&") else { continue }
            let other = try PCREExpression(Self.pcre(pattern), .rust)
            for text in texts {
                #expect(
                    Self.pieces(.pattern(program), text) == Self.pieces(.expression(other), text), "\(pattern) on \(text)")
            }
            compared += 1
        }
        #expect(compared > 40)
    }

    private static let others = [
        #"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}|\s+"#,
        #"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"#,
        #"a|b+?c|(?:xy|z){2,3}"#, #"(?>a|ab)c|[^a]*?b"#, #"(?!t)\p{L}+|t"#, #"^.|.\z"#,
        #".{2,5}"#,
    ]

    /// The same in PCRE2's syntax.
    private static func pcre(_ pattern: String) -> String {
        var result = ""
        var rest = Substring(pattern)
        while let range = rest.firstRange(of: "\\u") {
            result += rest[..<range.lowerBound]
            rest = rest[range.upperBound...]
            result += "\\x{" + rest.prefix(4) + "}"
            rest = rest.dropFirst(4)
        }
        return result + rest
    }

    @Test("What goes beyond the program's syntax is left to PCRE2, and what is wrong is said")
    func fallback() throws {
        for pattern in [#"(?<=a)b"#, #"(a)\1"#, #"[[:punct:]]+"#, #"\X"#, #"(?<n>a)"#] {
            #expect(SplitPattern.program(pattern, .oniguruma) == nil, "\(pattern)")
            if PCREExpression.isAvailable {
                guard case .expression = try SplitPattern.cut(pattern, .oniguruma) else {
                    Issue.record("\(pattern) is not run by PCRE2")
                    continue
                }
            }
        }
        for pattern in ["(", "a)", "[", "*a", "a{2,1}", #"\p{Nonsense}"#, "[b-a]", "[a&&[b]\\1]"] {
            #expect(throws: SplitPattern.Failure.self, "\(pattern)") { _ = try SplitPattern.cut(pattern, .oniguruma) }
        }
        // Too deep and too long are no expressions either.
        #expect(SplitPattern.program(String(repeating: "(", count: 100) + String(repeating: ")", count: 100), .rust) == nil)
        #expect(SplitPattern.program(String(repeating: "(?:ab){1000}", count: 20), .rust) == nil)
    }

    @Test("Nothing goes round in circles: 20,000 characters of each kind", .timeLimit(.minutes(1)))
    func linear() throws {
        let patterns = NamedPreTokenizer.all.compactMap { $0.preTokenizer() }
        for unit in ["a", "A", "1", " ", "\n", "'", "世", "e\u{301}", "aB", "-", " a", "\u{3000}"] {
            let text = Array(String(repeating: unit, count: 20_000 / unit.utf8.count).utf8)
            for preTokenizer in patterns {
                var ends: [Int] = []
                text.withUnsafeBufferPointer { preTokenizer.words(of: $0, into: &ends) }
                #expect(ends.last.map { $0 < 0 ? ~$0 : $0 } == text.count)
            }
        }
        // An expression that is made to: what is not cut in time is one piece.
        let hostile = try SplitPattern.cut("(?:a|a)*b", .rust)
        let text = [UInt8](repeating: UInt8(ascii: "a"), count: 20_000)
        #expect(Self.pieces(hostile, text).last == text.count)
    }

    @Test("Bytes that are no text are cut like U+FFFD and stay what they are")
    func invalid() throws {
        let tokenizer = try Tokenizer(TokenizerFixtures.description("gguf-qwen2"), source: "gguf-qwen2")
        var generator = SplitMix64(state: 9)
        for _ in 0..<200 {
            let bytes = (0..<Int.random(in: 1...40, using: &generator)).map { _ in
                UInt8.random(in: 0...255, using: &generator)
            }
            let ids = tokenizer.encode(bytes: bytes, addSpecial: false, parseSpecial: false)
            #expect(ids.flatMap(tokenizer.bytes) == bytes)
        }
    }

    @Test("Base64")
    func base64() {
        #expect(Base64.decode(Array("aGVsbG8=".utf8)) == Array("hello".utf8))
        #expect(Base64.decode(Array("aGVsbG8".utf8)) == Array("hello".utf8))
        #expect(Base64.decode(Array("".utf8)) == [])
        for wrong in ["a", "aGVs!", "aGVsbG9=", "====", "aG=Vs"] {
            #expect(Base64.decode(Array(wrong.utf8)) == nil, "\(wrong)")
        }
    }
}
