// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import Glibc
import MoEInfer

struct CalibrateCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "calibrate",
        abstract: "Learn how many experts a token is worth, and write a routing profile.",
        discussion: """
            Traces the model on text, fits a small head per layer, tunes how experts are shared out between layers, and measures
            operating points on held-out text. The profile is used by --routing profile:P.json@parity; it fits this model only.
            Give texts of several kinds (prose, code, mathematics, dialogue), a file each: as much is taken of each.

            A calibration that is stopped keeps what it has measured in OUT.partial, and goes on from there when it is started
            again with the same model, text and options.

            EXAMPLES
              moe-infer calibrate --text wiki.txt code.txt --out profile.json
              moe-infer calibrate --model olmoe.gguf --text wiki.txt --held-out other.txt --out profile.json --json
              moe-infer calibrate --model olmoe.gguf --text wiki.txt code.txt --out profile.json --estimate
              moe-infer generate --routing profile:profile.json@balanced "The city"
            """)

    @Option(parsing: .upToNextOption, help: "Files to learn from.")
    var text: [String]

    @Option(parsing: .upToNextOption, help: "Files to measure on. Default: an eighth of the text, kept out of all else.")
    var heldOut: [String] = []

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

    @Option(help: "Do less when it would take longer than this many minutes, by the estimate.")
    var maxMinutes: Double?

    @Flag(name: [.long, .customLong("dry-run")], help: "Say what it will cost, and stop.")
    var estimate = false

    @Flag(help: "Begin anew, whatever OUT.partial has.")
    var restart = false

    @OptionGroup var model: ModelOptions

    @Flag(help: "Write the report as one JSON document.")
    var json = false

    func validate() throws {
        if tokens < 1 { throw ValidationError("--tokens must be at least 1") }
        if window < 16 { throw ValidationError("--window must be at least 16") }
        if let maxMinutes, !(maxMinutes > 0) { throw ValidationError("--max-minutes must be above 0") }
        if minimum < 0 { throw ValidationError("--minimum must not be negative") }
    }

    func run() async throws {
        let texts = try text.map { try PromptInput.read(argument: nil, file: $0) }
        let measured = try heldOut.map { try PromptInput.read(argument: nil, file: $0) }
        var options = CalibrationOptions()
        (options.tokens, options.minimum, options.window, options.seed) = (tokens, minimum, window, seed)
        options.compares = !noComparison
        options.maximumSeconds = maxMinutes.map { $0 * 60 }
        // A device is no place to keep anything beside.
        let journal = out.hasPrefix("/dev/") ? nil : out + ".partial"
        (options.journal, options.restarts) = (journal, restart)
        if !estimate { try OutputFile.check(out) }
        let llm = try await model.load(context: max(window, model.context ?? 0))
        let (chosen, out) = (options, out)
        if estimate {
            let estimate = try await Interrupts.cancelling {
                try await llm.estimateCalibration(texts, heldOut: measured, options: chosen)
            }
            if json { try Terminal.write(json: estimate) } else { Terminal.write(Self.text(estimate) + "\n") }
            return
        }
        let report = try await Interrupts.cancelling {
            let bar = ProgressBar("calibrate")
            let (profile, report) = try await llm.calibrate(
                texts, heldOut: measured, options: chosen, willStart: { Terminal.error(Self.text($0)) }
            ) { bar.show($0.done, of: $0.total, detail: $0.phase) }
            bar.finish()
            try Task.checkCancellation()
            try OutputFile.write(profile.json, to: out)
            if let journal { LLM.removeCalibrationJournal(journal) }
            return report
        }
        for warning in report.warnings { Terminal.error("warning: \(warning)") }
        if json {
            try Terminal.write(json: report)
        } else {
            Terminal.write(Self.page(report))
        }
    }

    private static func text(_ estimate: CalibrationEstimate) -> String {
        let speed = Figures.number(estimate.tokensPerSecond, estimate.tokensPerSecond < 100 ? 1 : 0)
        var text = "\(estimate.tokens) tokens through the model at \(speed) per second: at most \(time(estimate.seconds)); "
        text += "\(Figures.bytes(estimate.memoryBytes)) of memory beside the model's"
        let phases = estimate.phases.map { "\($0.name) \($0.tokens)" }.joined(separator: ", ")
        text += "\n(\(phases))"
        if let reduced = estimate.reduced { text += "\nto keep to the time limit: \(reduced)" }
        return text
    }

    private static func time(_ seconds: Double) -> String {
        if seconds < 120 { return "\(Int(seconds.rounded(.up))) s" }
        if seconds < 7200 { return "\(Int((seconds / 60).rounded(.up))) minutes" }
        return "\(Figures.number(seconds / 3600, 1)) hours"
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
        page += "\nlog KL against equal prices, text for choices: joint prices "
        page += Figures.number(report.tuning.jointPrices - report.tuning.equalPrices, 3) + ", tuned "
        page += Figures.number(report.tuning.tuned - report.tuning.equalPrices, 3) + "\n"
        if !report.ceilings.isEmpty {
            page += "\nceilings, text for choices (priced error; KL where it was run)\n"
            page += Figures.table(
                [["mean k", "static", "learned", "true gains", "best sets", "KL learned", "KL true gains"]]
                    + report.ceilings.map { ceiling in
                        [Figures.number(ceiling.meanExperts, 0)]
                            + [
                                ceiling.staticError, ceiling.learnedError, ceiling.oracleCountError,
                                ceiling.oracleSetError ?? .nan, ceiling.learnedKL, ceiling.oracleCountKL,
                            ].map { $0.isNaN ? "" : Figures.number($0, 4) }
                    })
        }
        for match in report.comparison {
            page += "\nat mean k \(Int(match.meanExperts)); learned less \(match.bestOther), 95 %: KL "
            page += match.klDifference95.map { Figures.number($0, 4) }.joined(separator: " to ") + ", perplexity "
            page += match.lossDifference95.map { Figures.number(100 * (exp($0) - 1), 2) }.joined(separator: " to ")
            page += " %\n"
            page += Figures.table([["policy"] + head] + match.policies.map { row($0, $0.name) })
        }
        return page
    }
}
