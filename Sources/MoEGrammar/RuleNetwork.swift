// SPDX-License-Identifier: Apache-2.0

/// One rule as a network: nodes, and edges that take a byte, a token, another rule, or a counted repetition of one.
struct RuleNetwork {
    enum Label: Hashable {
        /// Nothing.
        case none
        case bytes(ClosedRange<UInt8>)
        case token(Int)
        case rule(Int)
        case counted(CountedRule)
    }

    /// A rule, so many times. Counted while the text is read, not written out.
    struct CountedRule: Hashable {
        let rule: Int
        var min: Int
        let max: Int?
    }

    struct Edge: Hashable {
        let label: Label
        let target: Int
    }

    var edges: [[Edge]] = []
    var finals: [Bool] = []
    var start = 0

    mutating func node() -> Int {
        edges.append([])
        finals.append(false)
        return edges.count - 1
    }

    mutating func connect(_ from: Int, _ label: Label, _ to: Int) { edges[from].append(Edge(label: label, target: to)) }

    /// What can be reached from `nodes` by edges that take nothing.
    func closure(_ nodes: [Int]) -> [Int] {
        var result = nodes
        var seen = Set(nodes)
        var next = 0
        while next < result.count {
            for edge in edges[result[next]] where edge.label == .none && seen.insert(edge.target).inserted {
                result.append(edge.target)
            }
            next += 1
        }
        return result.sorted()
    }
}

/// Turns expressions into networks. Small rules become a part of those that name them; long repetitions get rules of their own.
struct NetworkBuilder {
    private var set: RuleSet
    private(set) var networks: [RuleNetwork] = []
    /// Nodes that a rule takes where it stands for itself; nil: it stays a rule.
    private var inlineSize: [Int?] = []
    private var nodeCount = 0
    private var byteSequences: [ScalarSet: [[ClosedRange<UInt8>]]] = [:]

    /// - Throws: ``GrammarError`` for a grammar that is too large.
    static func build(_ set: RuleSet) throws(GrammarError) -> (networks: [RuleNetwork], rules: RuleSet) {
        var builder = NetworkBuilder(set: set)
        builder.inlineSize = Array(repeating: nil, count: set.rules.count)
        builder.findInlineSizes()
        var number = 0
        // Repetitions add rules while they are built.
        while number < builder.set.rules.count {
            builder.networks.append(try builder.network(of: number))
            number += 1
        }
        return (builder.networks, builder.set)
    }

    private init(set: RuleSet) { self.set = set }

    private mutating func network(of rule: Int) throws(GrammarError) -> RuleNetwork {
        var network = RuleNetwork()
        network.start = network.node()
        let end = network.node()
        network.finals[end] = true
        try add(set.rules[rule].body, to: &network, from: network.start, to: end, place: set.rules[rule].place)
        nodeCount += network.edges.count
        return network
    }

