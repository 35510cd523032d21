// SPDX-License-Identifier: Apache-2.0

extension SchemaShape.Objects {
    /// Declared names in order, then those that are required only.
    var names: [String] {
        var result: [String] = []
        var seen: Set<[UInt8]> = []
        for name in groups.flatMap({ $0.properties.map(\.name) }) + required where seen.insert(Array(name.utf8)).inserted {
            result.append(name)
        }
        return result
    }

    /// What the member of that name must satisfy.
    func schemas(of name: String) -> SchemaShape.All {
        groups.flatMap { group in
            var result = group.patterns.filter { $0.pattern.accepts(name) }.map(\.node)
            if let property = group.property(name) { result.append(property) }
            return result.isEmpty ? [group.rest].compactMap { $0 } : result
        }
    }

    /// Whether names may come that nothing is said about. Where a schema declares some names it means those, unless it says
    /// `additionalProperties`.
    var isOpen: Bool {
        groups.contains { $0.rest != nil } || groups.allSatisfy { $0.properties.isEmpty && $0.patterns.isEmpty }
    }

    func isDeclared(_ name: String) -> Bool {
        groups.contains { $0.property(name) != nil || $0.patterns.contains { $0.pattern.accepts(name) } }
    }

    /// Names that are not declared one by one: sets of them, each with what its members must satisfy.
    func otherNames() throws(PatternError) -> [(names: CharacterAutomaton?, schemas: SchemaShape.All)] {
        if !isOpen, groups.allSatisfy({ $0.patterns.isEmpty }) { return [] }
        let patterns = groups.enumerated().flatMap { index, group in group.patterns.map { (index, $0.pattern, $0.node) } }
        let names = names
        func rest(without groupsMatched: Set<Int>) -> SchemaShape.All {
            groups.enumerated().compactMap { groupsMatched.contains($0) ? nil : $1.rest }
        }
        if patterns.isEmpty, names.isEmpty { return isOpen ? [(nil, rest(without: []))] : [] }
        // Cut by one pattern after the other: what matches it, and what does not.
        var classes: [(set: CharacterAutomaton, schemas: SchemaShape.All, matched: Set<Int>)] = [
            (try CharacterAutomaton.all.subtracting(CharacterAutomaton(texts: names)), [], [])
        ]
        for (group, pattern, node) in patterns {
            var next = classes
            next.removeAll()
            for (set, schemas, matched) in classes {
                let inside = try set.intersection(pattern)
                if !inside.isEmpty { next.append((inside, schemas + [node], matched.union([group]))) }
                let outside = try set.subtracting(pattern)
                if !outside.isEmpty { next.append((outside, schemas, matched)) }
            }
            guard next.count <= 64 else { throw PatternError(problem: "the patterns of names overlap in too many ways") }
            classes = next
        }
        return classes.compactMap { set, schemas, matched in
            if matched.isEmpty, !isOpen { return nil }
            return (set, schemas + rest(without: matched))
        }
    }
}

extension SchemaShape.Arrays {
    var prefixCount: Int { groups.map(\.prefix.count).max() ?? 0 }

    /// What the element at `index` must satisfy.
    func schemas(at index: Int) -> SchemaShape.All {
        groups.compactMap { index < $0.prefix.count ? $0.prefix[index] : $0.rest }
    }

    /// The most elements. Where a schema lists the first elements it means those, unless it says what comes after them.
    var limit: Int? {
        let isClosed = prefixCount > 0 && groups.allSatisfy { $0.rest == nil }
        guard isClosed else { return max }
        return min(max ?? prefixCount, prefixCount)
    }

    private func min(_ a: Int, _ b: Int) -> Int { a < b ? a : b }
}
