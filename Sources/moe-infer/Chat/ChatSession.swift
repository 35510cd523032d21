// SPDX-License-Identifier: Apache-2.0

import Glibc
import MoEInfer
import MoETerminal

/// A conversation under way: what was said, and how it goes on.
actor ChatSession {
    let llm: LLM
    var options: ChatOptions
    /// What the model is told first.
    var system: String?
    /// Without the system's.
    var messages: [ChatMessage] = []
    var printer: ChatPrinter
    let signals: ChatSignals
    var isInteractive: Bool { signals.isInteractive }
    /// As they were written, to be shown.
    var routing: String?
    let routingPrefill: String?
    var showsFigures: Bool
    /// The last file saved or loaded.
    var path: String?
    var totals = ChatTotals()
    /// Seconds that loading took, when answers are written as documents.
    private let report: Double?
    /// Of an answer under way: what is left of it when it is stopped.
    private var partial = Answer()
    /// Added to the seed, so that an answer asked for again is another one.
    private var answerCount: UInt64 = 0

    init(llm: LLM, request: ChatRequest, signals: ChatSignals, report: Double?) {
        self.llm = llm
        self.signals = signals
        self.report = report
        options = request.options
        (routing, routingPrefill) = (request.routing, request.routingPrefill)
        showsFigures = request.showsFigures
        path = request.path
        printer = ChatPrinter(mostExperts: llm.expertsPerToken)
        printer.isSilent = report != nil
        (printer.showsExperts, printer.showsReasoning) = (request.showsExperts, request.showsReasoning)
        let loaded = request.loaded?.messages ?? []
        let isSystem = loaded.first?.role == "system"
        system = request.system ?? (isSystem ? loaded[0].content : nil)
        messages = Array(loaded.dropFirst(isSystem ? 1 : 0))
    }

    /// Entries one after the other, until there are no more.
    /// - Throws: what goes wrong where nobody can mend it: with input from a pipe.
    func converse(_ input: ChatInput) async throws {
        var isWarned = false
        while true {
            switch try await input.next() {
            case .end: return
            case .interrupted(let hadText):
                // With text under way, Ctrl-C throws that away.
                if isWarned, !hadText { Glibc.exit(130) }
                isWarned = !hadText
                if isWarned { say("Ctrl-C once more ends, as does Ctrl-D") }
            case .text(let text):
                isWarned = false
                do {
                    if let (verb, argument) = try ChatVerb.parse(text) {
                        if verb == .exit { return }
                        try await run(verb, Continuation.content(argument))
                    } else if text.contains(where: { !$0.isWhitespace }) {
                        try await answer(Continuation.content(text))
                    }
                } catch is CancellationError where isInteractive {
                    say("stopped before anything was said; the message is taken back")
                } catch {
                    if !isInteractive { throw error }
                    Terminal.finishLine()
                    Terminal.error("error: \(Terminal.oneLine(String(describing: error)))")
                }
            }
        }
    }

    // MARK: Answers

    /// The conversation with the system's message.
    var conversation: [ChatMessage] { (system.map { [ChatMessage(role: "system", content: $0)] } ?? []) + messages }

    func prompt(for text: String) throws -> (text: String, tokens: [Int32]) {
        try llm.chatPrompt(conversation + [ChatMessage(role: "user", content: text)], options: options)
    }

    func answer(_ text: String) async throws {
        let count = messages.count
        messages.append(ChatMessage(role: "user", content: text))
        do {
            try await answerLast()
        } catch {
            // As if it had not been said: it can be said again, or otherwise.
            messages.removeSubrange(count...)
            throw error
        }
    }

    /// Answers the last message, and takes the answer into the conversation.
    /// - Parameter goesOn: the last message is an answer that is not at its end.
    func answerLast(goesOn: Bool = false) async throws {
        var request = options
        request.continuesFinalMessage = goesOn
        request.generation.sampling.seed &+= answerCount
        answerCount += 1
        let seed = request.generation.sampling.seed
        let stream = llm.chat(conversation, options: request)
        printer.begin()
        partial = Answer()
        var result: ChatResult?
        let waiting = Task {
            try await Task.sleep(for: .milliseconds(800))
            if isInteractive { printer.wait() }
        }
        defer { waiting.cancel() }
        do {
            result = try await signals.stopping(Task { try await show(stream) })
        } catch is CancellationError where !partial.content.isEmpty {
            // What was said counts.
        } catch {
            printer.end(note: nil)
            throw error
        }
        waiting.cancel()
        take(result?.message ?? partial.message, goesOn: request.continuesFinalMessage)
        printer.end(note: result.map { note($0) } ?? "stopped")
        if let result {
            totals.add(result)
            if let report {
                try Terminal.write(Terminal.text(json: ChatReport(result, seed: seed, loadSeconds: report), isLine: true))
            }
            if showsFigures { say(Figures.line(result.generation)) }
        }
        if isInteractive { Terminal.error("") }
    }

    private func take(_ message: ChatMessage, goesOn: Bool) {
        if goesOn, let last = messages.indices.last {
            messages[last].content = (messages[last].content ?? "") + (message.content ?? "")
        } else {
            messages.append(message)
        }
    }

    private func show(
        _ stream: AsyncThrowingStream<ChatEvent, any Error>
    ) async throws -> ChatResult {
        var result: ChatResult?
        for try await event in stream {
            printer.show(event)
            switch event {
            case .reasoning(let piece): partial.add(.reasoning(piece.text))
            case .content(let piece): partial.add(.content(piece.text))
            case .finished(let final): result = final
            default: break
            }
        }
        guard let result else { throw CancellationError() }
        return result
    }

    /// Why an answer is not whole.
    private func note(_ result: ChatResult) -> String? {
        let message = result.message
        switch result.finishReason {
        case .length:
            let used = result.generation.usage.promptTokens + result.generation.usage.completionTokens
            return used >= llm.contextLength
                ? "the context of \(llm.contextLength) tokens is full: /undo, /reset, or start with a larger --context"
                : "cut off after \(result.generation.usage.completionTokens) tokens: /continue, or /set max-tokens"
        case .stop where message.content?.isEmpty ?? true: return "the model said nothing"
        default: return nil
        }
    }

    /// To a person, beside the conversation.
    func say(_ text: String) { ChatPrinter.say(text) }
}

/// Sums over a conversation's answers.
struct ChatTotals {
    private(set) var answers = 0
    private(set) var promptTokens = 0
    /// Of these, those whose keys and values were there already.
    private(set) var cachedTokens = 0
    private(set) var completionTokens = 0
    private(set) var seconds = 0.0
    private(set) var last: GenerationResult?

    mutating func add(_ result: ChatResult) {
        let generation = result.generation
        answers += 1
        promptTokens += generation.usage.promptTokens
        cachedTokens += generation.usage.cachedTokens
        completionTokens += generation.usage.completionTokens
        seconds += generation.timings.promptSeconds + generation.timings.generationSeconds
        last = generation
    }
}