    private mutating func add(
        _ expression: Expression, to network: inout RuleNetwork, from: Int, to: Int, place: String
    ) throws(GrammarError) {
        guard nodeCount + network.edges.count <= GrammarLimits.nodes else {
            throw GrammarError("the grammar has more than \(GrammarLimits.nodes) nodes", at: place)
        }
        switch expression {
        case .empty: network.connect(from, .none, to)
        case .bytes(let bytes):
            var node = from
            for (index, byte) in bytes.enumerated() {
                let next = index == bytes.count - 1 ? to : network.node()
                network.connect(node, .bytes(byte...byte), next)
                node = next
            }
            if bytes.isEmpty { network.connect(from, .none, to) }
        case .characters(let set): addCharacters(set, to: &network, from: from, to: to)
        case .token(let token): network.connect(from, .token(token), to)
        case .rule(let rule):
            if inlineSize[rule] != nil {
                try add(set.rules[rule].body, to: &network, from: from, to: to, place: place)
            } else {
                network.connect(from, .rule(rule), to)
            }
        case .sequence(let items):
            var node = from
            for (index, item) in items.enumerated() {
                let next = index == items.count - 1 ? to : network.node()
                try add(item, to: &network, from: node, to: next, place: place)
                node = next
            }
            if items.isEmpty { network.connect(from, .none, to) }
        case .choice(let items):
            for item in items {
                // Nodes of its own, so that a loop at the beginning of one alternative is not open to the others.
                let (start, end) = (network.node(), network.node())
                network.connect(from, .none, start)
                network.connect(end, .none, to)
                try add(item, to: &network, from: start, to: end, place: place)
            }
        case .repeated(let item, let min, let max):
            try addRepetition(item, min, max, to: &network, from: from, to: to, place: place)
        case .graph(let graph):
            let nodes = (0..<graph.nodeCount).map { _ in network.node() }
            network.connect(from, .none, nodes[0])
            for edge in graph.edges {
                let (start, end) = (network.node(), network.node())
                network.connect(nodes[edge.from], .none, start)
                network.connect(end, .none, nodes[edge.to])
                try add(edge.label, to: &network, from: start, to: end, place: place)
            }
            for node in graph.finals { network.connect(nodes[node], .none, to) }
        }
    }

    private mutating func addRepetition(
        _ item: Expression, _ min: Int, _ max: Int?, to network: inout RuleNetwork, from: Int, to: Int, place: String
    ) throws(GrammarError) {
        if max == 0 { return network.connect(from, .none, to) }
        let copies = Swift.max(max ?? 0, min, 1)
        if copies > 1,
            size(item, limit: GrammarLimits.expansion).multipliedReportingOverflow(by: copies).partialValue
                > GrammarLimits.expansion || copies > GrammarLimits.expansion
        {
            let rule: Int
            if case .rule(let number) = item, inlineSize[number] == nil {
                rule = number
            } else {
                guard set.rules.count < GrammarLimits.rules else {
                    throw GrammarError("the grammar has more than \(GrammarLimits.rules) rules and repetitions", at: place)
                }
                rule = set.add("a repetition", item, place: place)
                inlineSize.append(nil)
            }
            return network.connect(from, .counted(.init(rule: rule, min: min, max: max)), to)
        }
        var node = from
        for _ in 0..<min {
            let next = network.node()
            try add(item, to: &network, from: node, to: next, place: place)
            node = next
        }
        if let max {
            for _ in min..<max {
                network.connect(node, .none, to)
                let next = network.node()
                try add(item, to: &network, from: node, to: next, place: place)
                node = next
            }
        } else {
            let (start, end) = (network.node(), network.node())
            network.connect(node, .none, start)
            try add(item, to: &network, from: start, to: end, place: place)
            network.connect(end, .none, start)
            node = start
        }
        network.connect(node, .none, to)
    }

    private mutating func addCharacters(_ set: ScalarSet, to network: inout RuleNetwork, from: Int, to: Int) {
        let sequences: [[ClosedRange<UInt8>]]
        if let known = byteSequences[set] {
            sequences = known
        } else {
            sequences = set.byteSequences
            byteSequences[set] = sequences
        }
        // Sequences that end alike share their ends.
        var tails: [ArraySlice<ClosedRange<UInt8>>: Int] = [:]
        for sequence in sequences {
            var node = to
            for index in sequence.indices.reversed() where index > 0 {
                let tail = sequence[index...]
                if let known = tails[tail] {
                    node = known
                } else {
                    let before = network.node()
                    network.connect(before, .bytes(sequence[index]), node)
                    tails[tail] = before
                    node = before
                }
            }
            network.connect(from, .bytes(sequence[0]), node)
        }
    }

    // MARK: Sizes

