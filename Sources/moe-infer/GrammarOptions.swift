// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import Foundation
import MoEInfer

/// What generated text must be.
struct GrammarOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Only text that this GBNF grammar matches: a file, or the grammar itself.", valueName: "file|text"))
    var grammar: String?

    @Option(
        help: ArgumentHelp(
            "Only JSON that satisfies this schema: a file, or the schema itself.", valueName: "file|text"))
    var jsonSchema: String?

    func validate() throws {
        if grammar != nil, jsonSchema != nil { throw ValidationError("give --grammar or --json-schema, not both") }
    }

    /// - Throws: `InputError` that names the option, the place and the problem.
    func load() throws -> Grammar? {
        if let grammar {
            let (text, source) = try Self.read(grammar, option: "--grammar") { $0.contains("::=") }
            return try Self.named(source) { () throws(GrammarError) in try Grammar(gbnf: text) }
        }
        if let jsonSchema {
            let (text, source) = try Self.read(jsonSchema, option: "--json-schema") {
                let text = $0.drop(while: \.isWhitespace)
                return text.hasPrefix("{") || text == "true" || text == "false"
            }
            return try Self.named(source) { () throws(GrammarError) in try Grammar(jsonSchema: text) }
        }
        return nil
    }

    private static func named(_ source: String, _ body: () throws(GrammarError) -> Grammar) throws -> Grammar {
        do throws(GrammarError) {
            return try body()
        } catch {
            throw InputError(description: "\(source): \(error)")
        }
    }

    /// The text itself where it looks like one, or that of the file.
    private static func read(_ value: String, option: String, isText: (String) -> Bool) throws -> (
        text: String, source: String
    ) {
        if isText(value) { return (value, option) }
        return (try PromptInput.read(argument: nil, file: value), "\(option) \(value)")
    }
}
