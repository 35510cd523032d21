// SPDX-License-Identifier: Apache-2.0

/// Why a grammar or a schema cannot be used, and where.
public struct GrammarError: Error, Sendable, Equatable, CustomStringConvertible {
    public let problem: String
    /// A line and column of a grammar, or a path in a schema (`#/properties/name`).
    public let place: String

    package init(_ problem: String, at place: String) {
        self.problem = problem
        self.place = place
    }

    public var description: String { "\(place): \(problem)" }
}
