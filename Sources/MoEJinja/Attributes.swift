// SPDX-License-Identifier: Apache-2.0

extension Interpreter {
    /// `value.name`: an attribute, else an element.
    func attribute(_ name: String, of value: Value) throws(JinjaError) -> Value {
        if case .undefined(let undefined) = value { throw fail(undefined.message) }
        if let found = try ownAttribute(name, of: value) { return found }
        if case .dictionary(let members) = value, let member = members[name] { return member }
        return .undefined(Undefined(.attribute(name, ownerType: value.typeName)))
    }

    /// `value[index]`: an element, else an attribute.
    func item(_ index: Value, of value: Value) throws(JinjaError) -> Value {
        if case .undefined(let undefined) = value { throw fail(undefined.message) }
        if let found = try element(index, of: value) { return found }
        guard case .string(let name) = index else {
            return .undefined(Undefined(.element(try repr(index), ownerType: value.typeName)))
        }
        if let found = try ownAttribute(name.string, of: value) { return found }
        return .undefined(Undefined(.attribute(name.string, ownerType: value.typeName)))
    }

    private func element(_ index: Value, of value: Value) throws(JinjaError) -> Value? {
        func place(_ count: Int) -> Int? {
            guard var place = index.asInteger else { return nil }
            if place < 0 { place += count }
            return 0..<count ~= place ? place : nil
        }
        switch value {
        case .dictionary(let members):
            switch index {
            case .list, .dictionary: return nil
            case .string(let text): return members[text.string]
            default: return members[try key(index)]
            }
        case .list(let elements), .tuple(let elements): return place(elements.items.count).map { elements.items[$0] }
        case .string(let text):
            guard let place = place(text.count) else { return nil }
            return try self.text(try scalars(of: text, place..<place + 1), isMarkup: text.isMarkup)
        case .object(let range as RangeObject): return place(range.count).map { .integer(range[$0]) }
        default: return nil
        }
    }

    /// Code points of a text.
    func scalars(of text: Text, _ range: Range<Int>) throws(JinjaError) -> String {
        if text.isASCII {
            try spend(range.count / 32 + 1)
            let view = text.string.utf8
            let start = view.index(view.startIndex, offsetBy: range.lowerBound)
            return String(text.string[start..<view.index(start, offsetBy: range.count)])
        }
        try spend(text.byteCount / 32 + 1)
        let view = text.string.unicodeScalars
        let start = view.index(view.startIndex, offsetBy: range.lowerBound)
        return String(text.string[start..<view.index(start, offsetBy: range.count)])
    }

    private func unsafe(_ name: String, _ value: Value) -> Value {
        .undefined(Undefined(.hint("access to attribute '\(name)' of '\(value.typeName)' object is unsafe")))
    }

    func ownAttribute(_ name: String, of value: Value) throws(JinjaError) -> Value? {
        try spend(1)
        if name.utf8.starts(with: "__".utf8), name.utf8.reversed().starts(with: "__".utf8), name.utf8.count > 4 {
            if case .dictionary(let members) = value, members[name] != nil { return nil }
            return unsafe(name, value)
        }
        switch value {
        case .string(let text):
            guard let method = StringMethods.table[name] else { return nil }
            return .object(
                FunctionObject(name) { interpreter, arguments throws(JinjaError) in
                    try method(interpreter, text, arguments)
                })
        case .dictionary(let members):
            if ["clear", "pop", "popitem", "setdefault", "update"].contains(name) { return unsafe(name, value) }
            return try dictionaryMethod(name, members, value)
        case .list(let elements), .tuple(let elements):
            if let index = elements.names.firstIndex(of: name) { return elements.items[index] }
            if case .list = value {
                let changing = ["append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove"]
                if changing.contains(name) { return unsafe(name, value) }
            }
            return try sequenceMethod(name, elements, value)
        case .integer, .bool: return integerAttribute(name, value)
        case .double(let number):
            switch name {
            case "real": return value
            case "imag": return .double(0)
            case "is_integer":
                return .object(
                    FunctionObject(name) { interpreter, arguments throws(JinjaError) in
                        _ = try interpreter.bind(arguments, name, [])
                        return .bool(number == number.rounded() && number.isFinite)
                    })
            default: return nil
            }
        case .object(let object): return try objectAttribute(name, object)
        default: return nil
        }
    }

    private func integerAttribute(_ name: String, _ value: Value) -> Value? {
        let number = value.asInteger ?? 0
        switch name {
        case "real", "numerator": return .integer(number)
        case "imag": return .integer(0)
        case "denominator": return .integer(1)
        case "bit_length":
            return .object(
                FunctionObject(name) { interpreter, arguments throws(JinjaError) in
                    _ = try interpreter.bind(arguments, name, [])
                    return .integer(Int.bitWidth - number.magnitude.leadingZeroBitCount)
                })
        default: return nil
        }
    }

