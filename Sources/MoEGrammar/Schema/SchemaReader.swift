// SPDX-License-Identifier: Apache-2.0

internal import MoEJSON

/// Reads schemas into shapes.
struct SchemaReader {
    let source: SchemaDocument

    /// The alternatives of schemas that hold together; none when they contradict each other.
    func shapes(of all: SchemaShape.All) throws(GrammarError) -> [SchemaShape] {
        var shapes = [SchemaShape()]
        shapes[0].path = all.first?.path ?? "#"
        for node in all { shapes = try apply(node, to: shapes, within: []) }
        return shapes
    }

    /// - Parameter within: the schemas that are being read, which none of them may name.
    private func apply(
        _ node: SchemaDocument.Node, to shapes: [SchemaShape], within: [SchemaDocument.Node]
    ) throws(GrammarError) -> [SchemaShape] {
        let document = source.document
        if let flag = document.bool(node.value) { return flag ? shapes : [] }
        guard document.object(node.value) != nil else {
            throw GrammarError("a schema is an object or a boolean", at: node.path)
        }
        guard !within.contains(node) else { throw GrammarError("'$ref' goes round in a circle", at: node.path) }
        guard within.count < GrammarLimits.nesting else { throw GrammarError("references nest too deeply", at: node.path) }
        let within = within + [node]
        if source.refHidesSiblings, let reference = source.member("$ref", of: node) {
            return try apply(target(of: reference), to: shapes, within: within)
        }
        var facts = SchemaShape()
        var object = SchemaShape.Objects.Group()
        var array = SchemaShape.Arrays.Group()
        var (saysObject, saysArray) = (false, false)
        var isNullable = false
        var exclusive: [(isLow: Bool, path: String)] = []
        var later: [(key: String, node: SchemaDocument.Node)] = []
        for (key, value) in try source.members(node) {
            switch key {
            case "type": facts.types.formIntersection(try types(value))
            case "nullable": isNullable = document.bool(value.value) == true
            case "enum":
                guard let values = document.array(value.value) else {
                    throw GrammarError("expected an array", at: value.path)
                }
                facts.values = Array(values)
            case "const": later.append((key, value))
            case "minimum": facts.numbers.raise(try source.decimal(value), isOut: false)
            case "maximum": facts.numbers.lower(try source.decimal(value), isOut: false)
            case "exclusiveMinimum":
                if let flag = document.bool(value.value) {
                    if flag { exclusive.append((true, value.path)) }
                } else {
                    facts.numbers.raise(try source.decimal(value), isOut: true)
                }
            case "exclusiveMaximum":
                if let flag = document.bool(value.value) {
                    if flag { exclusive.append((false, value.path)) }
                } else {
                    facts.numbers.lower(try source.decimal(value), isOut: true)
                }
            case "multipleOf":
                guard let divisor = try source.decimal(value).integer, (1...1000).contains(divisor) else {
                    throw GrammarError("'multipleOf' is supported for integers from 1 to 1000", at: value.path)
                }
                facts.divisors.append(divisor)
            case "minLength": facts.strings.min = try source.count(value)
            case "maxLength": facts.strings.max = try source.count(value)
            case "pattern", "format": try addPattern(key, value, to: &facts.strings.automaton)
            case "minItems": facts.arrays.min = try source.count(value)
            case "maxItems": facts.arrays.max = try source.count(value)
            case "prefixItems":
                array.prefix = try source.elements(value)
                saysArray = true
            case "items":
                if document.array(value.value) != nil {
                    array.prefix = try source.elements(value)
                } else {
                    array.rest = value
                }
                saysArray = true
            case "additionalItems":
                // Means something beside a list of items only.
                if document.array(document.member("items", of: node.value)) != nil { array.rest = value }
            case "uniqueItems":
                if document.bool(value.value) != false { throw unsupported(key, value) }
            case "minProperties": facts.objects.min = try source.count(value)
            case "maxProperties": facts.objects.max = try source.count(value)
            case "required":
                for name in try source.elements(value) { facts.objects.required.append(try source.string(name)) }
            case "properties":
                object.properties = try source.members(value).map { ($0.key, $0.node) }
                saysObject = true
            case "patternProperties":
                for (pattern, schema) in try source.members(value) {
                    object.patterns.append((try automaton(pattern, at: schema.path), schema))
                }
                saysObject = true
            case "additionalProperties":
                object.rest = value
                saysObject = true
            case "$ref", "allOf", "anyOf", "oneOf", "not": later.append((key, value))
            case "if", "then", "else":
                // Without `if` the others mean nothing, and `if` alone means nothing.
                let has = { document.member($0, of: node.value) != nil }
                if has("if"), has("then") || has("else") { throw unsupported(key, value) }
            case "contains", "minContains", "maxContains":
                if document.member("contains", of: node.value) != nil { throw unsupported(key, value) }
            case "propertyNames", "dependencies", "dependentRequired", "dependentSchemas", "unevaluatedItems",
                "unevaluatedProperties", "$dynamicRef", "$recursiveRef", "extends", "disallow", "divisibleBy":
                throw unsupported(key, value)
            case "$id" where node.path != "#":
                if document.string(value.value)?.hasPrefix("#") != true { throw unsupported(key, value) }
            default: break  // Annotations, and what JSON Schema does not know.
            }
        }
        for (isLow, path) in exclusive {
            // Draft 4: a flag beside the bound.
            guard let bound = isLow ? facts.numbers.low : facts.numbers.high else {
                throw GrammarError("a flag without its bound", at: path)
            }
            if isLow { facts.numbers.raise(bound, isOut: true) } else { facts.numbers.lower(bound, isOut: true) }
        }
        if isNullable, facts.types != .all { facts.types.insert(.null) }
        if saysObject { facts.objects.groups = [object] }
        if saysArray { facts.arrays.groups = [array] }
        facts.path = node.path
        var result: [SchemaShape] = []
        for shape in shapes { if let both = try shape.intersection(facts, source) { result.append(both) } }
        for (key, value) in later { result = try combine(key, value, result, within: within) }
        return result
    }

