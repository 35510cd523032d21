// SPDX-License-Identifier: Apache-2.0

import MoEJSON

/// What the offered tools' JSON Schemas say of their parameters' types. Formats that write values as plain text need it.
struct ToolTypes: Sendable {
    let names: [String]
    /// By tool and parameter; a parameter that may have any type is absent.
    private var types: [String: [String: Set<JSONType>]] = [:]

    init(_ tools: [ToolDefinition]) {
        names = tools.map(\.name)
        for tool in tools {
            guard let text = tool.parameters, let schema = try? JSONDocument(Array(text.utf8)) else { continue }
            let reader = SchemaTypes(schema)
            guard let members = schema.object(schema.member("properties", of: schema.root)) else { continue }
            for member in members {
                guard let name = schema.string(member.key), let found = reader.types(of: member.value) else { continue }
                types[tool.name, default: [:]][name] = found
            }
        }
    }

    /// The types that a parameter may have, nil when nothing is known.
    func types(of parameter: String, tool: String) -> Set<JSONType>? { types[tool]?[parameter] }

    /// The only parameter, or the only one that is a string: where a program goes.
    func programParameter(of tool: String) -> String? {
        guard let parameters = types[tool] else { return nil }
        if parameters.count == 1 { return parameters.first?.key }
        let strings = parameters.filter { $0.value == [.string] }
        return strings.count == 1 ? strings.first?.key : nil
    }

    /// The value that a plain text stands for, as JSON; `isExact` is false when it is of none of the types that it may have.
    static func json(_ text: [UInt8], types: Set<JSONType>?) -> (json: [UInt8], isExact: Bool) {
        let value = text.trimmed
        let literal = JSONChecker.type(of: value) != nil ? value : LiteralTranslator.json(lowercasedWord(value) ?? value)
        if let literal, let type = JSONChecker.type(of: literal), type != .string || types?.contains(.string) == false {
            if types?.contains(type) ?? true { return (literal, true) }
            if type == .integer, types?.contains(.number) == true { return (literal, true) }
            // What has no fraction is an integer to JSON Schema, however it is written.
            if type == .number, types?.contains(.integer) == true, isWhole(literal) { return (literal, true) }
            if type == .null, types?.contains(.string) == false { return (literal, true) }
        }
        return (JSONEscape.quoted(text), types?.contains(.string) ?? true)
    }

    private static func isWhole(_ number: [UInt8]) -> Bool {
        guard let value = Double(String(decoding: number, as: UTF8.self)) else { return false }
        return value == value.rounded() && value.isFinite
    }

    /// `TRUE` and the like.
    private static func lowercasedWord(_ text: [UInt8]) -> [UInt8]? {
        guard text.count <= 5 else { return nil }
        let word = String(decoding: text, as: UTF8.self).lowercased()
        return ["true", "false", "null", "none"].contains(word) ? Array((word == "none" ? "null" : word).utf8) : nil
    }
}

/// The types that a schema allows.
private struct SchemaTypes {
    private let document: JSONDocument

    init(_ document: JSONDocument) { self.document = document }

    func types(of schema: JSONDocument.Value, depth: Int = 0) -> Set<JSONType>? {
        guard depth < 16, document.object(schema) != nil else { return nil }
        var found: Set<JSONType>?
        func restrict(_ types: Set<JSONType>?) {
            guard let types else { return }
            found = found.map { $0.intersection(types) } ?? types
        }
        if let type = document.member("type", of: schema) {
            let names = document.string(type).map { [$0] } ?? document.array(type)?.compactMap { document.string($0) } ?? []
            restrict(Set(names.compactMap(Self.type(named:))))
        }
        for keyword in ["anyOf", "oneOf"] {
            guard let choices = document.array(document.member(keyword, of: schema)) else { continue }
            let types = choices.map { self.types(of: $0, depth: depth + 1) }
            // A choice of which nothing is known allows anything.
            if !types.contains(where: { $0 == nil }) { restrict(types.reduce(into: []) { $0.formUnion($1 ?? []) }) }
        }
        for part in document.array(document.member("allOf", of: schema)) ?? .init() {
            restrict(types(of: part, depth: depth + 1))
        }
        if let values = document.array(document.member("enum", of: schema)) { restrict(Set(values.map(type(of:)))) }
        if let value = document.member("const", of: schema) { restrict([type(of: value)]) }
        if let reference = document.string(document.member("$ref", of: schema)), let target = resolve(reference) {
            restrict(types(of: target, depth: depth + 1))
        }
        if found == nil {
            if document.member("properties", of: schema) != nil { found = [.object] }
            if document.member("items", of: schema) != nil { found = [.array] }
        }
        if document.bool(document.member("nullable", of: schema)) == true { found?.insert(.null) }
        guard let found, !found.isEmpty else { return nil }
        return found
    }

    private func resolve(_ reference: String) -> JSONDocument.Value? {
        guard reference.hasPrefix("#/") else { return nil }
        var value: JSONDocument.Value? = document.root
        for part in reference.dropFirst(2).split(separator: "/") { value = document.member(String(part), of: value) }
        return value
    }

    private func type(of value: JSONDocument.Value) -> JSONType {
        switch document.content(value) {
        case .object: .object
        case .array: .array
        case .string: .string
        case .integer: .integer
        case .double: .number
        case .bool: .boolean
        case .null: .null
        }
    }

    /// The names of JSON Schema, and those of Python that schemas made by hand have.
    private static func type(named name: String) -> JSONType? {
        switch name {
        case "str", "text": .string
        case "int": .integer
        case "float", "double": .number
        case "bool": .boolean
        case "dict": .object
        case "list", "tuple": .array
        default: JSONType(rawValue: name)
        }
    }
}
