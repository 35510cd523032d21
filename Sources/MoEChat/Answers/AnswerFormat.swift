// SPDX-License-Identifier: Apache-2.0

/// How a family of models marks reasoning and tool calls in its answers: chosen by what the chat template says.
public struct AnswerFormat: Sendable, CustomStringConvertible {
    /// The family, for people: `hermes`, `harmony`, `plain`.
    public let name: String
    let shape: Shape

    enum Shape: Sendable {
        /// Text with blocks in it.
        case text(TextShape)
        /// A sequence of messages, each with a header (gpt-oss).
        case harmony
    }

    /// Text in which markers enclose what is not content.
    struct TextShape: Sendable {
        var reasoning: [Reasoning] = []
        /// Markers that say nothing: those around the answer proper.
        var dropped: [MarkerTable.Marker] = []
        var calls: [CallSyntax] = []
        /// An unclosed reasoning block ends where a call begins.
        var callsEndReasoning = false
    }

    struct Reasoning: Sendable {
        let open: String
        let close: String
        var place = MarkerTable.Place.blockStart
    }

    init(_ name: String, _ shape: TextShape) { (self.name, self.shape) = (name, .text(shape)) }
    init(_ name: String, _ shape: Shape) { (self.name, self.shape) = (name, shape) }

    public var description: String { name }

    /// Whether answers can have reasoning in them.
    public var hasReasoning: Bool {
        switch shape {
        case .text(let shape): !shape.reasoning.isEmpty
        case .harmony: true
        }
    }

    /// Whether tool calls are recognised.
    public var hasToolCalls: Bool {
        switch shape {
        case .text(let shape): !shape.calls.isEmpty
        case .harmony: true
        }
    }

    /// Whether an answer to a rendered prompt begins within a reasoning block, because the prompt's last characters open one.
    public func startsInReasoning(prompt: String) -> Bool {
        let end = prompt.utf8.reversed().drop { $0.isSpace }
        let openers =
            switch shape {
            case .text(let shape): shape.reasoning.map(\.open)
            case .harmony: ["<|channel|>analysis<|message|>"]
            }
        return openers.contains { opener in
            end.starts(with: opener.utf8.reversed().drop { $0.isSpace })
        }
    }

    /// No tools, no reasoning: everything is content.
    public static let plain = AnswerFormat("plain", TextShape())
}
