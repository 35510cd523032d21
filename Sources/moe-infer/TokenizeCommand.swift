// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import Foundation
import MoEInfer

struct TokenizeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tokenize",
        abstract: "Show the token ids of a text.",
        discussion: """
            Reads standard input when TEXT is absent. Only the vocabulary is read, not the weights: a GGUF file may
            have none, a folder only a tokenizer. The file itself will do as well: tokenizer.json, tekken.json, a
            SentencePiece model, tiktoken's ranks.

            EXAMPLES
              moe-infer tokenize "Hello world"
              moe-infer tokenize --model model.gguf --json < text.txt
            """)

    @Argument(help: "The text. Nothing or `-`: standard input.")
    var text: String?

    @Option(name: .shortAndLong, help: "A GGUF file, a folder or a tokenizer's own file. Default: the embedded model.")
    var model: String?

    @Flag(inversion: .prefixedNo, help: "Add the tokens that start (and end) a text, and read special tokens in it.")
    var special = true

    @Flag(help: "Write a JSON list of integers.")
    var json = false

    func run() async throws {
        let text = try PromptInput.read(argument: text, file: nil)
        let tokenizer = try Tokenizer.load(ModelOptions.source(model))
        let ids = tokenizer.encode(text, addSpecial: special, parseSpecial: special)
        if json {
            try Terminal.write(json: ids)
            return
        }
        for id in ids { Terminal.write("\(id)\t\(tokenizer.display(id))\n") }
        Terminal.error("\(ids.count) tokens")
    }
}
