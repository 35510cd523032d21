// SPDX-License-Identifier: Apache-2.0

import Foundation
import MoETestSupport
import Testing

/// `generate --grammar` and `--json-schema`.
@Suite struct GrammarCommandTests {
    @Test func grammarFromTextAndFile() async throws {
        let text = try await CommandLineTests.run(["generate", "Yes or no?", "--grammar", #"root ::= "yes" | "no""#])
        #expect(text.code == 0 && ["yes\n", "no\n"].contains(text.output), "\(text.output)")
        let file = FileManager.default.temporaryDirectory.appendingPathComponent("moe-schema-\(UUID().uuidString).json")
        try #"{"type": "object", "properties": {"n": {"type": "integer", "maximum": 9, "minimum": 1}}, "required": ["n"]}"#
            .write(to: file, atomically: true, encoding: .utf8)
        defer { try? FileManager.default.removeItem(at: file) }
        let schema = try await CommandLineTests.run(["generate", "A number:", "--json-schema", file.path])
        let value = try JSONDecoder().decode([String: Int].self, from: Data(schema.output.utf8))
        #expect(schema.code == 0 && (1...9).contains(value["n"] ?? 0))
    }

    @Test(
        arguments: [
            (["--grammar", "root ::= nothing"], 1, "--grammar: line 1, column 10: the rule 'nothing' is not defined"),
            (["--json-schema", #"{"not": {"type": "null"}}"#], 1, "--json-schema: #/not: 'not' is not supported"),
            (["--json-schema", "false"], 1, "--json-schema: #: the schema cannot be met"),
            (["--grammar", "no-such-file.gbnf"], 1, "no-such-file.gbnf: cannot be read"),
            (["--grammar", "root ::= <nothing>"], 1, "the vocabulary has no token '<nothing>'"),
            (["--grammar", "a ::= [a]", "--json-schema", "{}"], 64, "not both"),
        ] as [([String], Int32, String)])
    func mistakes(arguments: [String], code: Int32, mention: String) async throws {
        let result = try await CommandLineTests.run(["generate", "A"] + arguments)
        #expect(result.code == code && result.output.isEmpty && result.error.contains(mention), "\(result.error)")
        if code == 1 { #expect(result.errorLines.count == 1) }
    }
}
