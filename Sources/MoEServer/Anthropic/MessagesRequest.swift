// SPDX-License-Identifier: Apache-2.0

import MoEChat
import MoEInfer
import MoEJSON

/// `POST /v1/messages`: a conversation in the shape of Anthropic's API.
struct MessagesRequest {
    let fields: JSONFields
    let state: ServerState
    let rights: KeyRights

    init(_ fields: JSONFields, _ state: ServerState, _ rights: KeyRights) {
        (self.fields, self.state, self.rights) = (fields, state, rights)
    }

    func read() throws -> GenerationRequest {
        let common = SamplingFields(fields, state, rights)
        try common.checkModel()
        var conversation = try conversation()
        guard let maxTokens = try fields.int("max_tokens", 1...Int.max) else {
            throw APIError.invalid("'max_tokens' is missing", param: "max_tokens")
        }
        var sampling = try common.sampling(maxTokens: maxTokens, names: [])
        _ = try fields.array("stop_sequences")
        sampling.stop = try common.stops("stop_sequences")
        let output = try fields.object("output_config")
        let effort = try output?.string("effort")
        let (format, older) = (try output?.object("format"), try fields.object("output_format"))
        if let format = format ?? older, try format.required("type") == "json_schema" {
            guard let schema = format.member("schema") else {
                throw APIError.invalid("'\(format.name("schema"))' is missing", param: format.name("schema"))
            }
            conversation.grammar = try state.grammar(schema: format.text(schema), param: format.name("schema"))
        }
        let compute = try common.compute(effort: effort)
        if let thinking = try fields.object("thinking") {
            conversation.variables["enable_thinking"] = try thinking.string("type") == "disabled" ? "false" : "true"
        }
        conversation.generation = compute.options(sampling)
        return GenerationRequest(
            plans: try conversation.plans(count: 1), isStreamed: try fields.bool("stream") ?? false,
            operatingPoint: compute.name, budget: compute.budget, format: MessagesFormat(stops: sampling.stop))
    }

    func countTokens() throws -> JSONTree {
        try SamplingFields(fields, state, rights).checkModel()
        return ["input_tokens": .int(try conversation().plans(count: 1)[0].tokens.count)]
    }

    // MARK: Reading

    private func conversation() throws -> Conversation {
        var conversation = Conversation(state)
        if let system = try text(fields, "system"), !system.isEmpty {
            conversation.messages.append(ChatMessage(role: "system", content: system))
        }
        guard let messages = try fields.objects("messages"), !messages.isEmpty else {
            throw APIError.invalid("'messages': expected at least one message", param: "messages")
        }
        for message in messages { conversation.messages += try read(message) }
        // An answer that is begun is gone on with.
        conversation.continuesFinalMessage = conversation.messages.last?.role == "assistant"
        for tool in try fields.objects("tools") ?? [] {
            if let type = try tool.string("type"), type != "custom" {
                throw APIError.invalid(
                    "'\(tool.name("type"))': only custom tools can be called, found '\(type)'", param: "tools")
            }
            conversation.tools.append(
                ToolDefinition(
                    name: try tool.required("name"), description: try tool.string("description"),
                    parameters: try tool.object("input_schema").map { tool.text($0.value) }))
        }
        if let choice = try fields.object("tool_choice") {
            conversation.allowsParallelCalls = try choice.bool("disable_parallel_tool_use") != true
            switch try choice.required("type") {
            case "auto": break
            case "none": conversation.choice = .none
            case "any":
                guard !conversation.tools.isEmpty else {
                    throw APIError.invalid("'tool_choice': there are no tools", param: "tool_choice")
                }
                conversation.choice = .forced(conversation.tools)
            case "tool":
                let name = try choice.required("name")
                guard let tool = conversation.tools.first(where: { $0.name == name }) else {
                    throw APIError.invalid("'tool_choice': there is no tool '\(name)'", param: "tool_choice")
                }
                conversation.choice = .forced([tool])
            case let type:
                throw APIError.invalid(
                    "'tool_choice.type': expected auto, any, tool or none, found '\(type)'", param: "tool_choice")
            }
        }
        return conversation
    }

