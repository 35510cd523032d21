// SPDX-License-Identifier: Apache-2.0

extension Interpreter {
    /// What `attribute="a.b.0"` finds in a value.
    func find(_ path: [Value], in value: Value, fallback: Value? = nil) throws(JinjaError) -> Value {
        var value = value
        for part in path {
            value = try item(part, of: value)
            if let fallback, value.isUndefined { value = fallback }
        }
        return value
    }

    /// The parts of a path: names, and numbers for what consists of digits.
    func path(_ attribute: Value?) throws(JinjaError) -> [Value] {
        switch attribute {
        case nil, Value.none?: return []
        case .string(let text)?:
            var parts: [Value] = []
            for part in text.string.split(separator: ".", omittingEmptySubsequences: false) {
                if !part.isEmpty, part.utf8.allSatisfy({ 48...57 ~= $0 }), let number = Int(part) {
                    parts.append(.integer(number))
                } else {
                    parts.append(try self.text(String(part)))
                }
            }
            return parts
        case let attribute?: return [attribute]
        }
    }

    /// A string in small letters; anything else as it is.
    func ignoringCase(_ value: Value, unless isSensitive: Bool) throws(JinjaError) -> Value {
        guard !isSensitive, case .string(let text) = value else { return value }
        try spend(text.byteCount / 8)
        return try self.text(PythonText.lower(text.string))
    }

    /// `reverse`, which Python wants to be a number.
    fileprivate func isReversed(_ value: Value?) throws(JinjaError) -> Bool {
        try value.map { value throws(JinjaError) in try integer(value, "sort") } ?? 0 != 0
    }

    fileprivate func isSet(_ value: Value?) -> Bool { value.map(isTrue) ?? false }
}

