// SPDX-License-Identifier: Apache-2.0

import MoETestSupport
import Testing

@testable import MoEChat

/// What streams when, and what becomes of texts that break a format.
@Suite struct AnswerParserTests {
    static let tools = [
        ToolDefinition(
            name: "f",
            parameters: #"{"type": "object", "properties": {"s": {"type": "string"}, "n": {"type": "integer"}, "o": {}}}"#),
        ToolDefinition(name: "g"),
    ]
    static func format(_ name: String) -> AnswerFormat { AnswerFormat.all[name]! }

    static func answer(_ text: String, _ name: String, tools: [ToolDefinition] = tools, inReasoning: Bool = false) -> Answer {
        Answer(text, format: format(name), tools: tools, startsInReasoning: inReasoning)
    }

    // MARK: What streams

    @Test func textIsGivenAsSoonAsItCanBe() {
        var parser = AnswerParser(format: Self.format("hermes"), tools: Self.tools)
        #expect(parser.append("Hello") == [.content("Hello")])
        // White space waits: it is dropped if a marker follows.
        #expect(parser.append(" ") == [])
        #expect(parser.append("you <") == [.content(" you")])
        #expect(parser.append("tool_") == [])
        #expect(parser.append("box>") == [.content(" <tool_box>")])
        #expect(parser.append(" <tool_call") == [])
        #expect(parser.finish() == [.content(" <tool_call")])
        #expect(parser.finish() == [])
        #expect(parser.append("more") == [])
    }

    @Test func plainTextIsNeverHeld() {
        var parser = AnswerParser(format: .plain)
        #expect(parser.append(" <think> \n") == [.content(" <think> \n")])
        #expect(parser.finish() == [])
    }

    @Test func argumentsStream() {
        var parser = AnswerParser(format: Self.format("hermes"), tools: Self.tools)
        #expect(parser.append("Yes.\n<tool_call>\n{\"name\": \"f\", ") == [.content("Yes."), .toolCallBegan(index: 0, id: "call_0", name: "f")])
        #expect(parser.append("\"arguments\": {\"s\": \"a") == [.toolCallArguments(index: 0, fragment: "{\"s\": \"a")])
        #expect(parser.append("b\"") == [.toolCallArguments(index: 0, fragment: "b\"")])
        #expect(parser.append("}}") == [.toolCallArguments(index: 0, fragment: "}"), .toolCallEnded(index: 0)])
        #expect(parser.append("\n</tool_call>") == [])
        #expect(parser.append("Done.") == [.content("Done.")])
    }

    @Test func valuesInTagsStream() {
        var parser = AnswerParser(format: Self.format("qwen-xml"), tools: Self.tools)
        _ = parser.append("<tool_call>\n<function=f>\n<parameter=s>\n")
        #expect(parser.append("a \"b") == [.toolCallArguments(index: 0, fragment: #"a \"b"#)])
        // The line's end belongs to the closing tag, unless there is none.
        #expect(parser.append("\n") == [])
        #expect(parser.append("c\n</param") == [.toolCallArguments(index: 0, fragment: #"\nc"#)])
        #expect(parser.append("eter>\n<parameter=n>\n1") == [.toolCallArguments(index: 0, fragment: "\", \"n\": ")])
        #expect(parser.append("2\n</parameter>") == [.toolCallArguments(index: 0, fragment: "12")])
        #expect(parser.append("</function>") == [.toolCallArguments(index: 0, fragment: "}"), .toolCallEnded(index: 0)])
    }

    @Test func reasoningThatThePromptOpensStreamsAtOnce() {
        let format = Self.format("hermes")
        #expect(format.startsInReasoning(prompt: "<|im_start|>assistant\n<think>\n"))
        #expect(!format.startsInReasoning(prompt: "<|im_start|>assistant\n<think>\n\n</think>\n\n"))
        #expect(!format.startsInReasoning(prompt: "<|im_start|>assistant\n"))
        var parser = AnswerParser(format: format, startsInReasoning: true)
        #expect(parser.append("Hm") == [.reasoning("Hm")])
        #expect(parser.append(".\n</think>\n\nYes") == [.reasoning("."), .content("Yes")])
    }

    // MARK: Reasoning

    @Test(arguments: [
        ("<think>\nA\n\nB\n</think>\n\nC\n", "A\n\nB", "C\n"), ("\n<think></think>\nC", "", "C"), ("<think>A", "A", ""),
        ("</think>\n\nC", "", "C"), ("</think>\n    indented", "", "    indented"),
        // In the middle of a sentence it is the sentence's.
        ("Use <think> and </think>.", "", "Use <think> and </think>."), ("<think>a <think> b</think>c", "a <think> b", "c"),
    ])
    func thinkBlocks(text: String, reasoning: String, content: String) {
        let answer = Self.answer(text, "think")
        #expect(answer.reasoning == reasoning)
        #expect(answer.content == content)
    }

    @Test func blockThatIsOpenedTwice() {
        let answer = Self.answer("<think>\nA</think>B", "think", inReasoning: true)
        #expect(answer.reasoning == "A" && answer.content == "B")
    }

    // MARK: Ids

    @Test func idsOfTheModelAreKept() {
        #expect(Self.answer(#"[TOOL_CALLS][{"name": "f", "arguments": {}, "id": "a1"}]"#, "mistral").toolCalls.map(\.id) == ["a1"])
        #expect(Self.answer(#"[TOOL_CALLS]f[CALL_ID]b2[ARGS]{}"#, "mistral").toolCalls.map(\.id) == ["b2"])
        #expect(
            Self.answer(
                #"<|START_ACTION|>[{"tool_call_id": "7", "tool_name": "f", "parameters": {}}]<|END_ACTION|>"#, "command-r7b"
            ).toolCalls.map(\.id) == ["7"])
        #expect(
            Self.answer(
                #"<|START_ACTION|>[{"tool_call_id": 7, "tool_name": "f", "parameters": {}}]<|END_ACTION|>"#, "command-r7b"
            ).toolCalls.map(\.id) == ["7"])
        #expect(
            Self.answer("<|tool_call_begin|>functions.f:3<|tool_call_argument_begin|>{}<|tool_call_end|>", "kimi-k2").toolCalls
                == [ToolCall(id: "functions.f:3", name: "f", arguments: "{}")])
        #expect(
            Self.answer(
                #"<tool_call>{"name": "f", "arguments": {}}</tool_call><tool_call>{"name": "g", "arguments": {}}</tool_call>"#,
                "hermes"
            ).toolCalls.map(\.id) == ["call_0", "call_1"])
    }

    // MARK: Malformed

    static let malformed: [(format: String, text: String)] = [
        ("hermes", "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\" 1}}\n</tool_call>"),
        ("hermes", "<tool_call>f(1)</tool_call> and more"), ("hermes", "<tool_call>{\"arguments\": {}}</tool_call>"),
        ("hermes", "<tool_call>{\"name\": \"f\", \"arguments\": [1]}</tool_call>"),
        ("hermes", "<tool_call></tool_call>"), ("hermes", "<tool_call>{\"name\": 1}</tool_call>"),
        ("hermes", "<tool_call>{\"name\": \"f\", \"arguments\": \"no JSON\"}</tool_call>"),
        ("hermes", "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1}, }</tool_call>"),
        ("qwen-xml", "<tool_call>\n<function=f>\nno tag\n</function>\n</tool_call>"), ("qwen-xml", "<tool_call>text"),
        ("qwen-xml", "<function=f <parameter=a>\n1\n</parameter>"), ("glm", "<tool_call>f\n<arg_key>k</arg_key>1</tool_call>"),
        ("deepseek-v3.1", "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{1}<｜tool▁call▁end｜><｜tool▁calls▁end｜>"),
        ("kimi-k2", "<|tool_calls_section_begin|><|tool_calls_section_end|>"),
        ("mistral", "[TOOL_CALLS]f[ARGS]no"), ("lfm2", "<|tool_call_start|>[f(a=b)]<|tool_call_end|>"),
        ("lfm2", "<|tool_call_start|>[f(1)]<|tool_call_end|>"),
        ("gemma4", "<|tool_call>call:f{a:<b>}<tool_call|>"), ("apertus", "<|tools_prefix|>[{\"f\": 1}]<|tools_suffix|>"),
        ("minimax-m2", "<minimax:tool_call>\n<invoke name=\"f\">\n<x></invoke>\n</minimax:tool_call>"),
    ]

    /// Nothing is lost: what is no call is content, to the letter, and there is a warning.
    @Test func malformedCallsAreContent() {
        for (format, text) in Self.malformed {
            let answer = Self.answer("Look:\n" + text, format)
            #expect(answer.toolCalls == [], "\(text)")
            #expect(answer.content == "Look:\n" + text, "\(text)")
            #expect(answer.warnings.count >= 1, "\(text)")
        }
    }

    /// A good call after a bad one, and a bad one after a good one.
    @Test func callsAroundMalformedOnes() {
        let good = "<tool_call>{\"name\": \"g\", \"arguments\": {}}</tool_call>"
        for (format, text) in Self.malformed where format == "hermes" && !text.hasSuffix("more") {
            let after = Self.answer(text + good, format)
            #expect(after.toolCalls.map(\.name) == ["g"], "\(text)")
            #expect(after.content == text, "\(text)")
            let before = Self.answer(good + text, format)
            #expect(before.toolCalls.map(\.name) == ["g"], "\(text)")
            #expect(before.content == text, "\(text)")
        }
    }

    @Test func callsThatBreakOffAreContent() {
        let text = "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"s\": \"abc"
        var parser = AnswerParser(format: Self.format("hermes"), tools: Self.tools)
        var events = parser.append(text)
        #expect(events.first == .toolCallBegan(index: 0, id: "call_0", name: "f"))
        events = parser.finish()
        #expect(events == [.toolCallAbandoned(index: 0), .warning(.unfinishedCall), .content(text)])
    }

    @Test func closingMarkersMayBeMissingAtTheEnd() {
        for (format, text) in [
            ("hermes", #"<tool_call>{"name": "f", "arguments": {}}"#), ("qwen-xml", "<tool_call><function=f></function>"),
            ("kimi-k2", "<|tool_calls_section_begin|><|tool_call_begin|>f:0<|tool_call_argument_begin|>{}"),
            ("lfm2", "<|tool_call_start|>[f()"), ("nemotron", #"<TOOLCALL>[{"name": "f", "arguments": {}}"#),
        ] {
            let answer = Self.answer(text, format)
            #expect(answer.toolCalls.map(\.arguments) == ["{}"], "\(text)")
            #expect(answer.content == "" && answer.warnings == [], "\(text)")
        }
    }

    @Test func oneMissingBraceIsForgiven() {
        let answer = Self.answer(#"<tool_call>{"name": "f", "arguments": {"n": 1}</tool_call>Done"#, "hermes")
        #expect(answer.toolCalls.map(\.arguments) == [#"{"n": 1}"#])
        #expect(answer.content == "Done")
        #expect(answer.warnings == [.repairedCall("its last brace is missing")])
    }

    @Test func argumentsBeforeTheNameAndInStrings() {
        let answer = Self.answer(
            #"<tool_call>{"arguments": {"n": 1}, "name": "f"}</tool_call><tool_call>{"name": "f", "arguments": "{\"s\": \"\\u00e9\\n\"}"}</tool_call>"#,
            "hermes")
        #expect(answer.toolCalls.map(\.arguments) == [#"{"n": 1}"#, #"{"s": "\u00e9\n"}"#])
        #expect(answer.warnings == [])
    }

    @Test func openAIStyleWrapping() {
        let answer = Self.answer(
            #"<tool_call>{"type": "function", "function": {"name": "f", "arguments": {"n": 1}}}</tool_call>"#, "hermes")
        #expect(answer.toolCalls.map(\.arguments) == [#"{"n": 1}"#])
    }

    @Test func withoutToolsNothingIsACall() {
        let text = #"<tool_call>{"name": "f", "arguments": {}}</tool_call>"#
        let answer = Self.answer(text, "hermes", tools: [])
        #expect(answer.content == text && answer.toolCalls == [] && answer.warnings == [])
    }

    // MARK: Llama, functionary, gpt-oss

    @Test(arguments: [
        #"{"answer": 42}"#, #"{"name": "unknown", "parameters": {}}"#, #"{"name": "f"}"#, "{not JSON}", "[1, 2]", "[f]", "{",
        #"{"name": "f", "parameters""#, "[see f(x)]", #"{"name": "Anna", "age": 3}"#,
    ])
    func jsonThatIsNoCallIsContent(text: String) {
        let answer = Self.answer(text, "llama3")
        #expect(answer.content == text && answer.toolCalls == [] && answer.warnings == [])
    }

    @Test func llamaCalls() {
        let two = Self.answer(#"{"name": "f", "parameters": {"n": 1}}; {"name": "g", "parameters": {}}"#, "llama3")
        #expect(two.toolCalls.map(\.name) == ["f", "g"] && two.content == "")
        let builtIn = Self.answer(#"<|python_tag|>brave_search.call(query="a \"b\"")"#, "llama3")
        #expect(builtIn.toolCalls.map(\.name) == ["brave_search"])
        #expect(builtIn.toolCalls.map(\.arguments) == [#"{"query": "a \"b\""}"#])
        #expect(builtIn.warnings == [.unknownTool("brave_search")])
        let program = Self.answer("<|python_tag|>print(\"x\")\n", "llama3")
        #expect(program.toolCalls.map(\.arguments) == [#"{"code": "print(\"x\")\n"}"#])
        let list = Self.answer("[f(s='a', n=1), g()]", "llama3")
        #expect(list.toolCalls.map(\.arguments) == [#"{"s": "a", "n": 1}"#, "{}"])
    }

    @Test func functionaryRecipients() {
        let answer = Self.answer("all\nHi >>> there\n>>>f\n{\"n\": 1}>>>g\nx = 1\n", "functionary-v3.2")
        #expect(answer.content == "Hi >>> there")
        #expect(answer.toolCalls.map(\.arguments) == [#"{"n": 1}"#, #"{"code": "x = 1\n"}"#])
        #expect(Self.answer("g\n{}", "functionary-v3.2").toolCalls.map(\.name) == ["g"])
        #expect(Self.answer("all\nHi", "functionary-v3.2", tools: []).content == "Hi")
    }

    @Test func harmonyMessages() {
        let answer = Self.answer(
            "<|channel|>analysis<|message|>A<|end|><|start|>assistant<|channel|>commentary<|message|>B<|end|><|start|>assistant"
                + "<|channel|>analysis<|message|>C<|end|><|start|>assistant to=functions.f<|channel|>commentary json<|message|>"
                + "{\"n\": 1}<|call|>", "harmony")
        #expect(answer.reasoning == "A\nC")
        #expect(answer.content == "B")
        #expect(answer.toolCalls.map(\.arguments) == [#"{"n": 1}"#])
        #expect(answer.warnings == [])
        #expect(Self.answer("Hello <|no|> there", "harmony").content == "Hello <|no|> there")
        let program = Self.answer("<|channel|>analysis to=python code<|message|>print(\"1\")", "harmony")
        #expect(program.toolCalls.map(\.arguments) == [#"{"code": "print(\"1\")"}"#])
        let bad = Self.answer("<|channel|>commentary to=functions.f<|message|>{\"n\": }<|end|>", "harmony")
        #expect(bad.toolCalls == [])
        #expect(bad.content == "<|channel|>commentary to=functions.f<|message|>{\"n\": }")
        let inReasoning = Self.answer("more<|end|><|start|>assistant<|channel|>final<|message|>X", "harmony", inReasoning: true)
        #expect(inReasoning.reasoning == "more" && inReasoning.content == "X")
    }

    // MARK: Types of plain values

    @Test(arguments: [
        (#"{"type": "integer"}"#, "12", "12"), (#"{"type": "integer"}"#, "12.0", "12.0"), (#"{"type": "integer"}"#, "x", #""x""#),
        (#"{"type": "string"}"#, "12", #""12""#), (#"{"type": "string"}"#, "null", #""null""#), (#"{}"#, "true", "true"),
        (#"{"type": "boolean"}"#, "True", "true"), (#"{"type": "boolean"}"#, "FALSE", "false"), (#"{}"#, "x y", #""x y""#),
        (#"{"type": "object"}"#, "{'a': [1, None]}", #"{"a": [1, null]}"#), (#"{"type": ["string", "null"]}"#, "None", "null"),
        (#"{"type": ["string", "integer"]}"#, "7", "7"), (#"{"anyOf": [{"type": "array"}, {"type": "string"}]}"#, "[1", #""[1""#),
        (#"{"enum": ["1", "2"]}"#, "1", #""1""#), (#"{"enum": [1, 2]}"#, "1", "1"), (#"{"const": "42"}"#, "42", #""42""#),
        (#"{"type": "string", "nullable": true}"#, "null", "null"), (#"{"type": "number"}"#, "-3", "-3"),
        (#"{"type": "array"}"#, "('a', 'b',)", #"["a", "b"]"#), (#"{"type": "float"}"#, "1e3", "1e3"),
    ])
    func typesOfValues(schema: String, value: String, json: String) {
        let tool = ToolDefinition(name: "t", parameters: #"{"properties": {"p": \#(schema)}}"#)
        let answer = Self.answer("<function=t>\n<parameter=p>\n\(value)\n</parameter>\n</function>", "qwen-xml", tools: [tool])
        #expect(answer.toolCalls.map(\.arguments) == [#"{"p": \#(json)}"#])
    }
}