    private func dictionaryMethod(_ name: String, _ members: Members, _ value: Value) throws(JinjaError) -> Value? {
        let depth = members.depth
        switch name {
        case "get":
            return .object(
                FunctionObject(name, depth: depth) { interpreter, arguments throws(JinjaError) in
                    guard arguments.keywords.isEmpty else {
                        throw interpreter.fail("dict.get() takes no keyword arguments")
                    }
                    let values = try interpreter.bind(arguments, name, ["key", "default"], required: 1)
                    return members[try interpreter.key(values[0] ?? .none)] ?? values[1] ?? .none
                })
        case "keys", "values", "items":
            let kind: DictionaryView.Kind = name == "keys" ? .keys : name == "values" ? .values : .items
            return .object(
                FunctionObject(name, depth: depth) { interpreter, arguments throws(JinjaError) in
                    _ = try interpreter.bind(arguments, name, [])
                    return .object(DictionaryView(kind, of: members))
                })
        case "copy":
            return .object(
                FunctionObject(name, depth: depth) { interpreter, arguments throws(JinjaError) in
                    _ = try interpreter.bind(arguments, name, [])
                    return .dictionary(members)
                })
        case "fromkeys": return .object(Globals.fromKeys)
        default: return nil
        }
    }

    private func sequenceMethod(_ name: String, _ elements: Elements, _ value: Value) throws(JinjaError) -> Value? {
        let depth = elements.depth
        switch name {
        case "count":
            return .object(
                FunctionObject(name, depth: depth) { interpreter, arguments throws(JinjaError) in
                    let wanted = try interpreter.bind(arguments, name, ["value"], required: 1)[0] ?? .none
                    var count = 0
                    for item in elements.items where try interpreter.areEqual(item, wanted) { count += 1 }
                    return .integer(count)
                })
        case "index":
            return .object(
                FunctionObject(name, depth: depth) { interpreter, arguments throws(JinjaError) in
                    let values = try interpreter.bind(arguments, name, ["value", "start", "stop"], required: 1)
                    let count = elements.items.count
                    let range = try interpreter.range(values[1], values[2], count)
                    for index in range where try interpreter.areEqual(elements.items[index], values[0] ?? .none) {
                        return .integer(index)
                    }
                    throw interpreter.fail("\(try interpreter.repr(values[0] ?? .none)) is not in list")
                })
        case "copy":
            guard case .list = value else { return nil }
            return .object(FunctionObject(name, depth: depth) { _, _ in value })
        default: return nil
        }
    }

    /// What `start` and `stop` of `find`, `index` and the like leave of `count` elements.
    func range(_ start: Value?, _ stop: Value?, _ count: Int) throws(JinjaError) -> Range<Int> {
        func place(_ value: Value?, _ missing: Int) throws(JinjaError) -> Int {
            guard let value, !value.isNone else { return missing }
            guard let number = value.asInteger else { throw fail("slice indices must be integers or None") }
            return max(0, min(count, number < 0 ? number + count : number))
        }
        let low = try place(start, 0)
        return low..<max(low, try place(stop, count))
    }

    private func objectAttribute(_ name: String, _ object: Object) throws(JinjaError) -> Value? {
        switch object {
        case let namespace as Namespace:
            try spend(namespace.members.count / 16)
            return namespace[name]
        case let loop as LoopObject: return try loopAttribute(name, loop)
        case let range as RangeObject:
            switch name {
            case "start": return .integer(range.start)
            case "stop": return .integer(range.stop)
            case "step": return .integer(range.step)
            default: return nil
            }
        case let cycler as Cycler:
            switch name {
            case "current": return cycler.items[cycler.position]
            case "next":
                return .object(
                    FunctionObject(name, depth: cycler.depth) { _, _ in
                        let item = cycler.items[cycler.position]
                        cycler.position = (cycler.position + 1) % cycler.items.count
                        return item
                    })
            case "reset":
                return .object(
                    FunctionObject(name, depth: cycler.depth) { _, _ in
                        cycler.position = 0
                        return .none
                    })
            default: return nil
            }
        case let macro as MacroObject:
            switch name {
            case "name": return try macro.macro.name.map { name throws(JinjaError) in try text(name) } ?? Value.none
            case "arguments":
                var names: [Value] = []
                for parameter in macro.macro.parameters { names.append(try text(parameter.name)) }
                return try tuple(names)
            case "catch_kwargs": return .bool(macro.macro.usesKeywords)
            case "catch_varargs": return .bool(macro.macro.usesSpread)
            case "caller": return .bool(macro.macro.usesCaller)
            default: return nil
            }
        case let function as FunctionObject where function.name == "dict" && name == "fromkeys":
            return .object(Globals.fromKeys)
        default: return nil
        }
    }

