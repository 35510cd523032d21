// SPDX-License-Identifier: Apache-2.0

import MoEJSON

/// A JSON value as it stands in a file.
package enum JSONValue: Sendable {
    indirect case object(JSONObject)
    case array([JSONValue])
    case string(String)
    case integer(Int)
    /// What is no integer, or too large for `Int`.
    case double(Double)
    case bool(Bool)
    case null

    /// An integer, however it is written: `1000000`, `1e6` and `1000000.0` are the same.
    package var int: Int? {
        switch self {
        case .integer(let value): value
        case .double(let value): Int(exactly: value)
        default: nil
        }
    }

    package var double: Double? {
        switch self {
        case .integer(let value): Double(value)
        case .double(let value): value
        default: nil
        }
    }

    package var string: String? {
        if case .string(let value) = self { value } else { nil }
    }

    /// "a string 'llama'", for messages.
    var description: String {
        switch self {
        case .object: "an object"
        case .array: "an array"
        case .string(let value): "the string '\(value.count > 40 ? value.prefix(40) + "…" : value)'"
        case .integer(let value): "\(value)"
        case .double(let value): "\(value)"
        case .bool(let value): "\(value)"
        case .null: "null"
        }
    }

    fileprivate init(_ value: JSONDocument.Value, of json: JSONFile, path: String) {
        switch json.document.content(value) {
        case .object(let members): self = .object(JSONObject(members, of: json, path: path))
        case .array(let elements): self = .array(elements.map { JSONValue($0, of: json, path: path) })
        case .string(let value): self = .string(value)
        case .integer(let value): self = .integer(value)
        case .double(let value): self = .double(value)
        case .bool(let value): self = .bool(value)
        case .null: self = .null
        }
    }
}

/// A JSON object of a configuration file. Accessors give nil for a key that is absent or null, and throw ``ModelFileError`` for
/// a value of another type. A key that stands twice counts with its last value, as it does for Python.
package struct JSONObject: Sendable {
    private let json: JSONFile
    /// Where in the file this object stands: "", or "rope_scaling." …
    private let path: String
    private let members: [String: JSONDocument.Value]
    /// In file order.
    package let keys: [String]

    /// For error messages.
    package var file: String { json.file }

    /// Parses a document that is one object.
    package init(_ bytes: [UInt8], file: String) throws(ModelFileError) {
        let json = try JSONFile(bytes, file: file)
        self.init(try json.root(), of: json, path: "")
    }

    fileprivate init(_ content: JSONDocument.Members, of json: JSONFile, path: String) {
        var members: [String: JSONDocument.Value] = [:]
        var keys: [String] = []
        for member in content {
            let key = json.document.string(member.key)!
            if members.updateValue(member.value, forKey: key) == nil { keys.append(key) }
        }
        (self.json, self.path, self.members, self.keys) = (json, path, members, keys)
    }

    /// nil when absent or null.
    package func value(_ key: String) -> JSONValue? {
        guard let value = members[key], !json.document.isNull(value) else { return nil }
        return JSONValue(value, of: json, path: "\(path)\(key).")
    }

    package func string(_ key: String) throws(ModelFileError) -> String? {
        try get(key, "a string") { $0.string }
    }

    /// Integers in any notation; what is not integral or does not fit is an error.
    package func int(_ key: String) throws(ModelFileError) -> Int? {
        try get(key, "an integer") { $0.int }
    }

    package func double(_ key: String) throws(ModelFileError) -> Double? {
        try get(key, "a number") { $0.double }
    }

    package func bool(_ key: String) throws(ModelFileError) -> Bool? {
        try get(key, "true or false") { if case .bool(let value) = $0 { value } else { nil } }
    }

    package func object(_ key: String) throws(ModelFileError) -> JSONObject? {
        try get(key, "an object") { if case .object(let value) = $0 { value } else { nil } }
    }

    package func array(_ key: String) throws(ModelFileError) -> [JSONValue]? {
        try get(key, "an array") { if case .array(let value) = $0 { value } else { nil } }
    }

    package func strings(_ key: String) throws(ModelFileError) -> [String]? {
        try list(key, "an array of strings") { $0.string }
    }

    /// An array of integers; a lone integer counts as an array of one (`eos_token_id` comes either way).
    package func ints(_ key: String) throws(ModelFileError) -> [Int]? {
        if let single = value(key)?.int { return [single] }
        return try list(key, "an array of integers") { $0.int }
    }

    package func doubles(_ key: String) throws(ModelFileError) -> [Double]? {
        try list(key, "an array of numbers") { $0.double }
    }

    private func get<Value>(
        _ key: String, _ expected: String, _ convert: (JSONValue) -> Value?
    ) throws(ModelFileError) -> Value? {
        guard let value = value(key) else { return nil }
        guard let result = convert(value) else { throw wrongType(key, expected: expected, found: value.description) }
        return result
    }

    private func list<Value>(
        _ key: String, _ expected: String, _ convert: (JSONValue) -> Value?
    ) throws(ModelFileError) -> [Value]? {
        guard let value = value(key) else { return nil }
        guard case .array(let elements) = value else {
            throw wrongType(key, expected: expected, found: value.description)
        }
        var result: [Value] = []
        result.reserveCapacity(elements.count)
        for element in elements {
            guard let item = convert(element) else {
                throw wrongType(key, expected: expected, found: "an array with \(element.description)")
            }
            result.append(item)
        }
        return result
    }

    private func wrongType(_ key: String, expected: String, found: String) -> ModelFileError {
        ModelFileError(file: file, problem: "wrong type of '\(path)\(key)'", expected: expected, found: found)
    }
}
