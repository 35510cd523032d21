// SPDX-License-Identifier: Apache-2.0

extension Interpreter {
    func evaluate(_ expression: Expression) throws(JinjaError) -> Value {
        try spend(1)
        offset = expression.offset
        switch expression.kind {
        case .none: return .none
        case .bool(let flag): return .bool(flag)
        case .integer(let number): return .integer(number)
        case .double(let number): return .double(number)
        case .string(let string): return try text(string)
        case .name(let name): return try lookUp(name)
        case .postfix(let base, let parts):
            var value = try evaluate(base)
            for part in parts { value = try apply(part, to: value) }
            return value
        default:
            try checkStack()
            return try evaluateOperation(expression)
        }
    }

    private func evaluateOperation(_ expression: Expression) throws(JinjaError) -> Value {
        switch expression.kind {
        case .list(let elements): return try list(try evaluate(elements))
        case .tuple(let elements): return try tuple(try evaluate(elements))
        case .dictionary(let members):
            var builder = MembersBuilder()
            for member in members {
                let original = try evaluate(member.key)
                let value = try evaluate(member.value)
                offset = member.key.offset
                builder.set(try key(original), original, value)
            }
            return try dictionary(builder)
        case .not(let operand): return .bool(!isTrue(try evaluate(operand)))
        case .negative(let operand):
            let value = try evaluate(operand)
            offset = expression.offset
            return try negative(value)
        case .positive(let operand):
            let value = try evaluate(operand)
            offset = expression.offset
            return try positive(value)
        case .arithmetic(let first, let rest):
            var value = try evaluate(first)
            for (operation, operand) in rest {
                let right = try evaluate(operand)
                offset = expression.offset
                value = try arithmetic(operation, value, right)
            }
            return value
        case .concatenation(let operands):
            return try concatenation(try evaluate(operands))
        case .comparison(let first, let rest):
            var left = try evaluate(first)
            for (comparison, operand) in rest {
                let right = try evaluate(operand)
                offset = expression.offset
                guard try compare(comparison, left, right) else { return .bool(false) }
                left = right
            }
            return .bool(true)
        case .and(let operands):
            var value = Value.none
            for operand in operands {
                value = try evaluate(operand)
                if !isTrue(value) { break }
            }
            return value
        case .or(let operands):
            var value = Value.none
            for operand in operands {
                value = try evaluate(operand)
                if isTrue(value) { break }
            }
            return value
        case .conditional(let arms, let otherwise):
            for arm in arms {
                if isTrue(try evaluate(arm.test)) { return try evaluate(arm.value) }
            }
            guard let otherwise else {
                return .undefined(
                    Undefined(.hint("the inline if-expression evaluated to false and no else section was defined")))
            }
            return try evaluate(otherwise)
        default: return .none
        }
    }

    func evaluate(_ expressions: [Expression]) throws(JinjaError) -> [Value] {
        var values: [Value] = []
        values.reserveCapacity(expressions.count)
        for expression in expressions { values.append(try evaluate(expression)) }
        return values
    }

    func evaluate(_ list: ArgumentList) throws(JinjaError) -> Arguments {
        var arguments = Arguments(try evaluate(list.positional))
        for keyword in list.keywords { arguments.keywords.append((keyword.name, try evaluate(keyword.value))) }
        if let spread = list.spread { arguments.positional += try collect(try evaluate(spread)) }
        if let spread = list.keywordSpread {
            guard case .dictionary(let members) = try evaluate(spread) else {
                throw fail("argument after ** must be a mapping")
            }
            try spend(members.count)
            for (key, value) in zip(members.keys, members.values) {
                guard case .string(let name) = key else { throw fail("keywords must be strings") }
                if arguments.keywords.contains(where: { isSameText($0.name, name.string) }) {
                    throw fail("got multiple values for keyword argument '\(name.string)'")
                }
                try spend(arguments.keywords.count / 16)
                arguments.keywords.append((name.string, value))
            }
        }
        return arguments
    }

    func apply(_ filters: [Postfix], to value: Value) throws(JinjaError) -> Value {
        var value = value
        for filter in filters { value = try apply(filter, to: value) }
        return value
    }

    private func apply(_ part: Postfix, to value: Value) throws(JinjaError) -> Value {
        try spend(1)
        switch part.kind {
        case .attribute(let name):
            offset = part.offset
            return try attribute(name, of: value)
        case .item(let expression):
            let index = try evaluate(expression)
            offset = part.offset
            return try item(index, of: value)
        case .slice(let start, let stop, let step):
            let bounds = try (bound(start), bound(stop), bound(step))
            offset = part.offset
            return try slice(value, bounds.0, bounds.1, bounds.2)
        case .call(let list):
            let arguments = try evaluate(list)
            offset = part.offset
            return try call(value, arguments)
        case .filter(let name, let list):
            let arguments = try evaluate(list)
            offset = part.offset
            return try filter(name, value, arguments)
        case .test(let name, let list, let isNegated):
            let arguments = try evaluate(list)
            offset = part.offset
            return .bool(try test(name, value, arguments) != isNegated)
        }
    }

    private func bound(_ expression: Expression?) throws(JinjaError) -> Value {
        guard let expression else { return .none }
        return try evaluate(expression)
    }

    func filter(_ name: String, _ value: Value, _ arguments: Arguments) throws(JinjaError) -> Value {
        guard let filter = Filters.table[name] else { throw fail("no filter named '\(name)'") }
        return try filter(self, value, arguments)
    }

    func test(_ name: String, _ value: Value, _ arguments: Arguments) throws(JinjaError) -> Bool {
        guard let test = Tests.table[name] else { throw fail("no test named '\(name)'") }
        return try test(self, value, arguments)
    }

    func call(_ function: Value, _ arguments: Arguments) throws(JinjaError) -> Value {
        switch function {
        case .undefined(let undefined): throw fail(undefined.message)
        case .object(let function as FunctionObject): return try function.body(self, arguments)
        case .object(let macro as MacroObject): return try call(macro, arguments)
        case .object(let loop as LoopObject):
            guard let recursion = loop.recursion else {
                throw fail("the loop must have the 'recursive' marker to be called recursively")
            }
            let values = try bind(arguments, "loop", ["iterable"], required: 1)
            return try recursion(self, values[0] ?? .none, loop.level + 1)
        default: throw fail("'\(function.typeName)' object is not callable")
        }
    }

    /// The arguments in the order of `names`; nil for those that are not given.
    func bind(
        _ arguments: Arguments, _ function: String, _ names: [String], required: Int = 0
    ) throws(JinjaError) -> [Value?] {
        guard arguments.positional.count <= names.count else {
            throw fail("\(function)() takes at most \(names.count) arguments (\(arguments.positional.count) given)")
        }
        var values: [Value?] = arguments.positional
        values += [Value?](repeating: nil, count: names.count - values.count)
        for (name, value) in arguments.keywords {
            guard let index = names.firstIndex(of: name) else {
                throw fail("\(function)() got an unexpected keyword argument '\(name)'")
            }
            guard values[index] == nil else { throw fail("\(function)() got multiple values for argument '\(name)'") }
            values[index] = value
        }
        for index in 0..<required where values[index] == nil {
            throw fail("\(function)() missing argument '\(names[index])'")
        }
        return values
    }
}