    /// About how many nodes an expression takes, written out; above `limit` any number above it.
    private func size(_ expression: Expression, limit: Int) -> Int {
        switch expression {
        case .empty: return 1
        case .bytes(let bytes): return bytes.count
        case .characters(let set): return set.ranges.last.map { $0.upperBound < 0x80 ? 1 : 8 } ?? 1
        case .token: return 1
        case .rule(let rule): return inlineSize[rule] ?? 1
        case .sequence(let items), .choice(let items):
            var sum = 1
            for item in items where sum <= limit { sum += size(item, limit: limit) }
            return sum
        case .repeated(let item, let min, let max):
            let copies = Swift.max(max ?? 0, min, 1)
            let size = size(item, limit: limit)
            return copies > limit || size * copies > GrammarLimits.expansion ? 1 : size * copies
        case .graph(let graph):
            var sum = graph.nodeCount
            for edge in graph.edges where sum <= limit { sum += size(edge.label, limit: limit) }
            return sum
        }
    }

    /// Whether it has no loop of its own, rules that stay rules included.
    private func isFinite(_ expression: Expression, _ finite: [Bool]) -> Bool {
        switch expression {
        case .empty, .bytes, .characters, .token: true
        case .rule(let rule): inlineSize[rule] != nil && finite[rule]
        case .sequence(let items), .choice(let items): items.allSatisfy { isFinite($0, finite) }
        case .repeated(let item, _, let max): max != nil && isFinite(item, finite)
        case .graph: false
        }
    }

    /// Callees first: a rule is inlined if all that it names is known before it, so recursive rules never are.
    private mutating func findInlineSizes() {
        var finite = [Bool](repeating: false, count: set.rules.count)
        for rule in calleesFirst() where !set.rules[rule].isShared && rule != set.root {
            // One more for the rule itself, which bounds how deep rules stand within rules.
            let size = size(set.rules[rule].body, limit: GrammarLimits.inlining) + 1
            let isFinite = isFinite(set.rules[rule].body, finite)
            finite[rule] = isFinite
            if size <= (isFinite ? GrammarLimits.inlining : GrammarLimits.loopInlining),
                !isRecursive[rule]
            {
                inlineSize[rule] = size
            }
        }
    }

    private var isRecursive: [Bool] = []

    /// Depth first, without recursion; marks the rules that lie on a circle.
    private mutating func calleesFirst() -> [Int] {
        let count = set.rules.count
        let callees = set.rules.map { Array(Set($0.body.rules)).sorted() }
        isRecursive = Array(repeating: false, count: count)
        // Tarjan's strongly connected components.
        var index = [Int](repeating: -1, count: count)
        var low = index
        var onStack = [Bool](repeating: false, count: count)
        var (order, stack, counter) = ([Int](), [Int](), 0)
        for first in 0..<count where index[first] < 0 {
            var work = [(rule: first, next: 0)]
            while let (rule, next) = work.last {
                if next == 0 {
                    index[rule] = counter
                    low[rule] = counter
                    counter += 1
                    stack.append(rule)
                    onStack[rule] = true
                }
                if next < callees[rule].count {
                    work[work.count - 1].next += 1
                    let callee = callees[rule][next]
                    if index[callee] < 0 {
                        work.append((callee, 0))
                    } else if onStack[callee] {
                        low[rule] = min(low[rule], index[callee])
                    }
                    // A visit with next 0 must not come again.
                    continue
                }
                work.removeLast()
                if let parent = work.last?.rule { low[parent] = min(low[parent], low[rule]) }
                if low[rule] == index[rule] {
                    var members: [Int] = []
                    while let member = stack.popLast() {
                        onStack[member] = false
                        members.append(member)
                        if member == rule { break }
                    }
                    if members.count > 1 || callees[rule].contains(rule) {
                        for member in members { isRecursive[member] = true }
                    }
                }
                order.append(rule)
            }
        }
        return order
    }
}

extension Expression {
    /// The rules that it names.
    var rules: [Int] {
        switch self {
        case .empty, .bytes, .characters, .token: []
        case .rule(let rule): [rule]
        case .sequence(let items), .choice(let items): items.flatMap(\.rules)
        case .repeated(let item, _, _): item.rules
        case .graph(let graph): graph.edges.flatMap(\.label.rules)
        }
    }
}
