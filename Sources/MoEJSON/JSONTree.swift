// SPDX-License-Identifier: Apache-2.0

/// A JSON value to be written. Members keep their order.
package enum JSONTree: Sendable {
    case null
    case bool(Bool)
    case int(Int)
    /// NaN and infinities, which JSON does not have, are written as null.
    case double(Double)
    /// Written with the fewest digits that give the same `Float` again.
    case float(Float)
    case string(String)
    case array([JSONTree])
    case object(JSONMembers)
    /// A JSON text as it is.
    case text(String)

    /// The value as compact JSON.
    package var bytes: [UInt8] {
        var bytes: [UInt8] = []
        write(to: &bytes)
        return bytes
    }

    package func write(to bytes: inout [UInt8]) {
        switch self {
        case .null: bytes += "null".utf8
        case .bool(let value): bytes += (value ? "true" : "false").utf8
        case .int(let value): bytes += String(value).utf8
        case .double(let value): bytes += (value.isFinite ? value.description : "null").utf8
        case .float(let value): bytes += (value.isFinite ? value.description : "null").utf8
        case .string(let value): JSONEscape.appendQuoted(value.utf8, to: &bytes)
        case .text(let value): bytes += value.utf8
        case .array(let elements):
            bytes.append(UInt8(ascii: "["))
            for (index, element) in elements.enumerated() {
                if index > 0 { bytes.append(UInt8(ascii: ",")) }
                element.write(to: &bytes)
            }
            bytes.append(UInt8(ascii: "]"))
        case .object(let object):
            bytes.append(UInt8(ascii: "{"))
            for (index, member) in object.members.enumerated() {
                if index > 0 { bytes.append(UInt8(ascii: ",")) }
                JSONEscape.appendQuoted(member.name.utf8, to: &bytes)
                bytes.append(UInt8(ascii: ":"))
                member.value.write(to: &bytes)
            }
            bytes.append(UInt8(ascii: "}"))
        }
    }
}

/// An object to be written: members in the order in which they were set.
package struct JSONMembers: Sendable, ExpressibleByDictionaryLiteral {
    package private(set) var members: [(name: String, value: JSONTree)] = []

    package init(dictionaryLiteral elements: (String, JSONTree)...) { members = elements.map { (name: $0.0, value: $0.1) } }

    /// Adds a member, whether or not there is one of that name.
    package mutating func append(_ name: String, _ value: JSONTree) { members.append((name, value)) }

    /// Setting nil leaves the member out.
    package subscript(name: String) -> JSONTree? {
        get { members.first { $0.name == name }?.value }
        set {
            members.removeAll { $0.name == name }
            if let newValue { members.append((name, newValue)) }
        }
    }
}

extension JSONTree {
    /// A value of a text that was read.
    package init(_ document: JSONDocument, _ value: JSONDocument.Value) {
        switch document.content(value) {
        case .object(let members):
            var object: JSONMembers = [:]
            for (key, value) in members { object.append(document.string(key) ?? "", JSONTree(document, value)) }
            self = .object(object)
        case .array(let elements): self = .array(elements.map { JSONTree(document, $0) })
        case .string(let string): self = .string(string)
        case .integer(let int): self = .int(int)
        case .double(let double): self = .double(double)
        case .bool(let bool): self = .bool(bool)
        case .null: self = .null
        }
    }
}

extension JSONTree: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByBooleanLiteral,
    ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral, ExpressibleByNilLiteral, ExpressibleByFloatLiteral
{
    package init(stringLiteral value: String) { self = .string(value) }
    package init(integerLiteral value: Int) { self = .int(value) }
    package init(booleanLiteral value: Bool) { self = .bool(value) }
    package init(floatLiteral value: Double) { self = .double(value) }
    package init(arrayLiteral elements: JSONTree...) { self = .array(elements) }
    package init(nilLiteral: ()) { self = .null }

    package init(dictionaryLiteral elements: (String, JSONTree)...) {
        var object = JSONMembers()
        for (name, value) in elements { object.append(name, value) }
        self = .object(object)
    }
}
