// SPDX-License-Identifier: Apache-2.0

import MoEChat
import MoEInfer
import MoEJSON
import MoETokenizer

/// `chat.completion` and `chat.completion.chunk`.
struct ChatCompletionFormat: ResponseFormat {
    let idPrefix = "chatcmpl-"
    let hasLogprobs: Bool

    func response(_ outputs: [Output], _ facts: ResponseFacts) -> JSONTree {
        var response = Self.head(facts, object: "chat.completion")
        response["choices"] = .array(
            outputs.enumerated().map { index, output in
                [
                    "index": .int(index), "message": Self.message(output.message),
                    "logprobs": hasLogprobs
                        ? ChatLogprobs(facts.state).json(output.generation.logprobs) : .null,
                    "finish_reason": .string(output.finishReason.rawValue),
                ]
            })
        response["usage"] = facts.usageJSON(outputs)
        response["timings"] = facts.timings(outputs)
        return .object(response)
    }

    static func head(_ facts: ResponseFacts, object: String) -> JSONMembers {
        [
            "id": .string(facts.id), "object": .string(object), "created": .int(facts.created),
            "model": .string(facts.model),
            "system_fingerprint": .string(ResponseFacts.fingerprint),
        ]
    }

    static func message(_ message: ChatMessage) -> JSONTree {
        var json: JSONMembers = [
            "role": "assistant", "content": message.content.map { .string($0) } ?? .null, "refusal": .null,
        ]
        json["reasoning_content"] = message.reasoning.map { .string($0) }
        if !message.toolCalls.isEmpty {
            json["tool_calls"] = .array(
                message.toolCalls.map { call in
                    [
                        "id": .string(call.id ?? ""), "type": "function",
                        "function": ["name": .string(call.name), "arguments": .string(call.arguments)],
                    ]
                })
        }
        return .object(json)
    }

    func stream(_ facts: ResponseFacts) -> any StreamEncoder { Stream(facts: facts, hasLogprobs: hasLogprobs) }

    private struct Stream: StreamEncoder {
        private struct Choice {
            var hasRole = false
            /// Of tokens whose text is not certain yet.
            var logprobs: [TokenLogprobs] = []
            var tokens = 0
        }

        let facts: ResponseFacts
        let hasLogprobs: Bool
        private var choices: [Int: Choice] = [:]

        init(facts: ResponseFacts, hasLogprobs: Bool) { (self.facts, self.hasLogprobs) = (facts, hasLogprobs) }

        mutating func begin() -> [ServerSentEvent] { [] }

        mutating func encode(_ event: OutputEvent, choice: Int) -> [ServerSentEvent] {
            switch event {
            case .prompt: return []
            case .token(let token):
                choices[choice, default: Choice()].tokens += 1
                if let logprobs = token.logprobs { choices[choice]?.logprobs.append(logprobs) }
                return []
            case .reasoning(let text, let experts):
                return text.isEmpty ? [] : chunk(choice, ["reasoning_content": .string(text)], experts: experts)
            case .content(let text, let experts):
                return text.isEmpty ? [] : chunk(choice, ["content": .string(text)], experts: experts)
            case .callBegan(let index, let id, let name):
                return call(
                    choice,
                    [
                        "index": .int(index), "id": .string(id), "type": "function",
                        "function": ["name": .string(name), "arguments": ""],
                    ])
            case .callArguments(let index, let fragment):
                return fragment.isEmpty
                    ? [] : call(choice, ["index": .int(index), "function": ["arguments": .string(fragment)]])
            case .callEnded, .callAbandoned: return []
            }
        }

        private mutating func call(_ choice: Int, _ call: JSONTree) -> [ServerSentEvent] {
            chunk(choice, ["tool_calls": .array([call])])
        }

        mutating func end(_ output: Output, choice: Int) -> [ServerSentEvent] {
            chunk(choice, [:], finishReason: output.finishReason)
        }

        mutating func finish(_ outputs: [Output]) -> [ServerSentEvent] {
            facts.lastEvents(outputs, head: ChatCompletionFormat.head(facts, object: "chat.completion.chunk"))
        }

        mutating func fail(_ error: APIError) -> [ServerSentEvent] { [ServerSentEvent(error.json), .done] }

        /// The role comes first, in a chunk of its own.
        private mutating func chunk(
            _ index: Int, _ delta: JSONMembers, experts: Double? = nil, finishReason: ChatFinishReason? = nil
        ) -> [ServerSentEvent] {
            var events: [ServerSentEvent] = []
            var choice = choices[index] ?? Choice()
            if !choice.hasRole {
                choice.hasRole = true
                events.append(event(index, ["role": "assistant", "content": ""], .null, nil, nil, tokens: 0))
            }
            var logprobs = JSONTree.null
            if hasLogprobs, !choice.logprobs.isEmpty {
                logprobs = ChatLogprobs(facts.state).json(choice.logprobs)
                choice.logprobs = []
            }
            choices[index] = choice
            events.append(
                event(index, delta, logprobs, experts, finishReason, tokens: choices.values.reduce(0) { $0 + $1.tokens }))
            return events
        }

        private func event(
            _ index: Int, _ delta: JSONMembers, _ logprobs: JSONTree, _ experts: Double?, _ finishReason: ChatFinishReason?,
            tokens: Int
        ) -> ServerSentEvent {
            var json = ChatCompletionFormat.head(facts, object: "chat.completion.chunk")
            json["choices"] = [
                [
                    "index": .int(index), "delta": .object(delta), "logprobs": logprobs,
                    "finish_reason": finishReason.map { .string($0.rawValue) } ?? .null,
                ]
            ]
            facts.addFigures(to: &json, tokens: tokens, experts: experts)
            return ServerSentEvent(.object(json))
        }
    }
}
