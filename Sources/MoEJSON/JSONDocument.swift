// SPDX-License-Identifier: Apache-2.0

/// A JSON text (RFC 8259), checked and parsed once into a flat table of 16 bytes per value, in the order of the text. Strings
/// stay in the text until asked for, so a vocabulary of 150,000 costs no allocation per string.
///
/// Members keep their order, and a key that stands twice stands twice: see ``duplicateKey()``.
///
/// Deviations, because Python's `json` writes or reads them: `NaN`, `Infinity` and `-Infinity` are numbers, and a leading byte
/// order mark is passed over.
package struct JSONDocument: Sendable {
    /// What a value is.
    package enum Content: Sendable {
        case object(Members)
        case array(Elements)
        case string(String)
        /// A number without fraction and exponent that fits `Int`.
        case integer(Int)
        /// Any other number.
        case double(Double)
        case bool(Bool)
        case null
    }

    /// A place in a document. It means nothing to another document.
    package struct Value: Sendable {
        fileprivate let index: Int
    }

    /// Far beyond any file of a model, and no danger to the stack.
    package static let depthLimit = 128

    private let text: [UInt8]
    private let table: JSONTable

    /// - Throws: ``JSONError`` for the first byte that is wrong, also for a text that nests deeper than ``depthLimit``, has a
    ///   number beyond `Double`, or is no UTF-8.
    package init(_ text: [UInt8]) throws(JSONError) {
        self.text = text
        table = try text.withUnsafeBufferPointer { buffer throws(JSONError) in try JSONParser(buffer).document() }
    }

    package var root: Value { Value(index: 0) }

    // MARK: Values

    package func content(_ value: Value) -> Content {
        let node = table.nodes[value.index]
        switch node.kind {
        case .object: return .object(Members(table.nodes, container: value.index))
        case .array: return .array(Elements(table.nodes, container: value.index))
        case .string, .escapedString: return .string(withBytes(of: node) { String(decoding: $0, as: UTF8.self) })
        case .integer: return .integer(node.integer)
        case .double: return .double(node.double)
        case .true: return .bool(true)
        case .false: return .bool(false)
        case .null: return .null
        }
    }

    /// Where `value` begins in the text; a string, after its quote.
    package func offset(_ value: Value) -> Int { table.nodes[value.index].offset }

    // The others give nil when there is no value, or one of another type.

    /// Whether `value` is null or absent.
    package func isNull(_ value: Value?) -> Bool {
        guard let node = node(value) else { return true }
        return node.kind == .null
    }

    package func bool(_ value: Value?) -> Bool? {
        switch node(value)?.kind {
        case .true?: true
        case .false?: false
        default: nil
        }
    }

    /// An integer, however it is written: `1000000`, `1e6` and `1000000.0` are the same.
    package func int(_ value: Value?) -> Int? {
        guard let node = node(value) else { return nil }
        switch node.kind {
        case .integer: return node.integer
        case .double: return Int(exactly: node.double)
        default: return nil
        }
    }

    package func double(_ value: Value?) -> Double? {
        guard let node = node(value) else { return nil }
        switch node.kind {
        case .integer: return Double(node.integer)
        case .double: return node.double
        default: return nil
        }
    }

    package func string(_ value: Value?) -> String? {
        withBytes(value) { String(decoding: $0, as: UTF8.self) }
    }

    /// The bytes of a string: valid UTF-8.
    package func bytes(_ value: Value?) -> [UInt8]? {
        withBytes(value) { Array($0) }
    }

    /// The same without a copy; `body` must not keep the buffer.
    package func withBytes<Result>(_ value: Value?, _ body: (UnsafeBufferPointer<UInt8>) -> Result) -> Result? {
        guard let node = node(value), node.kind == .string || node.kind == .escapedString else { return nil }
        return withBytes(of: node, body)
    }

    private func withBytes<Result>(of node: JSONTable.Node, _ body: (UnsafeBufferPointer<UInt8>) -> Result) -> Result {
        (node.kind == .string ? text : table.unescaped).withUnsafeBufferPointer {
            body(UnsafeBufferPointer(rebasing: $0[node.range]))
        }
    }

    package func array(_ value: Value?) -> Elements? {
        guard let value, table.nodes[value.index].kind == .array else { return nil }
        return Elements(table.nodes, container: value.index)
    }

    package func object(_ value: Value?) -> Members? {
        guard let value, table.nodes[value.index].kind == .object else { return nil }
        return Members(table.nodes, container: value.index)
    }

    /// The member of that name (the last of several), found by a search through all of them.
    package func member(_ name: String, of value: Value?) -> Value? {
        guard let members = object(value) else { return nil }
        var name = name
        return name.withUTF8 { name in
            var result: Value?
            for member in members where withBytes(member.key, { $0.count == name.count && $0.elementsEqual(name) }) == true
            {
                result = member.value
            }
            return result
        }
    }

    /// The first key that another one of the same object equals and precedes, anywhere in the document.
    package func duplicateKey() -> Value? {
        text.withUnsafeBufferPointer { text in
            table.unescaped.withUnsafeBufferPointer { unescaped in
                table.duplicateKey(text: text, unescaped: unescaped).map { Value(index: $0) }
            }
        }
    }

    private func node(_ value: Value?) -> JSONTable.Node? { value.map { table.nodes[$0.index] } }
}

extension JSONDocument {
    /// Where an element or a member stands; the next one is found from it, any other one is not.
    package struct Index: Comparable, Sendable {
        fileprivate let node: Int

        package static func < (a: Index, b: Index) -> Bool { a.node < b.node }
    }

    /// The elements of an array, in order.
    package struct Elements: Collection, Sendable {
        private let nodes: [JSONTable.Node]
        package let startIndex: Index
        package let endIndex: Index
        package let count: Int

        /// No elements.
        package init() { (nodes, startIndex, endIndex, count) = ([], Index(node: 0), Index(node: 0), 0) }

        fileprivate init(_ nodes: [JSONTable.Node], container: Int) {
            self.nodes = nodes
            (startIndex, endIndex) = (Index(node: container + 1), Index(node: nodes[container].next))
            count = nodes[container].count
        }

        package func index(after index: Index) -> Index { Index(node: nodes[index.node].end(at: index.node)) }
        package subscript(index: Index) -> Value { Value(index: index.node) }
    }

    /// The members of an object, in order.
    package struct Members: Collection, Sendable {
        private let nodes: [JSONTable.Node]
        package let startIndex: Index
        package let endIndex: Index
        package let count: Int

        /// No members.
        package init() { (nodes, startIndex, endIndex, count) = ([], Index(node: 0), Index(node: 0), 0) }

        fileprivate init(_ nodes: [JSONTable.Node], container: Int) {
            self.nodes = nodes
            (startIndex, endIndex) = (Index(node: container + 1), Index(node: nodes[container].next))
            count = nodes[container].count
        }

        // A key is one node, its value follows it.
        package func index(after index: Index) -> Index { Index(node: nodes[index.node + 1].end(at: index.node + 1)) }
        package subscript(index: Index) -> (key: Value, value: Value) {
            (Value(index: index.node), Value(index: index.node + 1))
        }
    }
}
