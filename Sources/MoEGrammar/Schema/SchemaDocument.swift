// SPDX-License-Identifier: Apache-2.0

internal import MoEJSON

/// A schema's text, and its parts by their paths.
struct SchemaDocument {
    /// A schema within the document; equal ones are one place of it.
    struct Node: Hashable {
        let value: JSONDocument.Value
        let path: String
        fileprivate let offset: Int

        static func == (a: Node, b: Node) -> Bool { a.offset == b.offset }
        func hash(into hasher: inout Hasher) { hasher.combine(offset) }
        static func < (a: Node, b: Node) -> Bool { a.offset < b.offset }
    }

    let document: JSONDocument
    private let text: [UInt8]
    /// Before 2019, `$ref` hides what stands beside it.
    let refHidesSiblings: Bool
    private let id: String?

    init(_ text: String) throws(GrammarError) {
        self.text = Array(text.utf8)
        guard self.text.count <= GrammarLimits.text else {
            throw GrammarError("a schema has at most \(GrammarLimits.text) bytes, found \(self.text.count)", at: "#")
        }
        do {
            document = try JSONDocument(self.text)
        } catch {
            let before = self.text[..<min(error.offset, self.text.count)]
            let line = before.count { $0 == 10 } + 1
            let column = before.count - (before.lastIndex(of: 10).map { $0 + 1 } ?? 0) + 1
            throw GrammarError("the schema is no JSON: \(error.what)", at: "line \(line), column \(column)")
        }
        if let key = document.duplicateKey() {
            throw GrammarError("the schema has the key \"\(document.string(key) ?? "")\" twice in one object", at: "#")
        }
        let version = document.string(document.member("$schema", of: document.root)) ?? ""
        refHidesSiblings = ["draft-03", "draft-04", "draft-06", "draft-07"].contains { version.contains($0) }
        id = document.string(document.member("$id", of: document.root))
    }

    var root: Node { Node(value: document.root, path: "#", offset: document.offset(document.root)) }

    func member(_ name: String, of node: Node) -> Node? {
        document.member(name, of: node.value).map { child($0, of: node, name) }
    }

    func child(_ value: JSONDocument.Value, of node: Node, _ name: String) -> Node {
        let escaped = name.map { $0 == "~" ? "~0" : $0 == "/" ? "~1" : String($0) }.joined()
        return Node(value: value, path: node.path + "/" + escaped, offset: document.offset(value))
    }

    /// A number as it is written.
    func numberText(_ value: JSONDocument.Value) -> String {
        let start = document.offset(value)
        let end = text[start...].firstIndex { !"+-.0123456789eE".utf8.contains($0) } ?? text.count
        return String(decoding: text[start..<end], as: UTF8.self)
    }

    func decimal(_ node: Node) throws(GrammarError) -> Decimal {
        guard document.double(node.value) != nil, let decimal = Decimal(numberText(node.value)) else {
            throw GrammarError("expected a number of at most \(Decimal.digitLimit) digits", at: node.path)
        }
        return decimal
    }

    func count(_ node: Node) throws(GrammarError) -> Int {
        guard let value = document.int(node.value), value >= 0 else {
            throw GrammarError("expected a number that counts: 0 or more", at: node.path)
        }
        guard value <= GrammarLimits.repetitions else {
            throw GrammarError("counts go to at most \(GrammarLimits.repetitions), found \(value)", at: node.path)
        }
        return value
    }

    func string(_ node: Node) throws(GrammarError) -> String {
        guard let value = document.string(node.value) else { throw GrammarError("expected a string", at: node.path) }
        return value
    }

    func elements(_ node: Node) throws(GrammarError) -> [Node] {
        guard let elements = document.array(node.value) else { throw GrammarError("expected an array", at: node.path) }
        return elements.enumerated().map { child($1, of: node, "\($0)") }
    }

    func members(_ node: Node) throws(GrammarError) -> [(key: String, node: Node)] {
        guard let members = document.object(node.value) else { throw GrammarError("expected an object", at: node.path) }
        return members.map {
            let key = document.string($0.key) ?? ""
            return (key, child($0.value, of: node, key))
        }
    }

    // MARK: References

