// SPDX-License-Identifier: Apache-2.0

import MoEChat
import MoEInfer
import MoEJSON

/// `response`, also as a stream of typed events.
struct ResponsesFormat: ResponseFormat {
    let idPrefix = "resp_"
    /// What is repeated of the request.
    let echo: JSONMembers

    // MARK: Items

    private static func message(_ text: String, id: String, status: String, logprobs: JSONTree) -> JSONTree {
        [
            "id": .string(id), "type": "message", "role": "assistant", "status": .string(status),
            "content": [part(text, logprobs)],
        ]
    }

    private static func part(_ text: String, _ logprobs: JSONTree = []) -> JSONTree {
        ["type": "output_text", "text": .string(text), "annotations": [], "logprobs": logprobs]
    }

    private static func reasoning(_ text: String, id: String, status: String) -> JSONTree {
        [
            "id": .string(id), "type": "reasoning", "summary": [], "status": .string(status),
            "content": text.isEmpty ? [] : [["type": "reasoning_text", "text": .string(text)]],
        ]
    }

    private static func call(_ call: ToolCall, id: String, status: String) -> JSONTree {
        [
            "id": .string(id), "type": "function_call", "call_id": .string(call.id ?? ""), "name": .string(call.name),
            "arguments": .string(call.arguments), "status": .string(status),
        ]
    }

    private func response(
        _ output: Output?, items: [JSONTree], _ facts: ResponseFacts, status: String, error: APIError? = nil
    ) -> JSONTree {
        var json: JSONMembers = [
            "id": .string(facts.id), "object": "response", "created_at": .int(facts.created), "status": .string(status),
            "error": error.map { ["code": .string($0.code ?? $0.type), "message": .string($0.message)] } ?? .null,
            "incomplete_details": status == "incomplete" ? ["reason": "max_output_tokens"] : .null,
            "model": .string(facts.model), "output": .array(items),
        ]
        for member in echo.members { json.append(member.name, member.value) }
        json["usage"] = output.map { usage([$0], facts) } ?? .null
        return .object(json)
    }

    private func usage(_ outputs: [Output], _ facts: ResponseFacts) -> JSONTree {
        let usage = facts.usage(outputs)
        return [
            "input_tokens": .int(usage.promptTokens), "input_tokens_details": ["cached_tokens": .int(usage.cachedTokens)],
            "output_tokens": .int(usage.completionTokens),
            "output_tokens_details": ["reasoning_tokens": .int(usage.reasoningTokens)],
            "total_tokens": .int(usage.promptTokens + usage.completionTokens),
            "moe": facts.moeJSON(usage),
        ]
    }

    private static func status(_ output: Output) -> String { output.finishReason == .length ? "incomplete" : "completed" }

    func response(_ outputs: [Output], _ facts: ResponseFacts) -> JSONTree {
        let output = outputs[0]
        let status = Self.status(output)
        var items: [JSONTree] = []
        if let reasoning = output.message.reasoning {
            items.append(Self.reasoning(reasoning, id: "rs_" + Identifiers.random(), status: status))
        }
        if let text = output.message.content, !text.isEmpty || output.message.toolCalls.isEmpty {
            let logprobs = ChatLogprobs(facts.state).list(output.generation.logprobs)
            items.append(Self.message(text, id: "msg_" + Identifiers.random(), status: status, logprobs: logprobs))
        }
        for call in output.message.toolCalls {
            items.append(Self.call(call, id: "fc_" + Identifiers.random(), status: status))
        }
        return response(output, items: items, facts, status: status)
    }

    // MARK: Stream

    func stream(_ facts: ResponseFacts) -> any StreamEncoder { Stream(format: self, facts: facts) }

    private struct Stream: StreamEncoder {
        private enum Item {
            case reasoning(id: String, text: String)
            case message(id: String, text: String, logprobs: [TokenLogprobs])
            case call(id: String, ToolCall)
        }

        let format: ResponsesFormat
        let facts: ResponseFacts
        private var number = 0
        private var open: Item?
        private var done: [JSONTree] = []
        private var logprobs: [TokenLogprobs] = []
        /// Of what is done: calls that turned out not to be any, whose text followed.
        private var abandoned: Set<Int> = []

        init(format: ResponsesFormat, facts: ResponseFacts) { (self.format, self.facts) = (format, facts) }

        private var items: [JSONTree] { done.indices.filter { !abandoned.contains($0) }.map { done[$0] } }

        private mutating func event(_ name: String, _ members: JSONMembers) -> ServerSentEvent {
            var json: JSONMembers = ["type": .string("response.\(name)"), "sequence_number": .int(number)]
            number += 1
            for member in members.members { json.append(member.name, member.value) }
            return ServerSentEvent(.object(json), name: "response.\(name)")
        }

        /// Where the open item is.
        private func place(_ id: String, _ members: JSONMembers) -> JSONMembers {
            var json: JSONMembers = ["item_id": .string(id), "output_index": .int(done.count)]
            for member in members.members { json.append(member.name, member.value) }
            return json
        }

