// SPDX-License-Identifier: Apache-2.0

/// A grammar in use: states, made as texts reach them, and the tokens that each allows. For one thread at a time.
///
/// A *place* is a node of the ``Pushdown`` and a *context*: what is to come after the node's rule. A context is a set of *frames*
/// (where to go on, how far a counted repetition has come, and the context after that), so it stands for a set of stacks that share
/// what they have in common. Contexts and states are interned: equal ones have one number, and since every rule takes something
/// and no rule begins with itself, what is open at a place is finite and has one form. So a state is a number, a transition is
/// an entry of a table, and going back is an assignment.
///
/// ```
/// list ::= "[" (list ("," list)*)? "]"       text "[[],"
/// state   { (list: before a list or after it, context {1}) }     number 7, also after "[[],[],"
/// context 1 = { after the list inside the outer one -> context 0 }      context 0 = the end of the text
/// ```
package final class GrammarAutomaton {
    package let trie: TokenTrie
    let grammar: Pushdown
    private let memory: GrammarMemory
    /// By reference of the grammar: the token that it names.
    let references: [Int32]

    // [flags, (return, count, context)…]: `return` is a node, or ~counter. Sorted.
    private var contexts = WordInterner()
    private var contextDepths: [Int32] = []
    // [flags, (node, context)…]. Sorted.
    private var states = WordInterner()
    private var stateFlags: [Flags] = []
    /// `[state, class]`: the next state; -1 not known yet. By hand: a mask reads it a hundred thousand times.
    private var rows = UnsafeMutableBufferPointer<Int32>.allocate(capacity: 1 << 12)
    private var unions: [UInt64: Int32] = [:]
    private var truncated: [Int32: Int32] = [:]
    var masks = MaskCache()
    /// Of a walk through the trie: the state after so many bytes.
    let walkStates: UnsafeMutableBufferPointer<Int32>
    /// Why nothing more is to be had from this automaton.
    private(set) var failure: GrammarError?
    var work = 0

    /// The state of no text: no token leads on.
    static let dead: Int32 = 0
    private static let unknown: Int32 = -1

    struct Flags: OptionSet {
        let rawValue: Int32
        /// Of a state: the text is complete. Of a context: the text ends after it.
        static let end = Flags(rawValue: 1)
        /// Some of what comes after was left out (``template(of:)``). Of a state: it was reached.
        static let open = Flags(rawValue: 2)
    }

    /// The end of the text.
    private static let bottom: Int32 = 0

    package private(set) var start: Int32 = 0

    /// - Throws: ``GrammarError`` for a token that the vocabulary does not have.
    package init(_ grammar: Grammar, trie: TokenTrie, memory: GrammarMemory = GrammarMemory()) throws(GrammarError) {
        self.grammar = grammar.pushdown
        self.trie = trie
        var references: [Int32] = []
        for reference in grammar.pushdown.references {
            guard let token = trie.token(reference.name) else {
                switch reference.name {
                case .id(let id):
                    throw GrammarError("the vocabulary has no token \(id), only \(trie.count)", at: reference.place)
                case .text(let name): throw GrammarError("the vocabulary has no token '\(name)'", at: reference.place)
                }
            }
            references.append(token)
        }
        self.references = references
        walkStates = .allocate(capacity: trie.longest + 1)
        self.memory = memory
        memory.enter()
        reset()
    }

    private init(like other: GrammarAutomaton) {
        trie = other.trie
        grammar = other.grammar
        references = other.references
        walkStates = .allocate(capacity: trie.longest + 1)
        memory = other.memory
        memory.enter()
        reset()
    }

    deinit {
        rows.deallocate()
        walkStates.deallocate()
        memory.leave()
    }

    private func reset() {
        _ = context([Flags.end.rawValue], depth: 0)
        _ = state([0])
        begin()
        if grammar.matchesEmpty { flags.insert(.end) }
        if grammar.root >= 0 { visit(grammar.root, Self.bottom) }
        start = finish()
    }

    // MARK: States

    func flags(of state: Int32) -> Flags { stateFlags[Int(state)] }
    /// Whether a text may end here.
    package func isComplete(_ state: Int32) -> Bool { flags(of: state).contains(.end) }
    /// Whether more may come.
    package func takesMore(_ state: Int32) -> Bool { states.range(state).count > 1 }
    /// Whether tokens that the grammar names may come.
    func takesTokens(_ state: Int32) -> Bool {
        if grammar.tokens.isEmpty { return false }
        let range = states.range(state)
        return stride(from: range.lowerBound + 1, to: range.upperBound, by: 2).contains {
            !grammar.nodes[Int(states[$0])].tokens.isEmpty
        }
    }
    /// Whether `state` can be reached by a text of the grammar.
    func isAlive(_ state: Int32) -> Bool { state != Self.dead }

    private func state(_ words: [Int32]) -> Int32 {
        let (number, isNew) = states.intern(words)
        if isNew {
            let used = Int(number) * grammar.classCount
            if used + grammar.classCount > rows.count {
                let larger = UnsafeMutableBufferPointer<Int32>.allocate(capacity: 2 * (used + grammar.classCount))
                _ = larger.update(from: rows[..<used])
                rows.deallocate()
                rows = larger
            }
            rows[used..<used + grammar.classCount].update(repeating: Self.unknown)
            stateFlags.append(Flags(rawValue: words[0]))
        }
        return number
    }

    /// The state after one more byte.
    @inline(__always)
    func next(_ state: Int32, _ byte: UInt8) -> Int32 {
        let known = rows[Int(state) * grammar.classCount + Int(grammar.classes[Int(byte)])]
        return known >= 0 ? known : compute(state, grammar.classes[Int(byte)])
    }

    private func compute(_ state: Int32, _ byteClass: UInt8) -> Int32 {
        if failure != nil { return Self.dead }
        begin()
        for index in stride(from: states.range(state).lowerBound + 1, to: states.range(state).upperBound, by: 2) {
            let (node, context) = (states[index], states[index + 1])
            for edge in grammar.nodes[Int(node)].bytes {
                let edge = grammar.bytes[Int(edge)]
                if edge.low <= byteClass, byteClass <= edge.high { visit(edge.target, context) }
            }
        }
        let next = finish()
        if failure == nil { rows[Int(state) * grammar.classCount + Int(byteClass)] = next }
        return next
    }

    /// The state after a token that the grammar names, or one that it does not exclude; nil when no edge of a token takes it.
    func next(_ state: Int32, token: Int32) -> Int32? {
        begin()
        var isTaken = false
        forEachToken(state) { reference, target, context in
            let named = references[Int(reference)] == token
            if named != grammar.references[Int(reference)].isNegated {
                isTaken = true
                visit(target, context)
            }
        }
        return isTaken ? finish() : nil
    }

    func forEachToken(_ state: Int32, _ body: (_ reference: Int32, _ target: Int32, _ context: Int32) -> Void) {
        for index in stride(from: states.range(state).lowerBound + 1, to: states.range(state).upperBound, by: 2) {
            let (node, context) = (states[index], states[index + 1])
            for edge in grammar.nodes[Int(node)].tokens {
                let edge = grammar.tokens[Int(edge)]
                body(edge.token, edge.target, context)
            }
        }
    }

    /// Both at once.
    func union(_ a: Int32, _ b: Int32) -> Int32 {
        if a == b || b == Self.dead { return a }
        if a == Self.dead { return b }
        begin()
        for state in [a, b] {
            flags.formUnion(flags(of: state))
            for index in stride(from: states.range(state).lowerBound + 1, to: states.range(state).upperBound, by: 2) {
                places.append((states[index], states[index + 1]))
            }
        }
        return finish()
    }

    // MARK: Places

    /// Of the state that is being made.
    private var places: [(node: Int32, context: Int32)] = []
    private var visited: Set<UInt64> = []
    private var queue: [(node: Int32, context: Int32)] = []
    private var flags: Flags = []
    private var words: [Int32] = []

    private func begin() {
        places.removeAll(keepingCapacity: true)
        queue.removeAll(keepingCapacity: true)
        visited.removeAll(keepingCapacity: true)
        flags = []
    }

    private func visit(_ node: Int32, _ context: Int32) {
        queue.append((node, context))
        while let (node, context) = queue.popLast() {
            let key = UInt64(UInt32(bitPattern: node)) << 32 | UInt64(UInt32(bitPattern: context))
            guard visited.insert(key).inserted else { continue }
            work += 1
            if visited.count > GrammarLimits.places || work > GrammarLimits.work { return fail() }
            let facts = grammar.nodes[Int(node)]
            if facts.takes { places.append((node, context)) }
            for call in facts.calls {
                let call = grammar.calls[Int(call)]
                // A rule that ends with another one leaves nothing to come back to.
                if grammar.nodes[Int(call.target)].isEnd {
                    enter(call.rule, context)
                } else if let frame = frame(call.target, 0, context) {
                    enter(call.rule, frame)
                }
            }
            for counter in facts.counters {
                if let frame = frame(~counter, 0, context) { enter(grammar.counters[Int(counter)].body, frame) }
            }
            if facts.isFinal { leave(context) }
        }
    }

    private func enter(_ rule: Int32, _ context: Int32) { queue.append((grammar.starts[Int(rule)], context)) }

    /// The rule ends: on with what comes after.
    private func leave(_ context: Int32) {
        let range = contexts.range(context)
        flags.formUnion(Flags(rawValue: contexts[range.lowerBound]))
        for index in stride(from: range.lowerBound + 1, to: range.upperBound, by: 3) {
            let (target, count, below) = (contexts[index], contexts[index + 1], contexts[index + 2])
            if target >= 0 {
                queue.append((target, below))
                continue
            }
            let counter = grammar.counters[Int(~target)]
            let next = count + 1
            if next >= counter.min { queue.append((counter.target, below)) }
            if next < counter.max, let frame = frame(target, counter.max == .max ? min(next, counter.min) : next, below) {
                enter(counter.body, frame)
            }
        }
    }

    /// The places found, as a state.
    private func finish() -> Int32 {
        words.removeAll(keepingCapacity: true)
        words.append(flags.rawValue)
        places.sort { ($0.node, $0.context) < ($1.node, $1.context) }
        for (node, context) in places {
            if words.count > 1, words[words.count - 2] == node {
                words[words.count - 1] = union(contexts: words[words.count - 1], context)
            } else {
                words.append(node)
                words.append(context)
            }
        }
        return failure == nil ? state(words) : Self.dead
    }

    /// Throws what has failed, once: what was found out before stays right.
    func check() throws(GrammarError) {
        guard let failure else { return }
        self.failure = nil
        throw failure
    }

    private func fail() {
        queue.removeAll()
        failure = GrammarError(
            "the grammar can be read in too many ways at once: more than \(GrammarLimits.places) places, or"
                + " \(GrammarLimits.work) steps for one token", at: "after the text so far")
    }

    // MARK: Contexts

    private func context(_ words: [Int32], depth: Int32) -> Int32 {
        let (number, isNew) = contexts.intern(words)
        if isNew { contextDepths.append(depth) }
        return number
    }

    /// One frame more; nil where calls lie too deep within calls.
    private func frame(_ target: Int32, _ count: Int32, _ below: Int32) -> Int32? {
        let depth = contextDepths[Int(below)] + 1
        if depth > GrammarLimits.depth { return nil }
        return context([0, target, count, below], depth: depth)
    }

    private func union(contexts a: Int32, _ b: Int32) -> Int32 {
        if a == b { return a }
        let key = UInt64(UInt32(bitPattern: min(a, b))) << 32 | UInt64(UInt32(bitPattern: max(a, b)))
        if let known = unions[key] { return known }
        work += 1
        var (left, right) = (contexts.range(a), contexts.range(b))
        var merged = [contexts[left.lowerBound] | contexts[right.lowerBound]]
        (left, right) = (left.dropFirst(), right.dropFirst())
        func take(_ range: inout Range<Int>) {
            merged.append(contentsOf: [
                contexts[range.lowerBound], contexts[range.lowerBound + 1], contexts[range.lowerBound + 2],
            ])
            range = range.dropFirst(3)
        }
        while !left.isEmpty, !right.isEmpty {
            let first = (contexts[left.lowerBound], contexts[left.lowerBound + 1])
            let second = (contexts[right.lowerBound], contexts[right.lowerBound + 1])
            if first == second {
                let below = union(contexts: contexts[left.lowerBound + 2], contexts[right.lowerBound + 2])
                take(&left)
                right = right.dropFirst(3)
                merged[merged.count - 1] = below
            } else if first < second {
                take(&left)
            } else {
                take(&right)
            }
        }
        while !left.isEmpty { take(&left) }
        while !right.isEmpty { take(&right) }
        if merged.count > 3 * GrammarLimits.places { fail() }
        let result = context(merged, depth: max(contextDepths[Int(a)], contextDepths[Int(b)]))
        unions[key] = result
        return result
    }

    // MARK: Templates

    /// The state without what comes after the rules that its places are in: the same for all states that differ in that alone, and
    /// with counts that no token can bring to their ends made equal. Most tokens are allowed or not by this alone.
    func template(of state: Int32) -> Int32 {
        begin()
        let range = states.range(state)
        // What is complete says nothing about tokens.
        for index in stride(from: range.lowerBound + 1, to: range.upperBound, by: 2) {
            places.append((states[index], template(context: states[index + 1])))
        }
        return finish()
    }

    private func template(context: Int32) -> Int32 {
        if let known = truncated[context] { return known }
        var frames: [(Int32, Int32, Int32)] = []
        let range = contexts.range(context)
        var flags = Flags(rawValue: contexts[range.lowerBound]).isEmpty ? Flags() : Flags.open
        for index in stride(from: range.lowerBound + 1, to: range.upperBound, by: 3) {
            let target = contexts[index]
            if target >= 0 {
                flags.insert(.open)
            } else {
                let count = representative(contexts[index + 1], of: grammar.counters[Int(~target)])
                frames.append((target, count, template(context: contexts[index + 2])))
            }
        }
        frames.sort { ($0.0, $0.1) < ($1.0, $1.1) }
        var result = self.context([flags.rawValue], depth: 0)
        for (target, count, below) in frames {
            let one = self.context([0, target, count, below], depth: contextDepths[Int(below)] + 1)
            result = union(contexts: result, one)
        }
        truncated[context] = result
        return result
    }

    /// The count that stands for all that no token tells from this one: a token adds at most as many as it has bytes.
    private func representative(_ count: Int32, of counter: Pushdown.Counter) -> Int32 {
        let reach = Int32(trie.longest) + 1
        let toEnd = counter.max == .max ? Int32.max : counter.max - count
        if counter.min - count > reach, toEnd > reach { return 0 }
        // Further on both ends are as far away as for the first count that may stop.
        if count >= counter.min, toEnd > reach { return counter.min }
        return count
    }

    // MARK: Memory

    package var byteCount: Int {
        contexts.byteCount + states.byteCount + 4 * rows.count
            + 24 * (unions.count + truncated.count) + masks.byteCount
    }
    /// Whether it is time to go on with a new one (``moved(_:)``).
    package var isFull: Bool { byteCount > memory.share }

    /// A new automaton that knows `state` and nothing else, and the state's number there.
    package func moved(_ state: Int32) -> (GrammarAutomaton, Int32) {
        let new = GrammarAutomaton(like: self)
        var numbers: [Int32: Int32] = [:]
        // Contexts below have lower numbers than those above: they were made first.
        var needed: Set<Int32> = []
        var queue: [Int32] = []
        let range = states.range(state)
        for index in stride(from: range.lowerBound + 1, to: range.upperBound, by: 2) { queue.append(states[index + 1]) }
        while let context = queue.popLast() {
            guard needed.insert(context).inserted else { continue }
            let range = contexts.range(context)
            for index in stride(from: range.lowerBound + 1, to: range.upperBound, by: 3) {
                queue.append(contexts[index + 2])
            }
        }
        for context in needed.sorted() {
            var words = Array(contexts[number: context])
            for index in stride(from: 3, to: words.count, by: 3) { words[index] = numbers[words[index]]! }
            numbers[context] = new.context(words, depth: contextDepths[Int(context)])
        }
        var places: [(Int32, Int32)] = []
        for index in stride(from: range.lowerBound + 1, to: range.upperBound, by: 2) {
            places.append((states[index], numbers[states[index + 1]]!))
        }
        return (new, new.state([states[range.lowerBound]] + places.flatMap { [$0.0, $0.1] }))
    }
}
