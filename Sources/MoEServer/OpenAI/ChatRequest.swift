// SPDX-License-Identifier: Apache-2.0

import MoEChat
import MoEGrammar
import MoEInfer
import MoEJSON

/// `POST /v1/chat/completions`: a conversation to answer.
struct ChatRequest {
    let fields: JSONFields
    let state: ServerState
    let rights: KeyRights

    init(_ fields: JSONFields, _ state: ServerState, _ rights: KeyRights) {
        (self.fields, self.state, self.rights) = (fields, state, rights)
    }

    func read() throws -> GenerationRequest {
        let common = SamplingFields(fields, state, rights)
        try common.checkModel()
        guard let messages = try fields.objects("messages"), !messages.isEmpty else {
            throw APIError.invalid("'messages': expected at least one message", param: "messages")
        }
        var conversation = Conversation(state)
        conversation.messages = try messages.map { try ChatMessageFields($0).message() }
        try conversation.take(ToolFields(fields))
        conversation.grammar = try common.grammar()
        let effort = try fields.string("reasoning_effort")
        conversation.effort = effort
        conversation.variables = try variables()
        conversation.continuesFinalMessage = try fields.bool("continue_final_message") ?? false
        if try fields.bool("add_generation_prompt") == false, !conversation.continuesFinalMessage {
            throw APIError.invalid(
                "'add_generation_prompt': false is only of use with 'continue_final_message'",
                param: "add_generation_prompt")
        }

        var sampling = try common.sampling(maxTokens: state.llm.contextLength)
        if try fields.bool("logprobs") ?? false {
            sampling.logprobs = try fields.int("top_logprobs", 0...20) ?? 0
        } else if try fields.int("top_logprobs", 0...20) ?? 0 > 0 {
            throw APIError.invalid("'top_logprobs' needs 'logprobs': true", param: "top_logprobs")
        }
        let compute = try common.compute(effort: effort)
        conversation.generation = compute.options(sampling)
        let stream = try StreamFields(fields)
        return GenerationRequest(
            plans: try conversation.plans(count: try common.count()), isStreamed: stream.isStreamed,
            includesUsage: stream.includesUsage, continuousUsage: stream.continuousUsage,
            priority: -(try fields.int("priority", -1_000_000...1_000_000) ?? 0), operatingPoint: compute.name,
            budget: compute.budget, format: ChatCompletionFormat(hasLogprobs: sampling.logprobs != nil))
    }

    private func variables() throws(APIError) -> [String: String] {
        guard let object = try fields.object("chat_template_kwargs") else { return [:] }
        var variables: [String: String] = [:]
        for (key, value) in fields.document.object(object.value)! {
            variables[fields.document.string(key) ?? ""] = fields.text(value)
        }
        return variables
    }
}

/// `stream` and `stream_options`.
struct StreamFields {
    let isStreamed: Bool
    let includesUsage: Bool
    let continuousUsage: Bool

    init(_ fields: JSONFields) throws(APIError) {
        isStreamed = try fields.bool("stream") ?? false
        let options = try fields.object("stream_options")
        continuousUsage = try options?.bool("continuous_usage_stats") ?? false
        includesUsage = try options?.bool("include_usage") ?? continuousUsage
    }
}

/// One message in OpenAI's shape.
struct ChatMessageFields {
    let fields: JSONFields

    init(_ fields: JSONFields) { self.fields = fields }

    func message() throws(APIError) -> ChatMessage {
        let role = try fields.required("role")
        var message = ChatMessage(role: role == "function" ? "tool" : role, content: try content())
        message.reasoning = try fields.string("reasoning_content")
        if message.reasoning == nil { message.reasoning = try fields.string("reasoning") }
        message.toolCallID = try fields.string("tool_call_id")
        message.name = try fields.string("name")
        let calls = try fields.objects("tool_calls") ?? []
        for call in calls {
            guard let function = try call.object("function") else {
                throw .invalid("'\(call.name("function"))' is missing", param: call.name("function"))
            }
            message.toolCalls.append(
                ToolCall(
                    id: try call.string("id"), name: try function.required("name"),
                    arguments: try function.string("arguments") ?? "{}"))
        }
        return message
    }

    /// A string, or parts of text.
    private func content() throws(APIError) -> String? {
        guard let member = fields.member("content") else { return nil }
        if let string = fields.document.string(member) { return string }
        guard let parts = fields.document.array(member) else {
            throw fields.wrong("content", expected: "a string or parts")
        }
        var (text, index) = ("", 0)
        for part in parts {
            let part = try fields.fields(part, name: "\(fields.name("content"))[\(index)]")
            switch try part.required("type") {
            case "text", "input_text", "output_text": text += try part.required("text")
            case "refusal": text += try part.required("refusal")
            case let type:
                throw .invalid(
                    "'\(part.path)': this model reads text only, found a part of type '\(type)'", param: part.path)
            }
            index += 1
        }
        return text
    }
}

