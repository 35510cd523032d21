// SPDX-License-Identifier: Apache-2.0

internal import MoEJSON

extension SchemaReader {
    /// Whether a value of the schema's own text (of an `enum`) satisfies the rest of the schema.
    func accepts(_ value: JSONDocument.Value, _ shape: SchemaShape) throws(GrammarError) -> Bool {
        let document = source.document
        if let values = shape.values, !values.contains(where: { source.equal($0, value) }) { return false }
        switch document.content(value) {
        case .null: return shape.types.contains(.null)
        case .bool: return shape.types.contains(.boolean)
        case .integer, .double:
            guard let number = Decimal(source.numberText(value)) else { return false }
            guard shape.types.contains(number.isInteger ? .integer : .fraction), shape.numbers.contains(number) else {
                return false
            }
            if shape.divisors.isEmpty { return true }
            guard let integer = number.integer else { return false }
            return shape.divisors.allSatisfy { integer % $0 == 0 }
        case .string(let text):
            let count = text.unicodeScalars.count
            return shape.types.contains(.string) && count >= shape.strings.min && count <= shape.strings.max ?? .max
                && shape.strings.automaton?.accepts(text) ?? true
        case .array(let elements):
            guard shape.types.contains(.array), elements.count >= shape.arrays.min,
                elements.count <= shape.arrays.max ?? .max
            else { return false }
            for (index, element) in elements.enumerated() {
                if try !accepts(element, all: shape.arrays.schemas(at: index)) { return false }
            }
            return true
        case .object(let members):
            guard shape.types.contains(.object), members.count >= shape.objects.min,
                members.count <= shape.objects.max ?? .max
            else { return false }
            for name in shape.objects.required where document.member(name, of: value) == nil { return false }
            for (key, member) in members {
                if try !accepts(member, all: shape.objects.schemas(of: document.string(key) ?? "")) { return false }
            }
            return true
        }
    }

    private func accepts(_ value: JSONDocument.Value, all: SchemaShape.All) throws(GrammarError) -> Bool {
        for shape in try shapes(of: all) where try accepts(value, shape) { return true }
        return false
    }
}

/// Whether alternatives of `oneOf` exclude each other: whether what is written for one can never satisfy another. What cannot be
/// shown is refused, because a grammar cannot take back a text that both allow.
struct Disjointness {
    let reader: SchemaReader

    func check(_ branches: [[SchemaShape]], at path: String) throws(GrammarError) {
        for (index, branch) in branches.enumerated() {
            for other in branches.indices.dropFirst(index + 1) {
                for a in branch {
                    for b in branches[other] where try !excludes(a, b, depth: 0) {
                        throw GrammarError(
                            "'oneOf': alternatives \(index) and \(other) could both hold; 'anyOf' would allow that",
                            at: path)
                    }
                }
            }
        }
    }

    private func excludes(_ a: SchemaShape, _ b: SchemaShape, depth: Int) throws(GrammarError) -> Bool {
        let common = a.types.intersection(b.types)
        if common.isEmpty { return true }
        for (one, other) in [(a, b), (b, a)] {
            guard let values = one.values else { continue }
            var overlaps = false
            for value in values where try reader.accepts(value, one) {
                if try reader.accepts(value, other) { overlaps = true }
            }
            return !overlaps
        }
        if !common.isDisjoint(with: [.null, .boolean]) { return false }
        if !common.isDisjoint(with: .number), !a.numbers.intersection(b.numbers).isEmpty { return false }
        if common.contains(.string), try !stringsExclude(a, b) { return false }
        if common.contains(.array) {
            let low = max(a.arrays.min, b.arrays.min)
            let high = min(a.arrays.max ?? .max, b.arrays.max ?? .max)
            if low <= high { return false }
        }
        if common.contains(.object) {
            guard depth < 8, try isNever(a.objects, b.objects, depth), try isNever(b.objects, a.objects, depth) else {
                return false
            }
        }
        return true
    }

    private func stringsExclude(_ a: SchemaShape, _ b: SchemaShape) throws(GrammarError) -> Bool {
        if max(a.strings.min, b.strings.min) > min(a.strings.max ?? .max, b.strings.max ?? .max) { return true }
        guard let left = a.strings.automaton, let right = b.strings.automaton else { return false }
        return try PatternError.located(at: b.path) { () throws(PatternError) in try left.intersection(right).isEmpty }
    }

    /// Whether an object that is written for `a` never satisfies `b`.
    private func isNever(_ a: SchemaShape.Objects, _ b: SchemaShape.Objects, _ depth: Int) throws(GrammarError) -> Bool {
        let names = a.names
        // A name that b wants and a never has.
        for name in b.required where !names.contains(name) && !a.isOpen && !a.isDeclared(name) { return true }
        // A name that both want, with values that exclude each other; or that b has no value for.
        for name in a.required {
            let (left, right) = (try reader.shapes(of: a.schemas(of: name)), try reader.shapes(of: b.schemas(of: name)))
            var overlaps = false
            for one in left { for other in right where try !excludes(one, other, depth: depth + 1) { overlaps = true } }
            if !overlaps { return true }
        }
        return false
    }
}
