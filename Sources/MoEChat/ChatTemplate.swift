// SPDX-License-Identifier: Apache-2.0

public import MoEJinja

/// A model's chat template: turns a conversation into the text that the model was trained on, as `apply_chat_template` of
/// transformers 5 does. Parsed once, rendered as often as wanted, from any thread.
public struct ChatTemplate: Sendable {
    /// The Jinja text.
    public let source: String
    /// `bos_token`, `eos_token` and the like: what the template may write. One that is not here is undefined there.
    public let specialTokens: [String: String]
    /// How messages are handed to it.
    public private(set) var conventions: Conventions
    private let template: JinjaTemplate

    /// What a template wants of messages, found out by rendering a short conversation.
    public struct Conventions: Sendable, Equatable {
        /// Whether arguments of tool calls stay the JSON text that they are; else they are objects.
        public var hasTextArguments = false
        /// Whether content is a list of parts, `{"type": "text", "text": …}`; else it is a string.
        public var hasContentParts = false

        public init(hasTextArguments: Bool = false, hasContentParts: Bool = false) {
            self.hasTextArguments = hasTextArguments
            self.hasContentParts = hasContentParts
        }
    }

    /// - Parameter conventions: nil: found out.
    /// - Throws: ``JinjaError`` for what is no template.
    public init(
        _ source: String, specialTokens: [String: String] = [:], conventions: Conventions? = nil,
        limits: JinjaLimits = JinjaLimits()
    ) throws(JinjaError) {
        self.source = source
        self.specialTokens = specialTokens
        template = try JinjaTemplate(source, limits: limits)
        self.conventions = conventions ?? Conventions()
        if conventions == nil { self.conventions = probedConventions() }
    }

    /// The text of a conversation.
    ///
    /// - Parameters:
    ///   - tools: none: the template sees that there are none.
    ///   - addGenerationPrompt: whether the text ends with what begins an answer of the assistant.
    ///   - continueFinalMessage: whether it ends with the last message's content, for the model to go on with it.
    ///   - variables: what the template reads beyond that, `enable_thinking` for example; they hide special tokens.
    ///   - clock: what `strftime_now` shows.
    public func render(
        messages: [ChatMessage], tools: [ToolDefinition] = [], addGenerationPrompt: Bool = true,
        continueFinalMessage: Bool = false, variables: JinjaObject = [:], clock: @escaping JinjaClock = JinjaDate.now
    ) throws(ChatTemplateError) -> String {
        var objects: [JinjaObject] = []
        for message in messages { objects.append(message.object(conventions)) }
        var definitions: [JinjaValue] = []
        for tool in tools { definitions.append(.object(try tool.object())) }
        return try render(
            conversation: objects, tools: definitions.isEmpty ? .none : .array(definitions),
            addGenerationPrompt: addGenerationPrompt, continueFinalMessage: continueFinalMessage, variables: variables,
            clock: clock)
    }

    /// The same for messages and tools as JSON has them, with whatever members a template reads.
    ///
    /// Members that are null are left out, and what an assistant thought gets each of its names, as transformers does.
    public func render(
        conversation: [JinjaObject], tools: JinjaValue = .none, addGenerationPrompt: Bool = true,
        continueFinalMessage: Bool = false, variables: JinjaObject = [:], clock: @escaping JinjaClock = JinjaDate.now
    ) throws(ChatTemplateError) -> String {
        guard !conversation.isEmpty else { throw .emptyConversation }
        guard !addGenerationPrompt || !continueFinalMessage else { throw .promptAndContinuation }
        var messages = conversation.map { Self.withReasoningNames(Self.withoutNulls($0)) }
        var final: String?
        if continueFinalMessage { final = try mark(&messages[messages.count - 1]) }
        var context: JinjaObject = [
            "messages": .array(messages.map { .object($0) }), "tools": tools, "documents": .none,
            "add_generation_prompt": .bool(addGenerationPrompt),
        ]
        for name in specialTokens.keys.sorted() { context[name] = .string(specialTokens[name] ?? "") }
        for (name, value) in zip(variables.keys, variables.values) { context[name] = value }
        let text: String
        do { text = try template.render(context, clock: clock) } catch { throw .template(error) }
        guard let final else { return text }
        return try cut(text, after: final)
    }

