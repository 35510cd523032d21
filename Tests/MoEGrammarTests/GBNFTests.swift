// SPDX-License-Identifier: Apache-2.0

import MoEGrammar
import Testing

/// A vocabulary of single bytes.
let byteTrie = TokenTrie(count: 257, endOfGeneration: [256]) { $0 < 256 ? [UInt8($0)] : [] }

func accepts(_ grammar: Grammar, _ text: String) throws -> Bool {
    let matcher = GrammarMatcher(try GrammarAutomaton(grammar, trie: byteTrie))
    return try matcher.accept(bytes: text.utf8) && matcher.isComplete
}

@Suite struct GBNFTests {
    static let cases: [(grammar: String, yes: [String], no: [String])] = [
        (#"root ::= "a" "b"*"#, ["a", "ab", "abbb"], ["", "b", "ac", "aba"]),
        (#"root ::= [a-c]+ [^a-c]"#, ["ad", "abcé", "cc\n"], ["d", "abc", "aa", "abdd"]),
        (#"root ::= "x"{2,3} "y"{2} "z"{1,}"#, ["xxyyz", "xxxyyzzz"], ["xyyz", "xxxxyyz", "xxyz", "xxyy"]),
        (#"root ::= "a" | ("b" | "c")? "d""#, ["a", "bd", "cd", "d"], ["b", "ad", ""]),
        (#"root ::= "\x41\u00e9\U0001F600\n\t\"\\""#, ["Aé😀\n\t\"\\"], ["A"]),
        (#"root ::= [\u4e00-\u9fff]{2} ."#, ["中文é", "中文a"], ["中", "中a文", "中文"]),
        ("# comment\nroot ::= (\n  a # first\n  b\n)\na ::= \"1\" |\n  \"2\"\nb ::= [-+]", ["1-", "2+"], ["1", "3-"]),
        (#"root ::= "[" (root ("," root)*)? "]""#, ["[]", "[[],[[]]]"], ["[", "[,]", "[]]", "[[][]]"]),
        (#"root ::= "a" root "b" | "a" root "c" | "x""#, ["axb", "aaxbc", "aaaxccb"], ["ax", "aaxb", "axbc"]),
        (#"root ::= x root | y root | x"# + "\nx ::= \"a\"\ny ::= \"a\"", ["a", "aaaaaaaa"], ["", "b"]),
        (#"root ::= a a a"# + "\na ::= \"x\" |", ["", "x", "xxx"], ["xxxx"]),
        (#"root ::= ("ab"|"a"|"b"){0,1000} "."# + "\"", [".", "abab.", "aabbab."], ["ab", "c."]),
        (#"root ::= ("a"{0,3} "b"){500,100000} "."# + "\"", [String(repeating: "aab", count: 700) + "."], ["ab.", "."]),
    ]

    @Test(arguments: cases)
    func matches(grammar: String, yes: [String], no: [String]) throws {
        let grammar = try Grammar(gbnf: grammar)
        for text in yes { #expect(try accepts(grammar, text), "should be accepted: \(text)") }
        for text in no { #expect(try !accepts(grammar, text), "should not be accepted: \(text)") }
    }

    static let mistakes: [(grammar: String, message: String)] = [
        ("root ::= a", "line 1, column 10: the rule 'a' is not defined"),
        ("a ::= \"x\"", "line 1, column 1: there is no rule 'root', where a text would start"),
        ("root ::= \"a", "line 1, column 10: the literal is not closed"),
        ("root ::= [a", "line 1, column 10: the class is not closed"),
        ("root ::= (\"a\"\n", "line 1, column 10: the parenthesis is not closed"),
        ("root ::= [z-a]", "line 1, column 11: the range runs backwards"),
        ("root ::= []", "line 1, column 10: the class has no characters"),
        ("root ::= \"\\q\"", "line 1, column 11: unknown escape '\\q'"),
        ("root ::= \"\\u12\"", "line 1, column 11: the escape needs 4 hexadecimal digits"),
        ("root ::= \"\\ud800\"", "line 1, column 11: the escape is no Unicode character"),
        ("root ::= * \"a\"", "line 1, column 10: there is nothing before '*' to repeat"),
        ("root ::= \"a\"{3,2}", "line 1, column 13: the repetition {3,2} has its ends reversed"),
        ("root ::= \"a\"{99999999999}", "line 1, column 14: a repetition counts to at most 1073741823"),
        ("root = \"a\"", "line 1, column 6: expected '::=' after 'root'"),
        ("root ::= \"a\" )", "line 1, column 14: expected a new line, found ')'"),
        ("root ::= \"a\"\nroot ::= \"b\"", "line 2, column 1: the rule 'root' is defined twice"),
        ("root ::= root \"a\" | \"b\"", "line 1, column 1: the rule 'root' begins with itself (left recursion)"),
        (
            "root ::= e b\ne ::= \"x\"?\nb ::= root \"c\" | \"d\"",
            "line 1, column 1: the rule 'root' begins with itself (left recursion)"
        ),
        ("root ::= \"a\" root", "line 1, column 1: the rule 'root' matches no text that ends"),
        ("", "line 1, column 1: there is no rule 'root', where a text would start"),
    ]

    @Test(arguments: mistakes)
    func errors(grammar: String, message: String) {
        #expect(throws: GrammarError.self) { try Grammar(gbnf: grammar) }
        do { _ = try Grammar(gbnf: grammar) } catch { #expect(error.description == message) }
    }

    @Test func tokens() throws {
        let bytes = ["a", "b", "ab", "c", "", ""].map { Array($0.utf8) }
        let trie = TokenTrie(
            count: 6, endOfGeneration: [5], named: { $0 == "<t>" ? 4 : nil }, bytes: { bytes[Int($0)] })
        func allowed(_ matcher: GrammarMatcher) throws -> [Int32] {
            var mask = TokenMask(tokenCount: 6)
            _ = try matcher.fill(&mask)
            return (0..<6).filter { mask.contains($0) }
        }
        let grammar = try Grammar(gbnf: "root ::= <t> !<[3]>* <[3]> \"b\"?")
        let matcher = GrammarMatcher(try GrammarAutomaton(grammar, trie: trie))
        #expect(try allowed(matcher) == [4])
        #expect(try !matcher.accept(0))
        #expect(try matcher.accept(4))
        #expect(try allowed(matcher) == [0, 1, 2, 3, 4])
        #expect(try matcher.accept(2))
        #expect(try matcher.accept(4))
        let position = matcher.position
        #expect(try matcher.accept(3))
        #expect(try allowed(matcher) == [1, 5])
        #expect(try matcher.accept(1))
        #expect(try allowed(matcher) == [5])
        #expect(matcher.isComplete && !matcher.takesMore)
        matcher.position = position
        #expect(try allowed(matcher) == [0, 1, 2, 3, 4])
        #expect(throws: GrammarError("the vocabulary has no token '<u>'", at: "line 1, column 10")) {
            try GrammarAutomaton(try Grammar(gbnf: "root ::= <u>"), trie: trie)
        }
    }

    /// As many grammars in use as there may be requests: together they keep what one may keep, and say the same as one alone.
    @Test func automataShareTheirMemory() throws {
        let grammar = try Grammar(gbnf: #"root ::= "[" (root ("," root)*)? "]""#)
        func walk(_ matcher: GrammarMatcher) throws {
            for text in [String(repeating: "[", count: 1000), String(repeating: "]", count: 999), ",[[],[]]]"] {
                for byte in text.utf8 { #expect(try matcher.accept(Int32(byte))) }
            }
            #expect(matcher.isComplete && !matcher.takesMore)
        }
        let alone = GrammarMatcher(try GrammarAutomaton(grammar, trie: byteTrie))
        try walk(alone)
        let memory = GrammarMemory(total: 8 * alone.byteCount / 3)
        let matchers = try (0..<8).map { _ in GrammarMatcher(try GrammarAutomaton(grammar, trie: byteTrie, memory: memory))
        }
        for matcher in matchers { try walk(matcher) }
        let total = matchers.reduce(0) { $0 + $1.byteCount }
        #expect(total < 4 * alone.byteCount, "\(total) bytes of eight, \(alone.byteCount) of one")
    }
}