    /// A string, or blocks of text.
    private func text(_ fields: JSONFields, _ name: String) throws(APIError) -> String? {
        guard let member = fields.member(name) else { return nil }
        if let string = fields.document.string(member) { return string }
        guard let blocks = try fields.objects(name) else { return nil }
        var text = ""
        for block in blocks {
            guard try block.required("type") == "text" else {
                throw .invalid("'\(block.path)': this model reads text only", param: block.path)
            }
            text += try block.required("text")
        }
        return text
    }

    /// One message, and before it the results of tools that it brings.
    private func read(_ fields: JSONFields) throws(APIError) -> [ChatMessage] {
        let role = try fields.required("role")
        guard ["user", "assistant", "system"].contains(role) else {
            throw .invalid(
                "'\(fields.name("role"))': expected user or assistant, found '\(role)'", param: fields.name("role"))
        }
        guard let content = fields.member("content") else {
            throw .invalid("'\(fields.name("content"))' is missing", param: fields.name("content"))
        }
        if let string = fields.document.string(content) { return [ChatMessage(role: role, content: string)] }
        var message = ChatMessage(role: role, content: nil)
        var results: [ChatMessage] = []
        for block in try fields.objects("content") ?? [] {
            switch try block.required("type") {
            case "text": message.content = (message.content ?? "") + (try block.required("text"))
            case "thinking": message.reasoning = (message.reasoning ?? "") + (try block.string("thinking") ?? "")
            case "redacted_thinking": break
            case "tool_use":
                message.toolCalls.append(
                    ToolCall(
                        id: try block.string("id"), name: try block.required("name"),
                        arguments: try block.object("input").map { block.text($0.value) } ?? "{}"))
            case "tool_result":
                var result = ChatMessage(role: "tool", content: try text(block, "content") ?? "")
                result.toolCallID = try block.required("tool_use_id")
                results.append(result)
            case let type:
                throw .invalid(
                    "'\(block.path)': this model reads text only, found a block of type '\(type)'", param: block.path)
            }
        }
        let isEmpty = message.content == nil && message.toolCalls.isEmpty && message.reasoning == nil
        return results + (isEmpty && !results.isEmpty ? [] : [message])
    }
}

/// A message of Anthropic's API, also as a stream.
struct MessagesFormat: ResponseFormat {
    let idPrefix = "msg_"
    let stops: [String]

    /// Of the request's own: a format may have others.
    private func stopText(_ output: Output) -> String? {
        output.generation.stopText.flatMap { stops.contains($0) ? $0 : nil }
    }

    private func stopReason(_ output: Output) -> JSONTree {
        switch output.finishReason {
        case .stop: stopText(output) == nil ? "end_turn" : "stop_sequence"
        case .length: "max_tokens"
        case .toolCalls: "tool_use"
        }
    }

    private func stopSequence(_ output: Output) -> JSONTree { stopText(output).map { .string($0) } ?? .null }

    private static func usage(_ outputs: [Output], _ facts: ResponseFacts) -> JSONTree {
        let usage = facts.usage(outputs)
        return [
            "input_tokens": .int(usage.promptTokens - usage.cachedTokens),
            "cache_read_input_tokens": .int(usage.cachedTokens),
            "cache_creation_input_tokens": 0, "output_tokens": .int(usage.completionTokens),
            "moe": facts.moeJSON(usage),
        ]
    }

    func response(_ outputs: [Output], _ facts: ResponseFacts) -> JSONTree {
        let output = outputs[0]
        var content: [JSONTree] = []
        if let reasoning = output.message.reasoning {
            content.append(["type": "thinking", "thinking": .string(reasoning), "signature": ""])
        }
        if let text = output.message.content, !text.isEmpty { content.append(["type": "text", "text": .string(text)]) }
        for call in output.message.toolCalls {
            content.append([
                "type": "tool_use", "id": .string(call.id ?? ""), "name": .string(call.name),
                "input": .text(call.jsonArguments),
            ])
        }
        return [
            "id": .string(facts.id), "type": "message", "role": "assistant", "model": .string(facts.model),
            "content": .array(content), "stop_reason": stopReason(output), "stop_sequence": stopSequence(output),
            "usage": Self.usage(outputs, facts),
        ]
    }

