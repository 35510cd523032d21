// SPDX-License-Identifier: Apache-2.0

import Foundation
import MoETestSupport
import Testing

/// Conversations through the built program: from a pipe, and with files. The embedded model speaks plain text.
@Suite struct ChatCommandTests {
    private let folder = FileManager.default.temporaryDirectory.appendingPathComponent("moe-chat-\(UUID().uuidString)")

    private static func run(
        _ arguments: [String], input: String = "", environment: [String: String] = [:]
    ) async throws -> CommandLineTests.Outcome {
        try await CommandLineTests.run(["chat", "--seed", "1"] + arguments, input: input, environment: environment)
    }

    // MARK: Pipes

    /// Scripts read the answer from standard output: nothing else may be there, and no escape sequence anywhere.
    @Test func aPipeGetsTheAnswerAlone() async throws {
        let result = try await Self.run(["-n", "12"], input: "Hello, who are you?\n")
        #expect(result.code == 0)
        #expect(result.output.count > 5 && result.output.hasSuffix("\n"))
        #expect(!result.output.contains("\u{1B}") && !result.error.contains("\u{1B}"))
        #expect(!result.output.contains("Hello, who") && !result.output.contains("> "))
        #expect(result.error.contains("note: the embedded model"))
        let again = try await Self.run(["-n", "12"], input: "Hello, who are you?")
        #expect(again.output == result.output)
        let argument = try await Self.run(["-n", "12", "Hello, who are you?"])
        #expect(argument.output == result.output)
    }

    @Test func everyLineIsAMessageAndJSONHasALineForEach() async throws {
        let input = "The sea is\n\n\"\"\"two\nlines\"\"\"\none \\\nmore\n/set max-tokens 3\nlast\n"
        let result = try await Self.run(["--json", "-n", "6"], input: input)
        #expect(result.code == 0)
        let documents = try result.output.split(separator: "\n").map {
            try #require(try JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any])
        }
        #expect(documents.count == 4)
        for document in documents {
            #expect(Set(document.keys) == ["message", "finish_reason", "seed", "warnings", "usage", "timings"])
            let message = try #require(document["message"] as? [String: Any])
            #expect(message["role"] as? String == "assistant" && message["content"] is String)
        }
        let usages = documents.compactMap { $0["usage"] as? [String: Any] }
        #expect((usages[3]["completion_tokens"] as? Int) ?? 9 <= 3)
        // The whole conversation is in every prompt.
        let prompts = usages.compactMap { $0["prompt_tokens"] as? Int }
        #expect(prompts == prompts.sorted() && prompts.count == 4)
        #expect(documents.map { $0["seed"] as? Int } == [1, 2, 3, 4])
    }

    @Test func commandsAnswerOnStandardError() async throws {
        let input = "/help\n/system Be brief.\n/system\n/stats\n/undo\n"
        let result = try await Self.run([], input: input)
        #expect(result.output.isEmpty && result.code == 1)
        for text in ["/regenerate", "Be brief.", "nothing has been answered yet", "error: there is nothing to take back"] {
            #expect(result.error.contains(text), "\(text)")
        }
    }

    /// A command's first word is a slash and letters; code and paths are messages.
    @Test(arguments: ["// a comment", "/etc/passwd?", " /help", "/2"]) func whatIsNoCommandIsSaid(text: String) async throws
    {
        let result = try await Self.run(["--json", "-n", "1"], input: text + "\n")
        #expect(result.code == 0 && result.output.contains("\"message\""), "\(result.error)")
    }

    @Test func thePromptCanBeSeen() async throws {
        let result = try await Self.run(["--print-prompt", "--system", "S", "hi"])
        #expect(result.output == "System: S\nUser: hi\nAssistant:")
        let document = try await Self.run(["--print-prompt", "--system", "S", "hi", "--json"]).object()
        let tokens = try await CommandLineTests.run(["tokenize", "--json", result.output]).json() as? [Int]
        #expect(document["tokens"] as? [Int] == tokens)
    }

