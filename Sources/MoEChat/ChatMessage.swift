// SPDX-License-Identifier: Apache-2.0

/// One message of a conversation, as clients send them and templates read them.
public struct ChatMessage: Sendable, Equatable {
    /// `system`, `developer`, `user`, `assistant`, `tool`; templates decide which they know.
    public var role: String
    /// nil where an assistant only called tools.
    public var content: String?
    /// What an assistant thought before it answered.
    public var reasoning: String?
    /// Of an assistant.
    public var toolCalls: [ToolCall]
    /// Of a tool's result: the call that it answers.
    public var toolCallID: String?
    /// Of a tool's result: the tool. Of others: who speaks.
    public var name: String?

    public init(
        role: String, content: String?, reasoning: String? = nil, toolCalls: [ToolCall] = [], toolCallID: String? = nil,
        name: String? = nil
    ) {
        self.role = role
        self.content = content
        self.reasoning = reasoning
        self.toolCalls = toolCalls
        self.toolCallID = toolCallID
        self.name = name
    }
}

/// A call of a tool by the model.
public struct ToolCall: Sendable, Equatable {
    public var id: String?
    public var name: String
    /// A JSON text, an object, as the model wrote it.
    public var arguments: String

    public init(id: String? = nil, name: String, arguments: String) {
        self.id = id
        self.name = name
        self.arguments = arguments
    }
}

/// A tool that the model may call.
public struct ToolDefinition: Sendable, Equatable {
    public var name: String
    public var description: String?
    /// A JSON Schema as JSON text; nil: no parameters.
    public var parameters: String?

    public init(name: String, description: String? = nil, parameters: String? = nil) {
        self.name = name
        self.description = description
        self.parameters = parameters
    }
}
