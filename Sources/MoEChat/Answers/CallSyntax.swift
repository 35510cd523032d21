// SPDX-License-Identifier: Apache-2.0

/// How calls are written.
struct CallSyntax: Sendable {
    /// What begins a call, or a section of calls.
    var opens: [String]
}

extension CallSyntax {
    func markers(types: ToolTypes) -> [(text: String, place: MarkerTable.Place)] { opens.map { ($0, .anywhere) } }
    func reader(types: ToolTypes, marker: [UInt8]) -> (any CallReader)? { nil }
}
