// SPDX-License-Identifier: Apache-2.0

/// A pre-tokenizer that GGUF files name (`tokenizer.ggml.pre`), and what the name implies besides.
///
/// The names are those that llama.cpp reads, and what they mean is what llama.cpp does, also where its splitting differs from the
/// expression in the model's own tokenizer.json:
/// - it knows no cases of letters: what is `\p{Lu}` or `\p{Ll}` there is here a letter that is not a-z or not A-Z ("tekken",
///   "gpt-4o" …), or any letter ("youtu", "tiny_aya"), and marks are no letters in those of the first kind;
/// - U+017F is not an s in a contraction;
/// - white space beyond ASCII is in no range of code points (its expressions see it as U+000B);
/// - "kimi-k2" has Han as a list of ranges, and letters in whatever case;
/// - "afmoe" and "tiny_aya" group digits by hand, with the text before a run of digits left on its first group.
struct NamedPreTokenizer {
    /// How a name's cuts are written down.
    enum Rule {
        case cut(PreTokenizer.Cut)
        /// An expression, in the syntax of `PatternParser`.
        case pattern(String)
    }

    let names: [String]
    let rules: [Rule]
    /// A word that is a token as it stands is that token, whatever the merges would give.
    var prefersWholeWords = false
    /// Whether a text starts with BOS where the file does not say.
    var addsBOS = false
    /// Characters are merged, spaces are `▁`, and what is no token is written as its bytes.
    var mergesCharacters = false
    /// What is white space is left out.
    var dropsSpaces = false
    /// A vocabulary without merges is none that is broken.
    var needsMerges = true
    /// A run of line feeds that is a token is that token.
    var prefersLineFeeds = false
    /// Where the file does not say which token ends or starts a text, there is none.
    var hasNoBOS = false

    // Swift's initialiser, without the defaults' labels.
    init(_ names: [String], _ rules: [Rule]) {
        self.names = names
        self.rules = rules
    }

    private func with(_ change: (inout NamedPreTokenizer) -> Void) -> NamedPreTokenizer {
        var copy = self
        change(&copy)
        return copy
    }

    func preTokenizer() -> PreTokenizer? {
        var steps: [PreTokenizer.Step] = []
        for rule in rules {
            switch rule {
            case .cut(let cut): steps.append(.init(cut: cut))
            case .pattern(let pattern):
                guard let program = SplitPattern.program(pattern, .rust) else { return nil }
                steps.append(.init(cut: .pattern(program)))
            }
        }
        if dropsSpaces, !steps.isEmpty {
            steps[0].behavior = .removed
            steps[0].isInverted = true
        }
        return PreTokenizer(steps: steps)
    }

    // MARK: Parts of expressions

