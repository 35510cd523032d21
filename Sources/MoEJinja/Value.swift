// SPDX-License-Identifier: Apache-2.0

/// A value while a template runs: Python's, as far as templates meet them. Boxes are shared, never changed but for namespaces.
enum Value {
    case undefined(Undefined)
    case none
    case bool(Bool)
    case integer(Int)
    case double(Double)
    case string(Text)
    case list(Elements)
    case tuple(Elements)
    case dictionary(Members)
    case object(Object)

    /// Levels of values in it.
    var depth: Int {
        switch self {
        case .list(let elements), .tuple(let elements): elements.depth
        case .dictionary(let members): members.depth
        case .object(let object): object.depth
        default: 0
        }
    }

    /// Python's name of the type.
    var typeName: String {
        switch self {
        case .undefined: "Undefined"
        case .none: "NoneType"
        case .bool: "bool"
        case .integer: "int"
        case .double: "float"
        case .string(let text): text.isMarkup ? "Markup" : "str"
        case .list: "list"
        case .tuple: "tuple"
        case .dictionary: "dict"
        case .object(let object): object.typeName
        }
    }

    var isUndefined: Bool {
        if case .undefined = self { true } else { false }
    }

    var isNone: Bool {
        if case .none = self { true } else { false }
    }

    /// An integer; a boolean is one, as in Python.
    var asInteger: Int? {
        switch self {
        case .integer(let number): number
        case .bool(let flag): flag ? 1 : 0
        default: nil
        }
    }

    var asNumber: Double? {
        switch self {
        case .double(let number): number
        default: asInteger.map(Double.init)
        }
    }

    var asText: Text? {
        if case .string(let text) = self { text } else { nil }
    }
}

/// What is not there: printed as nothing, false, without elements; anything else is an error with this message.
final class Undefined {
    enum Reason {
        case name(String)
        case attribute(String, ownerType: String)
        case element(String, ownerType: String)
        case hint(String)
    }

    let reason: Reason

    init(_ reason: Reason) { self.reason = reason }

    var message: String {
        switch reason {
        case .name(let name): "'\(name)' is undefined"
        case .attribute(let name, let type):
            "\(type == "NoneType" ? "'None'" : "'\(type) object'") has no attribute '\(name)'"
        case .element(let element, let type): "\(type == "NoneType" ? "None" : "\(type) object") has no element \(element)"
        case .hint(let hint): hint
        }
    }
}

/// A string. Its length and indices count code points.
final class Text {
    let string: String
    /// Already escaped for HTML: `safe`, `escape`. What is put together with it is escaped.
    let isMarkup: Bool
    private let meter: Meter
    private let size: Int

    /// - Parameter size: reserved from the meter; given back at the end.
    fileprivate init(_ string: String, isMarkup: Bool, meter: Meter, size: Int) {
        self.string = string
        self.isMarkup = isMarkup
        self.meter = meter
        self.size = size
    }

    deinit { meter.release(size) }

    private(set) lazy var count = string.unicodeScalars.count
    var byteCount: Int { string.utf8.count }
    /// Whether code points are bytes.
    var isASCII: Bool { count == byteCount }
}

/// What is in a list or a tuple.
final class Elements {
    let items: [Value]
    let depth: Int
    /// Of a named tuple.
    let names: [String]
    private let meter: Meter
    private let size: Int

    fileprivate init(_ items: [Value], names: [String], depth: Int, meter: Meter, size: Int) {
        self.items = items
        self.names = names
        self.depth = depth
        self.meter = meter
        self.size = size
    }

    deinit { meter.release(size) }
}

/// A dictionary's members, in the order in which their keys came.
final class Members {
    let keys: [Value]
    let values: [Value]
    private let places: [Key: Int]
    let depth: Int
    private let meter: Meter
    private let size: Int

    fileprivate init(_ builder: MembersBuilder, depth: Int, meter: Meter, size: Int) {
        keys = builder.keys
        values = builder.values
        places = builder.places
        self.depth = depth
        self.meter = meter
        self.size = size
    }

    deinit { meter.release(size) }

    var count: Int { keys.count }

    subscript(key: Key) -> Value? { places[key].map { values[$0] } }
    subscript(name: String) -> Value? { self[.string(ExactKey(name))] }
}

struct MembersBuilder {
    fileprivate(set) var keys: [Value] = []
    fileprivate(set) var values: [Value] = []
    fileprivate var places: [Key: Int] = [:]

