// SPDX-License-Identifier: Apache-2.0

import MoEGrammar
import MoETokenizer
import Synchronization

/// What a grammar lets one sequence say next. Belongs to the engine.
final class GrammarConstraint {
    private let matcher: GrammarMatcher
    private(set) var mask: TokenMask
    /// Where the text stands while a draft goes ahead.
    private var beforeDraft: GrammarMatcher.Position?
    /// The draft has left the grammar: it ended the text, or no token fits. What comes after does not count.
    private var draftIsOver = false
    private let mayEnd: Bool

    /// - Parameter mayEnd: whether end-of-text tokens are allowed where the text is complete.
    init(_ automaton: GrammarAutomaton, mayEnd: Bool) {
        matcher = GrammarMatcher(automaton)
        mask = TokenMask(tokenCount: automaton.trie.count)
        self.mayEnd = mayEnd
    }

    /// The text is complete and nothing can follow: it ends without an end-of-text token.
    var isOver: Bool { matcher.isComplete && !matcher.takesMore }

    /// Prepares ``mask`` for the next token.
    /// - Returns: false when the text is complete and no token fits: it is over.
    /// - Throws: ``GrammarError`` when no token fits and the text is not complete, or the grammar takes too much work.
    func prepare() throws(GrammarError) -> Bool { try matcher.fill(&mask, mayEnd: mayEnd) }

    /// - Throws: ``GrammarError`` when the grammar takes too much work.
    func accept(_ token: Int32) throws {
        guard try matcher.accept(token) else {
            throw RequestError("token \(token) does not fit the grammar and the logit bias")
        }
    }

    // MARK: Drafts

    func beginDraft() {
        beforeDraft = matcher.position
        draftIsOver = false
    }

    /// The mask of the draft's next token; nil where anything may be drafted, because it cannot be right.
    func draftMask() -> TokenMask? {
        if !draftIsOver, (try? prepare()) != true { draftIsOver = true }
        return draftIsOver ? nil : mask
    }

    func extendDraft(_ token: Int32) {
        if !draftIsOver, (try? matcher.accept(token)) != true { draftIsOver = true }
    }

    func endDraft() {
        if let beforeDraft { matcher.position = beforeDraft }
        beforeDraft = nil
    }
}

/// The tokens of a model as a tree, made when the first grammar needs it.
final class GrammarVocabulary: Sendable {
    private let trie = Mutex<TokenTrie?>(nil)

    func trie(of tokenizer: Tokenizer) -> TokenTrie {
        trie.withLock { trie in
            if let trie { return trie }
            let new = TokenTrie(
                count: tokenizer.vocabularySize, endOfGeneration: tokenizer.endOfGeneration,
                named: { tokenizer.token(named: $0) }, bytes: { tokenizer.bytes(of: $0) })
            trie = new
            return new
        }
    }
}

/// The automata of the last grammars, so that requests with one grammar share what was found out about it.
struct GrammarCache {
    private static let limit = 4
    private let memory = GrammarMemory()
    private var entries: [(grammar: Grammar, automaton: GrammarAutomaton)] = []

    /// - Throws: ``GrammarError`` for a token that the vocabulary does not have.
    mutating func automaton(_ grammar: Grammar, trie: TokenTrie) throws(GrammarError) -> GrammarAutomaton {
        entries.removeAll { $0.automaton.isFull }
        if let index = entries.firstIndex(where: { $0.grammar === grammar }) {
            entries.append(entries.remove(at: index))
        } else {
            entries.append((grammar, try GrammarAutomaton(grammar, trie: trie, memory: memory)))
            if entries.count > Self.limit { entries.removeFirst() }
        }
        return entries[entries.count - 1].automaton
    }
}
