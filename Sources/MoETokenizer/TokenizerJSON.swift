// SPDX-License-Identifier: Apache-2.0

import MoEJSON

/// Reads a Hugging Face `tokenizer.json` into the parts of a `Tokenizer`.
///
/// Whatever the file asks for is either done or refused by name: a component or an expression that is not known here would
/// otherwise give wrong ids without a word.
struct TokenizerJSON {
    typealias Value = JSONDocument.Value

    let document: JSONDocument
    let source: String

    init(_ text: [UInt8], source: String) throws(TokenizerError) {
        self.source = source
        do {
            document = try JSONDocument(text)
        } catch {
            throw TokenizerError(file: source, problem: "no JSON: \(error.what) at byte \(error.offset)")
        }
        guard document.object(document.root) != nil else {
            throw TokenizerError(file: source, problem: "no tokenizer", expected: "a JSON object", found: "another value")
        }
    }

    func member(_ name: String) -> Value? { document.member(name, of: document.root) }

    func error(_ problem: String, expected: String? = nil, found: String? = nil) -> TokenizerError {
        TokenizerError(file: source, problem: problem, expected: expected, found: found)
    }

    func type(of value: Value?) -> String { document.string(document.member("type", of: value)) ?? "" }

    /// The components of a Sequence, or the component itself; none for null.
    func components(_ value: Value?, listedAs list: String) -> [Value] {
        guard let value, !document.isNull(value) else { return [] }
        guard type(of: value) == "Sequence" else { return [value] }
        return (document.array(document.member(list, of: value)) ?? .init()).flatMap { components($0, listedAs: list) }
    }
}
