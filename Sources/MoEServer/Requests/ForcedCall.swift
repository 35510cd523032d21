// SPDX-License-Identifier: Apache-2.0

package import MoEChat
package import MoEGrammar
import MoEJSON

/// A call of a tool that a request demands. The model writes nothing but the call, as JSON under a grammar, whatever its own notation
/// for calls is; so any model can be made to call.
///
/// `{"name": "weather", "arguments": {"city": "Paris"}}`, also where there is one tool only: models that have learned to call begin
/// like this, and would write the function's name into a parameter that is called `name`.
package struct ForcedCall: Sendable {
    package let tools: [ToolDefinition]
    package let grammar: Grammar

    /// - Throws: ``APIError`` for parameters that are no schema, or one that is not supported.
    package init(
        tools: [ToolDefinition],
        grammar make: (_ schema: String) throws(GrammarError) -> Grammar = { schema throws(GrammarError) in
            try Grammar(jsonSchema: schema)
        }
    ) throws(APIError) {
        self.tools = tools
        func parameters(_ tool: ToolDefinition) -> String { tool.parameters ?? #"{"type":"object","properties":{}}"# }
        let bytes = tools.reduce(0) { $0 + parameters($1).utf8.count }
        guard bytes <= SamplingFields.schemaLimit, tools.count <= 128 else {
            throw .invalid(
                "a forced call of one of \(tools.count) tools with \(bytes) bytes of parameters; expected at most 128 tools and "
                    + "\(SamplingFields.schemaLimit) bytes", param: "tools")
        }
        // Each is compiled on its own first, so that an error names the tool.
        for tool in tools {
            do throws(GrammarError) {
                _ = try make(parameters(tool))
            } catch {
                throw .invalid("the parameters of tool '\(tool.name)': \(error)", param: "tools")
            }
        }
        let schema: JSONTree = [
            "anyOf": .array(
                tools.enumerated().map { index, tool in
                    [
                        "type": "object",
                        "properties": [
                            "name": ["const": .string(tool.name)],
                            "arguments": Self.moved(parameters(tool), to: "#/anyOf/\(index)/properties/arguments"),
                        ],
                        "required": ["name", "arguments"], "additionalProperties": false,
                    ]
                })
        ]
        do throws(GrammarError) {
            grammar = try make(String(decoding: schema.bytes, as: UTF8.self))
        } catch {
            throw .invalid("the tools' parameters cannot be put together: \(error)", param: "tools")
        }
    }

    /// A schema that becomes a part of another one: its references to its own root lead to its new place.
    private static func moved(_ schema: String, to place: String) -> JSONTree {
        guard let document = try? JSONDocument(Array(schema.utf8)) else { return .text(schema) }
        func moved(_ value: JSONDocument.Value) -> JSONTree {
            switch document.content(value) {
            case .array(let elements): return .array(elements.map(moved))
            case .object(let members):
                var object: JSONMembers = [:]
                for (key, value) in members {
                    let name = document.string(key) ?? ""
                    switch name {
                    // Values, not schemas.
                    case "const", "enum", "default", "examples": object.append(name, JSONTree(document, value))
                    case "$ref":
                        let reference = document.string(value)
                        object.append(
                            name,
                            reference?.hasPrefix("#") == true
                                ? .string(place + reference!.dropFirst()) : JSONTree(document, value))
                    default: object.append(name, moved(value))
                    }
                }
                return .object(object)
            default: return JSONTree(document, value)
            }
        }
        return moved(document.root)
    }
}

/// Takes a forced call's text apart as it comes.
package struct ForcedCallReader {
    private let tools: [ToolDefinition]
    private let id: String
    /// Text before the arguments.
    private var head: [UInt8] = []
    /// The brace that ends the object around the arguments must not be passed on.
    private var held: [UInt8] = []
    package private(set) var name: String?
    package private(set) var arguments: [UInt8] = []

    package init(_ call: ForcedCall, id: String) {
        (tools, self.id) = (call.tools, id)
    }

    package mutating func append(_ text: String) -> [OutputEvent] {
        if name != nil { return passHeld(Array(text.utf8)) }
        head += text.utf8
        // {"name":"…","arguments":…, with at most a space after each sign: the names were declared in this order.
        for tool in tools {
            for start in starts(tool.name) where head.starts(with: start) {
                let rest = Array(head[start.count...].drop { $0 == UInt8(ascii: " ") })
                if rest.isEmpty { return [] }
                return begin(tool.name) + passHeld(rest)
            }
        }
        return []
    }

    private func starts(_ name: String) -> [[UInt8]] {
        let quoted = String(decoding: JSONTree.string(name).bytes, as: UTF8.self)
        return ["", " "].flatMap { a in
            ["", " "].map { b in Array("{\"name\":\(a)\(quoted),\(b)\"arguments\":".utf8) }
        }
    }

    private mutating func begin(_ name: String) -> [OutputEvent] {
        guard self.name == nil else { return [] }
        self.name = name
        return [.callBegan(index: 0, id: id, name: name)]
    }

    private mutating func passHeld(_ bytes: [UInt8]) -> [OutputEvent] {
        held += bytes
        let end = held.lastIndex { $0 != UInt8(ascii: "}") && $0 != UInt8(ascii: " ") && $0 != UInt8(ascii: "\n") } ?? -1
        defer { held.removeFirst(end + 1) }
        return pass(Array(held.prefix(end + 1)))
    }

    private mutating func pass(_ bytes: [UInt8]) -> [OutputEvent] {
        guard !bytes.isEmpty else { return [] }
        arguments += bytes
        return [.callArguments(index: 0, fragment: String(decoding: bytes, as: UTF8.self))]
    }

    /// - Parameter isWhole: whether the grammar's text is complete.
    package mutating func finish(isWhole: Bool) -> [OutputEvent] {
        var events: [OutputEvent] = []
        if name != nil {
            if isWhole, let last = held.lastIndex(of: UInt8(ascii: "}")) { held.remove(at: last) }
            events += pass(held)
            held = []
        }
        return name == nil ? events : events + [.callEnded(index: 0)]
    }

    package var call: ToolCall? {
        name.map { ToolCall(id: id, name: $0, arguments: String(decoding: arguments, as: UTF8.self)) }
    }
}
