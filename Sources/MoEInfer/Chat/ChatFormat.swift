// SPDX-License-Identifier: Apache-2.0

public import MoEChat
import MoEJSON
import MoEJinja

/// How a conversation becomes a prompt, and an answer's text a message.
public struct ChatFormat: Sendable {
    /// For people: where it is from.
    public let name: String
    private let kind: Kind

    private enum Kind: Sendable {
        case plain
        /// Models may have another template for conversations with tools.
        case template(Template, withTools: Template?)
    }

    private struct Template: Sendable {
        let template: ChatTemplate
        let answers: AnswerFormat

        init(_ source: String, specialTokens: [String: String], name: String) throws(ChatFormatError) {
            do {
                template = try ChatTemplate(source, specialTokens: specialTokens)
            } catch {
                throw ChatFormatError(.badTemplate, "\(name): chat \(error)")
            }
            answers = AnswerFormat.detect(template: source)
        }
    }

    private init(name: String, kind: Kind) { (self.name, self.kind) = (name, kind) }

    /// For models that have never learned to converse: a dialogue as books and transcripts write it.
    ///
    /// ```
    /// System: …
    /// User: …
    /// Assistant: …
    /// ```
    ///
    /// The answer ends where the next speaker would begin. Tools are refused.
    public static let plain = ChatFormat(name: "plain", kind: .plain)

    /// - Parameters:
    ///   - template: Jinja, as chat templates are written.
    ///   - name: for errors.
    ///   - llm: the model whose special tokens the template may write.
    /// - Throws: ``ChatFormatError`` for what is no template.
    public init(template: String, name: String, of llm: LLM) throws {
        let facts = try llm.chatFacts.get()
        let template = try Template(template, specialTokens: facts.specialTokens, name: name)
        self.init(name: name, kind: .template(template, withTools: nil))
    }

    /// The model's own.
    init(_ facts: ModelChatFacts) throws {
        guard let usual = facts.templates["default"] else {
            throw ChatFormatError(
                .noTemplate,
                facts.templates.isEmpty
                    ? "\(facts.source): no chat template: the model has not learned to converse"
                    : "\(facts.source): no chat template is the usual one; there are: "
                        + facts.templates.keys.sorted().joined(separator: ", "))
        }
        func template(_ source: String) throws -> Template {
            try Template(source, specialTokens: facts.specialTokens, name: facts.source)
        }
        self.init(
            name: facts.source,
            kind: .template(try template(usual), withTools: try facts.templates["tool_use"].map(template)))
    }

    // MARK: What follows from it

    /// How reasoning and tool calls are marked in answers.
    public func answers(hasTools: Bool = false) -> AnswerFormat { template(hasTools: hasTools)?.answers ?? .plain }

    private func template(hasTools: Bool) -> Template? {
        switch kind {
        case .plain: nil
        case .template(let usual, let withTools): hasTools ? withTools ?? usual : usual
        }
    }

    /// Whether it is ``plain``.
    public var isPlain: Bool { if case .plain = kind { true } else { false } }

    /// Texts that end an answer, where no token does.
    package var stop: [String] { isPlain ? ["\nUser:", "\nSystem:", "\nAssistant:"] : [] }

    /// - Throws: ``ChatFormatError``
    package func prompt(
        _ messages: [ChatMessage], tools: [ToolDefinition], variables: [String: String], continuesFinalMessage: Bool
    ) throws(ChatFormatError) -> String {
        guard let template = template(hasTools: !tools.isEmpty) else {
            return try Self.plainPrompt(messages, tools: tools, continuesFinalMessage: continuesFinalMessage)
        }
        var values = JinjaObject()
        for name in variables.keys.sorted() {
            do throws(JSONError) {
                values[name] = JinjaValue(try JSONDocument(Array((variables[name] ?? "").utf8)))
            } catch {
                throw ChatFormatError(.refused, "the template's variable '\(name)' is no JSON: \(error.what)")
            }
        }
        do throws(ChatTemplateError) {
            return try template.template.render(
                messages: messages, tools: tools, addGenerationPrompt: !continuesFinalMessage,
                continueFinalMessage: continuesFinalMessage, variables: values)
        } catch {
            throw ChatFormatError(.refused, error.description)
        }
    }

    private static func plainPrompt(
        _ messages: [ChatMessage], tools: [ToolDefinition], continuesFinalMessage: Bool
    ) throws(ChatFormatError) -> String {
        guard !messages.isEmpty else { throw ChatFormatError(.refused, "a conversation without a message") }
        guard tools.isEmpty else { throw ChatFormatError(.refused, "the plain format has no tools") }
        var lines: [String] = []
        for message in messages {
            guard ["system", "developer", "user", "assistant"].contains(message.role) else {
                throw ChatFormatError(.refused, "the plain format has no role '\(message.role)'")
            }
            lines.append(message.role.prefix(1).uppercased() + message.role.dropFirst() + ": " + (message.content ?? ""))
        }
        return lines.joined(separator: "\n") + (continuesFinalMessage ? "" : "\nAssistant:")
    }
}
