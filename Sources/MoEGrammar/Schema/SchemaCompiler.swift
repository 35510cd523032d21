// SPDX-License-Identifier: Apache-2.0

internal import MoEJSON

/// Turns a JSON Schema into rules: one per schema (or set of schemas that hold together) that stands for a value.
struct SchemaCompiler {
    private let reader: SchemaReader
    private var source: SchemaDocument { reader.source }
    private var rules = RuleSet()
    private var numbers: [[SchemaDocument.Node]: Int] = [:]
    private var queue: [(rule: Int, all: SchemaShape.All)] = []
    private var shared: [String: Int] = [:]
    /// The first schema that nothing satisfies.
    private var contradiction: String?

    /// - Throws: ``GrammarError`` with the path of what is wrong or not supported.
    static func compile(_ text: String) throws(GrammarError) -> RuleSet {
        let source = try SchemaDocument(text)
        var compiler = SchemaCompiler(reader: SchemaReader(source: source))
        compiler.rules.root = try compiler.number(of: [source.root])
        while let (rule, all) = compiler.queue.popLast() { try compiler.build(rule, all) }
        compiler.rules.emptyProblem =
            "the schema cannot be met: no value satisfies it"
            + (compiler.contradiction.map { $0 == "#" ? "" : ", because none satisfies \($0)" } ?? "")
        return compiler.rules
    }

    private init(reader: SchemaReader) { self.reader = reader }

    private mutating func value(_ all: SchemaShape.All) throws(GrammarError) -> Expression {
        .rule(try number(of: all))
    }

    private mutating func number(of all: SchemaShape.All) throws(GrammarError) -> Int {
        let key = Array(Set(all.filter { source.document.bool($0.value) != true })).sorted(by: <)
        if key.isEmpty { return try anyValue() }
        if let number = numbers[key] { return number }
        try checkRuleCount(key[0].path)
        let number = rules.add(key[0].path, place: key[0].path)
        numbers[key] = number
        // In the order of the schema, which the order of members follows.
        var unique: SchemaShape.All = []
        for node in all where !unique.contains(node) { unique.append(node) }
        queue.append((number, unique))
        return number
    }

    private func checkRuleCount(_ path: String) throws(GrammarError) {
        guard rules.rules.count < GrammarLimits.rules else {
            throw GrammarError("the schema needs more than \(GrammarLimits.rules) rules", at: path)
        }
    }

    private mutating func build(_ rule: Int, _ all: SchemaShape.All) throws(GrammarError) {
        var forms: [Expression] = []
        for shape in try reader.shapes(of: all) { forms += try self.forms(of: shape) }
        if forms.isEmpty, contradiction == nil { contradiction = rules.rules[rule].name }
        rules.rules[rule].body = forms.count == 1 ? forms[0] : .choice(forms)
    }

    // MARK: Values

    private mutating func forms(of shape: SchemaShape) throws(GrammarError) -> [Expression] {
        if let values = shape.values {
            var forms: [Expression] = []
            var rest = shape
            rest.values = nil
            for value in values where try reader.accepts(value, rest) { forms.append(source.text(of: value)) }
            return forms
        }
        var forms: [Expression] = []
        if shape.types.contains(.null) { forms.append(.text("null")) }
        if shape.types.contains(.boolean) { forms += [.text("true"), .text("false")] }
        if !shape.types.isDisjoint(with: .number), let number = try number(shape) { forms.append(number) }
        if shape.types.contains(.string), let string = try string(shape) { forms.append(string) }
        if shape.types.contains(.array), let array = try array(shape.arrays) { forms.append(array) }
        if shape.types.contains(.object), let object = try object(shape.objects, at: shape.path) { forms.append(object) }
        return forms
    }

    private mutating func sharedRule(_ name: String, _ body: () throws(GrammarError) -> Expression) throws(GrammarError)
        -> Int
    {
        if let number = shared[name] { return number }
        try checkRuleCount("#")
        let number = rules.add(name, place: "#", isShared: true)
        shared[name] = number
        rules.rules[number].body = try body()
        return number
    }