        mutating func begin() -> [ServerSentEvent] {
            let response = format.response(nil, items: [], facts, status: "in_progress")
            return [event("created", ["response": response]), event("in_progress", ["response": response])]
        }

        mutating func encode(_ output: OutputEvent, choice: Int) -> [ServerSentEvent] {
            switch output {
            case .prompt: return []
            case .token(let token):
                if let entry = token.logprobs { logprobs.append(entry) }
                return []
            case .reasoning(let text, _): return text.isEmpty ? [] : reasoning(text)
            case .content(let text, _): return text.isEmpty ? [] : message(text)
            case .callBegan(_, let id, let name):
                var events = close(status: "completed")
                let call = ToolCall(id: id, name: name, arguments: "")
                let item = "fc_" + Identifiers.random()
                open = .call(id: item, call)
                events.append(added(ResponsesFormat.call(call, id: item, status: "in_progress")))
                return events
            case .callArguments(_, let fragment):
                guard case .call(let id, var call)? = open, !fragment.isEmpty else { return [] }
                call.arguments += fragment
                open = .call(id: id, call)
                return [event("function_call_arguments.delta", place(id, ["delta": .string(fragment)]))]
            case .callEnded: return close(status: "completed")
            case .callAbandoned:
                let events = close(status: "incomplete")
                abandoned.insert(done.count - 1)
                return events
            }
        }

        private mutating func added(_ item: JSONTree) -> ServerSentEvent {
            event("output_item.added", ["output_index": .int(done.count), "item": item])
        }

        private mutating func reasoning(_ text: String) -> [ServerSentEvent] {
            var events: [ServerSentEvent] = []
            if case .reasoning? = open {
            } else {
                events += close(status: "completed")
                let id = "rs_" + Identifiers.random()
                open = .reasoning(id: id, text: "")
                events.append(added(ResponsesFormat.reasoning("", id: id, status: "in_progress")))
            }
            guard case .reasoning(let id, let before)? = open else { return events }
            open = .reasoning(id: id, text: before + text)
            events.append(event("reasoning_text.delta", place(id, ["content_index": 0, "delta": .string(text)])))
            return events
        }

        private mutating func message(_ text: String) -> [ServerSentEvent] {
            var events: [ServerSentEvent] = []
            if case .message? = open {
            } else {
                events += close(status: "completed")
                let id = "msg_" + Identifiers.random()
                open = .message(id: id, text: "", logprobs: [])
                events.append(
                    added([
                        "id": .string(id), "type": "message", "role": "assistant", "status": "in_progress", "content": [],
                    ]))
                events.append(
                    event("content_part.added", place(id, ["content_index": 0, "part": ResponsesFormat.part("")])))
            }
            guard case .message(let id, let before, let old)? = open else { return events }
            let new = logprobs
            logprobs = []
            open = .message(id: id, text: before + text, logprobs: old + new)
            events.append(
                event(
                    "output_text.delta",
                    place(
                        id,
                        ["content_index": 0, "delta": .string(text), "logprobs": ChatLogprobs(facts.state).list(new)])))
            return events
        }

        private mutating func close(status: String) -> [ServerSentEvent] {
            guard let item = open else { return [] }
            open = nil
            var (events, json): ([ServerSentEvent], JSONTree)
            switch item {
            case .reasoning(let id, let text):
                events = [event("reasoning_text.done", place(id, ["content_index": 0, "text": .string(text)]))]
                json = ResponsesFormat.reasoning(text, id: id, status: status)
            case .message(let id, let text, let logprobs):
                let list = ChatLogprobs(facts.state).list(logprobs)
                events = [
                    event(
                        "output_text.done", place(id, ["content_index": 0, "text": .string(text), "logprobs": list])),
                    event("content_part.done", place(id, ["content_index": 0, "part": ResponsesFormat.part(text, list)])),
                ]
                json = ResponsesFormat.message(text, id: id, status: status, logprobs: list)
            case .call(let id, let call):
                events = [
                    event(
                        "function_call_arguments.done",
                        place(id, ["name": .string(call.name), "arguments": .string(call.arguments)]))
                ]
                json = ResponsesFormat.call(call, id: id, status: status)
            }
            events.append(event("output_item.done", ["output_index": .int(done.count), "item": json]))
            done.append(json)
            return events
        }

        mutating func end(_ output: Output, choice: Int) -> [ServerSentEvent] {
            close(status: ResponsesFormat.status(output))
        }

        mutating func finish(_ outputs: [Output]) -> [ServerSentEvent] {
            let status = ResponsesFormat.status(outputs[0])
            return [event(status, ["response": format.response(outputs[0], items: items, facts, status: status)])]
        }

        mutating func fail(_ error: APIError) -> [ServerSentEvent] {
            [event("failed", ["response": format.response(nil, items: items, facts, status: "failed", error: error)])]
        }
    }
}
