// SPDX-License-Identifier: Apache-2.0

/// What an answer turned out to say, piece by piece.
public enum AnswerEvent: Sendable, Equatable {
    /// More of what the model thinks before it answers.
    case reasoning(String)
    /// More of what the model says.
    case content(String)
    /// A call begins. Indices count from 0 and are never used twice; `id` is the model's own where its format has ids, else
    /// `call_` and the index.
    case toolCallBegan(index: Int, id: String, name: String)
    /// More of a call's arguments: a fragment of one JSON text, an object.
    case toolCallArguments(index: Int, fragment: String)
    /// The call is complete, its arguments are a valid JSON object.
    case toolCallEnded(index: Int)
    /// The call, which had begun, cannot be read to its end. Forget it: its whole text follows as content.
    case toolCallAbandoned(index: Int)
    case warning(AnswerWarning)
}

/// What is wrong with an answer that could be read all the same.
public enum AnswerWarning: Sendable, Equatable, CustomStringConvertible {
    /// Text that should be a call is not one; it comes as content.
    case malformedCall(String)
    /// The answer ends within a call; what there is comes as content.
    case unfinishedCall
    /// The call is of a tool that was not offered.
    case unknownTool(String)
    /// The call was understood although its text breaks the format.
    case repairedCall(String)

    public var description: String {
        switch self {
        case .malformedCall(let why): "malformed tool call, shown as text: \(why)"
        case .unfinishedCall: "unfinished tool call, shown as text"
        case .unknownTool(let name): "call of a tool that was not offered: \(name)"
        case .repairedCall(let what): "tool call repaired: \(what)"
        }
    }
}