extension Filters {
    static let sequences: [String: Filter] = [
        "length": length,
        "count": length,
        "first": { interpreter, value, arguments throws(JinjaError) in
            _ = try interpreter.bind(arguments, "first", [])
            return try interpreter.iterator(value).next(interpreter)
                ?? .undefined(Undefined(.hint("No first item, sequence was empty.")))
        },
        "last": { interpreter, value, arguments throws(JinjaError) in
            _ = try interpreter.bind(arguments, "last", [])
            return try reversed(interpreter, value).last
                ?? .undefined(Undefined(.hint("No last item, sequence was empty.")))
        },
        "random": { interpreter, value, arguments throws(JinjaError) in
            _ = try interpreter.bind(arguments, "random", [])
            guard case .list(let elements) = value else { throw interpreter.fail("random() needs a list") }
            return elements.items.randomElement() ?? .undefined(Undefined(.hint("No random item, sequence was empty.")))
        },
        "list": { interpreter, value, arguments throws(JinjaError) in
            _ = try interpreter.bind(arguments, "list", [])
            return try interpreter.list(try interpreter.collect(value))
        },
        "reverse": { interpreter, value, arguments throws(JinjaError) in
            _ = try interpreter.bind(arguments, "reverse", [])
            if case .string(let text) = value {
                try interpreter.spend(text.byteCount / 4)
                return try interpreter.text(String(text.string.unicodeScalars.reversed()), isMarkup: text.isMarkup)
            }
            if case .object(let iterator as Iterator) = value {
                return try interpreter.list(try interpreter.collect(.object(iterator)).reversed())
            }
            return try interpreter.over(try reversed(interpreter, value).reversed(), "list_reverseiterator")
        },
        "items": { interpreter, value, arguments throws(JinjaError) in
            _ = try interpreter.bind(arguments, "items", [])
            switch value {
            case .dictionary(let members):
                return .object(try interpreter.iterator(.object(DictionaryView(.items, of: members))))
            case .undefined: return try interpreter.over([])
            default:
                return .object(
                    Iterator { interpreter throws(JinjaError) in
                        throw interpreter.fail("Can only get item pairs from a mapping.")
                    })
            }
        },
        "join": { interpreter, value, arguments throws(JinjaError) in
            let values = try interpreter.bind(arguments, "join", ["d", "attribute"])
            let separator = try values[0].map { value throws(JinjaError) in try interpreter.string(value) } ?? ""
            let path = try interpreter.path(values[1])
            let iterator = try interpreter.iterator(value)
            var pieces: [String] = []
            var size = 0
            while let item = try iterator.next(interpreter) {
                let found = try path.isEmpty ? item : interpreter.find(path, in: item)
                pieces.append(try interpreter.string(found))
                size += (pieces.last ?? "").utf8.count + separator.utf8.count
                guard size <= interpreter.limits.outputSize else { throw interpreter.fail("a text that is too long") }
            }
            return try interpreter.text(try interpreter.joined(pieces, separator))
        },
        "sum": { interpreter, value, arguments throws(JinjaError) in
            let values = try interpreter.bind(arguments, "sum", ["attribute", "start"])
            let path = try interpreter.path(values[0])
            var total = values[1] ?? .integer(0)
            if total.asText != nil { throw interpreter.fail("sum() can't sum strings") }
            let iterator = try interpreter.iterator(value)
            while let item = try iterator.next(interpreter) {
                total = try interpreter.arithmetic(.add, total, try interpreter.find(path, in: item))
            }
            return total
        },
        "min": extreme("min", isGreatest: false),
        "max": extreme("max", isGreatest: true),
        "sort": { interpreter, value, arguments throws(JinjaError) in
            let values = try interpreter.bind(arguments, "sort", ["reverse", "case_sensitive", "attribute"])
            let isSensitive = interpreter.isSet(values[1])
            var paths: [[Value]] = []
            if case .string(let text)? = values[2] {
                for part in text.string.split(separator: ",", omittingEmptySubsequences: false) {
                    paths.append(try interpreter.path(try interpreter.text(String(part))))
                }
            } else {
                paths = [try interpreter.path(values[2])]
            }
            var keyed: [(key: Value, item: Value)] = []
            for item in try interpreter.collect(value) {
                var keys: [Value] = []
                for path in paths {
                    keys.append(try interpreter.ignoringCase(try interpreter.find(path, in: item), unless: isSensitive))
                }
                keyed.append((try interpreter.list(keys), item))
            }
            return try interpreter.list(try sorted(interpreter, keyed, isReversed: interpreter.isReversed(values[0])))
        },
        "dictsort": { interpreter, value, arguments throws(JinjaError) in
            let values = try interpreter.bind(arguments, "dictsort", ["case_sensitive", "by", "reverse"])
            let by = try values[1].map { value throws(JinjaError) in try interpreter.string(value) } ?? "key"
            guard by == "key" || by == "value" else {
                throw interpreter.fail("You can only sort by either \"key\" or \"value\"")
            }
            if case .undefined(let undefined) = value { throw interpreter.fail(undefined.message) }
            guard case .dictionary(let members) = value else { throw interpreter.fail("dictsort() needs a mapping") }
            let isSensitive = interpreter.isSet(values[0])
            var keyed: [(key: Value, item: Value)] = []
            for (key, member) in zip(members.keys, members.values) {
                let sortKey = try interpreter.ignoringCase(by == "key" ? key : member, unless: isSensitive)
                keyed.append((sortKey, try interpreter.tuple([key, member])))
            }
            return try interpreter.list(try sorted(interpreter, keyed, isReversed: interpreter.isReversed(values[2])))
        },
        "groupby": groupBy,
        "unique": { interpreter, value, arguments throws(JinjaError) in
            let values = try interpreter.bind(arguments, "unique", ["case_sensitive", "attribute"])
            let isSensitive = interpreter.isSet(values[0])
            let path = try interpreter.path(values[1])
            var items: Iterator?
            var seen: Set<Key> = []
            return .object(
                Iterator(depth: try interpreter.depth(around: [value])) { interpreter throws(JinjaError) in
                    let all = try interpreter.start(&items, value)
                    while let item = try all.next(interpreter) {
                        let found = try interpreter.ignoringCase(
                            try interpreter.find(path, in: item), unless: isSensitive)
                        if seen.insert(try interpreter.key(found)).inserted { return item }
                    }
                    return nil
                })
        },
        "batch": { interpreter, value, arguments throws(JinjaError) in
            let values = try interpreter.bind(arguments, "batch", ["linecount", "fill_with"], required: 1)
            let fill = values[1] ?? .none
            return try interpreter.lazily(around: [value, fill]) { interpreter throws(JinjaError) in
                var batches: [Value] = []
                var batch: [Value] = []
                for item in try interpreter.collect(value) {
                    if try interpreter.areEqual(.integer(batch.count), values[0] ?? .none) {
                        batches.append(try interpreter.list(batch))
                        batch = []
                    }
                    batch.append(item)
                }
                if !batch.isEmpty {
                    if !fill.isNone, let size = (values[0] ?? .none).asInteger, batch.count < size {
                        try interpreter.willMake(size.multipliedReportingOverflow(by: 17).partialValue)
                        batch += repeatElement(fill, count: size - batch.count)
                    }
                    batches.append(try interpreter.list(batch))
                }
                return batches
            }
        },
        "slice": { interpreter, value, arguments throws(JinjaError) in
            let values = try interpreter.bind(arguments, "slice", ["slices", "fill_with"], required: 1)
            let fill = values[1] ?? .none
            return try interpreter.lazily(around: [value, fill]) { interpreter throws(JinjaError) in
                let count = try interpreter.integer(values[0], "slice")
                guard count != 0 else { throw interpreter.fail("integer division or modulo by zero") }
                let items = try interpreter.collect(value)
                try interpreter.willMake(max(0, min(count, .max / 512) * 128))
                var slices: [Value] = []
                var start = 0
                for index in 0..<max(0, count) {
                    let hasExtra = index < items.count % count
                    let end = start + items.count / count + (hasExtra ? 1 : 0)
                    var slice = Array(items[start..<end])
                    if !fill.isNone, !hasExtra { slice.append(fill) }
                    slices.append(try interpreter.list(slice))
                    start = end
                }
                return slices
            }
        },
    ]

