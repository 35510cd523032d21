// SPDX-License-Identifier: Apache-2.0

/// What the offered tools' JSON Schemas say of their parameters.
struct ToolTypes: Sendable {
    let names: [String]
    init(_ tools: [ToolDefinition]) { names = tools.map(\.name) }
}
