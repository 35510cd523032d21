// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import Foundation
import MoEInfer
import MoETerminal

struct ChatCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "chat",
        abstract: "Talk with a model.",
        discussion: """
            The model's own chat template makes a prompt of the conversation. In a terminal, /help lists the commands, Ctrl-C stops \
            an answer, Ctrl-D ends. A line that ends in a backslash goes on, and so does a text that begins with \"\"\" until \
            another \"\"\"; pasted text keeps its lines.

            From a pipe every line is a message (or a command), and standard output gets the answers, without reasoning. With MESSAGE \
            one message is answered, and that is all; `-` takes all of standard input for one message.

            With --json each answer is one JSON document on a line of its own: {"message": {"role", "content", \
            "reasoning_content"}, "finish_reason", "seed", "warnings", "usage", "timings"}.

            A model that has no template (a base model) cannot converse: give one with --template FILE, or take --template plain, \
            which writes the conversation as "User: …" and "Assistant: …". The embedded model is such a model, and takes plain \
            unasked.

            EXAMPLES
              moe-infer chat --model olmoe-instruct.gguf
              moe-infer chat --model olmoe-instruct.gguf --routing top-p:p=0.7,min=1,max=8 --show-experts
              moe-infer chat --model qwen.gguf "Why is the sky blue?"
              git diff | moe-infer chat --model qwen.gguf --system "Summarise this change." -
            """)

    @Argument(help: "Answer this message and end. `-`: all of standard input is the message.")
    var message: String?

    @Option(help: "What the model is told before the conversation begins.")
    var system: String?

    @Option(help: ArgumentHelp("A chat template (Jinja), the name of one of the model's, or plain.", valueName: "file"))
    var template: String?

    @Option(
        help: ArgumentHelp(
            "A value for the template, as JSON. May be given several times: enable_thinking=false", valueName: "name=json"))
    var templateVariable: [String] = []

    @Option(help: "Go on with a conversation that /save wrote.")
    var load: String?

    @OptionGroup var model: ModelOptions
    @OptionGroup var routing: RoutingOptions
    @OptionGroup var speculation: SpeculationOptions
    @OptionGroup var sampling: ChatSamplingArguments

    @Flag(help: "Show each token's experts: in colour; without colours as a small number after it.")
    var showExperts = false

    @Flag(help: "Do not show what a model thinks before it answers.")
    var hideReasoning = false

    @Flag(help: "Show a line of figures after each answer.")
    var stats = false

    @Flag(help: "Do not keep what is entered for the next time.")
    var noHistory = false

    @Flag(help: "Write a JSON document for each answer instead of text.")
    var json = false

    @Flag(help: "Write the prompt that the template makes of MESSAGE, and end; with --json its tokens as well.")
    var printPrompt = false

    func validate() throws {
        if printPrompt, message == nil { throw ValidationError("--print-prompt needs a MESSAGE") }
    }

    func run() async throws {
        let only = try message.map { try PromptInput.read(argument: $0, file: nil) }
        let request = try ChatRequest(self)
        let started = ContinuousClock.now
        let llm = try await model.load()
        let loadSeconds = (ContinuousClock.now - started) / .seconds(1)
        guard let wakeup = Wakeup() else { throw InputError(description: "no file descriptors left") }
        let input =
            only == nil ? ChatInput(wakeup: wakeup, keepsHistory: !noHistory, completions: ChatVerb.completions) : nil
        let session = ChatSession(
            llm: llm, request: try request.completed(for: llm, command: self),
            signals: ChatSignals(wakeup: wakeup, isInteractive: input?.isInteractive ?? false),
            report: json ? loadSeconds : nil)
        if let input {
            if input.isInteractive { welcome(llm) }
            try await session.converse(input)
        } else if printPrompt {
            let prompt = try await session.prompt(for: only ?? "")
            try json
                ? Terminal.write(json: PromptReport(text: prompt.text, tokens: prompt.tokens)) : Terminal.write(prompt.text)
        } else {
            try await session.answer(only ?? "")
        }
    }

    private func welcome(_ llm: LLM) {
        let name = model.model.map { URL(fileURLWithPath: $0).lastPathComponent } ?? "the embedded model"
        ChatPrinter.say("\(Terminal.oneLine(name)): \(llm.contextLength) tokens of context; /help lists commands")
    }

    func format(of llm: LLM) throws -> ChatFormat {
        if template == "plain" { return .plain }
        if let template {
            if let own = try llm.chatFormat(named: template) { return own }
            return try ChatFormat(template: PromptInput.read(argument: nil, file: template), name: template, of: llm)
        }
        do {
            return try llm.chatFormat
        } catch let error as ChatFormatError where error.kind == .noTemplate {
            guard model.model == nil else {
                throw InputError(
                    description: error.description
                        + "; give --template FILE, or --template plain for \"User: … Assistant: …\"")
            }
            Terminal.error(
                "note: the embedded model is a small one that continues texts; it has not learned to converse (see --template)"
            )
            return .plain
        }
    }

    static func variables(_ items: [String]) throws -> [String: String] {
        var result: [String: String] = [:]
        for item in items {
            let pair = item.split(separator: "=", maxSplits: 1).map(String.init)
            guard pair.count == 2, !pair[0].isEmpty,
                (try? JSONSerialization.jsonObject(with: Data(pair[1].utf8), options: .fragmentsAllowed)) != nil
            else {
                throw ValidationError(
                    "--template-variable expects name=json, found '\(item)'; a text is in quotes: name='\"…\"'")
            }
            result[pair[0]] = pair[1]
        }
        return result
    }
}

