// SPDX-License-Identifier: Apache-2.0

import MoEGrammar
import MoETestSupport

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
        return text
            + (try ending(matcher, after: text, isHasty: true) ?? ending(matcher, after: text, isHasty: false) ?? dead(text))
    }

    /// Token by token, each checked against its mask.
    mutating func tokens(length: Int, check: (GrammarMatcher, TokenMask) throws -> Void) throws -> [UInt8] {
        let matcher = GrammarMatcher(automaton)
        let trie = automaton.trie
        var mask = TokenMask(tokenCount: trie.count)
        var text: [UInt8] = []
        for _ in 0..<length {
            if !matcher.takesMore { break }
            _ = try matcher.fill(&mask)
            try check(matcher, mask)
            if mask.isEmpty || (matcher.isComplete && below(4) == 0) { break }
            // One of the bits that are set.
            var rest = below(mask.count)
            guard
                let word = mask.words.firstIndex(where: { word in
                    if rest < word.nonzeroBitCount { return true }
                    rest -= word.nonzeroBitCount
                    return false
                })
            else { break }
            var bits = mask.words[word]
            for _ in 0..<rest { bits &= bits - 1 }
            let token = Int32(word * 64 + bits.trailingZeroBitCount)
            if trie.bytes(of: token) == nil { break }
            guard try matcher.accept(token) else { throw DeadEnd(text: text) }
            text += trie.bytes(of: token)!
        }
        return text
            + (try ending(matcher, after: text, isHasty: true) ?? ending(matcher, after: text, isHasty: false) ?? dead(text))
    }

    /// The shortest way to an end.
    /// - Parameter isHasty: no detours: a digit where a value may be one, and an end where there is one. May fail.
    private func ending(_ matcher: GrammarMatcher, after text: [UInt8], isHasty: Bool) throws -> [UInt8]? {
        let start = matcher.position
        var queue: [(position: GrammarMatcher.Position, path: [UInt8])] = [(start, [])]
        var seen: Set<Int32> = []
        var next = 0
        while next < queue.count, next < 30_000 {
            matcher.position = queue[next].position
            if matcher.isComplete { return queue[next].path }
            // What ends something first; nothing that only lengthens a number or a text.
            for byte in isHasty ? Self.hasty(matcher.nextBytes) : Self.representatives(matcher.nextBytes) {
                matcher.position = queue[next].position
                _ = try matcher.accept(bytes: [byte])
                if seen.insert(matcher.position.number).inserted {
                    queue.append((matcher.position, queue[next].path + [byte]))
                }
            }
            next += 1
        }
        matcher.position = start
        return nil
    }

    /// Nobody found the end within 30,000 states, or there is none because nothing can follow.
    private func dead(_ text: [UInt8]) throws -> [UInt8] { throw DeadEnd(text: text) }

    private static func hasty(_ bytes: [UInt8]) -> [UInt8] {
        for kind in [[0x22, 0x7d, 0x5d, 0x2c], Array(0x30...0x39)] as [[UInt8]] {
            let found = bytes.filter(kind.contains)
            if !found.isEmpty { return Array(found.prefix(4)) }
        }
        return representatives(bytes)
    }

    /// Of bytes that mostly lead to the same, the first.
    private static func representatives(_ bytes: [UInt8]) -> [UInt8] {
        let kinds: [ClosedRange<UInt8>] = [0x30...0x39, 0x80...0xbf, 0xc0...0xdf, 0xe0...0xef, 0xf0...0xff]
        return bytes.filter { byte in
            guard let kind = kinds.first(where: { $0.contains(byte) }) else { return true }
            return !bytes.contains { kind.contains($0) && $0 < byte }
        }
    }

    mutating func below(_ count: Int) -> Int { Int.random(in: 0..<count, using: &random) }
}