/// `tools`, `tool_choice`, and the older `functions`.
struct ToolFields {
    let fields: JSONFields

    enum Choice {
        case auto, none
        /// The model must call one of these.
        case forced([ToolDefinition])
    }

    init(_ fields: JSONFields) { self.fields = fields }

    func tools() throws(APIError) -> [ToolDefinition] {
        var tools: [ToolDefinition] = []
        var functions = try fields.objects("functions") ?? []
        for tool in try fields.objects("tools") ?? [] {
            let type = try tool.string("type") ?? "function"
            guard type == "function" else {
                throw .invalid(
                    "'\(tool.name("type"))': only functions can be called, found '\(type)'", param: tool.name("type"))
            }
            // The Responses API has no object around the function.
            functions.append(try tool.object("function") ?? tool)
        }
        for function in functions {
            let parameters = try function.object("parameters")
            tools.append(
                ToolDefinition(
                    name: try function.required("name"), description: try function.string("description"),
                    parameters: parameters.map { function.text($0.value) }))
        }
        return tools
    }

    func allowsParallelCalls() throws(APIError) -> Bool { try fields.bool("parallel_tool_calls") ?? true }

    func choice(among tools: [ToolDefinition]) throws(APIError) -> Choice {
        guard let member = fields.member("tool_choice") ?? fields.member("function_call") else { return .auto }
        if let word = fields.document.string(member) {
            switch word {
            case "auto": return .auto
            case "none": return .none
            case "required", "any":
                guard !tools.isEmpty else { throw .invalid("'tool_choice': there are no tools", param: "tool_choice") }
                return .forced(tools)
            default:
                throw .invalid(
                    "'tool_choice': expected auto, none, required or a function, found '\(word)'", param: "tool_choice")
            }
        }
        let choice = try fields.fields(member, name: "tool_choice")
        // The Responses API has no object around the name.
        let name = try (try choice.object("function") ?? choice).required("name")
        guard let tool = tools.first(where: { $0.name == name }) else {
            throw .invalid("'tool_choice': there is no tool '\(name)'", param: "tool_choice")
        }
        return .forced([tool])
    }
}

/// A conversation, from any endpoint, on its way to plans.
struct Conversation {
    private let state: ServerState
    var messages: [ChatMessage] = []
    var tools: [ToolDefinition] = []
    var choice = ToolFields.Choice.auto
    var allowsParallelCalls = true
    var grammar: Grammar?
    /// nil: the template's own.
    var effort: String?
    var variables: [String: String] = [:]
    var continuesFinalMessage = false
    var generation = GenerationOptions()

    init(_ state: ServerState) { self.state = state }

    mutating func take(_ fields: ToolFields) throws(APIError) {
        tools = try fields.tools()
        choice = try fields.choice(among: tools)
        allowsParallelCalls = try fields.allowsParallelCalls()
    }

    func plans(count: Int) throws -> [AnswerPlan] {
        var (tools, forced) = (tools, ForcedCall?.none)
        switch choice {
        case .auto: break
        case .none: tools = []
        case .forced(let wanted):
            forced = try ForcedCall(tools: wanted, grammar: state.grammar(jsonSchema:))
        }
        var options = ChatOptions(generation: generation)
        options.format = state.chatFormat
        options.continuesFinalMessage = continuesFinalMessage
        options.allowsParallelCalls = allowsParallelCalls
        if let effort {
            options.variables["reasoning_effort"] = "\"\(effort)\""
            if effort == "none" { options.variables["enable_thinking"] = "false" }
        }
        // What is written under a grammar is the answer itself: there is no room for thoughts before it.
        if grammar != nil || forced != nil { options.variables["enable_thinking"] = "false" }
        options.variables.merge(variables) { _, given in given }
        // A format without tools can still be made to call one: the grammar alone says how.
        let shown = forced != nil && state.chatFormat.isPlain ? [] : tools
        let prompt = try state.llm.chatPrompt(messages, tools: shown, options: options)

        var plan = AnswerPlan(
            tokens: prompt.tokens, generation: generation,
            reading: .chat(prompt: prompt.text, tools: shown, options: options))
        if let forced {
            plan.reading = .call(forced)
            plan.generation.grammar = forced.grammar
            // A call ends where its grammar does: a stop text within it would leave half of one.
            (plan.generation.sampling.stop, plan.generation.sampling.stopTokens) = ([], [])
        } else if let grammar {
            plan.reading = .text
            plan.generation.grammar = grammar
        }
        return (0..<count).map { index in
            var plan = plan
            plan.generation.sampling.seed &+= UInt64(index)
            return plan
        }
    }
}
