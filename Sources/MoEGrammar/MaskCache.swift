// SPDX-License-Identifier: Apache-2.0

/// The masks made so far. What a template decides (``GrammarAutomaton/template(of:)``) is kept once for all states that share it,
/// with the nodes of the trie below which it cannot decide; what a state adds to that is kept by state.
struct MaskCache {
    /// Of a template.
    struct Base {
        enum Tokens {
            case few([Int32])
            case many([UInt64])
        }

        var tokens: Tokens
        /// Nodes of the trie at which something that the template leaves out begins to matter, in order.
        var open: [Int32]
    }

    /// Of a state.
    enum Entry {
        /// These beside the base's own.
        case base(Int, also: [Int32])
        case own([UInt64])
    }

    private(set) var bases: [Base] = []
    private var baseNumbers: [Int32: Int] = [:]
    private var entries: [Int32: Entry] = [:]
    private(set) var byteCount = 0
    /// Made, and taken from the cache: for tests and measurements.
    private(set) var (built, reused) = (0, 0)

    func base(of template: Int32) -> Int? { baseNumbers[template] }

    mutating func add(_ base: Base, template: Int32) -> Int {
        let size =
            switch base.tokens {
            case .few(let ids): 4 * ids.count
            case .many(let words): 8 * words.count
            }
        byteCount += size + 4 * base.open.count + 96
        bases.append(base)
        baseNumbers[template] = bases.count - 1
        return bases.count - 1
    }

    mutating func entry(of state: Int32) -> Entry? {
        let entry = entries[state]
        if entry != nil { reused += 1 }
        return entry
    }

    mutating func add(_ entry: Entry, state: Int32) {
        built += 1
        switch entry {
        case .base(_, let also): byteCount += 4 * also.count + 64
        case .own(let words): byteCount += 8 * words.count + 64
        }
        entries[state] = entry
    }
}

extension GrammarAutomaton {
    /// The tokens that may come in `state`, those that end a text left out.
    func fill(_ mask: inout TokenMask, state: Int32) {
        if let entry = masks.entry(of: state) { return fill(&mask, entry) }
        let template = template(of: state)
        let number = masks.base(of: template) ?? masks.add(base(of: template, scratch: &mask), template: template)
        fill(&mask, masks.bases[number])
        var also: [Int32] = []
        addOpen(masks.bases[number].open, state: state, to: &also, beside: mask)
        var isOwn = also.count > 1024
        for token in also { mask.insert(token) }
        if takesTokens(state) { isOwn = addReferences(state, to: &mask, &also) || isOwn }
        if failure == nil { masks.add(isOwn ? .own(mask.words) : .base(number, also: also), state: state) }
    }

    private func fill(_ mask: inout TokenMask, _ entry: MaskCache.Entry) {
        switch entry {
        case .own(let words): mask.copy(words)
        case .base(let number, let also):
            fill(&mask, masks.bases[number])
            for token in also { mask.insert(token) }
        }
    }

    private func fill(_ mask: inout TokenMask, _ base: MaskCache.Base) {
        switch base.tokens {
        case .many(let words): mask.copy(words)
        case .few(let ids):
            mask.removeAll()
            for token in ids { mask.insert(token) }
        }
    }

    /// Walks the whole trie from a template.
    private func base(of template: Int32, scratch mask: inout TokenMask) -> MaskCache.Base {
        mask.removeAll()
        var count = 0
        var open: [Int32] = []
        walk(0..<trie.bytes.count, from: template, above: 0) { node, state in
            for index in trie.starts[node]..<trie.starts[node + 1] { mask.insert(trie.ids[Int(index)]) }
            count += Int(trie.starts[node + 1] - trie.starts[node])
            if flags(of: state).contains(.open), Int(trie.ends[node]) > node + 1 { open.append(Int32(node)) }
        }
        if count > 2048 { return .init(tokens: .many(mask.words), open: open) }
        var ids: [Int32] = []
        ids.reserveCapacity(count)
        for (index, word) in mask.words.enumerated() {
            var bits = word
            while bits != 0 {
                ids.append(Int32(index * 64 + bits.trailingZeroBitCount))
                bits &= bits - 1
            }
        }
        return .init(tokens: .few(ids), open: open)
    }

    /// Walks what lies below the nodes at which the template did not know how to go on, from the state itself.
    private func addOpen(_ open: [Int32], state: Int32, to tokens: inout [Int32], beside mask: TokenMask) {
        var end: Int32 = 0
        for node in open where node >= end {
            end = trie.ends[Int(node)]
            var reached = state
            for byte in trie.path(to: Int(node)) { reached = next(reached, byte) }
            walk(Int(node) + 1..<Int(end), from: reached, above: Int(trie.depths[Int(node)])) { node, _ in
                for index in trie.starts[node]..<trie.starts[node + 1] {
                    let token = trie.ids[Int(index)]
                    if !mask.contains(token) { tokens.append(token) }
                }
            }
        }
    }

    /// Visits the nodes of a part of the trie that `state`, reached `depth` bytes deep, leads to.
    @inline(__always)
    private func walk(_ nodes: Range<Int>, from state: Int32, above depth: Int, _ visit: (Int, Int32) -> Void) {
        let states = walkStates
        states[depth] = state
        var node = nodes.lowerBound
        while node < nodes.upperBound {
            let depth = Int(trie.depths[node])
            let reached = next(states[depth - 1], trie.bytes[node])
            if reached == Self.dead {
                if failure != nil { return }
                node = Int(trie.ends[node])
                continue
            }
            visit(node, reached)
            states[depth] = reached
            node += 1
        }
    }

    /// - Returns: whether the mask is more than `also` says.
    private func addReferences(_ state: Int32, to mask: inout TokenMask, _ also: inout [Int32]) -> Bool {
        var named: Set<Int32> = []
        var excluded: Set<Int32>?
        forEachToken(state) { reference, _, _ in
            let token = references[Int(reference)]
            if grammar.references[Int(reference)].isNegated {
                excluded = excluded.map { $0.intersection([token]) } ?? [token]
            } else {
                named.insert(token)
            }
        }
        guard let excluded else {
            for token in named.sorted() {
                mask.insert(token)
                also.append(token)
            }
            return false
        }
        let allowed = mask
        mask.insertAll(below: trie.count)
        for token in excluded where !allowed.contains(token) && !named.contains(token) { mask.remove(token) }
        for token in trie.endOfGeneration where !named.contains(token) { mask.remove(token) }
        return true
    }
}
