// SPDX-License-Identifier: Apache-2.0

/// A grammar made ready to be run: a network of nodes in which every rule takes at least one byte or token, every node leads to
/// the end of its rule, and no rule begins with itself. So every place that can be reached can be completed, and what is open at
/// a place is finite.
struct Pushdown: Sendable {
    struct ByteEdge: Sendable {
        let low: UInt8
        let high: UInt8
        let target: Int32
    }

    struct Call: Sendable {
        let rule: Int32
        let target: Int32
    }

    struct TokenEdge: Sendable {
        let token: Int32
        let target: Int32
    }

    /// A counted repetition: `body` so many times, then on at `target`.
    struct Counter: Sendable {
        let body: Int32
        let min: Int32
        /// `Int32.max`: no end.
        let max: Int32
        let target: Int32
    }

    struct Node: Sendable {
        var bytes: Range<Int32> = 0..<0
        var calls: Range<Int32> = 0..<0
        var tokens: Range<Int32> = 0..<0
        var counters: Range<Int32> = 0..<0
        var isFinal = false
        /// Nothing but the end of the rule.
        var isEnd: Bool { isFinal && bytes.isEmpty && calls.isEmpty && tokens.isEmpty && counters.isEmpty }
        var takes: Bool { !bytes.isEmpty || !tokens.isEmpty }
    }

    var nodes: [Node] = []
    var bytes: [ByteEdge] = []
    var calls: [Call] = []
    var tokens: [TokenEdge] = []
    var counters: [Counter] = []
    /// By rule: where it starts; -1 for one that is not used.
    var starts: [Int32] = []
    var root: Int32 = 0
    /// Whether the empty text is one of the grammar's.
    var matchesEmpty = false
    /// Bytes that no edge tells apart are one class.
    var classes: [UInt8] = []
    var classCount = 0
    var references: [TokenReference] = []
}

extension Pushdown {
    /// - Throws: ``GrammarError`` for a grammar that is too large, has a rule that begins with itself, or matches no text.
    init(_ set: RuleSet) throws(GrammarError) {
        let (networks, rules) = try NetworkBuilder.build(set)
        var compiler = PushdownCompiler(networks: networks, rules: rules)
        self = try compiler.compile()
        references = set.tokens
    }
}

struct PushdownCompiler {
    private let networks: [RuleNetwork]
    private let rules: RuleSet
    /// Rules that match the empty text.
    private var isNullable: [Bool]
    /// Rules that match some other text.
    private var yields: [Bool]
    /// Rules that name a rule.
    private var callers: [[Int]]
    private var result = Pushdown()

    init(networks: [RuleNetwork], rules: RuleSet) {
        self.networks = networks
        self.rules = rules
        isNullable = Array(repeating: false, count: networks.count)
        yields = isNullable
        callers = Array(repeating: [], count: networks.count)
        for (rule, network) in networks.enumerated() {
            var callees: Set<Int> = []
            for edges in network.edges { for edge in edges { if let callee = edge.label.rule { callees.insert(callee) } } }
            for callee in callees { callers[callee].append(rule) }
        }
    }

    mutating func compile() throws(GrammarError) -> Pushdown {
        isNullable = fixpoint { matchesEmpty($0, $1) }
        yields = fixpoint { matchesMore($0, $1) }
        let root = rules.root
        guard isNullable[root] || yields[root] else {
            throw GrammarError(
                rules.emptyProblem ?? "the rule '\(rules.rules[root].name)' matches no text that ends",
                at: rules.rules[root].place)
        }
        result.matchesEmpty = isNullable[root]
        result.starts = Array(repeating: -1, count: networks.count)
        var reached = Set([root])
        var queue = yields[root] ? [root] : []
        while let rule = queue.popLast() {
            for callee in try append(rule) where reached.insert(callee).inserted { queue.append(callee) }
        }
        result.root = result.starts[root]
        try checkLeftRecursion()
        makeClasses()
        return result
    }

    // MARK: What rules match

    /// Rules for which `holds`, which may become true of a rule when it does of one that it names.
    private func fixpoint(_ holds: (Int, [Bool]) -> Bool) -> [Bool] {
        var result = [Bool](repeating: false, count: networks.count)
        var queue = Array(networks.indices)
        while let rule = queue.popLast() {
            if result[rule] || !holds(rule, result) { continue }
            result[rule] = true
            queue.append(contentsOf: callers[rule].filter { !result[$0] })
        }
        return result
    }

    private func matchesEmpty(_ rule: Int, _ nullable: [Bool]) -> Bool {
        reaches(rule) { label in
            switch label {
            case .none: (true, false)
            case .bytes, .token: (false, false)
            case .rule(let rule): (nullable[rule], false)
            case .counted(let counted): (counted.min == 0 || nullable[counted.rule], false)
            }
        }.empty
    }

    private func matchesMore(_ rule: Int, _ yields: [Bool]) -> Bool {
        reaches(rule) { label in
            switch label {
            case .none: (true, false)
            case .bytes, .token: (false, true)
            case .rule(let rule): (isNullable[rule], yields[rule])
            case .counted(let counted): (counted.min == 0 || isNullable[counted.rule], yields[counted.rule])
            }
        }.more
    }