    private static let contraction = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
    private static let plain = #"[^\r\n\p{L}\p{N}]?\p{L}+"#
    private static let others = #" ?[^\s\p{L}\p{N}]+[\r\n]*"#
    private static let othersOrSlash = #" ?[^\s\p{L}\p{N}]+[\r\n/]*"#
    private static let spaces = #"\s*[\r\n]+|\s+(?!\S)|\s+"#
    private static let gpt2 = Rule.cut(.gpt2)
    private static let eachNumber = Rule.pattern(#"\p{N}"#)
    private static let upToThree = Rule.pattern(#"\p{N}{1,3}"#)
    private static let newlines = Rule.pattern(#"[^\n]+|[\n]+"#)
    private static func modern(_ digits: Int, marks: Bool = false) -> Rule {
        .cut(.modern(digits: digits, marks: marks, longS: false))
    }

    /// Words with a case: `capital` characters, then `small` ones, the one part or the other at least one.
    private static func cased(_ capital: String, _ small: String, _ ending: String) -> String {
        #"[^\r\n\p{L}\p{N}]?\#(capital)*\#(small)+\#(ending)|[^\r\n\p{L}\p{N}]?\#(capital)+\#(small)*\#(ending)"#
    }

    private static let notSmall = #"[\p{L}&&[^a-z]]"#
    private static let notCapital = #"[\p{L}&&[^A-Z]]"#
    private static let letterOrMark = #"[\p{L}\p{M}]"#

    private static let deepSeekWord =
        ##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"##
    private static let deepSeekMain = deepSeekWord + #"| ?[\p{P}\p{S}]+[\r\n]*|"# + spaces
    private static let ideographsAndKana = Rule.pattern(#"[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"#)
    private static let ideographsAndHangul = Rule.pattern(#"[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff&&\S]+"#)

    /// The cased letters of DeepSeek LLM's expression.
    private static let deepSeekLetters =
        #"A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373"#
        + #"\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f"#
        + #"\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77"#
        + #"\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d"#
        + #"\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb"#
        + #"\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128"#
        + #"\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4"#
        + #"\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf"#
        + #"\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a\x{10400}-\x{1044f}\x{104b0}-\x{104d3}"#
        + #"\x{104d8}-\x{104fb}\x{10c80}-\x{10cb2}\x{10cc0}-\x{10cf2}\x{118a0}-\x{118df}\x{1e900}-\x{1e943}"#

    private static let bloom = #" ?[^(\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+"#
    private static let han =
        #"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\x{20000}-\x{2a6df}\x{2a700}-\x{2ebef}\x{2f800}-\x{2fa1f}"#
    private static let asianScripts =
        #"[\u4e00-\u9fff\u3400-\u4dbf\u8c48-\ufaff\u3040-\u309f\u30a0-\u30ff\uff65-\uff9f\u2f00-\u2fdf\u0e40-\u0e7f"#
        + #"\u0e80-\u0eff\u1780-\u17ff\u1000-\u109f\uaa60-\uaa7f\ua9e0-\ua9ff\uac00-\ud7af\u1100-\u11ff]+"#

    // MARK: The names

    static let all: [NamedPreTokenizer] = [
        NamedPreTokenizer(
            ["default", ""],
            [.pattern(#"[\p{P}$+<=>^~|]+"#), gpt2, .pattern(#"\p{N}+"#), .cut(.digitTriples)]),
        NamedPreTokenizer(
            [
                "gpt-2", "phi-2", "jina-es", "jina-de", "gigachat", "jina-v2-es", "jina-v2-de", "a.x-4.0", "mellum",
                "modern-bert", "jina-v1-en", "jina-v2-code", "roberta-bpe", "exaone4", "mpt", "olmo", "jais", "trillion",
                "granite-docling",
            ], [gpt2]),
        NamedPreTokenizer(
            ["starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b", "mellum2"],
            [eachNumber, gpt2]),
        NamedPreTokenizer(
            [
                "llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano",
            ], [modern(3)]
        ).with {
            $0.prefersWholeWords = true
            $0.addsBOS = true
        },
        NamedPreTokenizer(["dbrx", "smaug-bpe"], [modern(3)]),
        NamedPreTokenizer(["chatglm-bpe"], [modern(3)]).with { $0.hasNoBOS = true },
        NamedPreTokenizer(["glm4", "glm5"], [modern(3)]).with {
            $0.prefersWholeWords = true
            $0.hasNoBOS = true
        },
        NamedPreTokenizer(
            [
                "qwen2", "deepseek-r1-qwen", "stablelm2", "megrez", "kormo", "f2llmv2", "hunyuan", "solar-open", "grok-2",
            ], [modern(1)]),
        NamedPreTokenizer(["qwen35"], [modern(1, marks: true)]),
        NamedPreTokenizer(
            ["minicpm5"], [upToThree, .pattern(#"\#(contraction)|\#(plain)|\p{N}+|\#(others)|\#(spaces)"#)]
        ).with { $0.prefersWholeWords = true },
        NamedPreTokenizer(
            ["jais-2"],
            [
                .pattern(
                    #"\#(contraction)|\#(plain)|\p{N}{1,3}|\#(others)|\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)"#
                        + #"|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}"#)
            ]),
        NamedPreTokenizer(
            ["bailingmoe", "bailingmoe2", "llada-moe"],
            [.pattern(#"\#(contraction)|\#(plain)|\p{N}|\#(others)|\s*[\r\n]|\s+(?!\S)|\s+"#)]),
        NamedPreTokenizer(
            ["seed-coder"],
            [.pattern(#"\#(contraction)|\#(plain)|\p{N}| ?[^\s\p{L}\p{N}\r\n]+|\#(spaces)"#)]),
        NamedPreTokenizer(["ufakzeka"], [.pattern(#"\#(plain)|\p{N}|\#(others)|\#(spaces)"#)]),
        NamedPreTokenizer(["laguna"], [newlines, modern(1)]),
        NamedPreTokenizer(
            ["exaone-moe"],
            [
                .pattern(
                    #"\#(contraction)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?"#
                        + #"|\s*[\r\n]|\s+(?!\S)|\s+"#)
            ]),

        NamedPreTokenizer(
            ["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"],
            [
                .pattern(
                    cased(notSmall, notCapital, contraction + "?") + #"|\p{N}{1,3}|\#(othersOrSlash)|\#(spaces)"#)
            ]),
        NamedPreTokenizer(
            ["tekken"],
            [.pattern(cased(notSmall, notCapital, "") + #"|\p{N}|\#(othersOrSlash)|\#(spaces)"#)]
        ).with {
            $0.prefersWholeWords = true
            $0.addsBOS = true
        },
        NamedPreTokenizer(
            ["granite-embed-multi-97m"],
            [
                .pattern(
                    cased(#"[\p{L}\p{M}&&[^a-z]]"#, #"[\p{L}\p{M}&&[^A-Z]]"#, contraction + "?")
                        + #"|\p{N}{1,3}|\#(othersOrSlash)|\#(spaces)"#)
            ]
        ).with { $0.prefersWholeWords = true },
        NamedPreTokenizer(
            ["tiny_aya", "cohere2moe"],
            [
                .cut(.groupsFromRight(.withTextBefore)),
                .pattern(
                    #"[^\r\n\p{L}\p{N}]?\#(letterOrMark)+\#(contraction)?|\p{N}{1,3}|\#(othersOrSlash)|\#(spaces)"#),
            ]),
        NamedPreTokenizer(
            ["youtu"],
            [
                .pattern(
                    #"[\uac00-\ud7a3\u3131-\u318e]+|[\uff01\u2026\u201c\u201d\u2018\u2019\u2014\uff1a\uff1b\uff0c\u3001-\u303f\ufe30-\ufe4f]+|[\u3105-\u312f]+|[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"#
                ),
                .pattern(#"[^\r\n\p{L}\p{N}]?\#(letterOrMark)+\#(contraction)?|\p{N}|\#(othersOrSlash)|\#(spaces)"#),
            ]
        ).with { $0.prefersWholeWords = true },
        NamedPreTokenizer(
            ["kimi-k2"],
            [
                .pattern(
                    #"[\#(han)]+|[^\r\n\p{L}\p{N}]?[\p{L}&&[^\#(han)]]+\#(contraction)?|\p{N}{1,3}|\#(others)|\#(spaces)"#)
            ]
        ).with { $0.needsMerges = false },

        NamedPreTokenizer(
            ["deepseek-llm"],
            [
                .pattern(#"[\r\n]"#), .pattern(#"\s?[\#(deepSeekLetters)]+"#),
                .pattern(#"\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002&&\S]+"#), .pattern(#"\s+\z"#),
                ideographsAndHangul,
                .pattern(#"\p{N}+"#),
            ]),
        NamedPreTokenizer(
            ["deepseek-coder"],
            [
                .pattern(#"[\r\n]"#), .pattern(#"\s?\p{L}+"#), .pattern(#"\s?\p{P}+"#), ideographsAndHangul, eachNumber,
            ]),
        NamedPreTokenizer(
            ["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"],
            [upToThree, ideographsAndKana, .pattern(deepSeekMain)]),
        NamedPreTokenizer(
            ["spark2_5"],
            [
                upToThree, ideographsAndKana,
                .pattern(deepSeekWord + #"| ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+"#), eachNumber,
            ]),
        NamedPreTokenizer(
            ["afmoe"],
            [.cut(.groupsFromRight(.withTextBefore)), .pattern(asianScripts), .pattern(deepSeekMain)]),

        NamedPreTokenizer(["falcon"], [.pattern(#"[\p{P}$+<=>^~|`]+"#), gpt2, .cut(.digitTriples)]),
        NamedPreTokenizer(["poro-chat", "bloom", "gpt3-finnish"], [.pattern(bloom)]),
        NamedPreTokenizer(["viking"], [.pattern(bloom), eachNumber]),
        NamedPreTokenizer(["superbpe"], [.pattern(#"\p{N}+"#), .cut(.groupsFromRight(.digits))]),
        NamedPreTokenizer(
            ["chameleon"],
            [
                .pattern("<sentinel:[0-9]+>"), .pattern("IMGIMG[A-I]{1,4}Z"), .pattern(#"[\t\n]|    |  "#), eachNumber,
                .pattern(#"[\p{P}!-/:-@\[-`{-~]"#), gpt2,
            ]
        ).with { $0.addsBOS = true },

        NamedPreTokenizer(["gemma4", "granite-embed-multi-311m"], [newlines]).with {
            $0.mergesCharacters = true
            $0.prefersLineFeeds = true
        },
        NamedPreTokenizer(["sarvam-moe"], [newlines]).with { $0.mergesCharacters = true },
        NamedPreTokenizer(["whitespace"], [.pattern(#"\S+"#)]).with {
            $0.mergesCharacters = true
            $0.dropsSpaces = true
        },
    ]

    static func named(_ name: String) -> NamedPreTokenizer? { all.first { $0.names.contains(name) } }

    static var supportedNames: String { all.flatMap(\.names).filter { !$0.isEmpty }.joined(separator: ", ") }
}