private struct PromptReport: Encodable {
    let text: String
    let tokens: [Int32]
}

/// What the arguments ask of a conversation. What can be wrong with them is found before the model is loaded.
struct ChatRequest {
    var options: ChatOptions
    /// As they were written, to be shown.
    var routing: String?
    var routingPrefill: String?
    var system: String?
    var loaded: ChatTranscript?
    var path: String?
    var showsExperts: Bool
    var showsReasoning: Bool
    var showsFigures: Bool

    init(_ command: ChatCommand) throws {
        options = ChatOptions(generation: GenerationOptions(routing: try command.routing.policies()))
        options.variables = try ChatCommand.variables(command.templateVariable)
        options.generation.speculation = try command.speculation.speculation()
        (routing, routingPrefill) = (command.routing.routing, command.routing.routingPrefill)
        system = command.system
        loaded = try command.load.map { try ChatFile.read($0) }
        path = command.load
        (showsExperts, showsReasoning) = (command.showExperts, !command.hideReasoning)
        showsFigures = command.stats
    }

    /// With what the model has to say.
    func completed(for llm: LLM, command: ChatCommand) throws -> ChatRequest {
        var result = self
        result.options.format = try command.format(of: llm)
        var sampling = SamplingOptions()
        // What continues texts does not know an end.
        sampling.maxTokens = result.options.format?.isPlain == true ? 256 : llm.contextLength
        sampling.seed = .random(in: 0..<1 << 32)
        try llm.suggestedSampling.apply(to: &sampling)
        result.options.generation.sampling = command.sampling.apply(to: sampling)
        return result
    }
}

/// Saved conversations.
enum ChatFile {
    static func read(_ path: String) throws -> ChatTranscript {
        let text = try PromptInput.read(argument: nil, file: path)
        return try ChatTranscript(json: Array(text.utf8), file: path)
    }

    /// Never over a file that is something else.
    static func write(_ transcript: ChatTranscript, to path: String) throws {
        if FileManager.default.fileExists(atPath: path), (try? read(path)) == nil {
            throw InputError(description: "\(path): exists and is no saved conversation; not overwritten")
        }
        try OutputFile.write(try transcript.json, to: path)
    }
}