    private func combine(
        _ key: String, _ node: SchemaDocument.Node, _ shapes: [SchemaShape], within: [SchemaDocument.Node]
    ) throws(GrammarError) -> [SchemaShape] {
        switch key {
        case "const":
            var result: [SchemaShape] = []
            var facts = SchemaShape()
            facts.values = [node.value]
            facts.path = node.path
            for shape in shapes { if let both = try shape.intersection(facts, source) { result.append(both) } }
            return result
        case "$ref": return try apply(target(of: node), to: shapes, within: within)
        case "not":
            if source.document.bool(node.value) == false { return shapes }
            if source.document.bool(node.value) == true || source.document.object(node.value)?.isEmpty == true { return [] }
            throw unsupported(key, node)
        case "allOf":
            var result = shapes
            for part in try source.elements(node) { result = try apply(part, to: result, within: within) }
            return result
        default:
            var branches: [[SchemaShape]] = []
            var count = 0
            for part in try source.elements(node) {
                branches.append(try apply(part, to: shapes, within: within))
                count += branches.last!.count
                guard count <= GrammarLimits.alternatives else {
                    throw GrammarError(
                        "the schema has more than \(GrammarLimits.alternatives) alternatives, multiplied out", at: node.path
                    )
                }
            }
            if key == "oneOf" { try Disjointness(reader: self).check(branches, at: node.path) }
            return branches.flatMap { $0 }
        }
    }

    private func target(of reference: SchemaDocument.Node) throws(GrammarError) -> SchemaDocument.Node {
        try source.resolve(try source.string(reference), at: reference.path)
    }

    private func types(_ node: SchemaDocument.Node) throws(GrammarError) -> SchemaShape.Types {
        let names = source.document.string(node.value) != nil ? [node] : try source.elements(node)
        var result: SchemaShape.Types = []
        for name in names {
            let text = try source.string(name)
            guard let types = SchemaShape.Types(name: text) else {
                throw GrammarError("there is no type '\(text)'", at: name.path)
            }
            result.formUnion(types)
        }
        return result
    }

    private func addPattern(
        _ key: String, _ node: SchemaDocument.Node, to automaton: inout CharacterAutomaton?
    ) throws(GrammarError) {
        let text = try source.string(node)
        let new: CharacterAutomaton
        if key == "pattern" {
            new = try self.automaton(text, at: node.path)
        } else if let format = try PatternError.located(
            at: node.path, { () throws(PatternError) in try Formats.automaton(text) })
        {
            new = format
        } else {
            throw GrammarError(
                "the format '\(text)' is not supported; these are: \(Formats.names.joined(separator: ", "))", at: node.path)
        }
        let old = automaton
        automaton = try PatternError.located(at: node.path) { () throws(PatternError) in try old?.intersection(new) ?? new }
    }

    private func automaton(_ pattern: String, at path: String) throws(GrammarError) -> CharacterAutomaton {
        do throws(PatternError) {
            return try CharacterAutomaton(try PatternParser.parse(pattern), isSearch: true)
        } catch {
            throw GrammarError("the pattern \"\(pattern)\": \(error.problem)", at: path)
        }
    }

    private func unsupported(_ key: String, _ node: SchemaDocument.Node) -> GrammarError {
        GrammarError("'\(key)' is not supported", at: node.path)
    }
}

extension SchemaShape {
    /// What both say; nil where they contradict each other in a way that is seen at once.
    func intersection(_ other: SchemaShape, _ source: SchemaDocument) throws(GrammarError) -> SchemaShape? {
        var result = self
        result.types.formIntersection(other.types)
        if result.types.isEmpty { return nil }
        result.path = other.path
        result.numbers = numbers.intersection(other.numbers)
        result.divisors = Array(Set(divisors + other.divisors)).sorted()
        result.strings.min = Swift.max(strings.min, other.strings.min)
        result.strings.max = Self.least(strings.max, other.strings.max)
        if let new = other.strings.automaton {
            result.strings.automaton = try PatternError.located(at: other.path) { () throws(PatternError) in
                try strings.automaton?.intersection(new) ?? new
            }
        }
        result.arrays.min = Swift.max(arrays.min, other.arrays.min)
        result.arrays.max = Self.least(arrays.max, other.arrays.max)
        result.arrays.groups += other.arrays.groups
        result.objects.min = Swift.max(objects.min, other.objects.min)
        result.objects.max = Self.least(objects.max, other.objects.max)
        result.objects.groups += other.objects.groups
        for name in other.objects.required where !result.objects.required.contains(name) {
            result.objects.required.append(name)
        }
        if let new = other.values {
            result.values = values.map { old in old.filter { value in new.contains { source.equal($0, value) } } } ?? new
            if result.values?.isEmpty == true { return nil }
        }
        return result
    }

    private static func least(_ a: Int?, _ b: Int?) -> Int? {
        guard let a, let b else { return a ?? b }
        return Swift.min(a, b)
    }
}
