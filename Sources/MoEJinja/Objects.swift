// SPDX-License-Identifier: Apache-2.0

/// `range(…)`
final class RangeObject: Object {
    let start: Int
    let stop: Int
    let step: Int
    let count: Int

    init(start: Int, stop: Int, step: Int, count: Int) {
        (self.start, self.stop, self.step, self.count) = (start, stop, step, count)
    }

    override var typeName: String { "range" }

    subscript(index: Int) -> Int { start + index * step }
}

/// `keys()`, `values()` and `items()` of a dictionary.
final class DictionaryView: Object {
    enum Kind: String {
        case keys = "dict_keys"
        case values = "dict_values"
        case items = "dict_items"
    }

    let kind: Kind
    let members: Members

    init(_ kind: Kind, of members: Members) { (self.kind, self.members) = (kind, members) }

    override var typeName: String { kind.rawValue }
    override var depth: Int { members.depth }
}

/// What gives values one after the other, once.
final class Iterator: Object {
    typealias Next = (Interpreter) throws(JinjaError) -> Value?

    private let name: String
    private let level: Int
    private var next: Next?
    private var isRunning = false

    init(_ name: String = "generator", depth: Int = 0, _ next: @escaping Next) {
        (self.name, level, self.next) = (name, depth, next)
    }

    override var typeName: String { name }
    override var depth: Int { level }

    func next(_ interpreter: Interpreter) throws(JinjaError) -> Value? {
        try interpreter.spend(1)
        guard let next else { return nil }
        guard !isRunning else { throw interpreter.fail("generator already executing") }
        isRunning = true
        defer { isRunning = false }
        if let value = try next(interpreter) { return value }
        self.next = nil
        return nil
    }
}

/// `namespace(…)`: the one thing that templates can change.
final class Namespace: Object {
    var members: [(name: String, value: Value)] = []

    override var typeName: String { "Namespace" }
    /// A namespace is a level of its own, however deep its members are; cycles end at it.
    override var depth: Int { 1 }

    subscript(name: String) -> Value? {
        get { members.first { isSameText($0.name, name) }?.value }
        set {
            guard let newValue else { return }
            if let index = members.firstIndex(where: { isSameText($0.name, name) }) {
                members[index].value = newValue
            } else {
                members.append((name, newValue))
            }
        }
    }
}

/// A macro or a call block's body, with the scope in which it stands.
final class MacroObject: Object {
    let macro: Statement.Macro
    let scope: Scope

    init(_ macro: Statement.Macro, scope: Scope) { (self.macro, self.scope) = (macro, scope) }

    override var typeName: String { "Macro" }
}

/// A function of the environment, or a method with its receiver.
final class FunctionObject: Object {
    typealias Body = (Interpreter, Arguments) throws(JinjaError) -> Value

    let name: String
    let body: Body
    private let level: Int

    init(_ name: String, depth: Int = 0, _ body: @escaping Body) { (self.name, self.body, level) = (name, body, depth) }

    override var typeName: String { "builtin_function_or_method" }
    override var depth: Int { level }
}

/// `cycler(…)`
final class Cycler: Object {
    let items: [Value]
    var position = 0
    private let level: Int

    init(_ items: [Value], depth: Int) { (self.items, level) = (items, depth) }

    override var typeName: String { "Cycler" }
    override var depth: Int { level }
}

/// `loop`
final class LoopObject: Object {
    /// Of the values, where it is known before they are taken.
    private var length: Int?
    private let iterator: Iterator
    private var ahead: [Value] = []
    private var aheadStart = 0
    private var isAtEnd = false
    let recursion: ((Interpreter, Value, Int) throws(JinjaError) -> Value)?
    /// Levels of recursion around this one.
    let level: Int
    private(set) var index = -1
    private(set) var previous: Value?
    private(set) var current: Value?
    private var lastChanged: Value?
    private let valueLevel: Int

    init(
        _ iterator: Iterator, length: Int?, level: Int, valueLevel: Int,
        recursion: ((Interpreter, Value, Int) throws(JinjaError) -> Value)?
    ) {
        (self.iterator, self.length, self.level, self.valueLevel) = (iterator, length, level, valueLevel)
        self.recursion = recursion
    }

    override var typeName: String { "LoopContext" }
    override var depth: Int { valueLevel }

    func next(_ interpreter: Interpreter) throws(JinjaError) -> Value? {
        guard let value = try take(interpreter) else { return nil }
        index += 1
        previous = current
        current = value
        return value
    }

    private func take(_ interpreter: Interpreter) throws(JinjaError) -> Value? {
        if aheadStart < ahead.count {
            aheadStart += 1
            return ahead[aheadStart - 1]
        }
        if isAtEnd { return nil }
        let value = try iterator.next(interpreter)
        if value == nil { isAtEnd = true }
        return value
    }

    func peek(_ interpreter: Interpreter) throws(JinjaError) -> Value? {
        if aheadStart < ahead.count { return ahead[aheadStart] }
        guard !isAtEnd, let value = try iterator.next(interpreter) else {
            isAtEnd = true
            return nil
        }
        (ahead, aheadStart) = ([value], 0)
        return value
    }

    /// Takes what is left, if that is what it needs.
    func count(_ interpreter: Interpreter) throws(JinjaError) -> Int {
        if let length { return length }
        var rest = Array(ahead[aheadStart...])
        while !isAtEnd {
            guard let value = try iterator.next(interpreter) else { break }
            rest.append(value)
        }
        isAtEnd = true
        (ahead, aheadStart) = (rest, 0)
        length = index + 1 + rest.count
        return index + 1 + rest.count
    }

    /// Whether `values` are others than the last time.
    func changed(_ values: Value, _ interpreter: Interpreter) throws(JinjaError) -> Bool {
        if let lastChanged, try interpreter.areEqual(lastChanged, values) { return false }
        if lastChanged == nil { try interpreter.register(self) }
        lastChanged = values
        return true
    }

    /// Drops what it holds.
    func clear() { (previous, current, lastChanged, ahead) = (nil, nil, nil, []) }
}

/// Names and their values; what is not here is in the scope around.
final class Scope {
    let parent: Scope?
    private var names: [(name: String, value: Value)] = []

    init(parent: Scope?) { self.parent = parent }

    subscript(name: String) -> Value? {
        get {
            for entry in names where entry.name == name { return entry.value }
            return nil
        }
        set {
            guard let newValue else { return }
            for index in names.indices where names[index].name == name {
                names[index].value = newValue
                return
            }
            names.append((name, newValue))
        }
    }

    func clear() { names = [] }
}

/// What a function, filter or test is called with.
struct Arguments {
    var positional: [Value] = []
    var keywords: [(name: String, value: Value)] = []

    init(_ positional: [Value] = []) { self.positional = positional }

    var isEmpty: Bool { positional.isEmpty && keywords.isEmpty }
}