    // MARK: Members

    private static func withoutNulls(_ message: JinjaObject) -> JinjaObject {
        guard message.values.contains(.none) else { return message }
        return JinjaObject(zip(message.keys, message.values).filter { $0.1 != .none })
    }

    private static func withReasoningNames(_ message: JinjaObject) -> JinjaObject {
        let names = ["reasoning_content", "thinking", "reasoning"]
        guard let reasoning = names.lazy.compactMap({ message[$0] }).first else { return message }
        var result: JinjaObject = ["thinking": reasoning]
        for (name, value) in zip(message.keys, message.values) { result[name] = value }
        result["reasoning_content"] = reasoning
        return result
    }

    // MARK: Going on with the last message

    private static let mark = "CONTINUE_FINAL_MESSAGE_TAG "

    /// Puts the mark behind the last message's text, which is given back.
    private func mark(_ message: inout JinjaObject) throws(ChatTemplateError) -> String {
        guard source.utf8.contains("content") else { throw .nothingToContinue }
        switch message["content"] {
        case .string(let text)?:
            message["content"] = .string(text + Self.mark)
            return text
        case .array(var parts)?:
            for index in parts.indices.reversed() {
                guard case .object(var part) = parts[index], case .string(let text)? = part["text"] else { continue }
                part["text"] = .string(text + Self.mark)
                parts[index] = .object(part)
                message["content"] = .array(parts)
                return text
            }
            throw .nothingToContinue
        default: throw .nothingToContinue
        }
    }

    /// What stands before the mark.
    private func cut(_ text: String, after final: String) throws(ChatTemplateError) -> String {
        let trimmedMark = Self.mark.trimmed()
        guard text.utf8.contains(final.trimmed()), let place = text.utf8.last(trimmedMark) else {
            throw .finalMessageIsLost
        }
        let head = String(text[..<place])
        // Without its space the template strips contents, so what stands before it is stripped as well.
        return text[place...].utf8.starts(with: Self.mark.utf8) ? head : head.trimmed(start: false)
    }

    // MARK: Conventions

    private func probedConventions() -> Conventions {
        var found = Conventions()
        let content = "probe-content-7"
        func rendered(_ conversation: [JinjaObject], tools: JinjaValue = .none) -> String {
            (try? render(conversation: conversation, tools: tools, addGenerationPrompt: false)) ?? ""
        }
        func user(_ content: JinjaValue) -> JinjaObject { ["role": "user", "content": content] }
        let plain: JinjaValue = .string(content)
        let parts: JinjaValue = [["type": "text", "text": .string(content)]]
        if !rendered([user(plain)]).utf8.contains(content), rendered([user(parts)]).utf8.contains(content) {
            found.hasContentParts = true
        }
        func calling(_ arguments: JinjaValue) -> String {
            let function: JinjaValue = ["name": "probe", "arguments": arguments]
            let call: JinjaValue = ["id": "probe1234", "type": "function", "function": function]
            let message: JinjaObject = ["role": "assistant", "content": "", "tool_calls": [call]]
            let result: JinjaObject = [
                "role": "tool", "tool_call_id": "probe1234", "name": "probe",
                "content": found.hasContentParts ? parts : plain,
            ]
            let schema: JinjaValue = ["type": "object", "properties": [:]]
            let tool: JinjaValue = [
                "type": "function", "function": ["name": "probe", "description": "A probe.", "parameters": schema],
            ]
            return rendered([user(found.hasContentParts ? parts : plain), message, result], tools: [tool])
        }
        // As an object it shows as JSON or in tags, not as Python shows a dictionary.
        let object = calling(["probe_key": "probe_value"])
        if !object.utf8.contains("probe_key") || object.utf8.contains("'probe_key'") {
            let text = calling(#"{"probe_key": "probe_value"}"#)
            found.hasTextArguments = text.utf8.contains(#"{"probe_key": "probe_value"}"#)
        }
        return found
    }
}
