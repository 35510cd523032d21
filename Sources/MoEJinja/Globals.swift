// SPDX-License-Identifier: Apache-2.0

/// The functions that every template has.
enum Globals {
    static func value(_ name: String) -> Value? {
        switch name {
        case "range": .object(FunctionObject(name, range))
        case "dict": .object(FunctionObject(name, dictionary))
        case "namespace": .object(FunctionObject(name, namespace))
        case "cycler": .object(FunctionObject(name, cycler))
        case "joiner": .object(FunctionObject(name, joiner))
        case "raise_exception": .object(FunctionObject(name, raise))
        case "strftime_now": .object(FunctionObject(name, now))
        default: nil
        }
    }

    /// Jinja2's sandbox has the same limit.
    private static let rangeLimit = 100_000

    private static func range(_ interpreter: Interpreter, _ arguments: Arguments) throws(JinjaError) -> Value {
        guard arguments.keywords.isEmpty, 1...3 ~= arguments.positional.count else {
            throw interpreter.fail("range() takes one to three arguments")
        }
        var numbers: [Int] = []
        for value in arguments.positional { numbers.append(try interpreter.integer(value, "range")) }
        let start = numbers.count > 1 ? numbers[0] : 0
        let stop = numbers.count > 1 ? numbers[1] : numbers[0]
        let step = numbers.count > 2 ? numbers[2] : 1
        guard step != 0 else { throw interpreter.fail("range() arg 3 must not be zero") }
        var count = 0
        if step > 0 ? start < stop : start > stop {
            let (distance, isOverflow) = stop.subtractingReportingOverflow(start)
            let steps = isOverflow ? UInt.max : (distance.magnitude - 1) / step.magnitude + 1
            guard steps <= UInt(rangeLimit) else { throw interpreter.fail("a range of more than \(rangeLimit) numbers") }
            count = Int(steps)
        }
        return .object(RangeObject(start: start, stop: stop, step: step, count: count))
    }

    /// Members as `dict(…)` takes them: one mapping or pairs, and keywords.
    private static func members(
        _ interpreter: Interpreter, _ function: String, _ arguments: Arguments
    ) throws(JinjaError) -> MembersBuilder {
        guard arguments.positional.count <= 1 else {
            throw interpreter.fail("\(function)() expected at most 1 argument, got \(arguments.positional.count)")
        }
        var builder = MembersBuilder()
        if let first = arguments.positional.first {
            if case .dictionary(let members) = first {
                try interpreter.spend(members.count)
                for (name, value) in zip(members.keys, members.values) {
                    builder.set(try interpreter.key(name), name, value)
                }
            } else {
                for pair in try interpreter.collect(first) {
                    let items = try interpreter.collect(pair, limit: 2)
                    guard items.count == 2 else { throw interpreter.fail("\(function)() needs pairs of a key and a value") }
                    builder.set(try interpreter.key(items[0]), items[0], items[1])
                }
            }
        }
        for (name, value) in arguments.keywords {
            builder.set(.string(ExactKey(name)), try interpreter.text(name), value)
        }
        return builder
    }

    private static func dictionary(_ interpreter: Interpreter, _ arguments: Arguments) throws(JinjaError) -> Value {
        try interpreter.dictionary(try members(interpreter, "dict", arguments))
    }

    static var fromKeys: FunctionObject {
        FunctionObject("fromkeys") { interpreter, arguments throws(JinjaError) in
            let values = try interpreter.bind(arguments, "fromkeys", ["iterable", "value"], required: 1)
            var builder = MembersBuilder()
            for item in try interpreter.collect(values[0] ?? .none) {
                builder.set(try interpreter.key(item), item, values[1] ?? .none)
            }
            return try interpreter.dictionary(builder)
        }
    }

    private static func namespace(_ interpreter: Interpreter, _ arguments: Arguments) throws(JinjaError) -> Value {
        let builder = try members(interpreter, "namespace", arguments)
        let namespace = Namespace()
        try interpreter.register(namespace)
        for (key, value) in zip(builder.keys, builder.values) {
            // A key that is no string cannot be read again.
            guard case .string(let name) = key else { continue }
            try interpreter.set(name.string, of: namespace, to: value)
        }
        return .object(namespace)
    }

    private static func cycler(_ interpreter: Interpreter, _ arguments: Arguments) throws(JinjaError) -> Value {
        guard arguments.keywords.isEmpty, !arguments.positional.isEmpty else {
            throw interpreter.fail("at least one item has to be provided")
        }
        return .object(
            Cycler(arguments.positional, depth: try interpreter.depth(around: arguments.positional)))
    }

    private static func joiner(_ interpreter: Interpreter, _ arguments: Arguments) throws(JinjaError) -> Value {
        let values = try interpreter.bind(arguments, "joiner", ["sep"])
        let separator: Value = if let value = values[0] { value } else { try interpreter.text(", ") }
        let depth = try interpreter.depth(around: [separator])
        var isUsed = false
        return .object(
            FunctionObject("joiner", depth: depth) { interpreter, arguments throws(JinjaError) in
                _ = try interpreter.bind(arguments, "joiner", [])
                defer { isUsed = true }
                return isUsed ? separator : try interpreter.text("")
            })
    }

    private static func raise(_ interpreter: Interpreter, _ arguments: Arguments) throws(JinjaError) -> Value {
        let message = try interpreter.bind(arguments, "raise_exception", ["message"], required: 1)[0] ?? .none
        throw interpreter.fail(try interpreter.string(message))
    }

    private static func now(_ interpreter: Interpreter, _ arguments: Arguments) throws(JinjaError) -> Value {
        let format = try interpreter.bind(arguments, "strftime_now", ["format"], required: 1)[0]
        let text = try interpreter.string(format, "strftime_now")
        try interpreter.willMake(text.utf8.count * 8)
        return try interpreter.text(interpreter.clock().formatted(text))
    }
}
