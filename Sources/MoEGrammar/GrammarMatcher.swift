// SPDX-License-Identifier: Apache-2.0

/// One text under way, and what the grammar lets come next. Where it stands is a value: taking it back costs nothing.
package final class GrammarMatcher {
    /// Where a text stands.
    package struct Position {
        fileprivate let automaton: GrammarAutomaton
        fileprivate let state: Int32
        package var number: Int32 { state }
    }

    private var automaton: GrammarAutomaton
    private var state: Int32
    private var path: [UInt8] = []

    package init(_ automaton: GrammarAutomaton) {
        self.automaton = automaton
        state = automaton.start
    }

    package var position: Position {
        get { Position(automaton: automaton, state: state) }
        set { (automaton, state) = (newValue.automaton, newValue.state) }
    }

    /// Whether the text is one of the grammar's: exactly then it may end.
    package var isComplete: Bool { automaton.isComplete(state) }
    /// Whether anything but the end may come.
    package var takesMore: Bool { automaton.takesMore(state) }

    /// Goes on by a token.
    /// - Returns: false when the grammar does not allow it; nothing changes then.
    /// - Throws: ``GrammarError`` when the grammar takes too much work.
    package func accept(_ token: Int32) throws(GrammarError) -> Bool {
        automaton.work = 0
        var reached = GrammarAutomaton.dead
        let trie = automaton.trie
        var node = trie.node(of: token)
        if node >= 0 {
            path.removeAll(keepingCapacity: true)
            while node >= 0 {
                path.append(trie.bytes[Int(node)])
                node = trie.parents[Int(node)]
            }
            reached = state
            for byte in path.reversed() where reached != GrammarAutomaton.dead { reached = automaton.next(reached, byte) }
        }
        if automaton.takesTokens(state), let other = automaton.next(state, token: token) {
            reached = automaton.union(reached, other)
        }
        try automaton.check()
        if reached == GrammarAutomaton.dead { return false }
        state = reached
        if automaton.isFull { (automaton, state) = automaton.moved(state) }
        return true
    }

    /// Goes on by bytes, as ``accept(_:)``.
    package func accept(bytes: some Swift.Sequence<UInt8>) throws(GrammarError) -> Bool {
        automaton.work = 0
        var reached = state
        for byte in bytes where reached != GrammarAutomaton.dead { reached = automaton.next(reached, byte) }
        try automaton.check()
        if reached == GrammarAutomaton.dead { return false }
        state = reached
        return true
    }

    /// The tokens that may come next; those that end a text exactly when it is complete (and `mayEnd`).
    /// - Returns: false when the text is complete and no token fits.
    /// - Throws: ``GrammarError`` when the grammar takes too much work, or no token of the vocabulary fits.
    package func fill(_ mask: inout TokenMask, mayEnd: Bool = true) throws(GrammarError) -> Bool {
        automaton.work = 0
        automaton.fill(&mask, state: state)
        try automaton.check()
        if isComplete, mayEnd { for token in automaton.trie.endOfGeneration { mask.insert(token) } }
        if !mask.isEmpty { return true }
        if isComplete { return false }
        throw GrammarError("no token of the vocabulary can continue the text", at: "after the text so far")
    }

    /// Bytes that may come next: for tests.
    package var nextBytes: [UInt8] { (0...255).filter { automaton.next(state, $0) != GrammarAutomaton.dead } }
    /// Masks made, and found made: for tests and measurements.
    package var maskCounts: (built: Int, reused: Int) { (automaton.masks.built, automaton.masks.reused) }
    package var byteCount: Int { automaton.byteCount }
}
