// SPDX-License-Identifier: Apache-2.0

/// A model file that cannot be used: says which file, where in it, what was expected and what was found, in one line.
public struct ModelFileError: Error, Equatable, Sendable, CustomStringConvertible {
    public let file: String
    /// The tensor, or nil when the problem is the file's own.
    public let tensor: String?
    public let problem: String
    public let expected: String?
    public let found: String?

    public init(file: String, tensor: String? = nil, problem: String, expected: String? = nil, found: String? = nil) {
        self.file = file
        self.tensor = tensor
        self.problem = problem
        self.expected = expected
        self.found = found
    }

    public var description: String {
        var line = file
        if let tensor { line += ": tensor '\(tensor)'" }
        line += ": \(problem)"
        if let expected { line += "; expected \(expected)" }
        if let found { line += ", found \(found)" }
        // One line, whatever a hostile file put into a name.
        return String(line.unicodeScalars.map { $0.properties.generalCategory == .control ? "?" : Character($0) })
    }
}
