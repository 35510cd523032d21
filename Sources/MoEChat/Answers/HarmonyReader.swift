// SPDX-License-Identifier: Apache-2.0

/// Reads gpt-oss's answers: messages, each with a header that says for whom it is.
struct HarmonyReader: Sendable {
    init(types: ToolTypes, startsInReasoning: Bool) {}
    mutating func read(_ window: inout TextWindow, into sink: inout AnswerSink) {}
}
