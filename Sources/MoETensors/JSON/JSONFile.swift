// SPDX-License-Identifier: Apache-2.0

import MoEJSON

/// The JSON of a model file, which is one object. Its problems are ``ModelFileError``s.
struct JSONFile: Sendable {
    typealias Value = JSONDocument.Value

    let document: JSONDocument
    let file: String

    init(_ text: [UInt8], file: String) throws(ModelFileError) {
        self.file = file
        do {
            document = try JSONDocument(text)
        } catch {
            throw JSONFile.error(error, file: file)
        }
    }

    /// For formats where a key that stands twice makes it unclear what is meant.
    func refuseDuplicateKeys() throws(ModelFileError) {
        guard let key = document.duplicateKey() else { return }
        throw ModelFileError(
            file: file, problem: "duplicate key '\(document.string(key) ?? "")' before byte \(document.offset(key))")
    }

    /// The members of the whole.
    func root() throws(ModelFileError) -> JSONDocument.Members { try object(document.root) }

    func object(_ value: Value) throws(ModelFileError) -> JSONDocument.Members {
        guard let members = document.object(value) else { throw unexpected(value, "an object") }
        return members
    }

    func array(_ value: Value) throws(ModelFileError) -> JSONDocument.Elements {
        guard let elements = document.array(value) else { throw unexpected(value, "an array") }
        return elements
    }

    func string(_ value: Value) throws(ModelFileError) -> String {
        guard let string = document.string(value) else { throw unexpected(value, "a string") }
        return string
    }

    private func unexpected(_ value: Value, _ expected: String) -> ModelFileError {
        JSONFile.error(JSONError(what: "expected \(expected)", offset: document.offset(value)), file: file)
    }

    private static func error(_ error: JSONError, file: String) -> ModelFileError {
        ModelFileError(file: file, problem: "not valid JSON: \(error.what) at byte \(error.offset)")
    }
}