    private mutating func number(_ shape: SchemaShape) throws(GrammarError) -> Expression? {
        if shape.numbers.isEmpty { return nil }
        let isInteger = !shape.types.contains(.fraction) || !shape.divisors.isEmpty
        let name = isInteger ? "integer" : "number"
        let pattern = isInteger ? NumberText.integers(shape.numbers) : NumberText.numbers(shape.numbers)
        let automaton = try PatternError.located(at: shape.path) { () throws(PatternError) in
            var automaton = try CharacterAutomaton(pattern, isSearch: false)
            for divisor in shape.divisors { automaton = try automaton.intersection(Self.multiples(of: divisor)) }
            return automaton
        }
        if automaton.isEmpty { return nil }
        let body = Expression.graph(.init(automaton))
        guard shape.numbers.isFree, shape.divisors.isEmpty else { return body }
        return .rule(try sharedRule(name) { () throws(GrammarError) in body })
    }

    /// Decimal integers that are multiples: the state is the remainder so far.
    private static func multiples(of divisor: Int) -> CharacterAutomaton {
        func digits(_ remainder: Int, _ offset: Int) -> [CharacterAutomaton.Edge] {
            var targets: [Int: [ClosedRange<UInt32>]] = [:]
            for digit in 0..<10 {
                let scalar = UInt32(0x30 + digit)
                targets[(remainder * 10 + digit) % divisor + offset, default: []].append(scalar...scalar)
            }
            return targets.sorted { $0.key < $1.key }.map { .init(set: ScalarSet($0.value), target: $0.key) }
        }
        // 0: before the number, 1: behind a minus.
        var edges = [digits(0, 2) + [.init(set: ScalarSet("-"), target: 1)], digits(0, 2)]
        for remainder in 0..<divisor { edges.append(digits(remainder, 2)) }
        return CharacterAutomaton(
            edges: edges, accepting: [false, false, true] + [Bool](repeating: false, count: divisor - 1))
    }

    private mutating func string() throws(GrammarError) -> Expression {
        .rule(
            try sharedRule("string") { () throws(GrammarError) in
                .sequence([.text("\""), .repeated(JSONText.anyCharacter, min: 0, max: nil), .text("\"")])
            })
    }

    private mutating func string(_ shape: SchemaShape) throws(GrammarError) -> Expression? {
        let (min, max) = (shape.strings.min, shape.strings.max)
        if let max, max < min { return nil }
        guard var automaton = shape.strings.automaton else {
            if min == 0, max == nil { return try string() }
            let character = Expression.rule(
                try sharedRule("character") { () throws(GrammarError) in JSONText.anyCharacter })
            return .sequence([.text("\""), .repeated(character, min: min, max: max), .text("\"")])
        }
        if min > 0 || max != nil {
            let unbounded = automaton
            automaton = try PatternError.located(at: shape.path) { () throws(PatternError) in
                guard Swift.max(min, max ?? 0) <= GrammarLimits.patternStates else {
                    throw PatternError(problem: "lengths beside a pattern go to at most \(GrammarLimits.patternStates)")
                }
                return try unbounded.intersection(
                    CharacterAutomaton(.repeated(.set(.all), min: min, max: max), isSearch: false))
            }
        }
        return automaton.isEmpty ? nil : JSONText.string(automaton)
    }

    // MARK: Arrays and objects

    private mutating func array(_ arrays: SchemaShape.Arrays) throws(GrammarError) -> Expression? {
        let limit = arrays.limit
        if let limit, limit < arrays.min { return nil }
        let prefix = min(arrays.prefixCount, limit ?? .max)
        var graph = ExpressionGraph()
        var node = 0
        for index in 0..<prefix {
            if index >= arrays.min { graph.finals.insert(node) }
            let next = graph.node()
            let element = try value(arrays.schemas(at: index))
            graph.connect(node, index == 0 ? element : .sequence([JSONText.comma, element]), next)
            node = next
        }
        if prefix >= arrays.min { graph.finals.insert(node) }
        if limit.map({ $0 > prefix }) ?? true {
            let element = try value(arrays.schemas(at: prefix))
            let next = graph.node()
            let more = Expression.sequence([JSONText.comma, element])
            let least = max(1, arrays.min - prefix)
            let most = limit.map { $0 - prefix }
            if prefix > 0 {
                graph.connect(node, .repeated(more, min: least, max: most), next)
            } else {
                graph.connect(
                    node, .sequence([element, .repeated(more, min: least - 1, max: most.map { $0 - 1 })]), next)
            }
            graph.finals.insert(next)
        }
        return .sequence([.text("["), .graph(graph), .text("]")])
    }