    private func loopAttribute(_ name: String, _ loop: LoopObject) throws(JinjaError) -> Value? {
        switch name {
        case "index": return .integer(loop.index + 1)
        case "index0": return .integer(loop.index)
        case "revindex": return .integer(try loop.count(self) - loop.index)
        case "revindex0": return .integer(try loop.count(self) - loop.index - 1)
        case "first": return .bool(loop.index == 0)
        case "last": return .bool(try loop.peek(self) == nil)
        case "length": return .integer(try loop.count(self))
        case "depth": return .integer(loop.level + 1)
        case "depth0": return .integer(loop.level)
        case "previtem":
            return loop.index == 0 ? .undefined(Undefined(.hint("there is no previous item"))) : loop.previous
        case "nextitem": return try loop.peek(self) ?? .undefined(Undefined(.hint("there is no next item")))
        case "cycle":
            return .object(
                FunctionObject(name, depth: loop.depth) { interpreter, arguments throws(JinjaError) in
                    guard arguments.keywords.isEmpty, !arguments.positional.isEmpty else {
                        throw interpreter.fail("no items for cycling given")
                    }
                    return arguments.positional[max(loop.index, 0) % arguments.positional.count]
                })
        case "changed":
            return .object(
                FunctionObject(name, depth: loop.depth) { interpreter, arguments throws(JinjaError) in
                    .bool(try loop.changed(try interpreter.tuple(arguments.positional), interpreter))
                })
        default: return nil
        }
    }

    // MARK: Slices

    func slice(_ value: Value, _ start: Value, _ stop: Value, _ step: Value) throws(JinjaError) -> Value {
        if case .undefined(let undefined) = value { throw fail(undefined.message) }
        guard let count = count(value) else { throw fail("'\(value.typeName)' object is not subscriptable") }
        let indices = try indices(start, stop, step, count)
        try spend(indices.count / 16 + 1)
        switch value {
        case .string(let text):
            if indices.step == 1 {
                let low = min(indices.start, count)
                let part = try scalars(of: text, low..<max(low, low + indices.count))
                return try self.text(part, isMarkup: text.isMarkup)
            }
            try spend(text.byteCount / 4)
            let scalars = Array(text.string.unicodeScalars)
            let part = String((0..<indices.count).lazy.map { scalars[indices.start + $0 * indices.step] })
            return try self.text(part, isMarkup: text.isMarkup)
        case .list(let elements):
            return try list((0..<indices.count).map { elements.items[indices.start + $0 * indices.step] })
        case .tuple(let elements):
            return try tuple((0..<indices.count).map { elements.items[indices.start + $0 * indices.step] })
        case .object(let range as RangeObject):
            return .object(
                RangeObject(
                    start: range.start + indices.start * range.step, stop: range.start + indices.stop * range.step,
                    step: range.step * indices.step, count: indices.count))
        case .dictionary: throw fail("unhashable type: 'slice'")
        default: throw fail("'\(value.typeName)' object is not subscriptable")
        }
    }

    /// What a slice takes of `count` elements.
    private func indices(
        _ start: Value, _ stop: Value, _ step: Value, _ count: Int
    ) throws(JinjaError) -> (start: Int, stop: Int, step: Int, count: Int) {
        func number(_ value: Value) throws(JinjaError) -> Int? {
            if value.isNone { return nil }
            guard let number = value.asInteger else {
                if case .undefined(let undefined) = value { throw fail(undefined.message) }
                throw fail("slice indices must be integers or None")
            }
            return number
        }
        let step = try number(step) ?? 1
        guard step != 0 else { throw fail("slice step cannot be zero") }
        let (low, high) = step < 0 ? (-1, count - 1) : (0, count)
        func place(_ value: Int?, _ missing: Int) -> Int {
            guard let value else { return missing }
            return value < 0 ? max(value.addingReportingOverflow(count).partialValue, low) : min(value, high)
        }
        let first = place(try number(start), step < 0 ? high : low)
        let end = place(try number(stop), step < 0 ? low : high)
        let length = step < 0 ? (first - end - 1) / max(-(step + 1) + 1, 1) + 1 : (end - first - 1) / step + 1
        let isEmpty = step < 0 ? end >= first : first >= end
        return (first, end, step, isEmpty ? 0 : length)
    }
}
