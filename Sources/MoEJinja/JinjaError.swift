// SPDX-License-Identifier: Apache-2.0

/// Why a template cannot be parsed or rendered, and where.
public struct JinjaError: Error, Sendable, Equatable, CustomStringConvertible {
    public let problem: String
    /// From 1.
    public let line: Int
    public let column: Int

    package init(_ problem: String, line: Int, column: Int) {
        self.problem = problem
        self.line = line
        self.column = column
    }

    public var description: String { "template, line \(line), column \(column): \(problem)" }
}