    @Test func aTemplateOfAFileIsUsed() async throws {
        defer { try? FileManager.default.removeItem(at: folder) }
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        let file = folder.appendingPathComponent("t.jinja").path
        try
            "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{{ tone }}{% if add_generation_prompt %}<a>{% endif %}"
            .write(toFile: file, atomically: true, encoding: .utf8)
        let result = try await Self.run(
            ["--template", file, "--template-variable", #"tone="é""#, "--print-prompt", "--system", "S", "hi"])
        #expect(result.output == "<system>S<user>hié<a>", "\(result.error)")
        try "{% for %}".write(toFile: file, atomically: true, encoding: .utf8)
        let broken = try await Self.run(["--template", file, "hi"])
        #expect(broken.code == 1 && broken.errorLines.count == 1 && broken.output.isEmpty)
        #expect(broken.error.contains("t.jinja: chat template, line 1, column"), "\(broken.error)")
        try "{{ raise_exception('no') }}".write(toFile: file, atomically: true, encoding: .utf8)
        let refused = try await Self.run(["--template", file, "hi"])
        #expect(refused.code == 1 && refused.errorLines.count == 1 && refused.error.contains("no"), "\(refused.error)")
    }

    /// A script wants the answer, not how the model came to it.
    @Test func reasoningIsNotForPipes() async throws {
        defer { try? FileManager.default.removeItem(at: folder) }
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        let file = folder.appendingPathComponent("t.jinja").path
        try "{{ messages[0].content }}<think>{# </think> #}".write(toFile: file, atomically: true, encoding: .utf8)
        let text = try await Self.run(["--template", file, "-n", "9", "Hello"])
        #expect(text.code == 0 && text.output.isEmpty && text.error.contains("cut off"), "\(text.error)")
        let document = try await Self.run(["--template", file, "-n", "9", "--json", "Hello"]).object()
        let message = try #require(document["message"] as? [String: Any])
        #expect((message["reasoning_content"] as? String)?.isEmpty == false && message["content"] as? String == "")
    }

    /// Going on gives what one longer answer would have been.
    @Test func anAnswerIsGoneOnWith() async throws {
        let file = FileManager.default.temporaryDirectory.appendingPathComponent("moe-\(UUID().uuidString).json").path
        defer { try? FileManager.default.removeItem(atPath: file) }
        let result = try await Self.run(
            ["--temperature", "0", "-n", "6"], input: "Hello\n/continue\n/save \(file)\n/undo\n/continue\n")
        #expect(result.code == 1 && result.error.contains("there is no answer to go on with"))
        let messages = try ChatCommandTests.messages(file)
        #expect(messages.map { $0["role"] as? String } == ["user", "assistant"])
        let whole = try await Self.run(["--temperature", "0", "-n", "12", "Hello"])
        #expect(messages[1]["content"] as? String == String(whole.output.dropLast()), "\(result.output)")
    }

    private static func messages(_ file: String) throws -> [[String: Any]] {
        let data = try Data(contentsOf: URL(fileURLWithPath: file))
        let object = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
        return try #require(object["messages"] as? [[String: Any]])
    }

    // MARK: Files

    @Test func aConversationIsSavedAndGoneOnWith() async throws {
        defer { try? FileManager.default.removeItem(at: folder) }
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        let file = folder.appendingPathComponent("c.json").path
        let first = try await Self.run(
            ["-n", "5", "--system", "S"], input: "Hello\n/save \(file)\nmore\n/save\n")
        #expect(first.code == 0 && first.error.contains("5 messages"), "\(first.error)")
        let messages = try Self.messages(file)
        #expect(messages.map { $0["role"] as? String } == ["system", "user", "assistant", "user", "assistant"])
        #expect(messages[1]["content"] as? String == "Hello")
        let second = try await Self.run(["--load", file, "-n", "2"], input: "/show\n/undo\n/load \(file)\n")
        #expect(second.code == 0 && second.error.contains("user: Hello") && second.error.contains("taken back: more"))

        let other = folder.appendingPathComponent("other.txt").path
        try "mine".write(toFile: other, atomically: true, encoding: .utf8)
        let refused = try await Self.run([], input: "/save \(other)\n")
        #expect(refused.code == 1 && refused.error.contains("not overwritten"))
        #expect(try String(contentsOfFile: other, encoding: .utf8) == "mine")
        for (text, problem) in [
            ("mine", "no JSON"), ("{}", "no saved conversation"), (#"[{"role":3}]"#, "messages[0].role: expected a string"),
            (#"[{"role":"user","content":[{"type":"image_url"}]}]"#, "expected text only"),
        ] {
            try text.write(toFile: other, atomically: true, encoding: .utf8)
            let bad = try await Self.run(["--load", other, "hi"])
            #expect(bad.code == 1 && bad.errorLines.count == 1 && bad.error.contains(problem), "\(bad.error)")
        }
    }

    // MARK: What is wrong

    @Test func whatCannotBeIsOneLine() async throws {
        let model = Fixtures.directory.appendingPathComponent("tiny/mixtral/model.gguf").path
        let none = try await Self.run(["--model", model, "hi"])
        #expect(none.code == 1 && none.errorLines.count == 1 && none.output.isEmpty)
        #expect(none.error.contains("no chat template") && none.error.contains("--template plain"), "\(none.error)")
        for (input, problem) in [
            ("/nope\n", "no command /nope"), ("/set temperature -1\n", "temperature must be"),
            ("/set colour red\n", "no setting"),
            ("/routing top-p:p=2\n", "top-p"), ("/load /nowhere/x\n", "cannot be read"), ("/save\n", "/save FILE"),
        ] {
            let result = try await Self.run([], input: input)
            #expect(result.code == 1 || result.code == 64, "\(input)")
            #expect(
                result.output.isEmpty && result.errorLines.count == 2 && result.error.contains(problem), "\(result.error)")
        }
        for arguments in [
            ["--temperature", "-1"], ["--template-variable", "x"], ["--print-prompt"], ["--routing", "what"],
        ] {
            let result = try await Self.run(arguments, input: "hi")
            #expect(result.code == 64 && result.output.isEmpty, "\(arguments)")
        }
        let long = try await Self.run(["--context", "32"], input: String(repeating: "word ", count: 100) + "\n")
        #expect(long.code == 1 && long.error.contains("the context holds 32"))
    }

    @Test func bytesThatAreNoTextAreRefused() async throws {
        defer { try? FileManager.default.removeItem(at: folder) }
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        let file = folder.appendingPathComponent("bytes")
        try Data([0x68, 0x69, 0x0A, 0xFF, 0x0A]).write(to: file)
        let process = Process()
        process.executableURL = CommandLineTests.program
        process.arguments = ["chat", "-n", "1"]
        process.standardInput = try FileHandle(forReadingFrom: file)
        let (output, error) = (Pipe(), Pipe())
        (process.standardOutput, process.standardError) = (output, error)
        try process.run()
        let text = String(decoding: error.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        #expect(process.terminationStatus == 1 && text.contains("standard input, line 2: not valid UTF-8"), "\(text)")
    }
}
