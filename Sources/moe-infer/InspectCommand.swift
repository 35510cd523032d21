// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import MoEInfer

struct InspectCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "inspect",
        abstract: "Show what is in a model file: sizes, router, bytes per token, metadata, tensors.",
        discussion: """
            EXAMPLES
              moe-infer inspect
              moe-infer inspect --model olmoe.gguf --tensors
              moe-infer inspect --model olmoe.gguf --json | jq .bytes_per_token
            """)

    @Option(name: .shortAndLong, help: "A GGUF file or a Hugging Face folder. Default: the embedded model.")
    var model: String?

    @Flag(help: "List every tensor.")
    var tensors = false

    @Flag(help: "Write one JSON document.")
    var json = false

    func run() async throws {
        let report = try ModelInspection.inspect(ModelOptions.source(model))
        if json {
            try Terminal.write(json: report)
            return
        }
        Terminal.write("\(report.source)\n\n")
        Terminal.write(Figures.table(summary(report)))
        if !report.bytesPerToken.isEmpty {
            Terminal.write("\nbytes of weights read per token, by experts per token\n")
            Terminal.write(
                Figures.table(report.bytesPerToken.map { ["  k = \($0.experts)", Figures.bytes($0.bytes)] }))
        }
        if let profile = report.profile {
            Terminal.write("\nrouting profile (default point: \(profile.defaultPoint))\n")
            Terminal.write(ProfileShowCommand.points(profile, indent: "  "))
        } else if let problem = report.profileProblem {
            Terminal.write("\nrouting profile that cannot be used\n  \(Terminal.oneLine(problem))\n")
        }
        Terminal.write("\nmetadata\n")
        Terminal.write(report.metadata.map { "  \($0.key) = \($0.value)\n" }.joined())
        Terminal.write("\ntensors by type\n")
        Terminal.write(
            Figures.table(report.types.map { ["  \($0.type)", "\($0.tensors)", Figures.bytes($0.bytes)] }))
        if tensors {
            Terminal.write("\ntensors\n")
            Terminal.write(
                Figures.table(
                    report.tensors.map { ["  \($0.name)", $0.type, "\($0.shape)", Figures.bytes($0.bytes)] }))
        }
    }

    private func summary(_ report: ModelInspection) -> [[String]] {
        var rows = [
            ["architecture", report.architecture],
            ["layers, hidden size, vocabulary", "\(report.layers), \(report.hiddenSize), \(report.vocabularySize)"],
            ["context", "\(report.contextLength)"],
            ["parameters", "\(report.parametersTotal)"],
            ["active per token", "\(report.parametersActive)"],
            ["bytes", Figures.bytes(report.bytesTotal)],
        ]
        if let router = report.router {
            rows.insert(
                [
                    "experts",
                    "\(router.experts), \(router.expertsPerToken) per token, of \(router.intermediateSize)"
                        + (router.sharedIntermediateSize > 0 ? ", shared \(router.sharedIntermediateSize)" : ""),
                ], at: 3)
            rows.insert(["router", "\(router.score), \(router.renormalizes ? "renormalised" : "not renormalised")"], at: 4)
        }
        return rows
    }
}
