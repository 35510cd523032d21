// SPDX-License-Identifier: Apache-2.0

import MoETestSupport

@testable import MoEGrammar

/// Random texts of a grammar.
struct GrammarWalker {
    let automaton: GrammarAutomaton
    private var random: SplitMix64

    init(_ automaton: GrammarAutomaton, seed: UInt64) {
        self.automaton = automaton
        random = SplitMix64(state: seed)
    }

    struct DeadEnd: Error {
        let text: [UInt8]
    }

    /// Byte by byte; after `length` bytes on the shortest way to an end.
    mutating func bytes(length: Int) throws -> [UInt8] {
        let matcher = GrammarMatcher(automaton)
        var text: [UInt8] = []
        while text.count < length {
            let next = matcher.nextBytes
            if next.isEmpty || (matcher.isComplete && below(4) == 0) { break }
            // Quotes and closing brackets end what never would by chance.
            let closing = next.filter { "\"}]".utf8.contains($0) }
            let byte = !closing.isEmpty && below(6) == 0 ? closing[below(closing.count)] : next[below(next.count)]
            _ = try matcher.accept(bytes: [byte])
            text.append(byte)
        }
        return try text + ending(matcher, after: text)
    }

    /// Token by token, each checked against its mask.
    mutating func tokens(length: Int, check: (GrammarMatcher, TokenMask) throws -> Void) throws -> [UInt8] {
        let matcher = GrammarMatcher(automaton)
        let trie = automaton.trie
        var mask = TokenMask(tokenCount: trie.count)
        var text: [UInt8] = []
        for _ in 0..<length {
            if !matcher.takesMore { break }
            try matcher.fill(&mask)
            try check(matcher, mask)
            let allowed = (0..<Int32(trie.count)).filter { mask.contains($0) && trie.bytes(of: $0) != nil }
            if allowed.isEmpty || (matcher.isComplete && below(4) == 0) { break }
            let token = allowed[below(allowed.count)]
            guard try matcher.accept(token) else { throw DeadEnd(text: text) }
            text += trie.bytes(of: token)!
        }
        return try text + ending(matcher, after: text)
    }

    /// The shortest way to an end.
    private func ending(_ matcher: GrammarMatcher, after text: [UInt8]) throws -> [UInt8] {
        let start = matcher.position
        var queue: [(position: GrammarMatcher.Position, path: [UInt8])] = [(start, [])]
        var seen: Set<Int32> = []
        var next = 0
        while next < queue.count, next < 300_000 {
            matcher.position = queue[next].position
            if matcher.isComplete { return queue[next].path }
            for byte in matcher.nextBytes {
                matcher.position = queue[next].position
                _ = try matcher.accept(bytes: [byte])
                if seen.insert(matcher.position.number).inserted {
                    queue.append((matcher.position, queue[next].path + [byte]))
                }
            }
            next += 1
        }
        throw DeadEnd(text: text)
    }

    mutating func below(_ count: Int) -> Int { Int.random(in: 0..<count, using: &random) }
}
