// SPDX-License-Identifier: Apache-2.0

public import MoEChat

/// How a conversation becomes a prompt, and an answer's text a message.
public struct ChatFormat: Sendable {
    /// For people: where the template is from.
    public let name: String
    /// How reasoning and tool calls are marked in answers.
    public let answers: AnswerFormat
    private let prompter: Prompter

    private enum Prompter: Sendable {
        case plain
    }

    /// Texts that end an answer, where no token does.
    var stop: [String] {
        switch prompter {
        case .plain: ["\nUser:", "\nSystem:", "\nAssistant:"]
        }
    }

    /// Whether the tokenizer's own special tokens go around the prompt: a template writes them itself.
    var addsSpecialTokens: Bool {
        switch prompter {
        case .plain: true
        }
    }

    /// Whether white space around an answer is not part of it.
    var trimsAnswers: Bool {
        switch prompter {
        case .plain: true
        }
    }

    /// For models that have never learned to converse: a dialogue as books and transcripts write it.
    ///
    /// ```
    /// System: …
    /// User: …
    /// Assistant: …
    /// ```
    ///
    /// The answer ends where the next speaker would begin. Tools are refused.
    public static let plain = ChatFormat(name: "plain", answers: .plain, prompter: .plain)

    /// - Parameter template: Jinja, as chat templates are written.
    public init(template: String, name: String, of llm: LLM) throws {
        throw ChatFormatError(.badTemplate, "templates are not read yet")
    }

    private init(name: String, answers: AnswerFormat, prompter: Prompter) {
        (self.name, self.answers, self.prompter) = (name, answers, prompter)
    }

    // MARK: Prompts

    /// - Throws: ``ChatFormatError``
    func prompt(
        _ messages: [ChatMessage], tools: [ToolDefinition], variables: [String: String], continuesFinalMessage: Bool
    ) throws -> String {
        guard !messages.isEmpty else { throw ChatFormatError(.refused, "a conversation without messages") }
        switch prompter {
        case .plain: return try Self.plainPrompt(messages, tools: tools, continuesFinalMessage: continuesFinalMessage)
        }
    }

    private static func plainPrompt(
        _ messages: [ChatMessage], tools: [ToolDefinition], continuesFinalMessage: Bool
    ) throws -> String {
        guard tools.isEmpty else { throw ChatFormatError(.refused, "the plain format has no tools") }
        let lines = try messages.map { message in
            guard ["system", "developer", "user", "assistant"].contains(message.role) else {
                throw ChatFormatError(.refused, "the plain format has no role '\(message.role)'")
            }
            return message.role.prefix(1).uppercased() + message.role.dropFirst() + ": " + (message.content ?? "")
        }
        return lines.joined(separator: "\n") + (continuesFinalMessage ? "" : "\nAssistant:")
    }
}
