// SPDX-License-Identifier: Apache-2.0

extension Filters {
    /// Those that apply another filter or a test to each element, when it is asked for.
    static let selections: [String: Filter] = [
        "map": map,
        "select": selecting("select", wanted: true, hasAttribute: false),
        "reject": selecting("reject", wanted: false, hasAttribute: false),
        "selectattr": selecting("selectattr", wanted: true, hasAttribute: true),
        "rejectattr": selecting("rejectattr", wanted: false, hasAttribute: true),
    ]

    private static let map: Filter = { interpreter, value, arguments throws(JinjaError) in
        guard interpreter.isTrue(value) else { return try interpreter.over([]) }
        let depth = try interpreter.depth(around: [value] + arguments.positional + arguments.keywords.map { $0.value })
        var items: Iterator?
        if arguments.positional.isEmpty, arguments.keywords.contains(where: { $0.name == "attribute" }) {
            return .object(
                Iterator(depth: depth) { interpreter throws(JinjaError) in
                    let values = try interpreter.bind(arguments, "map", ["attribute", "default"])
                    let all = try interpreter.start(&items, value)
                    guard let item = try all.next(interpreter) else { return nil }
                    let fallback = values[1].flatMap { $0.isNone ? nil : $0 }
                    return try interpreter.find(try interpreter.path(values[0]), in: item, fallback: fallback)
                })
        }
        return .object(
            Iterator(depth: depth) { interpreter throws(JinjaError) in
                guard let name = arguments.positional.first else {
                    throw interpreter.fail("map requires a filter argument")
                }
                let all = try interpreter.start(&items, value)
                guard let item = try all.next(interpreter) else { return nil }
                var rest = arguments
                rest.positional.removeFirst()
                try interpreter.checkStack()
                return try interpreter.filter(try interpreter.string(name, "map"), item, rest)
            })
    }

    private static func selecting(_ name: String, wanted: Bool, hasAttribute: Bool) -> Filter {
        { interpreter, value, arguments throws(JinjaError) in
            guard interpreter.isTrue(value) else { return try interpreter.over([]) }
            let depth = try interpreter.depth(
                around: [value] + arguments.positional + arguments.keywords.map { $0.value })
            var items: Iterator?
            return .object(
                Iterator(depth: depth) { interpreter throws(JinjaError) in
                    var rest = arguments
                    var path: [Value] = []
                    if hasAttribute {
                        guard let attribute = rest.positional.first else {
                            throw interpreter.fail("Missing parameter for attribute name")
                        }
                        path = try interpreter.path(attribute)
                        rest.positional.removeFirst()
                    }
                    let test = rest.positional.first
                    if test != nil { rest.positional.removeFirst() }
                    let all = try interpreter.start(&items, value)
                    try interpreter.checkStack()
                    while let item = try all.next(interpreter) {
                        let found = try interpreter.find(path, in: item)
                        let holds =
                            try test.map { test throws(JinjaError) in
                                try interpreter.test(try interpreter.string(test, name), found, rest)
                            } ?? interpreter.isTrue(found)
                        if holds == wanted { return item }
                    }
                    return nil
                })
        }
    }
}

extension Interpreter {
    /// The iterator over `value`, made when it is first asked for.
    func start(_ iterator: inout Iterator?, _ value: Value) throws(JinjaError) -> Iterator {
        if let iterator { return iterator }
        let new = try self.iterator(value)
        iterator = new
        return new
    }
}
