// SPDX-License-Identifier: Apache-2.0

/// A deterministic automaton over characters: the texts that match a pattern, and what can be made of such sets of texts.
struct CharacterAutomaton: Sendable {
    struct Edge: Sendable {
        let set: ScalarSet
        let target: Int
    }

    /// By state; sets of one state do not overlap. What no set has leads nowhere.
    private(set) var edges: [[Edge]] = []
    private(set) var accepting: [Bool] = []

    var isEmpty: Bool { !accepting.contains(true) }

    /// - Parameter isSearch: whether the pattern may stand anywhere in the text, as JSON Schema has it, or is the whole text.
    /// - Throws: ``PatternError`` when it takes too many states.
    init(_ pattern: Pattern, isSearch: Bool) throws(PatternError) {
        var graph = PatternGraph()
        let (start, end) = (graph.node(), graph.node())
        try graph.add(pattern, from: start, to: end)
        // A search goes on from any place, and is over at the first match.
        if isSearch {
            graph.loops.insert(end)
            graph.loops.insert(start)
        }
        var numbers: [[Int]: Int] = [:]
        var sets: [[Int]] = []
        func number(_ set: [Int], isFirst: Bool) -> Int {
            if !isFirst, let number = numbers[set] { return number }
            sets.append(set)
            accepting.append(graph.closure(set, atStart: isFirst, atEnd: true).contains(end))
            if !isFirst { numbers[set] = sets.count - 1 }
            return sets.count - 1
        }
        _ = number(graph.closure([start], atStart: true, atEnd: false), isFirst: true)
        var next = 0
        var work = 0
        while next < sets.count {
            guard sets.count <= GrammarLimits.patternStates, work < 4_000_000 else {
                throw PatternError(problem: "the pattern takes more than \(GrammarLimits.patternStates) states")
            }
            var moves: [(ScalarSet, Int)] = []
            for node in sets[next] {
                if graph.loops.contains(node) { moves.append((.all, node)) }
                moves += graph.moves[node].map { ($0.set, $0.target) }
            }
            work += moves.count + sets[next].count
            var result: [Edge] = []
            for (set, targets) in Self.disjoint(moves) {
                let closed = graph.closure(targets.sorted(), atStart: false, atEnd: false)
                // Nothing matters after a match of a search.
                let reached = isSearch && closed.contains(end) ? [end] : closed
                result.append(Edge(set: set, target: number(reached, isFirst: false)))
            }
            edges.append(result)
            next += 1
        }
        trim()
    }

    /// Exactly these texts.
    init(texts: [String]) {
        edges = [[]]
        accepting = [false]
        var children: [[UInt32: Int]] = [[:]]
        for text in texts {
            var state = 0
            for scalar in text.unicodeScalars {
                if let next = children[state][scalar.value] {
                    state = next
                } else {
                    children.append([:])
                    accepting.append(false)
                    children[state][scalar.value] = children.count - 1
                    state = children.count - 1
                }
            }
            accepting[state] = true
        }
        edges = children.map { $0.sorted { $0.key < $1.key }.map { Edge(set: ScalarSet($0.key), target: $0.value) } }
    }

    /// Every text.
    static let all = CharacterAutomaton(edges: [[Edge(set: .all, target: 0)]], accepting: [true])

    init(edges: [[Edge]], accepting: [Bool]) { (self.edges, self.accepting) = (edges, accepting) }

    func accepts(_ text: String) -> Bool {
        var state = 0
        for scalar in text.unicodeScalars {
            guard let edge = edges[state].first(where: { $0.set.contains(scalar.value) }) else { return false }
            state = edge.target
        }
        return accepting[state]
    }

    // MARK: Sets of texts

    func intersection(_ other: CharacterAutomaton) throws(PatternError) -> CharacterAutomaton {
        try product(other, keepsOther: false) { $0 && $1 }
    }

    func subtracting(_ other: CharacterAutomaton) throws(PatternError) -> CharacterAutomaton {
        try product(other, keepsOther: true) { $0 && !$1 }
    }

    /// - Parameter keepsOther: whether what leads nowhere in the other one still counts.
    private func product(
        _ other: CharacterAutomaton, keepsOther: Bool, accepts: (Bool, Bool) -> Bool
    ) throws(PatternError) -> CharacterAutomaton {
        struct Pair: Hashable {
            let left: Int
            /// -1: nowhere.
            let right: Int
        }
        var numbers = [Pair(left: 0, right: 0): 0]
        var pairs = [Pair(left: 0, right: 0)]
        var result = CharacterAutomaton(edges: [], accepting: [])
        while result.edges.count < pairs.count {
            guard pairs.count <= GrammarLimits.patternStates else {
                throw PatternError(problem: "the patterns together take more than \(GrammarLimits.patternStates) states")
            }
            let pair = pairs[result.edges.count]
            result.accepting.append(accepts(accepting[pair.left], pair.right >= 0 && other.accepting[pair.right]))
            var list: [Edge] = []
            func add(_ set: ScalarSet, _ target: Pair) {
                if set.isEmpty { return }
                let number = numbers[target] ?? pairs.count
                if number == pairs.count {
                    numbers[target] = number
                    pairs.append(target)
                }
                list.append(Edge(set: set, target: number))
            }
            for edge in edges[pair.left] {
                var rest = edge.set
                if pair.right >= 0 {
                    for match in other.edges[pair.right] {
                        add(rest.intersection(match.set), Pair(left: edge.target, right: match.target))
                        rest = rest.intersection(match.set.inverted)
                    }
                }
                if keepsOther { add(rest, Pair(left: edge.target, right: -1)) }
            }
            result.edges.append(list)
        }
        result.trim()
        return result
    }

