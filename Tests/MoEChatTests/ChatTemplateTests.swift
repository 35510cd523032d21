// SPDX-License-Identifier: Apache-2.0

import Foundation
import MoEChat
import MoEJSON
import MoEJinja
import MoETestSupport
import Testing

/// Prevents: a prompt that differs from what the model was trained on.
@Suite struct ChatTemplateTests {
    /// Own templates, and what transformers makes of them.
    @Test func conversations() throws {
        let file = try ConversationCases(Fixtures.directory.appendingPathComponent("templates/chats.json"))
        for item in file.cases {
            let difference = try file.difference(item)
            #expect(difference == nil)
        }
        #expect(file.cases.count > 400)
    }

    /// Every template of the folder over the whole matrix; `make test-templates` writes the file.
    @Test(
        .enabled(
            if: ProcessInfo.processInfo.environment["MOE_TEST_TEMPLATES"] != nil && Fixtures.exists(Fixtures.shared),
            "make test-templates runs this, with ../shared at hand"))
    func matrix() throws {
        let file = try ConversationCases(Fixtures.root.appendingPathComponent(".cache/templates/matrix.json"))
        var (differences, refused): ([String], Int) = ([], 0)
        for item in file.cases {
            if let difference = try file.difference(item) { differences.append(difference) }
            if item.output == nil { refused += 1 }
        }
        print(
            "\(file.templates.count) templates, \(file.cases.count) cases (\(refused) of them refused by transformers),"
                + " \(differences.count) differ")
        #expect(differences.isEmpty, "\(differences.prefix(10).joined(separator: "\n"))")
        #expect(file.templates.count > 40 && refused < file.cases.count / 2)
    }

    // MARK: Messages

    private static let source =
        "{% for m in messages %}{{ m|tojson }}\n{% endfor %}{{ tools|tojson }} {{ add_generation_prompt }} {{ bos_token }} {{ x }}"

