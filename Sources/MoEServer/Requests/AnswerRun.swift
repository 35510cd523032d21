// SPDX-License-Identifier: Apache-2.0

import Logging
import MoEChat
import MoEInfer
import Synchronization

/// Makes one answer, from its place in the queue to its last token.
struct AnswerRun: Sendable {
    let state: ServerState
    let record: RequestRecord
    var plan: AnswerPlan
    let place: Admission.Place

    /// - Parameter emit: called in order, never after the return.
    /// - Throws: `CancellationError`, ``APIError``, or what the engine throws.
    func run(_ emit: @escaping @Sendable (OutputEvent) -> Void) async throws -> Output {
        let generated = TokenCount()
        defer { place.finish(tokens: plan.tokens.count + generated.value.load(ordering: .relaxed)) }
        try await place.wait()
        record.begin()
        var output = try await read { event in
            if case .token = event { generated.value.add(1, ordering: .relaxed) }
            emit(event)
        }
        output.promptIndex = plan.promptIndex
        // A stream that was cancelled may end without an error.
        try Task.checkCancellation()
        return output
    }

    private final class TokenCount: Sendable { let value = Atomic(0) }

    private func read(_ emit: @escaping @Sendable (OutputEvent) -> Void) async throws -> Output {
        switch plan.reading {
        case .text: try await readText(emit)
        case .call(let call): try await readCall(call, emit)
        case .chat(let prompt, let tools, let options): try await readChat(prompt, tools: tools, options: options, emit)
        }
    }

    private func readText(_ emit: (OutputEvent) -> Void) async throws -> Output {
        var clock = TokenClock(state: state, record: record)
        for try await event in state.llm.generate(tokens: plan.tokens, options: plan.generation) {
            switch event {
            case .prompt(let logprobs): emit(.prompt(logprobs))
            case .token(let token):
                clock.tick()
                emit(.token(token))
                if !token.text.isEmpty { emit(.content(token.text, experts: token.meanExperts)) }
            case .text(let text): emit(.content(text, experts: nil))
            case .finished(let result):
                return Output(
                    message: ChatMessage(role: "assistant", content: result.text),
                    finishReason: result.finishReason == .length ? .length : .stop, generation: result)
            }
        }
        throw CancellationError()
    }

    private func readCall(_ call: ForcedCall, _ emit: (OutputEvent) -> Void) async throws -> Output {
        var clock = TokenClock(state: state, record: record)
        var reader = ForcedCallReader(call, id: "call_" + Identifiers.random())
        for try await event in state.llm.generate(tokens: plan.tokens, options: plan.generation) {
            switch event {
            case .prompt: break
            case .token(let token):
                clock.tick()
                emit(.token(token))
                for event in reader.append(token.text) { emit(event) }
            case .text(let text): for event in reader.append(text) { emit(event) }
            case .finished(let result):
                for event in reader.finish(isWhole: result.finishReason == .stop) { emit(event) }
                return Output(
                    message: ChatMessage(
                        role: "assistant", content: nil, toolCalls: reader.call.map { [$0] } ?? []),
                    finishReason: result.finishReason == .length ? .length : reader.call == nil ? .stop : .toolCalls,
                    generation: result)
            }
        }
        throw CancellationError()
    }

    private func readChat(
        _ prompt: String, tools: [ToolDefinition], options: ChatOptions, _ emit: (OutputEvent) -> Void
    ) async throws -> Output {
        var options = options
        options.generation = plan.generation
        var clock = TokenClock(state: state, record: record)
        var output: Output?
        // Ids of the model's own notation repeat from answer to answer; clients want unique ones.
        var ids: [Int: String] = [:]
        // Tokens since the last piece: those of a marker belong to what it opens.
        var (pending, reasoningTokens) = (0, 0)
        try await state.llm.answer((prompt, plan.tokens), tools: tools, options: options) { event in
            switch event {
            case .token(let token):
                clock.tick()
                pending += 1
                emit(.token(token))
            case .reasoning(let piece):
                (reasoningTokens, pending) = (reasoningTokens + pending, 0)
                emit(.reasoning(piece.text, experts: piece.meanExperts))
            case .content(let piece):
                pending = 0
                emit(.content(piece.text, experts: piece.meanExperts))
            case .toolCallBegan(let index, let id, let name):
                pending = 0
                ids[index] = id.hasPrefix("call_\(index)") ? "call_" + Identifiers.random() : id
                emit(.callBegan(index: index, id: ids[index]!, name: name))
            case .toolCallArguments(let index, let fragment): emit(.callArguments(index: index, fragment: fragment))
            case .toolCallEnded(let index): emit(.callEnded(index: index))
            case .toolCallAbandoned(let index):
                ids[index] = nil
                emit(.callAbandoned(index: index))
            case .warning(let warning): state.logger.debug("answer: \(warning)", metadata: ["request": "\(record.id)"])
            case .finished(let result):
                var message = result.message
                for (index, id) in zip(message.toolCalls.indices, ids.sorted { $0.key < $1.key }.map(\.value)) {
                    message.toolCalls[index].id = id
                }
                output = Output(
                    message: message, finishReason: result.finishReason, generation: result.generation,
                    reasoningTokens: reasoningTokens)
            }
        }
        guard let output else { throw CancellationError() }
        return output
    }
}

/// Measures the time to the first token and between tokens.
private struct TokenClock {
    let state: ServerState
    let record: RequestRecord
    private var last: ContinuousClock.Instant?

    init(state: ServerState, record: RequestRecord) { (self.state, self.record) = (state, record) }

    mutating func tick() {
        let now = ContinuousClock.now
        if let first = record.countToken() { state.metrics.countFirstToken(seconds: first) }
        if let last { state.metrics.countInterToken(seconds: (now - last) / .seconds(1)) }
        last = now
    }
}

enum Identifiers {
    /// 24 letters and digits.
    static func random() -> String {
        let alphabet = Array("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
        return String((0..<24).map { _ in alphabet.randomElement()! })
    }
}
