// SPDX-License-Identifier: Apache-2.0

/// An answer as a whole: what an ``AnswerParser`` found, collected.
public struct Answer: Sendable, Equatable {
    public private(set) var reasoning = ""
    public private(set) var content = ""
    /// Complete calls, in order.
    public private(set) var toolCalls: [ToolCall] = []
    public private(set) var warnings: [AnswerWarning] = []

    /// Calls that have begun and not ended, by index.
    private var open: [Int: ToolCall] = [:]

    /// An answer of which nothing is known.
    public init() {}

    /// Takes a whole text apart.
    public init(
        _ text: String, format: AnswerFormat, tools: [ToolDefinition] = [], startsInReasoning: Bool = false
    ) {
        var parser = AnswerParser(format: format, tools: tools, startsInReasoning: startsInReasoning)
        add(parser.append(text))
        add(parser.finish())
    }

    public mutating func add(_ events: [AnswerEvent]) {
        for event in events { add(event) }
    }

    public mutating func add(_ event: AnswerEvent) {
        switch event {
        case .reasoning(let text): reasoning += text
        case .content(let text): content += text
        case .toolCallBegan(let index, let id, let name): open[index] = ToolCall(id: id, name: name, arguments: "")
        case .toolCallArguments(let index, let fragment): open[index]?.arguments += fragment
        case .toolCallEnded(let index):
            if let call = open.removeValue(forKey: index) { toolCalls.append(call) }
        case .toolCallAbandoned(let index): open[index] = nil
        case .warning(let warning): warnings.append(warning)
        }
    }

    /// The message that goes into the conversation's history.
    public var message: ChatMessage {
        ChatMessage(
            role: "assistant", content: content.isEmpty && !toolCalls.isEmpty ? nil : content,
            reasoning: reasoning.isEmpty ? nil : reasoning, toolCalls: toolCalls)
    }
}