    @Test func messagesAndTools() throws {
        let template = try ChatTemplate(Self.source, specialTokens: ["bos_token": "<s>"])
        let messages = [
            ChatMessage(role: "user", content: "é"),
            ChatMessage(
                role: "assistant", content: nil, reasoning: "hm",
                toolCalls: [
                    ToolCall(id: "1", name: "f", arguments: #"{"b": 1.0, "a": [null]}"#),
                    ToolCall(name: "g", arguments: "{"),
                ]),
            ChatMessage(role: "tool", content: "r", toolCallID: "1", name: "f"),
        ]
        let tools = [
            ToolDefinition(name: "f", description: "F", parameters: #"{"type": "object", "z": 1, "a": 2}"#),
            ToolDefinition(name: "g"),
        ]
        let text = try template.render(messages: messages, tools: tools, variables: ["x": 5])
        #expect(
            text == #"""
                {"role": "user", "content": "é"}
                {"thinking": "hm", "role": "assistant", "reasoning_content": "hm", "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": {"b": 1.0, "a": [null]}}}, {"type": "function", "function": {"name": "g", "arguments": "{"}}]}
                {"role": "tool", "content": "r", "tool_call_id": "1", "name": "f"}
                [{"type": "function", "function": {"name": "f", "description": "F", "parameters": {"type": "object", "z": 1, "a": 2}}}, {"type": "function", "function": {"name": "g", "parameters": {"type": "object", "properties": {}}}}] True <s> 5
                """#)
        #expect(try template.render(messages: [messages[0]], addGenerationPrompt: false).hasSuffix("null False <s> "))
    }

    @Test func refusals() throws {
        let template = try ChatTemplate("{{ messages[0].content }}{{ raise_exception('No.') if messages|length > 2 }}")
        let user = ChatMessage(role: "user", content: "a ")
        #expect(throws: ChatTemplateError.emptyConversation) { try template.render(messages: []) }
        #expect(throws: ChatTemplateError.promptAndContinuation) {
            try template.render(messages: [user], continueFinalMessage: true)
        }
        #expect(throws: ChatTemplateError.nothingToContinue) {
            try template.render(
                messages: [ChatMessage(role: "user", content: nil)], addGenerationPrompt: false, continueFinalMessage: true)
        }
        #expect(throws: ChatTemplateError.finalMessageIsLost) {
            try template.render(messages: [user, user], addGenerationPrompt: false, continueFinalMessage: true)
        }
        let error = #expect(throws: ChatTemplateError.self) { try template.render(messages: [user, user, user]) }
        #expect(error?.description == "chat template, line 1, column 44: No.")
        #expect(throws: ChatTemplateError.self) {
            try template.render(messages: [user], tools: [ToolDefinition(name: "f", parameters: "[]")])
        }
        #expect(try template.render(messages: [user], addGenerationPrompt: false, continueFinalMessage: true) == "a ")
    }

    // MARK: What a template wants

    @Test func conventions() throws {
        func found(_ source: String) throws -> ChatTemplate.Conventions { try ChatTemplate(source).conventions }
        let calls = "{% for m in messages %}{{ m.content }}{% for c in m.tool_calls %}"
        let end = "{% endfor %}{% endfor %}"
        #expect(try found(calls + "{{ c.function.arguments|tojson }}" + end) == ChatTemplate.Conventions())
        #expect(
            try found(calls + "{% for k, v in c.function.arguments.items() %}<{{ k }}>{% endfor %}" + end)
                == ChatTemplate.Conventions())
        #expect(try found(calls + "{{ c.function.arguments }}" + end).hasTextArguments)
        #expect(try found(calls + "{{ 'x' + c.function.arguments }}" + end).hasTextArguments)
        #expect(
            try found("{% for m in messages %}{% for p in m.content %}{{ p.text }}{% endfor %}{% endfor %}").hasContentParts
        )
        #expect(try found("{{ raise_exception('never') }}") == ChatTemplate.Conventions())
        let parts = try ChatTemplate("{% for m in messages %}{% for p in m.content %}{{ p.text }}{% endfor %}{% endfor %}")
        #expect(try parts.render(messages: [ChatMessage(role: "user", content: "hi")]) == "hi")
        let text = try ChatTemplate(calls + "{{ c.function.arguments }}" + end)
        let call = ChatMessage(role: "assistant", content: "", toolCalls: [ToolCall(name: "f", arguments: #"{"a":1}"#)])
        #expect(try text.render(messages: [call]) == #"{"a":1}"#)
    }

    // MARK: Several templates

    @Test func sources() throws {
        func configuration(_ text: String) throws -> JSONDocument { try JSONDocument([UInt8](text.utf8)) }
        let single = ChatTemplateSources(configuration: try configuration(#"{"chat_template": "a"}"#))
        #expect(try single.source() == "a" && single.source(hasTools: true) == "a")
        let several = ChatTemplateSources(
            configuration: try configuration(
                #"{"chat_template": [{"name": "default", "template": "d"}, {"name": "tool_use", "template": "t"}, {"name": "rag", "template": "r"}]}"#
            ))
        #expect(try several.source() == "d" && several.source(hasTools: true) == "t" && several.source(name: "rag") == "r")
        #expect(throws: ChatTemplateError.noTemplate(names: ["default", "rag", "tool_use"])) {
            try several.source(name: "x")
        }
        let file = ChatTemplateSources(
            configuration: try configuration(#"{"chat_template": "a"}"#), file: "f", others: ["tool_use": "t"])
        #expect(try file.source() == "f" && file.source(hasTools: true) == "t")
        #expect(throws: ChatTemplateError.noTemplate(names: [])) {
            try ChatTemplateSources(configuration: try configuration("{}")).source()
        }
        let metadata = ["tokenizer.chat_template": "g", "tokenizer.chat_template.tool_use": "u"]
        let gguf = ChatTemplateSources { metadata[$0] }
        #expect(gguf.named == ["default": "g", "tool_use": "u"])
        let tokens = ChatTemplateSources.specialTokens(
            of: try configuration(
                #"{"bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": false}, "unk_token": null}"#))
        #expect(tokens == ["bos_token": "<s>", "eos_token": "</s>"])
    }
}