    private mutating func object(_ objects: SchemaShape.Objects, at path: String) throws(GrammarError) -> Expression? {
        let names = objects.names
        var pairs: [Expression] = []
        for (set, schemas) in try PatternError.located(
            at: path, { () throws(PatternError) in try objects.otherNames() })
        {
            let key = if let set { JSONText.string(set) } else { try string() }
            pairs.append(.sequence([key, JSONText.colon, try value(schemas)]))
        }
        let least = objects.min > objects.required.count ? objects.min : 0
        let most = objects.max
        if let most, most < objects.required.count { return nil }
        if !pairs.isEmpty, least > 1, names.isEmpty {
            // Two members of one name would count as one.
            throw GrammarError("'minProperties' above 1 is supported for declared names only", at: path)
        }
        // How many members there are counts up to here.
        let top = max(1, least, most ?? 0)
        guard (names.count + 1) * (top + 1) <= 50_000 || (pairs.isEmpty && most ?? 0 > names.count) else {
            throw GrammarError("'minProperties' and 'maxProperties' are too large for this many names", at: path)
        }
        let counts = min(top, max(names.count, 1))
        var graph = ExpressionGraph()
        while graph.nodeCount < (names.count + 1) * (counts + 1) { _ = graph.node() }
        func node(_ index: Int, _ count: Int) -> Int { index * (counts + 1) + min(count, counts) }
        let required = Set(objects.required)
        for (index, name) in names.enumerated() {
            let member = Expression.sequence([
                .bytes(JSONEscape.quoted(name.utf8)), JSONText.colon, try value(objects.schemas(of: name)),
            ])
            for count in 0...min(counts, index) {
                if !required.contains(name) { graph.connect(node(index, count), .empty, node(index + 1, count)) }
                if let most, count >= most { continue }
                graph.connect(
                    node(index, count), count == 0 ? member : .sequence([JSONText.comma, member]),
                    node(index + 1, count + 1))
            }
        }
        let pair = pairs.count == 1 ? pairs[0] : .choice(pairs)
        for count in 0...min(counts, names.count) {
            let end = node(names.count, count)
            if count >= least { graph.finals.insert(end) }
            let room = most.map { $0 - count }
            guard !pairs.isEmpty, count + 1 >= least, room ?? 1 > 0 else { continue }
            let next = graph.node()
            let more = Expression.sequence([JSONText.comma, pair])
            if count == 0 {
                graph.connect(end, .sequence([pair, .repeated(more, min: 0, max: room.map { $0 - 1 })]), next)
            } else {
                graph.connect(end, .repeated(more, min: 1, max: room), next)
            }
            graph.finals.insert(next)
        }
        return .sequence([.text("{"), .graph(graph), .text("}")])
    }

    /// Any JSON value.
    private mutating func anyValue() throws(GrammarError) -> Int {
        if let number = shared["value"] { return number }
        let number = rules.add("value", place: "#", isShared: true)
        shared["value"] = number
        let forms = try forms(of: SchemaShape())
        rules.rules[number].body = .choice(forms)
        return number
    }
}

extension ExpressionGraph {
    /// An automaton over characters that stand for themselves.
    init(_ automaton: CharacterAutomaton) {
        while nodeCount < automaton.edges.count { _ = node() }
        for (state, edges) in automaton.edges.enumerated() {
            for edge in edges { connect(state, .characters(edge.set), edge.target) }
            if automaton.accepting[state] { finals.insert(state) }
        }
    }
}
