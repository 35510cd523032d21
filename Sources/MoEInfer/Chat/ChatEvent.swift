// SPDX-License-Identifier: Apache-2.0

public import MoEChat

/// What one answer in a conversation asks for.
public struct ChatOptions: Sendable {
    public var generation: GenerationOptions
    /// nil: the model's own, ``LLM/chatFormat``.
    public var format: ChatFormat?
    /// Values that the template may ask for by these names, as JSON: `enable_thinking` = `false`.
    public var variables: [String: String] = [:]
    /// The last message is an assistant's and is to be gone on with, not answered.
    public var continuesFinalMessage = false
    /// Whether an answer may have more than one call of a tool. Where not, those after the first are left out of it; what was written for
    /// them counts as generated.
    public var allowsParallelCalls = true

    public init(generation: GenerationOptions = GenerationOptions()) { self.generation = generation }
}

/// What an answer in a conversation tells while it is made.
public enum ChatEvent: Sendable {
    /// A token was generated. What became certain with it follows as the events below; its own text has the names of special tokens
    /// in it.
    case token(GeneratedToken)
    /// More of what the model thinks before it answers.
    case reasoning(ChatText)
    /// More of what the model says.
    case content(ChatText)
    case toolCallBegan(index: Int, id: String, name: String)
    /// A fragment of the call's arguments, which are one JSON object.
    case toolCallArguments(index: Int, fragment: String)
    case toolCallEnded(index: Int)
    /// The call cannot be read to its end: its text follows as content.
    case toolCallAbandoned(index: Int)
    /// Something in the answer is not as its format wants it.
    case warning(AnswerWarning)
    /// The last event.
    case finished(ChatResult)
}

/// A piece of an answer.
public struct ChatText: Sendable, Equatable {
    public let text: String
    /// Experts per layer that ran for the token that completed this piece; nil for a dense model.
    public let meanExperts: Double?

    public init(_ text: String, meanExperts: Double? = nil) { (self.text, self.meanExperts) = (text, meanExperts) }
}

/// Why an answer ended.
public enum ChatFinishReason: String, Sendable, Encodable {
    /// The model ended its turn, or wrote a stop text.
    case stop
    /// `maxTokens`, or the end of the context.
    case length
    /// The model calls tools and waits for their results.
    case toolCalls = "tool_calls"
}

public struct ChatResult: Sendable {
    /// The answer, as it goes into the conversation.
    public let message: ChatMessage
    public let warnings: [AnswerWarning]
    public let finishReason: ChatFinishReason
    /// The tokens behind it: usage, timings, routing. Its text has the names of special tokens in it.
    public let generation: GenerationResult
}