    /// Whether the end of a rule is reached without and with an edge that takes something.
    private func reaches(_ rule: Int, _ passes: (RuleNetwork.Label) -> (empty: Bool, more: Bool)) -> (
        empty: Bool, more: Bool
    ) {
        let network = networks[rule]
        // Twice as many nodes: those reached with nothing taken, and with something.
        var seen = [Bool](repeating: false, count: 2 * network.edges.count)
        var queue = [2 * network.start]
        seen[2 * network.start] = true
        var result = (empty: false, more: false)
        while let place = queue.popLast() {
            let (node, taken) = (place / 2, place % 2)
            if network.finals[node] { if taken == 1 { result.more = true } else { result.empty = true } }
            for edge in network.edges[node] {
                let (empty, more) = passes(edge.label)
                for next in [empty ? 2 * edge.target + taken : nil, more ? 2 * edge.target + 1 : nil] {
                    if let next, !seen[next] {
                        seen[next] = true
                        queue.append(next)
                    }
                }
            }
        }
        return result
    }

    // MARK: One rule

    /// Adds a rule's nodes to the result, as it is without the empty text.
    /// - Returns: the rules that it names.
    private mutating func append(_ rule: Int) throws(GrammarError) -> [Int] {
        var network = networks[rule]
        // What matches nothing may be passed; what matches nothing else is not entered.
        for node in network.edges.indices {
            var edges: [RuleNetwork.Edge] = []
            for edge in network.edges[node] {
                switch edge.label {
                case .none, .bytes, .token: edges.append(edge)
                case .rule(let callee):
                    if isNullable[callee] { edges.append(.init(label: .none, target: edge.target)) }
                    if yields[callee] { edges.append(edge) }
                case .counted(var counted):
                    if isNullable[counted.rule] { counted.min = 0 }
                    if counted.min == 0 { edges.append(.init(label: .none, target: edge.target)) }
                    if yields[counted.rule] { edges.append(.init(label: .counted(counted), target: edge.target)) }
                }
            }
            network.edges[node] = edges
        }
        guard let flat = network.deterministic() ?? network.withoutEmptyEdges() else {
            throw GrammarError("the rule '\(rules.rules[rule].name)' is too large", at: rules.rules[rule].place)
        }
        return try append(flat.trimmed(), rule: rule)
    }

    private mutating func append(_ network: RuleNetwork, rule: Int) throws(GrammarError) -> [Int] {
        let base = result.nodes.count
        guard base + network.edges.count <= GrammarLimits.nodes else {
            throw GrammarError("the grammar has more than \(GrammarLimits.nodes) nodes", at: rules.rules[rule].place)
        }
        result.starts[rule] = Int32(base + network.start)
        var callees: [Int] = []
        for (index, edges) in network.edges.enumerated() {
            var node = Pushdown.Node()
            node.isFinal = network.finals[index]
            let marks = (result.bytes.count, result.calls.count, result.tokens.count, result.counters.count)
            for edge in edges {
                let target = Int32(base + edge.target)
                switch edge.label {
                case .none: break
                case .bytes(let range):
                    result.bytes.append(.init(low: range.lowerBound, high: range.upperBound, target: target))
                case .token(let token): result.tokens.append(.init(token: Int32(token), target: target))
                case .rule(let callee):
                    callees.append(callee)
                    result.calls.append(.init(rule: Int32(callee), target: target))
                case .counted(let counted):
                    callees.append(counted.rule)
                    result.counters.append(
                        .init(
                            body: Int32(counted.rule), min: Int32(counted.min), max: counted.max.map(Int32.init) ?? .max,
                            target: target))
                }
            }
            node.bytes = Int32(marks.0)..<Int32(result.bytes.count)
            node.calls = Int32(marks.1)..<Int32(result.calls.count)
            node.tokens = Int32(marks.2)..<Int32(result.tokens.count)
            node.counters = Int32(marks.3)..<Int32(result.counters.count)
            result.nodes.append(node)
        }
        return callees
    }

    // MARK: The whole

    private func checkLeftRecursion() throws(GrammarError) {
        var state = [UInt8](repeating: 0, count: result.starts.count)
        func first(_ rule: Int) -> [Int] {
            let node = result.nodes[Int(result.starts[rule])]
            return node.calls.map { Int(result.calls[Int($0)].rule) }
                + node.counters.map { Int(result.counters[Int($0)].body) }
        }
        for start in result.starts.indices where result.starts[start] >= 0 && state[start] == 0 {
            state[start] = 1
            var work = [(rule: start, callees: first(start)[...])]
            while let (rule, rest) = work.popLast() {
                var callees = rest
                guard let callee = callees.popFirst() else {
                    state[rule] = 2
                    continue
                }
                work.append((rule, callees))
                if state[callee] == 1 {
                    // The rule on the circle that has a name of its own.
                    let circle = work.map(\.rule).drop { $0 != callee }.filter { $0 < rules.rules.count }
                    let named = circle.first { rules.rules[$0].name != "a repetition" } ?? callee
                    throw GrammarError(
                        "the rule '\(rules.rules[named].name)' begins with itself (left recursion)",
                        at: rules.rules[named].place)
                }
                if state[callee] == 0 {
                    state[callee] = 1
                    work.append((callee, first(callee)[...]))
                }
            }
        }
    }

    private mutating func makeClasses() {
        var begins = [Bool](repeating: false, count: 257)
        for edge in result.bytes {
            begins[Int(edge.low)] = true
            begins[Int(edge.high) + 1] = true
        }
        var current: UInt8 = 0
        result.classes = (0..<256).map { byte in
            if byte > 0, begins[byte] { current += 1 }
            return current
        }
        result.classCount = Int(current) + 1
        result.bytes = result.bytes.map {
            .init(low: result.classes[Int($0.low)], high: result.classes[Int($0.high)], target: $0.target)
        }
    }
}

extension RuleNetwork.Label {
    var rule: Int? {
        switch self {
        case .rule(let rule): rule
        case .counted(let counted): counted.rule
        default: nil
        }
    }
}
