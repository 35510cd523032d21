// SPDX-License-Identifier: Apache-2.0

import Foundation
import MoEGrammar
import MoETestSupport
import Testing

/// What masks cost on a real vocabulary: figures for `make test-grammar`, nothing is asserted about time.
@Suite struct MaskCostTests {
    static let grammars: [(name: String, make: @Sendable () throws -> Grammar)] = [
        (
            "JSON Schema: 6 members, strings, an array of objects",
            {
                try Grammar(
                    jsonSchema: """
                        {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0},
                        "email": {"type": "string", "format": "email"}, "bio": {"type": "string", "maxLength": 300},
                        "tags": {"type": "array", "items": {"enum": ["red", "green", "blue"]}},
                        "friends": {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"},
                        "since": {"type": "string", "format": "date"}}, "required": ["name"]}}}, "required": ["name", "age"]}
                        """)
            }
        ),
        ("JSON Schema: any value", { try Grammar(jsonSchema: "true") }),
        (
            "GBNF: JSON",
            {
                try Grammar(
                    gbnf: #"""
                        root ::= object
                        value ::= object | array | string | number | ("true" | "false" | "null") ws
                        object ::= "{" ws (string ":" ws value ("," ws string ":" ws value)*)? "}" ws
                        array ::= "[" ws (value ("," ws value)*)? "]" ws
                        string ::= "\"" ([^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}))* "\"" ws
                        number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws
                        ws ::= | " " | "\n" [ \t]{0,20}
                        """#)
            }
        ),
        (
            "GBNF: sentences of words",
            { try Grammar(gbnf: "root ::= sentence+\nsentence ::= word (\" \" word)* [.!?] \" \"?\nword ::= [A-Za-z]+") }
        ),
        ("GBNF: free text", { try Grammar(gbnf: "root ::= .*") }),
    ]

    @Test(.enabled(if: ProcessInfo.processInfo.environment["MOE_GRAMMAR_VOCABULARY"] != nil, "set by make test-grammar"))
    func figures() throws {
        var start = ContinuousClock.now
        let trie = try GrammarOracleTests.vocabulary()
        print("vocabulary of \(trie.count) tokens read and made a tree in \(ContinuousClock.now - start)")
        for (name, make) in Self.grammars {
            start = .now
            let grammar = try make()
            let automaton = try GrammarAutomaton(grammar, trie: trie)
            let compiled = ContinuousClock.now - start
            var times: [Double] = []
            var mask = TokenMask(tokenCount: trie.count)
            var random = SplitMix64(state: 5)
            var logits = [Float](repeating: 0, count: trie.count)
            for text in 0..<40 {
                let matcher = GrammarMatcher(automaton)
                for _ in 0..<50 where matcher.takesMore {
                    let start = Self.cpuSeconds
                    guard try matcher.fill(&mask) else { break }
                    if mask.only == nil { logits.withUnsafeMutableBufferPointer { mask.apply(to: $0) } }
                    let token = Self.token(mask, using: &random)
                    if trie.bytes(of: token) == nil { break }
                    _ = try matcher.accept(token)
                    times.append((Self.cpuSeconds - start) * 1000)
                }
                if text == 39 {
                    times.sort()
                    func share(_ part: Double) -> String {
                        String(format: "%.3f", times[Int(Double(times.count - 1) * part)])
                    }
                    print(
                        "\(name): compiled in \(compiled); \(times.count) steps, median \(share(0.5)) ms, 99 % \(share(0.99)) ms, "
                            + "worst \(share(1)) ms, mean \(String(format: "%.3f", times.reduce(0, +) / Double(times.count))) ms; "
                            + "\(matcher.maskCounts.built) masks made, \(matcher.maskCounts.reused) reused, \(matcher.byteCount / 1024) KiB"
                    )
                }
            }
        }
    }

    /// Of this thread: others on the machine do not count.
    private static var cpuSeconds: Double {
        var time = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }

    private static func token(_ mask: TokenMask, using random: inout SplitMix64) -> Int32 {
        var rest = Int.random(in: 0..<mask.count, using: &random)
        for (index, word) in mask.words.enumerated() {
            if rest >= word.nonzeroBitCount {
                rest -= word.nonzeroBitCount
                continue
            }
            var bits = word
            for _ in 0..<rest { bits &= bits - 1 }
            return Int32(index * 64 + bits.trailingZeroBitCount)
        }
        return 0
    }
}