    /// What `$ref` names: a part of this document, by a JSON pointer or an anchor.
    func resolve(_ reference: String, at path: String) throws(GrammarError) -> Node {
        var fragment = reference
        if let id, !id.isEmpty, fragment.hasPrefix(id) { fragment.removeFirst(id.count) }
        if fragment.isEmpty { return root }
        guard fragment.hasPrefix("#") else {
            throw GrammarError("'$ref' to another document (\"\(reference)\") is not supported", at: path)
        }
        guard let pointer = Self.percentDecoded(String(fragment.dropFirst())) else {
            throw GrammarError("'$ref' has an escape that is none: \"\(reference)\"", at: path)
        }
        if pointer.isEmpty { return root }
        guard pointer.hasPrefix("/") else {
            if let node = anchor(pointer) { return node }
            throw GrammarError("'$ref' names \"\(reference)\", which is not there", at: path)
        }
        var node = root
        for part in pointer.dropFirst().split(separator: "/", omittingEmptySubsequences: false) {
            let name = String(part).replacing("~1", with: "/").replacing("~0", with: "~")
            if let next = member(name, of: node) {
                node = next
            } else if let elements = document.array(node.value), let index = Int(name), (0..<elements.count).contains(index)
            {
                node = child(elements[elements.index(elements.startIndex, offsetBy: index)], of: node, name)
            } else {
                throw GrammarError("'$ref' names \"\(reference)\", which is not there", at: path)
            }
        }
        return node
    }

    private func anchor(_ name: String) -> Node? {
        var queue = [root]
        while let node = queue.popLast() {
            if document.object(node.value) != nil {
                if document.string(document.member("$anchor", of: node.value)) == name
                    || document.string(document.member("$id", of: node.value)) == "#" + name
                {
                    return node
                }
                // What stands in values is no schema.
                for (key, child) in (try? members(node)) ?? [] where key != "enum" && key != "const" { queue.append(child) }
            } else if document.array(node.value) != nil {
                queue += (try? elements(node)) ?? []
            }
        }
        return nil
    }

    private static func percentDecoded(_ text: String) -> String? {
        var bytes: [UInt8] = []
        var rest = Array(text.utf8)[...]
        while let byte = rest.popFirst() {
            if byte == UInt8(ascii: "%") {
                guard rest.count >= 2, let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16) else {
                    return nil
                }
                bytes.append(value)
                rest = rest.dropFirst(2)
            } else {
                bytes.append(byte)
            }
        }
        return String(validating: bytes, as: UTF8.self)
    }

    // MARK: Values

    /// A value as it will be written: see ``JSONText``.
    func text(of value: JSONDocument.Value) -> Expression {
        switch document.content(value) {
        case .null: .text("null")
        case .bool(let flag): .text(flag ? "true" : "false")
        case .integer, .double: .text(numberText(value))
        case .string(let text): .bytes(JSONEscape.quoted(text.utf8))
        case .array(let elements):
            .sequence([.text("["), separated(elements.map { text(of: $0) }), .text("]")])
        case .object(let members):
            .sequence([
                .text("{"),
                separated(
                    members.map {
                        .sequence([
                            .bytes(JSONEscape.quoted((document.string($0.key) ?? "").utf8)), JSONText.colon,
                            text(of: $0.value),
                        ])
                    }), .text("}"),
            ])
        }
    }

    private func separated(_ items: [Expression]) -> Expression {
        .sequence(items.enumerated().flatMap { $0 == 0 ? [$1] : [JSONText.comma, $1] })
    }

    /// Whether two values are the same as JSON Schema has it: 1 and 1.0 are, members have no order.
    func equal(_ a: JSONDocument.Value, _ b: JSONDocument.Value) -> Bool {
        switch (document.content(a), document.content(b)) {
        case (.null, .null): return true
        case (.bool(let a), .bool(let b)): return a == b
        case (.string(let a), .string(let b)): return a.unicodeScalars.elementsEqual(b.unicodeScalars)
        case (.integer, .integer), (.integer, .double), (.double, .integer), (.double, .double):
            let (left, right) = (Decimal(numberText(a)), Decimal(numberText(b)))
            return left != nil && left == right
        case (.array(let a), .array(let b)): return a.count == b.count && zip(a, b).allSatisfy { equal($0, $1) }
        case (.object(let a), .object(let other)):
            return a.count == other.count
                && a.allSatisfy { member in
                    guard let match = document.member(document.string(member.key) ?? "", of: b) else { return false }
                    return equal(member.value, match)
                }
        default: return false
        }
    }
}
