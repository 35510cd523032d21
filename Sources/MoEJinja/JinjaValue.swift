// SPDX-License-Identifier: Apache-2.0

package import MoEJSON

/// Data that a template is given: what JSON has, with the order of members kept.
public enum JinjaValue: Sendable, Equatable {
    case none
    case bool(Bool)
    case integer(Int)
    case double(Double)
    case string(String)
    case array([JinjaValue])
    case object(JinjaObject)

    /// A value of a JSON text. Of members with the same key the last one counts, at the place of the first, as in Python.
    package init(_ value: JSONDocument.Value, of document: JSONDocument) {
        switch document.content(value) {
        case .null: self = .none
        case .bool(let flag): self = .bool(flag)
        case .integer(let number): self = .integer(number)
        case .double(let number): self = .double(number)
        case .string(let string): self = .string(string)
        case .array(let elements): self = .array(elements.map { JinjaValue($0, of: document) })
        case .object(let members):
            var object = JinjaObject()
            for member in members { object[document.string(member.key) ?? ""] = JinjaValue(member.value, of: document) }
            self = .object(object)
        }
    }

    package init(_ document: JSONDocument) { self.init(document.root, of: document) }
}

extension JinjaValue: ExpressibleByNilLiteral, ExpressibleByBooleanLiteral, ExpressibleByIntegerLiteral,
    ExpressibleByFloatLiteral, ExpressibleByStringInterpolation, ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral
{
    public init(nilLiteral: ()) { self = .none }
    public init(booleanLiteral value: Bool) { self = .bool(value) }
    public init(integerLiteral value: Int) { self = .integer(value) }
    public init(floatLiteral value: Double) { self = .double(value) }
    public init(stringLiteral value: String) { self = .string(value) }
    public init(arrayLiteral elements: JinjaValue...) { self = .array(elements) }
    public init(dictionaryLiteral elements: (String, JinjaValue)...) { self = .object(JinjaObject(elements)) }
}

/// Members in the order in which their keys came first. Keys are the same if their code points are.
public struct JinjaObject: Sendable, Equatable, ExpressibleByDictionaryLiteral {
    public private(set) var keys: [String] = []
    public private(set) var values: [JinjaValue] = []
    private var places: [ExactKey: Int] = [:]

    public init() {}

    public init(_ members: some Sequence<(String, JinjaValue)>) {
        for (key, value) in members { self[key] = value }
    }

    public init(dictionaryLiteral elements: (String, JinjaValue)...) { self.init(elements) }

    /// The member of that name. Setting nil changes nothing: members are not taken out.
    public subscript(key: String) -> JinjaValue? {
        get { places[ExactKey(key)].map { values[$0] } }
        set {
            guard let newValue else { return }
            if let place = places[ExactKey(key)] {
                values[place] = newValue
            } else {
                places[ExactKey(key)] = keys.count
                keys.append(key)
                values.append(newValue)
            }
        }
    }

    public static func == (a: JinjaObject, b: JinjaObject) -> Bool {
        a.keys.elementsEqual(b.keys) { isSameText($0, $1) } && a.values == b.values
    }
}

/// A string whose equality is that of its code points. Swift's own takes "é" in one and in two code points for the same.
struct ExactKey: Hashable, Sendable {
    let string: String

    init(_ string: String) { self.string = string }

    static func == (a: ExactKey, b: ExactKey) -> Bool { isSameText(a.string, b.string) }

    func hash(into hasher: inout Hasher) {
        var string = string
        string.withUTF8 { hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
    }
}

/// Whether two strings have the same code points.
func isSameText(_ a: String, _ b: String) -> Bool {
    a.utf8.count == b.utf8.count && a.utf8.elementsEqual(b.utf8)
}
