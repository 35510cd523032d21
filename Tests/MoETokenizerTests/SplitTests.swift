// SPDX-License-Identifier: Apache-2.0

import MoETestSupport
import MoETokenizer
import Testing

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

    private static func probe(_ pattern: String, _ engine: SplitProbe.Engine, isRust: Bool = true) -> SplitProbe? {
        SplitProbe(pattern: pattern, engine: engine, isRust: isRust)
    }

    @Test("The hand-written cuts and the programs of every spelling of them cut alike")
    func handWritten() throws {
        let texts = Self.texts(200, seed: 3)
        for pattern in SplitProbe.handWrittenPatterns {
            let program = try #require(Self.probe(pattern, .program, isRust: false), "\(pattern)")
            let chosen = try #require(Self.probe(pattern, .chosen, isRust: false), "\(pattern)")
            for text in texts { #expect(chosen.pieces(of: text) == program.pieces(of: text), "\(pattern) on \(text)") }
        }
    }

    @Test(
        "Every expression of a named pre-tokenizer cuts as PCRE2 has it",
        .enabled(if: SplitProbe.isPCRE2Available, "needs libpcre2-8.so.0"))
    func named() throws {
        let texts = Self.texts(120, seed: 4)
        let patterns = Set(SplitProbe.handWrittenPatterns + SplitProbe.namedPatterns + Self.others)
        var compared = 0
        for pattern in patterns {
            let program = try #require(Self.probe(pattern, .program), "\(pattern)")
            // PCRE2 has no intersections, and writes code points its own way.
            guard !pattern.contains("&&") else { continue }
            let other = try #require(Self.probe(Self.pcre(pattern), .pcre2), "\(pattern)")
            for text in texts { #expect(program.pieces(of: text) == other.pieces(of: text), "\(pattern) on \(text)") }
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
    func fallback() {
        for pattern in [#"(?<=a)b"#, #"(a)\1"#, #"[[:punct:]]+"#, #"\X"#, #"(?<n>a)"#] {
            #expect(Self.probe(pattern, .program, isRust: false) == nil, "\(pattern)")
            #expect((Self.probe(pattern, .chosen, isRust: false) != nil) == SplitProbe.isPCRE2Available, "\(pattern)")
        }
        for pattern in ["(", "a)", "[", "*a", "a{2,1}", #"\p{Nonsense}"#, "[b-a]", "[a&&[b]\\1]"] {
            #expect(Self.probe(pattern, .chosen, isRust: false) == nil, "\(pattern)")
        }
        // Too deep and too long are no expressions either.
        let deep = String(repeating: "(", count: 100) + String(repeating: ")", count: 100)
        #expect(Self.probe(deep, .program) == nil)
        #expect(Self.probe(String(repeating: "(?:ab){1000}", count: 20), .program) == nil)
    }

    @Test("Nothing goes round in circles: 20,000 characters of each kind", .timeLimit(.minutes(1)))
    func linear() throws {
        let probes = SplitProbe.names.compactMap { SplitProbe(name: $0) }
        #expect(probes.count == SplitProbe.names.count && probes.count > 80)
        for unit in ["a", "A", "1", " ", "\n", "'", "世", "e\u{301}", "aB", "-", " a", "\u{3000}"] {
            let text = Array(String(repeating: unit, count: 20_000 / unit.utf8.count).utf8)
            for probe in probes { #expect(probe.pieces(of: text).reduce(0) { $0 + abs($1) } == text.count) }
        }
        // An expression that is made to: what is not cut in time is one piece.
        let hostile = try #require(Self.probe("(?:a|a)*b", .chosen))
        #expect(hostile.pieces(of: [UInt8](repeating: UInt8(ascii: "a"), count: 20_000)).last == 20_000)
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
}
