// SPDX-License-Identifier: Apache-2.0

import Foundation
import MoEInfer
import MoETestSupport
import Testing

/// Conversations through the library. Templates and answer formats have their own suites; here it is that they are found in the
/// model's files and put together.
@Suite struct ChatTests {
    private let folder = FileManager.default.temporaryDirectory.appendingPathComponent("moe-chat-\(UUID().uuidString)")

    private static func user(_ text: String) -> ChatMessage { ChatMessage(role: "user", content: text) }

    /// A Hugging Face folder with a model and the given files.
    private func model(_ files: [String: String]) async throws -> LLM {
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        let path = folder.appendingPathComponent(UUID().uuidString)
        try FileManager.default.copyItem(at: Fixtures.directory.appendingPathComponent("tiny/mixtral"), to: path)
        for (name, text) in files {
            let file = path.appendingPathComponent(name)
            try FileManager.default.createDirectory(at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
            try text.write(to: file, atomically: true, encoding: .utf8)
        }
        return try await LLM.load(.path(path.path))
    }

    private func prompt(_ llm: LLM, tools: [ToolDefinition] = []) throws -> String {
        try llm.chatFormat.prompt([Self.user("hi")], tools: tools, variables: [:], continuesFinalMessage: false)
    }

    // MARK: What the files say

    /// In transformers' order: a template in a file of its own counts more than the tokenizer's configuration.
    @Test func templatesAreFoundInAFolder() async throws {
        defer { try? FileManager.default.removeItem(at: folder) }
        let configuration =
            #"{"bos_token": {"content": "<s>"}, "eos_token": "</s>", "chat_template": "C{{ bos_token }}{{ eos_token }}"}"#
        let inConfiguration = try await model(["tokenizer_config.json": configuration])
        #expect(try prompt(inConfiguration) == "C<s></s>")
        let older = try await model([
            "tokenizer_config.json": configuration, "chat_template.json": #"{"chat_template": "J{{ bos_token }}"}"#,
        ])
        #expect(try prompt(older) == "J<s>")
        let newer = try await model([
            "tokenizer_config.json": configuration, "chat_template.json": #"{"chat_template": "J"}"#,
            "chat_template.jinja": "F{{ messages[0].content }}",
            "additional_chat_templates/tool_use.jinja": "T{{ tools[0].function.name }}",
        ])
        #expect(try prompt(newer) == "Fhi")
        #expect(try prompt(newer, tools: [ToolDefinition(name: "f")]) == "Tf")
        #expect(try newer.chatFormat(named: "tool_use") != nil && newer.chatFormat(named: "rag") == nil)
        let named = try await model([
            "tokenizer_config.json":
                #"{"chat_template": [{"name": "default", "template": "D"}, {"name": "rag", "template": "R"}]}"#
        ])
        #expect(try prompt(named) == "D")
    }

    @Test func templatesAreFoundInMetadata() async throws {
        defer { try? FileManager.default.removeItem(at: folder) }
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        let path = folder.appendingPathComponent("m.gguf").path
        let file = try GGUFFile(path: Fixtures.root.appendingPathComponent("CSources/CMoEDemoModel/demo.gguf").path)
        let output = try OutputFile(path: path)
        try GGUFWriter(
            file, setting: "tokenizer.chat_template", to: Array("{{ eos_token }}{{ messages[0].content }}".utf8)
        ).write(to: output) { _ in }
        try output.commit()
        let llm = try await LLM.load(.path(path))
        let eos = try #require(try llm.tokenizer.eos)
        let name = try llm.tokenizer.decode([eos], skipSpecial: false)
        #expect(try prompt(llm) == name + "hi")
        // What the template writes as a special token is one, and none is added.
        let tokens = try llm.chatPrompt([Self.user("hi")]).tokens
        #expect(try tokens == [eos] + llm.tokenizer.encode("hi", addSpecial: false))
    }

    @Test func aModelWithoutATemplateSaysSo() async throws {
        let llm = try await LLM.load(EngineTests.model)
        #expect { try llm.chatFormat } throws: { ($0 as? ChatFormatError)?.kind == .noTemplate }
        #expect(try llm.suggestedSampling == SuggestedSampling())
        await #expect(throws: ChatFormatError.self) { for try await _ in llm.chat([Self.user("hi")]) {} }
    }

    @Test func aBadTemplateIsOneLineAndNoOtherUseSuffers() async throws {
        defer { try? FileManager.default.removeItem(at: folder) }
        let llm = try await model(["chat_template.jinja": "a\n{% if %}"])
        #expect { try llm.chatFormat } throws: {
            let error = $0 as? ChatFormatError
            return error?.kind == .badTemplate && error?.description.contains("line 2") == true
        }
        for try await event in llm.generate(tokens: [1, 2, 3]) {
            if case .finished(let result) = event { #expect(!result.tokens.isEmpty) }
        }
    }

    @Test func thePublishersSamplingIsFollowed() async throws {
        defer { try? FileManager.default.removeItem(at: folder) }
        var sampling = SamplingOptions()
        let told = try await model([
            "generation_config.json": #"{"do_sample": true, "temperature": 0.6, "top_k": 20, "top_p": 0.9}"#
        ])
        try told.suggestedSampling.apply(to: &sampling)
        #expect((sampling.temperature, sampling.topK, sampling.topP, sampling.minP) == (0.6, 20, 0.9, 0))
        let greedy = try await model(["generation_config.json": #"{"do_sample": false, "temperature": 0.6}"#])
        try greedy.suggestedSampling.apply(to: &sampling)
        #expect(sampling.temperature == 0)
        let silent = try await model(["generation_config.json": #"{"eos_token_id": 2}"#])
        try silent.suggestedSampling.apply(to: &sampling)
        #expect((sampling.temperature, sampling.topK, sampling.topP, sampling.minP) == (0.7, 40, 0.95, 0.05))
        let wrong = try await model(["generation_config.json": #"{"temperature": -1}"#])
        #expect(throws: ModelFileError.self) { try wrong.suggestedSampling }
    }

    // MARK: Answers

    /// The message is what the events said, and its tokens are those of plain generation from the same prompt.
    @Test func anAnswerIsTheGenerationTakenApart() async throws {
        let llm = try await LLM.load(EngineTests.model)
        var options = ChatOptions()
        options.format = try ChatFormat(
            template: "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}The", name: "t", of: llm)
        options.generation.sampling.maxTokens = 24
        let prompt = try llm.chatPrompt([Self.user("Hello")], options: options)
        #expect(prompt.text == "user: Hello\nThe")
        var (content, tokens, result) = ("", [Int32](), ChatResult?.none)
        for try await event in llm.chat([Self.user("Hello")], options: options) {
            switch event {
            case .token(let token): tokens.append(token.id)
            case .content(let piece): content += piece.text
            case .finished(let final): result = final
            default: Issue.record("\(event)")
            }
        }
        var plain: GenerationResult?
        for try await event in llm.generate(tokens: prompt.tokens, options: options.generation) {
            if case .finished(let final) = event { plain = final }
        }
        #expect(tokens == plain?.tokens)
        #expect(result?.generation.tokens == plain?.tokens && result?.finishReason == .length)
        #expect(content == plain?.text && result?.message.content == content)
    }

    /// Clients that run one call at a time get the first; what the others took was generated all the same.
    @Test(arguments: [true, false]) func laterCallsAreLeftOutWhereOneIsWanted(parallel: Bool) async throws {
        let llm = try await LLM.load(EngineTests.model)
        var options = ChatOptions()
        options.format = try ChatFormat(
            template: """
                {{ messages[0].content }}{% if tools %}{% for tool in tools %}{{ tool | tojson }}{% endfor %}<tool_call>
                {"name": <function-name>, "arguments": <args-json-object>}
                </tool_call>{% endif %}
                """, name: "t", of: llm)
        options.allowsParallelCalls = parallel
        options.generation.sampling.maxTokens = 300
        let call = { (city: String) in #"<tool_call>{\"name\": \"f\", \"arguments\": {\"city\": \"\#(city)\"}}</tool_call>"#
        }
        options.generation.grammar = try Grammar(gbnf: "root ::= \"\(call("Oslo"))\" \"\(call("Rome"))\"")
        var (began, ended, result) = ([Int](), [Int](), ChatResult?.none)
        let tool = ToolDefinition(name: "f", description: nil, parameters: nil)
        for try await event in llm.chat([Self.user("Hello")], tools: [tool], options: options) {
            switch event {
            case .toolCallBegan(let index, _, _): began.append(index)
            case .toolCallEnded(let index): ended.append(index)
            case .finished(let final): result = final
            default: break
            }
        }
        #expect(began == (parallel ? [0, 1] : [0]) && ended == began)
        #expect(result?.finishReason == .toolCalls)
        #expect(result?.message.toolCalls.map(\.arguments) == began.map { #"{"city": "\#(["Oslo", "Rome"][$0])"}"# })
        #expect(result?.generation.text.contains("Rome") == true)
    }

    @Test func whatThePromptOpensIsReasoning() async throws {
        let llm = try await LLM.load(EngineTests.model)
        var options = ChatOptions()
        options.format = try ChatFormat(template: "{{ messages[0].content }}<think>{# </think> #}", name: "t", of: llm)
        options.generation.sampling.maxTokens = 8
        var reasoning = ""
        for try await event in llm.chat([Self.user("Hello")], options: options) {
            if case .reasoning(let piece) = event { reasoning += piece.text }
            if case .finished(let result) = event {
                #expect(result.message.reasoning == reasoning && result.message.content == "")
            }
        }
        #expect(!reasoning.isEmpty)
    }

    /// Who leaves stops the work.
    @Test func droppingTheStreamCancels() async throws {
        let llm = try await LLM.load(EngineTests.model)
        var options = ChatOptions()
        options.format = .plain
        options.generation.sampling.maxTokens = 4000
        options.generation.sampling.ignoreEOS = true
        for try await event in llm.chat([Self.user("Hello")], options: options) { if case .content = event { break } }
        for _ in 0..<1000 where await !llm.engine.isEmpty { try await Task.sleep(for: .milliseconds(10)) }
        #expect(await llm.engine.isEmpty)
    }

    /// Answer formats are marked by special tokens; the one that ends the turn is no text.
    @Test func namesOfSpecialTokensAreGivenWhenAskedFor() throws {
        let json = try Data(contentsOf: Fixtures.directory.appendingPathComponent("tokenizers/smollm.tokenizer.json"))
        let tokenizer = try Tokenizer(
            tokenizerJSON: Array(json), tokenizerConfig: nil, generationConfig: nil, source: "smollm")
        let special = (0..<Int32(tokenizer.vocabularySize)).filter(tokenizer.isSpecial)
        let ending = try #require(special.first { tokenizer.endOfGeneration.contains($0) })
        let other = try #require(special.first { !tokenizer.endOfGeneration.contains($0) })
        let tokens =
            tokenizer.encode("a", addSpecial: false) + [other] + tokenizer.encode("é", addSpecial: false) + [ending]
        var (named, silent) = (StreamingDecoder(tokenizer, skipSpecial: false), StreamingDecoder(tokenizer))
        #expect(
            tokens.map { named.append($0) }.joined() + named.finish()
                == "a\(tokenizer.decode([other], skipSpecial: false))é")
        #expect(tokens.map { silent.append($0) }.joined() + silent.finish() == "aé")
    }

    @Test func whiteSpaceAroundAPlainAnswerIsNotPartOfIt() {
        for piece in 1...4 {
            var trimmer = WhiteSpaceTrimmer()
            let text = Array(" \n one  two\n\nthree \n")
            var result = ""
            for start in stride(from: 0, to: text.count, by: piece) {
                result += trimmer.append(String(text[start..<min(start + piece, text.count)]))
            }
            #expect(result == "one  two\n\nthree")
        }
    }

    // MARK: Saved conversations

    @Test func aTranscriptComesBackAsItWas() throws {
        let transcript = ChatTranscript(messages: [
            ChatMessage(role: "system", content: "Be \"brief\"\n漢"),
            ChatMessage(role: "user", content: ""),
            ChatMessage(
                role: "assistant", content: nil, reasoning: "hm",
                toolCalls: [ToolCall(id: "c1", name: "f", arguments: #"{"a": [1, "/"]}"#)]),
            ChatMessage(role: "tool", content: "4", toolCallID: "c1", name: "f"),
        ])
        #expect(try ChatTranscript(json: Array(transcript.json.utf8), file: "t") == transcript)
        let parts = #"[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}],"extra":1}]"#
        #expect(try ChatTranscript(json: Array(parts.utf8), file: "t").messages == [Self.user("ab")])
    }
}
