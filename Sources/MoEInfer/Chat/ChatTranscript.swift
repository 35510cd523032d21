// SPDX-License-Identifier: Apache-2.0

import Foundation
public import MoEChat
import MoEJSON
import MoETensors

/// A file that is no saved conversation, in one line.
public struct ChatTranscriptError: Error, Equatable, Sendable, CustomStringConvertible {
    public let description: String
}

/// A conversation as a JSON file, in the shape of OpenAI's API, so that other programs can read and write it:
///
/// ```json
/// {"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…", "reasoning_content": "…"}]}
/// ```
public struct ChatTranscript: Sendable, Equatable {
    public var messages: [ChatMessage]

    public init(messages: [ChatMessage]) { self.messages = messages }

    // MARK: Writing

    public var json: String {
        get throws {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
            return String(decoding: try encoder.encode(Document(messages: messages.map(Message.init))), as: UTF8.self)
                + "\n"
        }
    }

    private struct Document: Encodable {
        let messages: [Message]
    }

    /// A message as JSON: what is absent is left out, but content, which is null.
    public struct Message: Encodable, Sendable {
        let message: ChatMessage

        public init(_ message: ChatMessage) { self.message = message }

        private enum Key: String, CodingKey {
            case role, content, name, id, type, function, arguments
            case reasoning = "reasoning_content"
            case toolCalls = "tool_calls"
            case toolCallID = "tool_call_id"
        }

        public func encode(to encoder: any Encoder) throws {
            var object = encoder.container(keyedBy: Key.self)
            try object.encode(message.role, forKey: .role)
            try object.encode(message.content, forKey: .content)
            try object.encodeIfPresent(message.reasoning, forKey: .reasoning)
            try object.encodeIfPresent(message.toolCallID, forKey: .toolCallID)
            try object.encodeIfPresent(message.name, forKey: .name)
            guard !message.toolCalls.isEmpty else { return }
            var calls = object.nestedUnkeyedContainer(forKey: .toolCalls)
            for call in message.toolCalls {
                var entry = calls.nestedContainer(keyedBy: Key.self)
                try entry.encodeIfPresent(call.id, forKey: .id)
                try entry.encode("function", forKey: .type)
                var function = entry.nestedContainer(keyedBy: Key.self, forKey: .function)
                try function.encode(call.name, forKey: .name)
                try function.encode(call.arguments, forKey: .arguments)
            }
        }
    }

    // MARK: Reading

    /// The most bytes that a file may have.
    public static let sizeLimit = 64 << 20

    /// - Parameters:
    ///   - json: an object with `messages`, or the messages alone.
    ///   - file: for messages of errors.
    /// - Throws: ``ChatTranscriptError``
    public init(json: [UInt8], file: String) throws(ChatTranscriptError) {
        guard json.count <= Self.sizeLimit else {
            throw ChatTranscriptError(description: "\(file): more than \(Self.sizeLimit >> 20) MiB")
        }
        let document: JSONDocument
        do {
            document = try JSONDocument(json)
        } catch {
            throw ChatTranscriptError(description: "\(file): no JSON: \(error.what) at byte \(error.offset)")
        }
        let reader = Reader(document: document, file: file)
        let root = document.root
        guard let elements = document.array(root) ?? document.array(document.member("messages", of: root)) else {
            throw ChatTranscriptError(description: "\(file): no saved conversation; expected an array \"messages\"")
        }
        messages = []
        for element in elements { messages.append(try reader.message(element, "messages[\(messages.count)]")) }
    }

    private struct Reader {
        typealias Value = JSONDocument.Value
        let document: JSONDocument
        let file: String

        func error(_ place: String, _ expected: String) -> ChatTranscriptError {
            ChatTranscriptError(description: "\(file): \(place): expected \(expected)")
        }

        func string(_ name: String, of value: Value, _ place: String) throws(ChatTranscriptError) -> String? {
            let member = document.member(name, of: value)
            if document.isNull(member) { return nil }
            guard let string = document.string(member) else { throw error("\(place).\(name)", "a string") }
            return string
        }

        func message(_ value: Value, _ place: String) throws(ChatTranscriptError) -> ChatMessage {
            guard document.object(value) != nil else { throw error(place, "an object") }
            guard let role = try string("role", of: value, place) else { throw error("\(place).role", "a string") }
            var message = ChatMessage(role: role, content: try content(value, place))
            message.reasoning = try string("reasoning_content", of: value, place)
            message.toolCallID = try string("tool_call_id", of: value, place)
            message.name = try string("name", of: value, place)
            let calls = document.member("tool_calls", of: value)
            if document.isNull(calls) { return message }
            guard let calls = document.array(calls) else { throw error("\(place).tool_calls", "an array") }
            for call in calls {
                message.toolCalls.append(try toolCall(call, "\(place).tool_calls[\(message.toolCalls.count)]"))
            }
            return message
        }

        /// A string, or an array of parts that are all text.
        private func content(_ value: Value, _ place: String) throws(ChatTranscriptError) -> String? {
            let content = document.member("content", of: value)
            guard let parts = document.array(content) else { return try string("content", of: value, place) }
            var text = ""
            for part in parts {
                guard document.string(document.member("type", of: part)) == "text",
                    let piece = document.string(document.member("text", of: part))
                else { throw error("\(place).content", "text only") }
                text += piece
            }
            return text
        }

        private func toolCall(_ value: Value, _ place: String) throws(ChatTranscriptError) -> ToolCall {
            guard let function = document.member("function", of: value),
                let name = try string("name", of: function, "\(place).function")
            else { throw error(place, "a function with a name") }
            let arguments = try string("arguments", of: function, "\(place).function") ?? "{}"
            return ToolCall(id: try string("id", of: value, place), name: name, arguments: arguments)
        }
    }
}
