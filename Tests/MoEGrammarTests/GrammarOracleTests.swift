// SPDX-License-Identifier: Apache-2.0

import Foundation
import MoEGrammar
import MoETestSupport
import Testing

/// What `make test-grammar` asks: a file of grammars, schemas and texts is answered in another file, which Tools/grammar/oracle.py
/// makes and judges. Skipped without it.
@Suite struct GrammarOracleTests {
    struct Case: Decodable {
        let gbnf: String?
        let schema: String?
        /// Whether they are accepted.
        let texts: [String]?
        /// How many texts to make, byte by byte and token by token.
        let walks: Int?
        let tokenWalks: Int?
        let seed: UInt64?
    }

    struct Answer: Encodable {
        var error: String?
        var accepts: [Bool] = []
        var walks: [String] = []
        var problem: String?
    }

    private static let cases = ProcessInfo.processInfo.environment["MOE_GRAMMAR_CASES"]
    private static let answers = ProcessInfo.processInfo.environment["MOE_GRAMMAR_ANSWERS"]

    /// A vocabulary as a file: a line per token, in hexadecimal; nothing for special ones.
    static func vocabulary() throws -> TokenTrie {
        guard let path = ProcessInfo.processInfo.environment["MOE_GRAMMAR_VOCABULARY"] else { return byteTrie }
        let text = try String(contentsOfFile: path, encoding: .utf8)
        let tokens = text.utf8.split(separator: 10, omittingEmptySubsequences: false).dropLast().map { line in
            func digit(_ byte: UInt8) -> UInt8 { byte < 0x40 ? byte - 0x30 : byte - 0x57 }
            let line = Array(line)
            return stride(from: 0, to: line.count - 1, by: 2).map { digit(line[$0]) << 4 | digit(line[$0 + 1]) }
        }
        return TokenTrie(count: tokens.count, endOfGeneration: [Int32(tokens.count - 1)]) { tokens[Int($0)] }
    }

    @Test(.enabled(if: cases != nil && answers != nil, "set by make test-grammar"))
    func answer() throws {
        let trie = try Self.vocabulary()
        var output = Data()
        let input = try String(contentsOfFile: Self.cases!, encoding: .utf8)
        for line in input.split(separator: "\n") {
            let item = try JSONDecoder().decode(Case.self, from: Data(line.utf8))
            output.append(try JSONEncoder().encode(Self.answer(item, trie)))
            output.append(10)
        }
        try output.write(to: URL(fileURLWithPath: Self.answers!))
    }

    private static func answer(_ item: Case, _ trie: TokenTrie) -> Answer {
        var answer = Answer()
        do {
            let grammar = try item.gbnf.map { try Grammar(gbnf: $0) } ?? Grammar(jsonSchema: item.schema ?? "")
            for text in item.texts ?? [] {
                let matcher = GrammarMatcher(try GrammarAutomaton(grammar, trie: byteTrie))
                answer.accepts.append(try matcher.accept(bytes: text.utf8) && matcher.isComplete)
            }
            do {
                let automaton = try GrammarAutomaton(grammar, trie: byteTrie)
                for walk in 0..<(item.walks ?? 0) {
                    var walker = GrammarWalker(automaton, seed: (item.seed ?? 0) &+ UInt64(walk))
                    do {
                        answer.walks.append(text(try walker.bytes(length: 12 << (walk % 5))))
                    } catch let end as GrammarWalker.DeadEnd {
                        // A walk whose end is far away is no fault; a place where nothing can follow is.
                        let matcher = GrammarMatcher(automaton)
                        _ = try matcher.accept(bytes: end.text)
                        if matcher.nextBytes.isEmpty { throw end }
                    }
                }
                let large = try GrammarAutomaton(grammar, trie: trie)
                for walk in 0..<(item.tokenWalks ?? 0) {
                    var walker = GrammarWalker(large, seed: (item.seed ?? 0) &+ UInt64(walk) &+ 1000)
                    var random = SplitMix64(state: UInt64(walk))
                    answer.walks.append(
                        text(
                            try walker.tokens(length: 4 << (walk % 4)) { matcher, mask in
                                if let wrong = try MaskCheck.wrong(matcher, mask, trie, count: 60, using: &random) {
                                    answer.problem = "token \(wrong): the mask says \(mask.contains(wrong))"
                                }
                            }))
                }
            } catch {
                answer.problem = "\(error)"
            }
        } catch {
            answer.error = "\(error)"
        }
        return answer
    }

    private static func text(_ bytes: [UInt8]) -> String {
        String(validating: bytes, as: UTF8.self) ?? "not UTF-8: \(bytes)"
    }
}

enum MaskCheck {
    /// The first token for which the mask and the automaton disagree, of `count` by chance; 0: of all.
    static func wrong(
        _ matcher: GrammarMatcher, _ mask: TokenMask, _ trie: TokenTrie, count: Int, using random: inout SplitMix64
    ) throws -> Int32? {
        let position = matcher.position
        defer { matcher.position = position }
        for index in 0..<(count == 0 ? trie.count : count) {
            let token = Int32(count == 0 ? index : Int.random(in: 0..<trie.count, using: &random))
            if trie.endOfGeneration.contains(token) {
                if mask.contains(token) != matcher.isComplete { return token }
                continue
            }
            let isAccepted = try matcher.accept(token)
            matcher.position = position
            if isAccepted != mask.contains(token) { return token }
        }
        return nil
    }
}
