// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import Foundation
import MoEInfer

struct CompareCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "compare",
        abstract: "Compare routing policies at equal experts and at equal measured time.",
        discussion: """
            Runs the learned gate, top-p, ratio, per-layer static and static routing on held-out text, each at several mean numbers
            of experts. Quality is against the model's own static routing: perplexity, KL, the same likeliest token. Speed is
            measured in turns on the same text, prompt and decoding apart. The first line says whether the learned gate wins.
            --text may be given several times, as FILE or NAME=FILE: every file is a domain, and one more mixes them.
            None of the text may have been calibrated on.
            With --routing, the given policies are measured as they are, and nothing is matched.

            EXAMPLES
              moe-infer compare --profile P.json --text prose=a.txt --text code=b.py --html compare.html
              moe-infer compare --routing native --routing static:k=4 --text a.txt
              moe-infer compare --model olmoe.gguf --text a.txt --tokens 2048 --rounds 5 --json > compare.json
            """)

    @Option(help: ArgumentHelp("A text file, or NAME=FILE. May be given several times.", valueName: "file"))
    var text: [String]

    @Option(help: "The learned gate: a routing profile. Default: the one in the model.")
    var profile: String?

    @Option(help: "Tokens of each text to use, spread over it.")
    var tokens = 8192

    @Option(help: "Tokens of a window.")
    var window = 512

    @Option(help: "A mean number of experts to compare at. May be given several times.")
    var mean: [Double] = []

    @Option(help: ArgumentHelp("A policy to measure. May be given several times.", valueName: "spec"))
    var routing: [String] = []

    @Flag(help: "Do not add a domain that mixes the others.")
    var noMixed = false

    @Option(help: "Tokens of the prompt that speed is measured on.")
    var prompt = 256

    @Option(help: "Tokens decoded after it.")
    var decode = 64

    @Option(help: "Rounds of the speed measurement. Default: as many as fit 90 seconds, 5 to 31.")
    var rounds: Int?

    @Option(help: "Of the resampling that gives intervals.")
    var seed: UInt64 = 0

    @Option(help: "Write a page with curves.")
    var html: String?

    @Option(help: "Write the report as JSON to this file.")
    var out: String?

    @OptionGroup var model: ModelOptions

    @Flag(help: "Write the report as one JSON document to standard output.")
    var json = false

    func validate() throws {
        for (name, value) in [
            ("tokens", tokens), ("window", window), ("prompt", prompt), ("decode", decode), ("rounds", rounds ?? 1),
        ] where value < 1 { throw ValidationError("--\(name) must be at least 1") }
        if !routing.isEmpty, !mean.isEmpty { throw ValidationError("give --routing or --mean, not both") }
    }

    func run() async throws {
        let texts = try text.map { try TextDomain.read($0) }
        for path in [html, out] { try OutputFile.check(path) }
        var options = ComparisonOptions()
        (options.tokens, options.window, options.meanExperts, options.mixes) = (tokens, window, mean, !noMixed)
        (options.promptTokens, options.decodeTokens, options.rounds, options.seed) = (prompt, decode, rounds, seed)
        if let profile {
            options.profile = try RoutingProfile(path: profile)
            options.profileName = "profile:\(profile)"
        }
        options.policies = try routing.map { ($0, try RoutingSpecification.parse($0)) }
        let llm = try await model.load(context: max(window, model.context ?? 0))
        let chosen = options
        let report = try await Interrupts.cancelling {
            let bar = ProgressBar("compare")
            let report = try await llm.compare(texts, options: chosen) {
                bar.show($0.done, of: $0.total, detail: $0.phase)
            }
            bar.finish()
            return report
        }
        for warning in report.warnings { Terminal.error("warning: \(warning)") }
        if let html {
            try OutputFile.write(ComparePage(report: report, model: model.model ?? "embedded model").html, to: html)
            Terminal.error("[\(html)]")
        }
        if let out {
            try OutputFile.write(try Terminal.text(json: report), to: out)
            Terminal.error("[\(out)]")
        }
        if json {
            try Terminal.write(json: report)
        } else {
            Terminal.write(Self.page(report))
        }
    }

    // MARK: Text

    private static func page(_ report: ComparisonReport) -> String {
        var page = report.verdict + "\n\n"
        let texts = zip(report.domains, report.tokens).map { "\($0) \($1)" }.joined(separator: ", ")
        page += "tokens scored: \(texts); static routing at k = \(report.expertsPerToken): perplexity "
        page += "\(Figures.number(report.reference.perplexity, 3)), decode "
        page += "\(Figures.number(report.reference.decode.tokensPerSecond.median))/s, prompt "
        page += "\(Figures.number(report.reference.prefill.tokensPerSecond.median))/s\n\n"
        let head = [
            "policy", "mean k", "perplexity", "95 %", "KL", "p99 KL", "top-1", "worst domain", "decode time", "/s",
            "gate", "bytes", "prompt time", "/s",
        ]
        let rows = report.policies.flatMap { policy in policy.points.map { row(policy.name, $0) } }
        page += Figures.table([head] + rows)
        if report.matchedLatency.isEmpty, report.matchedExperts.isEmpty { return page }
        page += "\nat the same decode time (times static), \(report.candidate) less the other policy:\n"
        page += differences(report.matchedLatency)
        page += "\nat the same mean number of experts, \(report.candidate) less the other policy:\n"
        page += differences(report.matchedExperts)
        if !report.misrouting.isEmpty { page += misrouting(report.misrouting) }
        return page
    }

    private static func misrouting(_ found: [ComparisonReport.Misrouting]) -> String {
        func row(_ name: String, _ figures: ComparisonReport.Misrouting.Figures, _ last: [String] = ["", ""]) -> [String] {
            [
                name, Figures.number(figures.meanExperts, 2), Figures.small(figures.kl),
                Figures.small(figures.worstKL), figures.mixedKL.map { Figures.small($0) } ?? "",
            ] + last
        }
        var rows = [
            ["re-routing", "mean k", "KL", "KL of the worst", "KL, mixed", "re-routed", "worst, less control, 95 %"]
        ]
        rows.append(row("none", found[0].base))
        for one in found {
            let rule = one.rerouted.routing.split(separator: "+reroute:").last.map(String.init) ?? ""
            rows.append(
                row(rule, one.rerouted, [Figures.number(100 * one.reroutes) + " %", Figures.small(one.worstDifference95)]))
            rows.append(row("  control: dial instead", one.control))
        }
        return
            "\nunsure tokens re-routed with more experts; the worst \(found[0].worstTokens) tokens are the 1 % with the largest KL "
            + "without re-routing\n" + Figures.table(rows)
    }

    private static func row(_ name: String, _ point: ComparisonReport.Point) -> [String] {
        let worst = point.domains.first { $0.domain == point.worstDomain }
        return [
            name, Figures.number(point.meanExperts, 2), Figures.percent(point.perplexityChange),
            Figures.interval(point.perplexityChange95.map { 100 * $0 }, 2), Figures.small(point.kl),
            Figures.small(point.kl99), Figures.number(100 * point.topOne, 1) + " %",
            worst.map { "\($0.domain) \(Figures.percent($0.perplexityChange))" } ?? "",
            Figures.number(point.decode.timeRatio, 3), Figures.number(point.decode.tokensPerSecond.median),
            Figures.number(100 * point.decode.gateTimeFraction, 1) + " %",
            Figures.bytes(Int(point.decode.expertBytesPerToken)), Figures.number(point.prefill.timeRatio, 3),
            Figures.number(point.prefill.tokensPerSecond.median),
        ]
    }

    private static func differences(_ matches: [ComparisonReport.Match]) -> String {
        Figures.table(
            [["at", "policy", "KL", "95 %", "perplexity", "95 %"]]
                + matches.flatMap { match in
                    match.differences.map {
                        [
                            Figures.number(match.at, 3), $0.policy, Figures.small($0.kl),
                            Figures.small($0.kl95), Figures.percent($0.perplexity),
                            Figures.interval($0.perplexity95.map { 100 * $0 }, 2),
                        ]
                    }
                })
    }
}
