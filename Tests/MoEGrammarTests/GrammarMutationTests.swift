// SPDX-License-Identifier: Apache-2.0

import Foundation
import MoEGrammar
import MoETestSupport
import Testing

/// Grammars and schemas that somebody else wrote: an error or a grammar, never a crash, a hang or a full memory.
@Suite(.serialized) struct GrammarMutationTests {
    private static let grammars = [
        "root ::= (\"a\" | [b-d]+ x{2,5})* \"\\u00e9\" # c\nx ::= . | \"(\" root \")\" | [^\\n]?",
        "root ::= \"{\" (p (\",\" p)*)? \"}\"\np ::= \"\\\"\" [a-z]{1,9} \"\\\":\" (root | n)\nn ::= [0-9]+",
    ]
    private static let schemas = [
        ##"{"type":"object","properties":{"a":{"type":"string","pattern":"^[a-z]{2,5}$"},"b":{"$ref":"#/$defs/x"}},"$defs":{"x":{"type":["integer","null"],"minimum":-5,"multipleOf":3}},"required":["a"]}"##,
        #"{"type":"array","prefixItems":[{"enum":[1,"x",null]}],"items":{"anyOf":[{"format":"date"},{"const":{"k":1.5e3}}]},"minItems":1,"maxItems":9}"#,
    ]

    /// More for `make test-grammar`.
    private static let rounds = ProcessInfo.processInfo.environment["MOE_GRAMMAR_ROUNDS"].flatMap { Int($0) } ?? 200

    @Test(arguments: 0..<4)
    func mutations(number: Int) throws {
        let isSchema = number >= 2
        let original = Array((Self.grammars + Self.schemas)[number].utf8)
        let pieces = [
            "(", ")", "{", "}", "*", "+", "[", "]", "\"", "|", "\\", "{0,99999}", "root", "^", "$", "é", "\n", ",", ":",
            "1e400", "-",
        ]
        var random = SplitMix64(state: UInt64(number))
        var compiled = 0
        for _ in 0..<Self.rounds {
            var bytes = original
            for _ in 0..<Int.random(in: 1...3, using: &random) {
                let place = Int.random(in: 0..<bytes.count, using: &random)
                switch Int.random(in: 0..<4, using: &random) {
                case 0: bytes.remove(at: place)
                case 1: bytes.insert(contentsOf: pieces.randomElement(using: &random)!.utf8, at: place)
                case 2: bytes[place] = UInt8.random(in: 32...126, using: &random)
                default:
                    let end = min(place + Int.random(in: 1...20, using: &random), bytes.count)
                    bytes.insert(contentsOf: bytes[place..<end], at: Int.random(in: 0..<bytes.count, using: &random))
                }
                if bytes.isEmpty { bytes = [32] }
            }
            let text = String(decoding: bytes, as: UTF8.self)
            do throws(GrammarError) {
                let grammar = isSchema ? try Grammar(jsonSchema: text) : try Grammar(gbnf: text)
                compiled += 1
                let matcher = GrammarMatcher(try GrammarAutomaton(grammar, trie: byteTrie))
                for _ in 0..<30 {
                    guard let byte = matcher.nextBytes.randomElement(using: &random) else {
                        #expect(matcher.isComplete, "a dead end of \(text)")
                        break
                    }
                    _ = try matcher.accept(bytes: [byte])
                }
            } catch {
                #expect(!error.description.contains("\n"))
            }
        }
        #expect(compiled > Self.rounds / 15)
    }

    /// Each would take exponential or unbounded time or memory if it were written out.
    static let hostile: [(text: String, isSchema: Bool)] = [
        ("root ::= ((((\"a\"{0,1000}){0,1000}){0,1000}){0,1000}){0,1000}", false),
        ("root ::= \"a\"{0,1000000000}", false),
        ("root ::= (\"a\" | \"aa\"){0,1000000}", false),
        ("root ::= ([ab])* \"a\" [ab]{40}", false),
        ("root ::= \"a\" root \"b\" | \"a\" x \"c\" | \"a\"\nx ::= \"a\" root \"d\" | \"a\" x \"e\" | \"a\"", false),
        ("root ::= \"a\" root root | \"a\"", false),
        (
            "root ::= " + (0..<3000).map { "r\($0)" }.joined(separator: " | ") + "\n"
                + (0..<3000).map { "r\($0) ::= [a-z]* r\(($0 + 1) % 3000) | \"x\"" }.joined(separator: "\n"), false
        ),
        ((0..<20_001).map { "r\($0) ::= \"a\"" }.joined(separator: "\n"), false),
        (
            "root ::= " + (0..<15000).map { "a\($0)" }.first! + "\n"
                + (0..<15000).map { "a\($0) ::= a\($0 + 1)" }.joined(separator: "\n") + "\na15000 ::= \"x\"", false
        ),
        (String(repeating: "(", count: 200), false),
        (#"{"type": "string", "pattern": "^(a|b)*a(a|b){30}$"}"#, true),
        (#"{"type": "string", "pattern": "((a{1000}){1000}){1000}"}"#, true),
        (#"{"type": "string", "pattern": "^[a-z]{1,3000}$", "maxLength": 3999}"#, true),
        (#"{"type": "string", "minLength": 1000000000}"#, true),
        (
            #"{"allOf": ["#
                + (0..<12).map { _ in #"{"anyOf": [{"minimum": 1}, {"maximum": 2}, {"minLength": 3}]}"# }.joined(
                    separator: ",") + "]}", true
        ),
        (#"{"type": "array", "minItems": 100000, "items": {"type": "array", "maxItems": 100000}}"#, true),
        (#"{"minimum": 1e399, "maximum": 1e400, "type": "number"}"#, true),
        (#"{"type": "object", "properties": {"# + (0..<500).map { "\"p\($0)\": {}" }.joined(separator: ",") + "}}", true),
        (String(repeating: #"{"items":"#, count: 5000), true),
        (#"{"enum": ["# + (0..<20000).map { "\"value \($0)\"" }.joined(separator: ",") + "]}", true),
    ]

    @Test(.timeLimit(.minutes(2)), arguments: 0..<hostile.count)
    func hostileTexts(number: Int) throws {
        let (text, isSchema) = Self.hostile[number]
        do throws(GrammarError) {
            let grammar = isSchema ? try Grammar(jsonSchema: text) : try Grammar(gbnf: text)
            let matcher = GrammarMatcher(try GrammarAutomaton(grammar, trie: byteTrie))
            var mask = TokenMask(tokenCount: byteTrie.count)
            for _ in 0..<200 where matcher.takesMore {
                guard try matcher.fill(&mask), let byte = matcher.nextBytes.first else { break }
                _ = try matcher.accept(bytes: [byte])
                #expect(matcher.byteCount < 400 << 20)
            }
        } catch {}
        if ProcessInfo.processInfo.environment["MOE_GRAMMAR_ROUNDS"] != nil {
            print("hostile text \(number): \(clock() / 1000) ms")
        }
    }
}
