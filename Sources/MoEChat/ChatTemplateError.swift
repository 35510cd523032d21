// SPDX-License-Identifier: Apache-2.0

public import MoEJinja

/// Why a conversation has no text.
public enum ChatTemplateError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The template refuses the conversation, or something in it goes wrong.
    case template(JinjaError)
    case emptyConversation
    /// A new answer and the last message cannot both be what the model goes on with.
    case promptAndContinuation
    /// The last message has no text, or the template does not read it.
    case nothingToContinue
    /// The template leaves out the last message or changes it.
    case finalMessageIsLost
    /// A tool's parameters are no JSON object.
    case parameters(tool: String, problem: String)
    /// Of several templates none is for this use.
    case noTemplate(names: [String])

    public var description: String {
        switch self {
        case .template(let error): "chat \(error)"
        case .emptyConversation: "a conversation without a message"
        case .promptAndContinuation: "a conversation cannot both continue its last message and begin an answer"
        case .nothingToContinue: "the last message has no text that the chat template would continue"
        case .finalMessageIsLost: "the chat template leaves out the last message or changes it, so it cannot be continued"
        case .parameters(let tool, let problem): "tool '\(tool)': its parameters are no JSON object: \(problem)"
        case .noTemplate(let names):
            names.isEmpty
                ? "the model has no chat template"
                : "none of the model's chat templates is the default one: \(names.joined(separator: ", "))"
        }
    }
}
