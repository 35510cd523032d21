// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import MoEInfer

struct RouteCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "route",
        abstract: "Show how many experts each token of a text got, and which.",
        discussion: """
            Colours every token by its experts (mean over layers), and with --html writes a page that stands alone: the tokens,
            a histogram of k per layer, which expert serves which domain, and how much the two have to do with each other.
            --text may be given several times, as FILE or NAME=FILE: every file is a domain.

            EXAMPLES
              moe-infer route --text story.txt --routing top-p:p=0.7
              moe-infer route --text prose=a.txt --text code=b.py --routing top-p:p=0.7 --html routes.html
              moe-infer route --text a.txt --json | jq .moe
            """)

    @Option(help: ArgumentHelp("A text file, or NAME=FILE. May be given several times.", valueName: "file"))
    var text: [String]

    @Option(help: "Write an HTML page.")
    var html: String?

    @Option(help: "The most bytes of each text to read.")
    var maxBytes = 20_000

    @OptionGroup var model: ModelOptions

    @Option(help: ArgumentHelp("Experts per token, as for generate.", valueName: "spec"))
    var routing: String?

    @Flag(help: "Write one JSON document.")
    var json = false

    func validate() throws {
        if maxBytes < 1 { throw ValidationError("--max-bytes must be at least 1") }
    }

    func run() async throws {
        let policy = try RoutingSpecification.parse(routing ?? "native")
        let texts = try text.map { try TextDomain.read($0, maximumBytes: maxBytes) }
        try OutputFile.check(html)
        let llm = try await model.load()
        let trace = try await Interrupts.cancelling { try await llm.route(texts, routing: RoutingChoice(policy)) }
        if let html {
            let page = RoutePage(trace: trace, routing: routing ?? "native", model: model.model ?? "embedded model")
            try OutputFile.write(page.html, to: html)
        }
        if json {
            try Terminal.write(json: trace)
            return
        }
        for domain in trace.domains {
            if trace.domains.count > 1 { Terminal.write("— \(domain.name)\n") }
            let tokens = domain.tokens.map { ExpertColour.text($0.text, heat: trace.heat($0.meanExperts)) }
            Terminal.write(tokens.joined() + "\n\n")
        }
        Terminal.error("[" + Figures.parts(trace.moe).joined(separator: " · ") + "]")
        if trace.domains.count > 1 {
            let bits = trace.mutualInformationBits.map { Figures.number($0, 3) }.joined(separator: " ")
            Terminal.error("[domain and expert share, by layer: \(bits) bits]")
        }
        if let html { Terminal.error("[\(html)]") }
    }

}
