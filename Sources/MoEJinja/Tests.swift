// SPDX-License-Identifier: Apache-2.0

/// What may stand after `is`.
enum Tests {
    typealias Test = @Sendable (Interpreter, Value, Arguments) throws(JinjaError) -> Bool

    static let table: [String: Test] = {
        var table = simple
        for (names, comparison) in comparisons {
            for name in names { table[name] = comparing(name, comparison) }
        }
        return table
    }()

    private static func comparing(_ name: String, _ comparison: Expression.Comparison) -> Test {
        { interpreter, value, arguments throws(JinjaError) in
            let other = try interpreter.bind(arguments, name, ["other"], required: 1)[0] ?? .none
            return try interpreter.compare(comparison, value, other)
        }
    }

    private static let comparisons: [([String], Expression.Comparison)] = [
        (["==", "eq", "equalto"], .equal), (["!=", "ne"], .notEqual), ([">", "gt", "greaterthan"], .greater),
        ([">=", "ge"], .greaterOrEqual), (["<", "lt", "lessthan"], .less), (["<=", "le"], .lessOrEqual),
        (["in"], .isIn),
    ]

    /// A test without arguments.
    private static func plain(
        _ holds: @escaping @Sendable (Interpreter, Value) throws(JinjaError) -> Bool
    ) -> Test {
        { interpreter, value, arguments throws(JinjaError) in
            guard arguments.isEmpty else { throw interpreter.fail("a test with too many arguments") }
            return try holds(interpreter, value)
        }
    }

    private static func halved(leaves remainder: Int) -> Test {
        plain { interpreter, value throws(JinjaError) in
            try interpreter.areEqual(try interpreter.arithmetic(.modulo, value, .integer(2)), .integer(remainder))
        }
    }

    private static let simple: [String: Test] = [
        "odd": halved(leaves: 1),
        "even": halved(leaves: 0),
        "divisibleby": { interpreter, value, arguments throws(JinjaError) in
            let number = try interpreter.bind(arguments, "divisibleby", ["num"], required: 1)[0] ?? .none
            return try interpreter.areEqual(try interpreter.arithmetic(.modulo, value, number), .integer(0))
        },
        "defined": plain { _, value in !value.isUndefined },
        "undefined": plain { _, value in value.isUndefined },
        "filter": plain { interpreter, value throws(JinjaError) in
            guard case .string(let name) = try interpreter.key(value) else { return false }
            return Filters.table[name.string] != nil
        },
        "test": plain { interpreter, value throws(JinjaError) in
            guard case .string(let name) = try interpreter.key(value) else { return false }
            return Tests.table[name.string] != nil
        },
        "none": plain { _, value in value.isNone },
        "boolean": plain { _, value in if case .bool = value { true } else { false } },
        "true": plain { _, value in if case .bool(true) = value { true } else { false } },
        "false": plain { _, value in if case .bool(false) = value { true } else { false } },
        "integer": plain { _, value in if case .integer = value { true } else { false } },
        "float": plain { _, value in if case .double = value { true } else { false } },
        "number": plain { _, value in value.asNumber != nil },
        "string": plain { _, value in value.asText != nil },
        "mapping": plain { _, value in if case .dictionary = value { true } else { false } },
        "lower": plain { interpreter, value throws(JinjaError) in StringMethods.isLower(try interpreter.string(value)) },
        "upper": plain { interpreter, value throws(JinjaError) in StringMethods.isUpper(try interpreter.string(value)) },
        "sequence": plain { _, value in
            switch value {
            case .string, .list, .tuple, .dictionary, .undefined: true
            case .object(let object): object is RangeObject
            default: false
            }
        },
        "iterable": plain { _, value in
            switch value {
            case .string, .list, .tuple, .dictionary, .undefined: true
            case .object(let object):
                object is RangeObject || object is DictionaryView || object is Iterator || object is LoopObject
            default: false
            }
        },
        "callable": plain { _, value in
            switch value {
            case .undefined: true
            case .object(let object): object is FunctionObject || object is MacroObject || object is LoopObject
            default: false
            }
        },
        "escaped": plain { _, value in value.asText?.isMarkup == true },
        "sameas": { interpreter, value, arguments throws(JinjaError) in
            let other = try interpreter.bind(arguments, "sameas", ["other"], required: 1)[0] ?? .none
            return switch (value, other) {
            case (.none, .none): true
            case (.bool(let a), .bool(let b)): a == b
            case (.integer(let a), .integer(let b)): a == b
            case (.double(let a), .double(let b)): a == b
            case (.string(let a), .string(let b)): isSameText(a.string, b.string)
            case (.list(let a), .list(let b)), (.tuple(let a), .tuple(let b)): a === b
            case (.dictionary(let a), .dictionary(let b)): a === b
            case (.object(let a), .object(let b)): a === b
            default: false
            }
        },
    ]
}