    func stream(_ facts: ResponseFacts) -> any StreamEncoder { Stream(format: self, facts: facts) }

    private struct Stream: StreamEncoder {
        private enum Block: Equatable {
            case thinking, text
            case call(Int)
        }

        let format: MessagesFormat
        let facts: ResponseFacts
        private var open: Block?
        private var count = 0

        init(format: MessagesFormat, facts: ResponseFacts) { (self.format, self.facts) = (format, facts) }

        private func event(_ name: String, _ members: JSONMembers) -> ServerSentEvent {
            var json: JSONMembers = ["type": .string(name)]
            for member in members.members { json.append(member.name, member.value) }
            return ServerSentEvent(.object(json), name: name)
        }

        mutating func begin() -> [ServerSentEvent] {
            [
                event(
                    "message_start",
                    [
                        "message": [
                            "id": .string(facts.id), "type": "message", "role": "assistant", "model": .string(facts.model),
                            "content": [], "stop_reason": nil, "stop_sequence": nil,
                            "usage": ["input_tokens": .int(facts.promptTokens), "output_tokens": 0],
                        ]
                    ])
            ]
        }

        private mutating func close() -> [ServerSentEvent] {
            guard open != nil else { return [] }
            open = nil
            defer { count += 1 }
            return [event("content_block_stop", ["index": .int(count)])]
        }

        private mutating func enter(_ block: Block, _ content: JSONTree) -> [ServerSentEvent] {
            if open == block { return [] }
            let events = close()
            open = block
            return events + [event("content_block_start", ["index": .int(count), "content_block": content])]
        }

        private func delta(_ delta: JSONTree) -> ServerSentEvent {
            event("content_block_delta", ["index": .int(count), "delta": delta])
        }

        mutating func encode(_ output: OutputEvent, choice: Int) -> [ServerSentEvent] {
            switch output {
            case .reasoning(let text, _) where !text.isEmpty:
                return enter(.thinking, ["type": "thinking", "thinking": "", "signature": ""])
                    + [delta(["type": "thinking_delta", "thinking": .string(text)])]
            case .content(let text, _) where !text.isEmpty:
                return enter(.text, ["type": "text", "text": ""]) + [delta(["type": "text_delta", "text": .string(text)])]
            case .callBegan(let index, let id, let name):
                return enter(
                    .call(index), ["type": "tool_use", "id": .string(id), "name": .string(name), "input": [:]])
            case .callArguments(_, let fragment) where !fragment.isEmpty:
                return [delta(["type": "input_json_delta", "partial_json": .string(fragment)])]
            case .callEnded, .callAbandoned: return close()
            default: return []
            }
        }

        mutating func end(_ output: Output, choice: Int) -> [ServerSentEvent] { close() }

        mutating func finish(_ outputs: [Output]) -> [ServerSentEvent] {
            [
                event(
                    "message_delta",
                    [
                        "delta": [
                            "stop_reason": format.stopReason(outputs[0]),
                            "stop_sequence": format.stopSequence(outputs[0]),
                        ],
                        "usage": MessagesFormat.usage(outputs, facts),
                    ]), event("message_stop", [:]),
            ]
        }

        mutating func fail(_ error: APIError) -> [ServerSentEvent] { [ServerSentEvent(error.anthropicJSON, name: "error")] }
    }
}

extension ToolCall {
    /// The arguments where they are JSON, else as a JSON string: what is put into another document must not break it.
    var jsonArguments: String {
        (try? JSONDocument(Array(arguments.utf8))) == nil
            ? String(decoding: JSONTree.string(arguments).bytes, as: UTF8.self) : arguments
    }
}
