// SPDX-License-Identifier: Apache-2.0

extension RuleNetwork {
    private static let workLimit = 4_000_000

    /// The same texts but the empty one, with at most one edge per byte, token and rule at each node, by the subset construction;
    /// nil when that takes many more nodes.
    func deterministic() -> RuleNetwork? {
        let limit = 1000 + 4 * edges.count
        var result = RuleNetwork()
        var numbers: [[Int]: Int] = [:]
        var sets: [[Int]] = []
        func number(_ set: [Int]) -> Int {
            if let number = numbers[set] { return number }
            let number = result.node()
            result.finals[number] = set.contains { finals[$0] }
            numbers[set] = number
            sets.append(set)
            return number
        }
        // The start is a node of its own that is not final: a rule matches the empty text through those that name it.
        sets.append([])
        result.start = result.node()
        sets[0] = closure([start])
        var next = 0
        // Closures of single nodes, united: most targets are met many times.
        var closures: [Int: [Int]] = [:]
        func reached(by targets: Set<Int>) -> [Int] {
            var union: Set<Int> = []
            for target in targets {
                if let known = closures[target] {
                    union.formUnion(known)
                } else {
                    let new = closure([target]).filter { node in
                        // Nodes with nothing but empty edges tell nothing.
                        finals[node] || edges[node].contains { $0.label != .none }
                    }
                    closures[target] = new
                    union.formUnion(new)
                }
            }
            return union.sorted()
        }
        var work = 0
        while next < sets.count {
            work += sets[next].count
            if sets.count > limit || work > Self.workLimit { return nil }
            var others: [Label: Set<Int>] = [:]
            var order: [Label] = []
            var ranges: [(ClosedRange<UInt8>, Int)] = []
            for node in sets[next] {
                for edge in edges[node] {
                    switch edge.label {
                    case .none: break
                    case .bytes(let range): ranges.append((range, edge.target))
                    default:
                        if others[edge.label] == nil { order.append(edge.label) }
                        others[edge.label, default: []].insert(edge.target)
                    }
                }
            }
            for (range, targets) in Self.disjoint(ranges) {
                result.connect(next, .bytes(range), number(reached(by: targets)))
            }
            for label in order { result.connect(next, label, number(reached(by: others[label]!))) }
            next += 1
        }
        return result
    }

    /// Ranges that overlap, cut into ones that do not.
    private static func disjoint(_ ranges: [(ClosedRange<UInt8>, Int)]) -> [(ClosedRange<UInt8>, Set<Int>)] {
        if ranges.isEmpty { return [] }
        var bounds: Set<Int> = []
        for (range, _) in ranges {
            bounds.insert(Int(range.lowerBound))
            bounds.insert(Int(range.upperBound) + 1)
        }
        let cuts = bounds.sorted()
        var result: [(ClosedRange<UInt8>, Set<Int>)] = []
        for (low, end) in zip(cuts, cuts.dropFirst()) {
            var targets: Set<Int> = []
            for (range, target) in ranges where range.contains(UInt8(low)) { targets.insert(target) }
            if targets.isEmpty { continue }
            if let last = result.last, last.1 == targets, Int(last.0.upperBound) + 1 == low {
                result[result.count - 1].0 = last.0.lowerBound...UInt8(end - 1)
            } else {
                result.append((UInt8(low)...UInt8(end - 1), targets))
            }
        }
        return result
    }

    /// The same texts but the empty one, without edges that take nothing.
    /// - Returns: nil when that takes too many edges.
    func withoutEmptyEdges() -> RuleNetwork? {
        var result = RuleNetwork()
        var work = 0
        for node in edges.indices {
            _ = result.node()
            var seen: Set<Edge> = []
            for reached in closure([node]) {
                if finals[reached] { result.finals[node] = true }
                for edge in edges[reached] where edge.label != .none && seen.insert(edge).inserted {
                    result.edges[node].append(edge)
                }
                work += 1 + edges[reached].count
                if work > Self.workLimit { return nil }
            }
        }
        let first = result.node()
        result.edges[first] = result.edges[start]
        result.start = first
        return result
    }

    /// Without nodes that the start does not reach or that do not reach the end.
    func trimmed() -> RuleNetwork {
        var sources = [[Int]](repeating: [], count: edges.count)
        for (node, edges) in edges.enumerated() { for edge in edges { sources[edge.target].append(node) } }
        var ends = finals
        var queue = finals.indices.filter { finals[$0] }
        while let node = queue.popLast() {
            for source in sources[node] where !ends[source] {
                ends[source] = true
                queue.append(source)
            }
        }
        var numbers = [Int](repeating: -1, count: edges.count)
        var order = [start]
        numbers[start] = 0
        var next = 0
        while next < order.count {
            for edge in edges[order[next]] where ends[edge.target] && numbers[edge.target] < 0 {
                numbers[edge.target] = order.count
                order.append(edge.target)
            }
            next += 1
        }
        var result = RuleNetwork()
        for node in order {
            _ = result.node()
            result.finals[result.finals.count - 1] = finals[node]
            result.edges[result.edges.count - 1] = edges[node].filter { ends[$0.target] }.map {
                Edge(label: $0.label, target: numbers[$0.target])
            }
        }
        return result
    }
}
