// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import Foundation
import MoEInfer

struct PerplexityCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "perplexity",
        abstract: "How well a model predicts a text.",
        discussion: """
            The text is cut into chunks of --context tokens, each started with BOS where the model has one, and scored on its
            second half: the convention of llama.cpp's tool, so figures compare.

            EXAMPLES
              moe-infer perplexity --text wikitext.txt --model model.gguf
              moe-infer perplexity --text held-out.txt --routing top-p:p=0.7 --json
              moe-infer perplexity --text a.txt --score-from 1 --per-token tokens.jsonl
            """)

    @Option(help: "A text file.")
    var text: String

    @Option(help: "Tokens between the starts of two chunks. Default: --context, so that chunks do not overlap.")
    var stride: Int?

    @Option(help: "The first position of a chunk whose token is scored. Default: half-way, plus 1.")
    var scoreFrom: Int?

    @Option(
        help: ArgumentHelp(
            "Write a JSON line for each scored token: nats, bytes, experts by layer.", valueName: "file"))
    var perToken: String?

    @Option(help: "The most chunks to score. Default: all.")
    var chunks: Int?

    @OptionGroup var model: ModelOptions

    // Not the options of generation: all of the text is a prompt, so there is nothing that --routing-prefill could leave over.
    @Option(help: ArgumentHelp("Experts per token, as for generate.", valueName: "spec"))
    var routing: String?

    @Flag(help: "Write one JSON document.")
    var json = false

    func validate() throws {
        if let context = model.context, context < 4 { throw ValidationError("--context must be at least 4") }
        if let stride, stride < 1 { throw ValidationError("--stride must be at least 1") }
        if let scoreFrom, scoreFrom < 1 { throw ValidationError("--score-from must be at least 1") }
        if let chunks, chunks < 1 { throw ValidationError("--chunks must be at least 1") }
    }

    func run() async throws {
        let policies = RoutingChoice(try RoutingSpecification.parse(routing ?? "native"))
        let text = try PromptInput.read(argument: nil, file: text)
        let context = model.context ?? 512
        let llm = try await model.load(context: context)
        try OutputFile.check(perToken)
        let (stride, chunks, scoreFrom, perToken) = (stride, chunks, scoreFrom, perToken)
        let report = try await Interrupts.cancelling {
            let bar = ProgressBar("perplexity")
            var lines = perToken == nil ? nil : ""
            let report = try await llm.perplexity(
                of: text, context: context, stride: stride ?? context, scoringFrom: scoreFrom, maximumChunks: chunks,
                routing: policies, token: lines == nil ? nil : { lines! += try Terminal.text(json: $0, isLine: true) }
            ) { done, total, sofar in
                bar.show(done, of: total, detail: "perplexity \(Figures.number(sofar, 4))")
            }
            bar.finish()
            if let perToken, let lines { try OutputFile.write(lines, to: perToken) }
            return report
        }
        if json {
            try Terminal.write(json: report)
        } else {
            var parts = [
                "perplexity \(Figures.number(report.perplexity, 4))",
                "\(Figures.number(report.bitsPerByte, 4)) bits per byte", "\(report.tokensScored) tokens scored",
            ]
            if let moe = report.moe { parts.append(contentsOf: Figures.parts(moe)) }
            Terminal.write(parts.joined(separator: " · ") + "\n")
        }
    }
}
