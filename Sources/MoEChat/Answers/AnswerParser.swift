// SPDX-License-Identifier: Apache-2.0

/// Takes an answer apart while it is being generated.
///
/// Text goes in as it is decoded, with the names of special tokens in it (many formats mark calls by them) and without the token
/// that ends the turn; events come out. What they add up to does not depend on how the text is cut into pieces. Nothing that may
/// be a marker is given away before that is decided, and it is decided as soon as can be. White space around markers is dropped:
/// after one, empty lines (and the spaces of a run without a line's end); before one, all.
///
/// Without tools nothing is a call: what looks like one is content.
public struct AnswerParser: Sendable {
    private var text: TextReader
    private var harmony: HarmonyReader?
    private var window = TextWindow()
    private var sink: AnswerSink
    private var isFinished = false

    /// - Parameters:
    ///   - tools: Those that were offered. Their schemas give arguments their types where a format has none.
    ///   - startsInReasoning: Whether the prompt ends in an open reasoning block; see
    ///     ``AnswerFormat/startsInReasoning(prompt:)``.
    public init(format: AnswerFormat, tools: [ToolDefinition] = [], startsInReasoning: Bool = false) {
        sink = AnswerSink(tools: Set(tools.map(\.name)))
        let types = ToolTypes(tools)
        switch format.shape {
        case .text(let shape):
            text = TextReader(shape, types: types, startsInReasoning: startsInReasoning)
        case .harmony:
            text = TextReader(AnswerFormat.TextShape(), types: types, startsInReasoning: false)
            harmony = HarmonyReader(types: types, startsInReasoning: startsInReasoning)
        }
    }

    /// More of the answer.
    public mutating func append(_ piece: String) -> [AnswerEvent] {
        guard !isFinished, !piece.isEmpty else { return [] }
        window.append(piece)
        return read()
    }

    /// The answer is complete: gives what was held back.
    public mutating func finish() -> [AnswerEvent] {
        guard !isFinished else { return [] }
        isFinished = true
        window.isFinal = true
        return read()
    }

    private mutating func read() -> [AnswerEvent] {
        if harmony != nil {
            harmony!.read(&window, into: &sink)
        } else {
            text.read(&window, into: &sink)
        }
        return sink.take()
    }
}
