// SPDX-License-Identifier: Apache-2.0

public import MoEChat
import MoETokenizer
import Synchronization

extension LLM {
    /// How the model wants conversations. Read when it is first asked for.
    /// - Throws: ``ChatFormatError`` for a model without a template or with a bad one, ``ModelFileError`` for files that cannot be
    ///   read.
    public var chatFormat: ChatFormat {
        get throws {
            if let known = knownChatFormat.withLock({ $0 }) { return known }
            let format = try ChatFormat(chatFacts.get())
            knownChatFormat.withLock { $0 = format }
            return format
        }
    }

    /// The usual chat template as the model's files have it; nil: none.
    public var chatTemplateSource: String? { (try? chatFacts.get())?.templates["default"] }

    /// One of the templates that the model has by name (`tool_use`, `rag`); nil when it has none of that name.
    public func chatFormat(named name: String) throws -> ChatFormat? {
        guard let source = try chatFacts.get().templates[name] else { return nil }
        return try ChatFormat(template: source, name: name, of: self)
    }

    /// How the model's publisher wants its tokens to be chosen.
    /// - Throws: ``ModelFileError``
    public var suggestedSampling: SuggestedSampling { get throws { try chatFacts.get().sampling } }

    /// Answers the last message of a conversation. The stream ends with ``ChatEvent/finished(_:)``, or throws. Dropping it cancels
    /// the request.
    ///
    /// ```swift
    /// for try await event in llm.chat([ChatMessage(role: "user", content: "Why is the sky blue?")]) {
    ///     if case .content(let piece) = event { print(piece.text, terminator: "") }
    /// }
    /// ```
    public func chat(
        _ messages: [ChatMessage], tools: [ToolDefinition] = [], options: ChatOptions = ChatOptions()
    ) -> AsyncThrowingStream<ChatEvent, any Error> {
        let (stream, continuation) = AsyncThrowingStream<ChatEvent, any Error>.makeStream()
        let task = Task {
            do {
                var options = options
                options.format = try options.format ?? chatFormat
                let prompt = try chatPrompt(messages, tools: tools, options: options)
                try await answer(prompt, tools: tools, options: options) { continuation.yield($0) }
                continuation.finish()
            } catch {
                continuation.finish(throwing: error)
            }
        }
        continuation.onTermination = { if case .cancelled = $0 { task.cancel() } }
        return stream
    }

    /// The ids that a conversation begins an answer with. A template writes special tokens, BOS among them, by their names; none are
    /// added to them.
    /// - Throws: ``ChatFormatError`` when the template refuses the conversation, or there is none.
    public func chatPrompt(
        _ messages: [ChatMessage], tools: [ToolDefinition] = [], options: ChatOptions = ChatOptions()
    ) throws -> (text: String, tokens: [Int32]) {
        let format = try options.format ?? chatFormat
        let text = try format.prompt(
            messages, tools: tools, variables: options.variables, continuesFinalMessage: options.continuesFinalMessage)
        return (text, try tokenizer.encode(text, addSpecial: format.isPlain, parseSpecial: true))
    }

    /// Generates an answer and takes it apart.
    /// - Parameter prompt: of ``chatPrompt(_:tools:options:)`` with the same tools and format.
    package func answer(
        _ prompt: (text: String, tokens: [Int32]), tools: [ToolDefinition], options: ChatOptions, yield: (ChatEvent) -> Void
    ) async throws {
        let format = try options.format ?? chatFormat
        let (prompt, tokens) = prompt
        let answers = format.answers(hasTools: !tools.isEmpty)
        var parser = AnswerParser(
            format: answers, tools: tools, startsInReasoning: answers.startsInReasoning(prompt: prompt))
        var trimmer = format.isPlain ? WhiteSpaceTrimmer(hasBegun: options.continuesFinalMessage) : nil
        var answer = Answer()
        var heldBack = ""
        func take(_ events: [AnswerEvent], experts: Double?) {
            for event in events where options.allowsParallelCalls || !event.isOfLaterCall {
                answer.add(event)
                yield(ChatEvent(event, experts: experts))
            }
        }
        func take(_ text: String, experts: Double?) {
            take(parser.append(trimmer?.append(text) ?? text), experts: experts)
        }

        var generation = options.generation
        generation.namesSpecialTokens = true
        generation.sampling.stop += format.stop
        for try await event in generate(tokens: tokens, options: generation) {
            switch event {
            case .prompt: break
            case .token(let token):
                yield(.token(token))
                take(token.text, experts: token.meanExperts)
            case .text(let text): heldBack += text
            case .finished(let result):
                // The beginning of a role's line is no part of a plain answer that was cut off there: the model would go on with it.
                let isRole = format.stop.contains { $0.hasPrefix(heldBack) }
                if !isRole || result.finishReason != .length { take(heldBack, experts: nil) }
                // An answer that was cut off may be gone on with: all of it counts.
                if result.finishReason == .length, let rest = trimmer?.held { take(parser.append(rest), experts: nil) }
                take(parser.finish(), experts: nil)
                let reason: ChatFinishReason =
                    result.finishReason == .length ? .length : answer.toolCalls.isEmpty ? .stop : .toolCalls
                yield(
                    .finished(
                        ChatResult(
                            message: answer.message, warnings: answer.warnings, finishReason: reason, generation: result)))
            }
        }
        try Task.checkCancellation()
    }
}

extension AnswerEvent {
    fileprivate var isOfLaterCall: Bool {
        switch self {
        case .toolCallBegan(let index, _, _), .toolCallArguments(let index, _), .toolCallEnded(let index),
            .toolCallAbandoned(let index):
            index > 0
        case .reasoning, .content, .warning: false
        }
    }
}

extension ChatEvent {
    fileprivate init(_ event: AnswerEvent, experts: Double?) {
        self =
            switch event {
            case .reasoning(let text): .reasoning(ChatText(text, meanExperts: experts))
            case .content(let text): .content(ChatText(text, meanExperts: experts))
            case .toolCallBegan(let index, let id, let name): .toolCallBegan(index: index, id: id, name: name)
            case .toolCallArguments(let index, let fragment): .toolCallArguments(index: index, fragment: fragment)
            case .toolCallEnded(let index): .toolCallEnded(index: index)
            case .toolCallAbandoned(let index): .toolCallAbandoned(index: index)
            case .warning(let warning): .warning(warning)
            }
    }
}

/// Leaves out white space at the beginning and the end of a stream of text.
package struct WhiteSpaceTrimmer {
    private var hasBegun: Bool
    /// White space that is left out if nothing follows.
    package private(set) var held = ""

    package init(hasBegun: Bool = false) { self.hasBegun = hasBegun }

    package mutating func append(_ text: String) -> String {
        var text = text[...]
        if !hasBegun { text = text.drop(while: \.isWhitespace) }
        guard let last = text.lastIndex(where: { !$0.isWhitespace }) else {
            held += text
            return ""
        }
        hasBegun = true
        let end = text.index(after: last)
        defer { held = String(text[end...]) }
        return held + text[..<end]
    }
}
