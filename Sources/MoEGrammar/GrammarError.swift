// SPDX-License-Identifier: Apache-2.0

/// Why a grammar or a schema cannot be used, and where.
public struct GrammarError: Error, Sendable, Equatable, CustomStringConvertible {
    public let problem: String
    /// A line and column of a grammar, or a path in a schema (`#/properties/name`).
    public let place: String

    package init(_ problem: String, at place: String) {
        // Names and paths are somebody else's text: the message stays one line.
        func line(_ text: String) -> String {
            String(
                String.UnicodeScalarView(text.unicodeScalars.map { $0.properties.generalCategory == .control ? "?" : $0 }))
        }
        self.problem = line(problem)
        self.place = line(place)
    }

    public var description: String { "\(place): \(problem)" }
}
