// SPDX-License-Identifier: Apache-2.0

import MoEJSON

/// The members of a request's JSON object, read one by one. Unknown members are ignored, null is the same as absent, a wrong type is
/// an error that names the member.
struct JSONFields {
    let document: JSONDocument
    let value: JSONDocument.Value
    /// Of this object, for messages; empty for the request itself.
    let path: String

    /// - Throws: ``APIError`` for a body that is no JSON object.
    init(body: [UInt8]) throws(APIError) {
        do throws(JSONError) {
            document = try JSONDocument(body)
        } catch {
            throw .invalid("the body is not valid JSON: \(error.what) at byte \(error.offset)", code: "invalid_json")
        }
        (value, path) = (document.root, "")
        guard document.object(value) != nil else { throw .invalid("the body must be a JSON object") }
    }

    private init(_ document: JSONDocument, _ value: JSONDocument.Value, path: String) {
        (self.document, self.value, self.path) = (document, value, path)
    }

    func name(_ member: String) -> String { path.isEmpty ? member : "\(path).\(member)" }

    func wrong(_ member: String, expected: String) -> APIError {
        let name = name(member)
        return .invalid("'\(name)': expected \(expected), found \(found(document.member(member, of: value)))", param: name)
    }

    /// nil when absent or null.
    func member(_ name: String) -> JSONDocument.Value? {
        let member = document.member(name, of: value)
        return document.isNull(member) ? nil : member
    }

    func has(_ name: String) -> Bool { member(name) != nil }

    // MARK: Typed

    func string(_ name: String) throws(APIError) -> String? {
        guard let member = member(name) else { return nil }
        guard let string = document.string(member) else { throw wrong(name, expected: "a string") }
        return string
    }

    func required(_ name: String) throws(APIError) -> String {
        guard let string = try string(name) else {
            throw .invalid("'\(self.name(name))' is missing", param: self.name(name))
        }
        return string
    }

    func bool(_ name: String) throws(APIError) -> Bool? {
        guard let member = member(name) else { return nil }
        guard let bool = document.bool(member) else { throw wrong(name, expected: "true or false") }
        return bool
    }

    func int(_ name: String, _ range: ClosedRange<Int>) throws(APIError) -> Int? {
        guard let member = member(name) else { return nil }
        guard let int = document.int(member), range.contains(int) else {
            let (low, high) = (range.lowerBound, range.upperBound)
            throw wrong(
                name, expected: high == .max ? "a whole number, \(low) or more" : "a whole number from \(low) to \(high)")
        }
        return int
    }

    func float(_ name: String, _ range: ClosedRange<Float>) throws(APIError) -> Float? {
        guard let member = member(name) else { return nil }
        guard let double = document.double(member), double.isFinite, range.contains(Float(double)) else {
            throw wrong(name, expected: "a number from \(range.lowerBound) to \(range.upperBound)")
        }
        return Float(double)
    }

    func object(_ name: String) throws(APIError) -> JSONFields? {
        guard let member = member(name) else { return nil }
        guard document.object(member) != nil else { throw wrong(name, expected: "an object") }
        return JSONFields(document, member, path: self.name(name))
    }

    func array(_ name: String) throws(APIError) -> JSONDocument.Elements? {
        guard let member = member(name) else { return nil }
        guard let array = document.array(member) else { throw wrong(name, expected: "an array") }
        return array
    }

    /// The elements of an array of objects; nil when absent.
    func objects(_ name: String) throws(APIError) -> [JSONFields]? {
        guard let elements = try array(name) else { return nil }
        var objects: [JSONFields] = []
        for element in elements {
            objects.append(try fields(element, name: "\(self.name(name))[\(objects.count)]"))
        }
        return objects
    }

    /// A value of this document that must be an object.
    func fields(_ value: JSONDocument.Value, name: String) throws(APIError) -> JSONFields {
        guard document.object(value) != nil else {
            throw .invalid("'\(name)': expected an object, found \(found(value))", param: name)
        }
        return JSONFields(document, value, path: name)
    }

    /// A string or an array of strings.
    func strings(_ name: String, limit: Int) throws(APIError) -> [String]? {
        guard let member = member(name) else { return nil }
        if let string = document.string(member) { return [string] }
        guard let elements = document.array(member), elements.count <= limit else {
            throw wrong(name, expected: "a string or at most \(limit) strings")
        }
        var strings: [String] = []
        for element in elements {
            guard let string = document.string(element) else {
                throw .invalid(
                    "'\(self.name(name))[\(strings.count)]': expected a string, found \(found(element))",
                    param: self.name(name))
            }
            strings.append(string)
        }
        return strings
    }

    /// Token ids of this vocabulary; nil when it is no array of whole numbers.
    func ids(_ elements: JSONDocument.Elements) -> [Int32]? {
        var ids: [Int32] = []
        ids.reserveCapacity(elements.count)
        for element in elements {
            guard let int = document.int(element), let id = Int32(exactly: int) else { return nil }
            ids.append(id)
        }
        return ids
    }

    // MARK: As text

    func json(_ value: JSONDocument.Value) -> JSONTree { JSONTree(document, value) }

    func text(_ value: JSONDocument.Value) -> String { String(decoding: json(value).bytes, as: UTF8.self) }

    func found(_ value: JSONDocument.Value?) -> String {
        guard let value else { return "nothing" }
        switch document.content(value) {
        case .object: return "an object"
        case .array(let elements): return elements.isEmpty ? "an empty array" : "an array"
        case .string(let string): return string.count > 40 ? "a string of \(string.count) characters" : "'\(string)'"
        case .integer(let int): return "\(int)"
        case .double(let double): return "\(double)"
        case .bool(let bool): return "\(bool)"
        case .null: return "null"
        }
    }
}