    private static let length: Filter = { interpreter, value, arguments throws(JinjaError) in
        _ = try interpreter.bind(arguments, "length", [])
        if let count = interpreter.count(value) { return .integer(count) }
        if case .object(let loop as LoopObject) = value { return .integer(try loop.count(interpreter)) }
        throw interpreter.fail("object of type '\(value.typeName)' has no len()")
    }

    /// The elements of what Python can reverse.
    private static func reversed(_ interpreter: Interpreter, _ value: Value) throws(JinjaError) -> [Value] {
        if case .object(let object) = value, !(object is RangeObject), !(object is DictionaryView) {
            throw interpreter.fail("'\(value.typeName)' object is not reversible")
        }
        return try interpreter.collect(value)
    }

    private static func sorted(
        _ interpreter: Interpreter, _ keyed: [(key: Value, item: Value)], isReversed: Bool
    ) throws(JinjaError) -> [Value] {
        try interpreter.sorted(keyed) { a, b throws(JinjaError) in
            isReversed ? try interpreter.isLess(b.key, a.key) : try interpreter.isLess(a.key, b.key)
        }.map { $0.item }
    }

    private static func extreme(_ name: String, isGreatest: Bool) -> Filter {
        { interpreter, value, arguments throws(JinjaError) in
            let values = try interpreter.bind(arguments, name, ["case_sensitive", "attribute"])
            let path = try interpreter.path(values[1])
            var best: (key: Value, item: Value)?
            let iterator = try interpreter.iterator(value)
            while let item = try iterator.next(interpreter) {
                let key = try interpreter.ignoringCase(
                    try interpreter.find(path, in: item), unless: interpreter.isSet(values[0]))
                if let known = best {
                    let isBetter =
                        isGreatest ? try interpreter.isLess(known.key, key) : try interpreter.isLess(key, known.key)
                    if isBetter { best = (key, item) }
                } else {
                    best = (key, item)
                }
            }
            return best?.item ?? .undefined(Undefined(.hint("No aggregated item, sequence was empty.")))
        }
    }

    private static let groupBy: Filter = { interpreter, value, arguments throws(JinjaError) in
        let values = try interpreter.bind(arguments, "groupby", ["attribute", "default", "case_sensitive"], required: 1)
        let isSensitive = interpreter.isSet(values[2])
        let fallback = values[1].flatMap { $0.isNone ? nil : $0 }
        let path = try interpreter.path(values[0])
        var keyed: [(key: Value, item: Value)] = []
        for item in try interpreter.collect(value) {
            let found = try interpreter.find(path, in: item, fallback: fallback)
            keyed.append((try interpreter.ignoringCase(found, unless: isSensitive), item))
        }
        keyed = try interpreter.sorted(keyed) { a, b throws(JinjaError) in try interpreter.isLess(a.key, b.key) }
        var groups: [Value] = []
        var start = 0
        while start < keyed.count {
            var end = start + 1
            while end < keyed.count, try interpreter.areEqual(keyed[start].key, keyed[end].key) { end += 1 }
            // The first one's own spelling names the group.
            let name = try interpreter.find(path, in: keyed[start].item, fallback: fallback)
            let items = try interpreter.list(keyed[start..<end].map { $0.item })
            groups.append(try interpreter.tuple([name, items], names: ["grouper", "list"]))
            start = end
        }
        return try interpreter.list(groups)
    }
}

extension Interpreter {
    /// An iterator over what `make` gives when the first value is asked for.
    func lazily(
        around held: [Value], _ make: @escaping (Interpreter) throws(JinjaError) -> [Value]
    ) throws(JinjaError) -> Value {
        var items: [Value]?
        var index = 0
        return .object(
            Iterator(depth: try depth(around: held)) { interpreter throws(JinjaError) in
                if items == nil { items = try make(interpreter) }
                guard let made = items, index < made.count else { return nil }
                index += 1
                return made[index - 1]
            })
    }

    /// An iterator over values.
    func over(_ items: [Value], _ name: String = "generator") throws(JinjaError) -> Value {
        var index = 0
        return .object(
            Iterator(name, depth: try depth(around: items)) { _ in
                guard index < items.count else { return nil }
                index += 1
                return items[index - 1]
            })
    }
}
