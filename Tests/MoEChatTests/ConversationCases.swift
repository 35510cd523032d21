// SPDX-License-Identifier: Apache-2.0

import Foundation
import MoEChat
import MoEJSON
import MoEJinja
import Testing

/// A file of conversations with what transformers makes of them: `Tools/templates/matrix.py`.
struct ConversationCases {
    struct Conversation {
        let name: String
        let messages: [JinjaObject]
        let tools: JinjaValue
        let variables: JinjaObject
        let addsGenerationPrompt: Bool
        let continuesFinalMessage: Bool
    }

    struct Case {
        let template: String
        let conversation: Int
        /// nil: transformers refuses it.
        let output: String?
        let problem: String?
    }

    let templates: [String: ChatTemplate]
    let conversations: [Conversation]
    let cases: [Case]

    init(_ url: URL) throws {
        let document = try JSONDocument([UInt8](Data(contentsOf: url)))
        func member(_ name: String, _ value: JSONDocument.Value? = nil) throws -> JSONDocument.Value {
            try #require(document.member(name, of: value ?? document.root))
        }
        var special: [String: String] = [:]
        for token in try #require(document.object(try member("special_tokens"))) {
            special[document.string(token.key) ?? ""] = document.string(token.value)
        }
        var templates: [String: ChatTemplate] = [:]
        for template in try #require(document.object(try member("templates"))) {
            templates[document.string(template.key) ?? ""] = try ChatTemplate(
                document.string(template.value) ?? "", specialTokens: special)
        }
        self.templates = templates
        conversations = try #require(document.array(try member("conversations"))).map { item in
            func object(_ value: JSONDocument.Value) -> JinjaObject {
                guard case .object(let object) = JinjaValue(value, of: document) else { return [:] }
                return object
            }
            return Conversation(
                name: document.string(try member("name", item)) ?? "",
                messages: try #require(document.array(try member("messages", item))).map(object),
                tools: JinjaValue(try member("tools", item), of: document),
                variables: object(try member("variables", item)),
                addsGenerationPrompt: document.bool(try member("add_generation_prompt", item)) ?? false,
                continuesFinalMessage: document.bool(try member("continue_final_message", item)) ?? false)
        }
        cases = try #require(document.array(try member("cases"))).map { item in
            Case(
                template: document.string(try member("template", item)) ?? "",
                conversation: document.int(try member("conversation", item)) ?? -1,
                output: document.string(document.member("output", of: item)),
                problem: document.string(document.member("error", of: item)))
        }
    }

    /// What is wrong with our answer; nil: the texts are the same, byte for byte, or both refuse.
    func difference(_ item: Case) throws -> String? {
        let template = try #require(templates[item.template])
        let conversation = conversations[item.conversation]
        let place = "\(item.template), \(conversation.name)"
        do throws(ChatTemplateError) {
            let text = try template.render(
                conversation: conversation.messages, tools: conversation.tools,
                addGenerationPrompt: conversation.addsGenerationPrompt,
                continueFinalMessage: conversation.continuesFinalMessage, variables: conversation.variables,
                clock: { JinjaDate(year: 2026, month: 2, day: 3, hour: 4, minute: 5, second: 6, microsecond: 7) })
            guard let output = item.output else { return "\(place): rendered, but Python says \(item.problem ?? "")" }
            return text.utf8.elementsEqual(output.utf8)
                ? nil : "\(place): \(text.debugDescription), not \(output.debugDescription)"
        } catch {
            #expect(!error.description.isEmpty)
            return item.output.map { "\(place): \(error), not \($0.debugDescription)" }
        }
    }
}
