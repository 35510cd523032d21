// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import MoEInfer

struct CalibrateCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "calibrate",
        abstract: "Learn how many experts a token is worth, and write a routing profile.",
        discussion: """
            Traces the model on text, fits a small head per layer, and measures operating points on held-out text. The profile is
            used by --routing profile:P.json@parity; it fits this model only.

            EXAMPLES
              moe-infer calibrate --text wiki.txt code.txt --out profile.json
              moe-infer calibrate --model olmoe.gguf --text wiki.txt --held-out other.txt --out profile.json --json
              moe-infer generate --routing profile:profile.json@balanced "The city"
            """)

    @Option(parsing: .upToNextOption, help: "Files to learn from.")
    var text: [String]

    @Option(help: "A file to measure on. Default: an eighth of the text, kept out of all else.")
    var heldOut: String?

    @Option(help: "Where the profile goes.")
    var out: String

    @Option(help: "Tokens to learn from.")
    var tokens = 32768

    @Option(help: "The least experts per token.")
    var minimum = 1

    @Option(help: "Tokens of a window.")
    var window = 512

    @Option(help: "Chooses the windows; the same seed gives the same profile.")
    var seed: UInt64 = 0

    @Flag(help: "Do not compare with the other policies.")
    var noComparison = false

    @OptionGroup var model: ModelOptions

    @Flag(help: "Write the report as one JSON document.")
    var json = false

    func validate() throws {
        if tokens < 1 { throw ValidationError("--tokens must be at least 1") }
        if window < 16 { throw ValidationError("--window must be at least 16") }
        if minimum < 0 { throw ValidationError("--minimum must not be negative") }
    }

    func run() async throws {
        let texts = try text.map { try PromptInput.read(argument: nil, file: $0) }
        let measured = try heldOut.map { try PromptInput.read(argument: nil, file: $0) }
        var options = CalibrationOptions()
        (options.tokens, options.minimum, options.window, options.seed) = (tokens, minimum, window, seed)
        options.compares = !noComparison
        let llm = try await model.load(context: max(window, model.context ?? 0))
        let (chosen, out) = (options, out)
        let report = try await Interrupts.cancelling {
            let bar = ProgressBar("calibrate")
            let (profile, report) = try await llm.calibrate(texts, heldOut: measured, options: chosen) {
                bar.show($0.done, of: $0.total, detail: $0.phase)
            }
            bar.finish()
            try Task.checkCancellation()
            try OutputFile.write(profile.json, to: out)
            return report
        }
        for warning in report.warnings { Terminal.error("warning: \(warning)") }
        if json {
            try Terminal.write(json: report)
        } else {
            Terminal.write(Self.page(report))
        }
    }

    private static func page(_ report: CalibrationReport) -> String {
        func row(_ figures: CalibrationReport.Figures, _ first: String) -> [String] {
            [
                first, figures.mu.map { "\($0)" } ?? "", Figures.number(figures.meanExperts, 2),
                Figures.number(figures.perplexity, 3), Figures.number(figures.kl, 4),
                figures.topOne.map { Figures.number(100 * $0, 1) + " %" } ?? "",
            ]
        }
        let head = ["mu", "mean k", "perplexity", "KL", "top-1"]
        var page = report.verdict + "\n\n"
        page += "learned from \(report.trainTokens) tokens, chosen on \(report.choiceTokens), measured on "
        page += "\(report.heldOutTokens); static perplexity \(Figures.number(report.perplexity, 3))\n\n"
        page += Figures.table([["point"] + head] + report.points.map { row($0, $0.name) }) + "\n"
        page += Figures.table(
            [["layer", "temperature", "price", "R²"]]
                + report.layers.map {
                    ["\($0.layer)", "\($0.temperature)", "\(Float($0.price))", Figures.number($0.explainedVariance, 3)]
                })
        for match in report.comparison {
            page += "\nat mean k \(Int(match.meanExperts)); KL of learned less \(match.bestOther): "
            page += match.klDifference95.map { Figures.number($0, 4) }.joined(separator: " to ") + " (95 %)\n"
            page += Figures.table([["policy"] + head] + match.policies.map { row($0, $0.name) })
        }
        return page
    }
}
