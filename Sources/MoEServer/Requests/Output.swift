// SPDX-License-Identifier: Apache-2.0

import MoEChat
package import MoEInfer
import MoEJSON

/// What one answer tells while it is made, whatever the endpoint.
package enum OutputEvent: Sendable {
    /// Log probabilities of the prompt's tokens, where they were asked for.
    case prompt([TokenLogprobs?])
    case token(GeneratedToken)
    case reasoning(String, experts: Double?)
    case content(String, experts: Double?)
    case callBegan(index: Int, id: String, name: String)
    case callArguments(index: Int, fragment: String)
    case callEnded(index: Int)
    /// Forget the call: its text follows as content.
    case callAbandoned(index: Int)
}

/// A finished answer.
struct Output: Sendable {
    var message: ChatMessage
    var finishReason: ChatFinishReason
    var generation: GenerationResult
    /// Of its tokens, those that are thoughts.
    var reasoningTokens = 0
    /// ``AnswerPlan/promptIndex``
    var promptIndex = 0
}

/// What an answer has cost, whether or not it came to its end.
struct AnswerCost: Sendable {
    var usage: GenerationResult.Usage
    var promptIndex: Int
    var reasoningTokens = 0
}

extension Output {
    var cost: AnswerCost { AnswerCost(usage: generation.usage, promptIndex: promptIndex, reasoningTokens: reasoningTokens) }
}

/// One answer to be made.
struct AnswerPlan: Sendable {
    enum Reading: Sendable {
        /// All text is the answer.
        case text
        /// An answer in a conversation: reasoning and calls are taken out of its text.
        case chat(prompt: String, tools: [ToolDefinition], options: ChatOptions)
        /// The text is a call, by the grammar of ``ForcedCall``.
        case call(ForcedCall)
    }

    var tokens: [Int32]
    var generation: GenerationOptions
    var reading: Reading
    /// Which of the request's prompts it answers.
    var promptIndex = 0

    /// What it may come to in tokens, for the queue.
    var cost: Double { Double(tokens.count + min(generation.sampling.maxTokens, 256)) }
}

/// Everything that an endpoint has read from a request that wants text.
struct GenerationRequest: Sendable {
    var plans: [AnswerPlan]
    var isStreamed = false
    /// Whether a stream ends with a chunk of usage.
    var includesUsage = false
    /// Whether every chunk of a stream has the usage so far.
    var continuousUsage = false
    var priority = 0
    /// How it is routed, for people and metrics.
    var operatingPoint: String
    var budget: Int?
    var format: any ResponseFormat
}

/// How an endpoint writes its answers.
protocol ResponseFormat: Sendable {
    /// Of response ids.
    var idPrefix: String { get }
    func response(_ outputs: [Output], _ facts: ResponseFacts) -> JSONTree
    func stream(_ facts: ResponseFacts) -> any StreamEncoder
}

/// Writes a stream's events, in the order in which things happen.
protocol StreamEncoder {
    mutating func begin() -> [ServerSentEvent]
    /// - Parameter choice: which of the request's answers it belongs to.
    mutating func encode(_ event: OutputEvent, choice: Int) -> [ServerSentEvent]
    mutating func end(_ output: Output, choice: Int) -> [ServerSentEvent]
    /// After all answers.
    mutating func finish(_ outputs: [Output]) -> [ServerSentEvent]
    mutating func fail(_ error: APIError) -> [ServerSentEvent]
}

/// What a response says beside its answers.
struct ResponseFacts: Sendable {
    let id: String
    let created: Int
    let model: String
    let request: RequestFacts
    let state: ServerState
    let record: RequestRecord
    let promptTokens: Int

    struct RequestFacts: Sendable {
        var operatingPoint: String
        var budget: Int?
        var includesUsage: Bool
        var continuousUsage: Bool
    }
}

struct ServerSentEvent: Sendable {
    var name: String?
    var data: [UInt8]

    init(_ json: JSONTree, name: String? = nil) { (self.name, data) = (name, json.bytes) }

    static let done = ServerSentEvent(data: Array("[DONE]".utf8))

    private init(data: [UInt8]) { self.data = data }

    var bytes: [UInt8] {
        var bytes: [UInt8] = []
        if let name { bytes += "event: \(name)\n".utf8 }
        bytes += "data: ".utf8
        bytes += data
        bytes += "\n\n".utf8
        return bytes
    }
}