    /// The last value of a key counts, at the first one's place.
    mutating func set(_ key: Key, _ original: Value, _ value: Value) {
        if let place = places[key] {
            values[place] = value
        } else {
            places[key] = keys.count
            keys.append(original)
            values.append(value)
        }
    }

    mutating func add(_ members: Members) {
        for (key, place) in members.keyOrder { set(key, members.keys[place], members.values[place]) }
    }
}

extension Members {
    /// Keys as the table has them, in order.
    fileprivate var keyOrder: [(Key, Int)] { places.sorted { $0.value < $1.value }.map { ($0.key, $0.value) } }
}

/// A value as a key: 1, 1.0 and true are the same.
enum Key: Hashable {
    case none
    case undefined
    case integer(Int)
    case double(Double)
    case string(ExactKey)
    case tuple([Key])
    case object(ObjectIdentifier)
}

/// Anything else that a template can hold.
class Object {
    var typeName: String { "object" }
    /// Levels of values in it.
    var depth: Int { 0 }
}

// MARK: Making values

extension Interpreter {
    func text(_ string: String, isMarkup: Bool = false) throws(JinjaError) -> Value {
        .string(try makeText(string, isMarkup: isMarkup))
    }

    func makeText(_ string: String, isMarkup: Bool = false) throws(JinjaError) -> Text {
        let size = string.utf8.count + 64
        try reserve(size)
        return Text(string, isMarkup: isMarkup, meter: meter, size: size)
    }

    func list(_ items: [Value]) throws(JinjaError) -> Value { .list(try elements(items)) }

    func tuple(_ items: [Value], names: [String] = []) throws(JinjaError) -> Value {
        .tuple(try elements(items, names: names))
    }

    private func elements(_ items: [Value], names: [String] = []) throws(JinjaError) -> Elements {
        let size = items.count * MemoryLayout<Value>.stride + 96
        let depth = try depth(around: items)
        try reserve(size)
        return Elements(items, names: names, depth: depth, meter: meter, size: size)
    }

    func dictionary(_ builder: MembersBuilder) throws(JinjaError) -> Value {
        let size = builder.keys.count * 160 + 160
        let depth = try max(depth(around: builder.values), depth(around: builder.keys))
        try reserve(size)
        return .dictionary(Members(builder, depth: depth, meter: meter, size: size))
    }

    /// The depth of what holds these values.
    func depth(around values: [Value]) throws(JinjaError) -> Int {
        try spend(values.count / 8 + 1)
        var depth = 0
        for value in values { depth = max(depth, value.depth) }
        guard depth < limits.valueDepth else { throw fail("values nested deeper than \(limits.valueDepth) levels") }
        return depth + 1
    }

    /// A value as a dictionary's key.
    func key(_ value: Value) throws(JinjaError) -> Key {
        switch value {
        case .none: return .none
        case .undefined: return .undefined
        case .bool(let flag): return .integer(flag ? 1 : 0)
        case .integer(let number): return .integer(number)
        case .double(let number):
            if let integer = Int(exactly: number) { return .integer(integer) }
            return .double(number)
        case .string(let text):
            try spend(text.byteCount / 32)
            return .string(ExactKey(text.string))
        case .tuple(let elements):
            var keys: [Key] = []
            try spend(elements.items.count)
            for item in elements.items { keys.append(try key(item)) }
            return .tuple(keys)
        case .list, .dictionary: throw fail("unhashable type: '\(value.typeName)'")
        case .object(let object):
            if object is DictionaryView { throw fail("unhashable type: '\(object.typeName)'") }
            return .object(ObjectIdentifier(object))
        }
    }

    func value(_ data: JinjaValue) throws(JinjaError) -> Value {
        switch data {
        case .none: return .none
        case .bool(let flag): return .bool(flag)
        case .integer(let number): return .integer(number)
        case .double(let number): return .double(number)
        case .string(let string): return try text(string)
        case .array(let items):
            var values: [Value] = []
            values.reserveCapacity(items.count)
            for item in items { values.append(try value(item)) }
            return try list(values)
        case .object(let object):
            var builder = MembersBuilder()
            for (name, member) in zip(object.keys, object.values) {
                builder.set(.string(ExactKey(name)), try text(name), try value(member))
            }
            return try dictionary(builder)
        }
    }
}