    /// Removes states that lead to no match, and joins edges that lead to one state.
    private mutating func trim() {
        var sources = [[Int]](repeating: [], count: edges.count)
        for (state, list) in edges.enumerated() { for edge in list { sources[edge.target].append(state) } }
        var lives = accepting
        var queue = accepting.indices.filter { accepting[$0] }
        while let state = queue.popLast() {
            for source in sources[state] where !lives[source] {
                lives[source] = true
                queue.append(source)
            }
        }
        var numbers = [0: 0]
        var order = [0]
        var trimmed: [[Edge]] = []
        while trimmed.count < order.count {
            var sets: [Int: [ClosedRange<UInt32>]] = [:]
            for edge in edges[order[trimmed.count]] where lives[edge.target] {
                if numbers[edge.target] == nil {
                    numbers[edge.target] = order.count
                    order.append(edge.target)
                }
                sets[numbers[edge.target]!, default: []] += edge.set.ranges
            }
            trimmed.append(sets.sorted { $0.key < $1.key }.map { Edge(set: ScalarSet($0.value), target: $0.key) })
        }
        accepting = order.map { accepting[$0] }
        edges = trimmed
    }

    /// Sets that overlap, cut into ones that do not, each with all its targets.
    private static func disjoint(_ moves: [(ScalarSet, Int)]) -> [(ScalarSet, Set<Int>)] {
        var bounds: Set<UInt32> = []
        for (set, _) in moves {
            for range in set.ranges {
                bounds.insert(range.lowerBound)
                bounds.insert(range.upperBound + 1)
            }
        }
        let cuts = bounds.sorted()
        var targets = [Set<Int>](repeating: [], count: max(cuts.count - 1, 0))
        var indexes: [UInt32: Int] = [:]
        for (index, cut) in cuts.enumerated() { indexes[cut] = index }
        for (set, target) in moves {
            for range in set.ranges {
                for index in indexes[range.lowerBound]!..<indexes[range.upperBound + 1]! { targets[index].insert(target) }
            }
        }
        var grouped: [Set<Int>: [ClosedRange<UInt32>]] = [:]
        var order: [Set<Int>] = []
        for (index, set) in targets.enumerated() where !set.isEmpty {
            if grouped[set] == nil { order.append(set) }
            grouped[set, default: []].append(cuts[index]...cuts[index + 1] - 1)
        }
        return order.map { (ScalarSet(grouped[$0]!), $0) }.filter { !$0.0.isEmpty }
    }
}

/// A pattern as nodes and moves (Thompson 1968), with moves that need the text's start or end.
private struct PatternGraph {
    enum Condition {
        case none, atStart, atEnd
    }

    private(set) var moves: [[(set: ScalarSet, target: Int)]] = []
    private var passes: [[(condition: Condition, target: Int)]] = []
    /// Nodes that any character leads back to.
    var loops: Set<Int> = []

    mutating func node() -> Int {
        moves.append([])
        passes.append([])
        return moves.count - 1
    }

    mutating func add(_ pattern: Pattern, from: Int, to: Int) throws(PatternError) {
        guard moves.count < 50_000 else { throw PatternError(problem: "the pattern is too long, written out") }
        switch pattern {
        case .empty: passes[from].append((.none, to))
        case .set(let set): moves[from].append((set, to))
        case .atStart: passes[from].append((.atStart, to))
        case .atEnd: passes[from].append((.atEnd, to))
        case .sequence(let items):
            var last = from
            for item in items {
                let next = node()
                try add(item, from: last, to: next)
                last = next
            }
            passes[last].append((.none, to))
        case .choice(let items):
            for item in items {
                let (start, end) = (node(), node())
                passes[from].append((.none, start))
                passes[end].append((.none, to))
                try add(item, from: start, to: end)
            }
        case .repeated(let item, let min, let max):
            var last = from
            for _ in 0..<min {
                let next = node()
                try add(item, from: last, to: next)
                last = next
            }
            if let max {
                for _ in min..<max {
                    passes[last].append((.none, to))
                    let next = node()
                    try add(item, from: last, to: next)
                    last = next
                }
            } else {
                let (start, end) = (node(), node())
                passes[last].append((.none, start))
                try add(item, from: start, to: end)
                passes[end].append((.none, start))
                last = start
            }
            passes[last].append((.none, to))
        }
    }

    func closure(_ nodes: [Int], atStart: Bool, atEnd: Bool) -> [Int] {
        var result = nodes
        var seen = Set(nodes)
        var next = 0
        while next < result.count {
            for pass in passes[result[next]] {
                let isOpen =
                    switch pass.condition {
                    case .none: true
                    case .atStart: atStart
                    case .atEnd: atEnd
                    }
                if isOpen, seen.insert(pass.target).inserted { result.append(pass.target) }
            }
            next += 1
        }
        return result.sorted()
    }
}
