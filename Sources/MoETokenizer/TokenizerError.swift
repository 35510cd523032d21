// SPDX-License-Identifier: Apache-2.0

/// A vocabulary that cannot be used: says which file, what about it, what was expected and what was found, in one line.
public struct TokenizerError: Error, Equatable, Sendable, CustomStringConvertible {
    public let file: String
    public let problem: String
    public let expected: String?
    public let found: String?

    public init(file: String, problem: String, expected: String? = nil, found: String? = nil) {
        self.file = file
        self.problem = problem
        self.expected = expected
        self.found = found
    }

    public var description: String {
        var line = "\(file): tokenizer: \(problem)"
        if let expected { line += "; expected \(expected)" }
        if let found { line += ", found \(found)" }
        // One line, whatever a hostile file put into a name.
        return String(line.unicodeScalars.map { $0.properties.generalCategory == .control ? "?" : Character($0) })
    }
}
