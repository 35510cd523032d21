// SPDX-License-Identifier: Apache-2.0

import MoEChat
import MoEGrammar
import MoEInfer
import MoEJSON

/// `POST /v1/responses`: a conversation in the shape of OpenAI's newer API. Nothing is stored: the whole conversation comes with each
/// request.
struct ResponsesRequest {
    let fields: JSONFields
    let state: ServerState
    let rights: KeyRights

    init(_ fields: JSONFields, _ state: ServerState, _ rights: KeyRights) {
        (self.fields, self.state, self.rights) = (fields, state, rights)
    }

    func read() throws -> GenerationRequest {
        let common = SamplingFields(fields, state, rights)
        try common.checkModel()
        for name in ["previous_response_id", "conversation", "prompt"] where fields.has(name) {
            throw APIError.invalid(
                "'\(name)': responses are not stored here; send the conversation as 'input'", param: name)
        }
        if try fields.bool("background") ?? false {
            throw APIError.invalid("'background': responses are not stored here", param: "background")
        }
        var conversation = Conversation(state)
        if let instructions = try fields.string("instructions"), !instructions.isEmpty {
            conversation.messages.append(ChatMessage(role: "system", content: instructions))
        }
        conversation.messages += try input()
        try conversation.take(ToolFields(fields))
        conversation.grammar = try grammar()
        let effort = try fields.object("reasoning")?.string("effort") ?? fields.string("reasoning_effort")
        conversation.effort = effort
        var sampling = try common.sampling(maxTokens: state.llm.contextLength, names: ["max_output_tokens", "max_tokens"])
        if let count = try fields.int("top_logprobs", 0...20) { sampling.logprobs = count }
        let includes = try fields.strings("include", limit: 64) ?? []
        if includes.contains("message.output_text.logprobs"), sampling.logprobs == nil { sampling.logprobs = 0 }
        let compute = try common.compute(effort: effort)
        conversation.generation = compute.options(sampling)
        return GenerationRequest(
            plans: try conversation.plans(count: 1), isStreamed: try fields.bool("stream") ?? false,
            operatingPoint: compute.name, budget: compute.budget, format: ResponsesFormat(echo: echo(sampling)))
    }

    /// `text.format`.
    private func grammar() throws(APIError) -> Grammar? {
        guard let format = try fields.object("text")?.object("format") else { return nil }
        switch try format.required("type") {
        case "text": return nil
        case "json_object": return try state.grammar(schema: #"{"type":"object"}"#, param: "text.format")
        case "json_schema":
            guard let schema = format.member("schema") else {
                throw .invalid("'text.format.schema' is missing", param: "text.format.schema")
            }
            return try state.grammar(schema: format.text(schema), param: "text.format.schema")
        case let type:
            throw .invalid(
                "'text.format.type': expected text, json_object or json_schema, found '\(type)'", param: "text.format")
        }
    }

    /// What the response repeats of the request.
    private func echo(_ sampling: SamplingOptions) -> JSONMembers {
        // What is large is not repeated: it would be kept as long as the answer takes.
        func given(_ name: String, _ otherwise: JSONTree) -> JSONTree {
            guard let json = fields.member(name).map(fields.json), json.bytes.count <= SamplingFields.schemaLimit else {
                return otherwise
            }
            return json
        }
        return [
            "instructions": given("instructions", .null), "max_output_tokens": given("max_output_tokens", .null),
            "metadata": given("metadata", [:]), "parallel_tool_calls": given("parallel_tool_calls", true),
            "temperature": .float(sampling.temperature), "top_p": .float(sampling.topP),
            "tool_choice": given("tool_choice", "auto"), "tools": given("tools", []),
            "text": given("text", ["format": ["type": "text"]]), "reasoning": given("reasoning", .null),
            "truncation": "disabled", "store": false, "previous_response_id": .null,
        ]
    }

    // MARK: Input

    private func input() throws(APIError) -> [ChatMessage] {
        guard let member = fields.member("input") else { throw .invalid("'input' is missing", param: "input") }
        if let text = fields.document.string(member) { return [ChatMessage(role: "user", content: text)] }
        guard let items = try fields.objects("input"), !items.isEmpty else {
            throw fields.wrong("input", expected: "a text or at least one item")
        }
        var messages: [ChatMessage] = []
        /// Calls and reasoning are items of their own here, and parts of the assistant's message for templates.
        func assistant(_ change: (inout ChatMessage) -> Void) {
            if messages.last?.role != "assistant" {
                messages.append(ChatMessage(role: "assistant", content: nil))
            }
            change(&messages[messages.count - 1])
        }
        for item in items {
            switch try item.string("type") ?? "message" {
            case "message":
                var message = try ChatMessageFields(item).message()
                if message.role == "assistant", let last = messages.last, last.role == "assistant", last.content == nil,
                    last.toolCalls.isEmpty
                {
                    message.reasoning = last.reasoning
                    messages.removeLast()
                }
                messages.append(message)
            case "function_call":
                let (callID, itemID) = (try item.string("call_id"), try item.string("id"))
                let call = ToolCall(
                    id: callID ?? itemID, name: try item.required("name"), arguments: try item.string("arguments") ?? "{}")
                assistant { $0.toolCalls.append(call) }
            case "function_call_output":
                var message = ChatMessage(role: "tool", content: try output(item))
                message.toolCallID = try item.required("call_id")
                messages.append(message)
            case "reasoning":
                var text = ""
                let (content, summary) = (try item.objects("content"), try item.objects("summary"))
                for part in content ?? summary ?? [] { text += try part.string("text") ?? "" }
                messages.append(ChatMessage(role: "assistant", content: nil, reasoning: text))
            case let type:
                throw .invalid("'\(item.path)': items of type '\(type)' are not known here", param: item.path)
            }
        }
        // Reasoning that nothing followed belongs to no message.
        messages.removeAll { $0.role == "assistant" && $0.content == nil && $0.toolCalls.isEmpty }
        guard !messages.isEmpty else { throw .invalid("'input': there is no message in it", param: "input") }
        return messages
    }

    private func output(_ item: JSONFields) throws(APIError) -> String {
        guard let member = item.member("output") else { return "" }
        if let text = item.document.string(member) { return text }
        var text = ""
        for part in try item.objects("output") ?? [] { text += try part.string("text") ?? "" }
        return text
    }
}
