// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import Foundation
import MoEInfer

struct ProfileCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "profile",
        abstract: "Put a routing profile into a model, take it out, show it.",
        discussion: """
            A model that carries a profile is routed by it unless --routing says otherwise: at the profile's default point,
            which is `parity` unless the profile names another. `--routing profile@fast` is another point, `--routing static`
            the model's own number of experts.

            In a GGUF file the profile is one string of the metadata, moe_infer.routing_profile; other programs pass it over.
            In a Hugging Face folder it is the file routing_profile.json.

            EXAMPLES
              moe-infer profile embed --model M.gguf --profile P.json --out M2.gguf
              moe-infer profile show --model M2.gguf
              moe-infer generate --model M2.gguf --routing profile@fast "The city"
              moe-infer profile extract --model M2.gguf --out P.json
            """,
        subcommands: [
            ProfileEmbedCommand.self, ProfileExtractCommand.self, ProfileShowCommand.self, ProfileStripCommand.self,
        ])
}

/// Where a changed model goes.
struct ProfileOutput: ParsableArguments {
    @Option(name: .shortAndLong, help: "A GGUF file or a Hugging Face folder. Default: the embedded model.")
    var model: String?

    @Option(help: "Where the copy of a GGUF file goes; of a split one that is its first shard. Not for a folder.")
    var out: String?

    func validate() throws {
        var isFolder: ObjCBool = false
        let exists = model.map { FileManager.default.fileExists(atPath: $0, isDirectory: &isFolder) } ?? true
        if exists, isFolder.boolValue, out != nil {
            throw ValidationError("--out is for GGUF files; a folder's profile is written into the folder")
        }
        if exists, !isFolder.boolValue, out == nil {
            throw ValidationError("--out is missing: a GGUF file is not changed, a copy is written")
        }
    }

    /// Runs `body`, which writes a file, with a bar; what it leaves unfinished is removed.
    func write(
        _ title: String,
        _ body: @escaping @Sendable ((String) -> Void, (Int, Int) throws -> Void) throws -> ModelProfile.Written
    ) async throws -> ModelProfile.Written {
        try await Interrupts.cancelling {
            let bar = ProgressBar(title)
            let written = try body({ Interrupts.remove($0) }) { done, total in
                try Task.checkCancellation()
                bar.show(done >> 20, of: total >> 20, detail: "MiB")
            }
            Interrupts.keepFiles()
            bar.finish()
            return written
        }
    }
}

struct ProfileEmbedCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "embed",
        abstract: "Put a routing profile into a model.",
        discussion: """
            Writes a copy of a GGUF file that carries the profile, in place of one that is there. All else stays as it is: the
            other metadata, the tensors, and the hash that profiles are bound to. Of a split model the copy is the first
            shard; the others belong beside it, unchanged. Into a Hugging Face folder the profile is copied.

            EXAMPLES
              moe-infer profile embed --model M.gguf --profile P.json --out M2.gguf
              moe-infer profile embed --model M.gguf --profile P.json --default fast --out M2.gguf
              moe-infer profile embed --model folder --profile P.json
            """)

    @OptionGroup var output: ProfileOutput

    @Option(help: "The profile: a file that calibrate wrote.")
    var profile: String

    @Option(name: .customLong("default"), help: "The point that the model is routed by when a request names none.")
    var defaultPoint: String?

    func run() async throws {
        var profile = try ModelProfile.read(path: profile)
        if let defaultPoint { profile = try profile.withDefault(defaultPoint) }
        let (chosen, source, out) = (profile, ModelOptions.source(output.model), output.out)
        let written = try await output.write("embed") {
            try chosen.embed(in: source, out: out, started: $0, progress: $1)
        }
        Terminal.error("\(written.path): \(Figures.bytes(written.bytes)), routed by '\(profile.summary.defaultPoint)'")
        if written.unchangedShards > 0 {
            Terminal.error("the model's other \(written.unchangedShards) shards are unchanged and belong beside it")
        }
    }
}

struct ProfileStripCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "strip",
        abstract: "Take the routing profile out of a model, usable or not.",
        discussion: """
            Writes a copy of a GGUF file without its profile; removes routing_profile.json from a Hugging Face folder.

            EXAMPLES
              moe-infer profile strip --model M2.gguf --out M.gguf
              moe-infer profile strip --model folder
            """)

    @OptionGroup var output: ProfileOutput

    func run() async throws {
        let (source, out) = (ModelOptions.source(output.model), output.out)
        let written = try await output.write("strip") {
            try ModelProfile.strip(from: source, out: out, started: $0, progress: $1)
        }
        Terminal.error("\(written.path): \(written.bytes == 0 ? "removed" : Figures.bytes(written.bytes))")
    }
}

struct ProfileExtractCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "extract",
        abstract: "Write the routing profile that a model carries, byte for byte.",
        discussion: """
            EXAMPLES
              moe-infer profile extract --model M2.gguf --out P.json
              moe-infer profile extract --model M2.gguf | jq .points
            """)

    @Option(name: .shortAndLong, help: "A GGUF file or a Hugging Face folder. Default: the embedded model.")
    var model: String?

    @Option(help: "Where the profile goes. Default: standard output.")
    var out: String?

    func run() async throws {
        let text = try ModelProfile.embeddedText(in: ModelOptions.source(model))
        if let out {
            try WholeFile.write(text, to: out)
        } else {
            Terminal.write(String(decoding: text, as: UTF8.self))
        }
    }
}

struct ProfileShowCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show",
        abstract: "Show a routing profile: its points, layers and sizes.",
        discussion: """
            EXAMPLES
              moe-infer profile show --model M2.gguf
              moe-infer profile show --profile P.json --json | jq .points
            """)

    @Option(name: .shortAndLong, help: "A model that carries a profile. Default: the embedded model.")
    var model: String?

    @Option(help: "A profile of its own, instead of a model's.")
    var profile: String?

    @Flag(help: "Write one JSON document.")
    var json = false

    func validate() throws {
        if model != nil, profile != nil { throw ValidationError("give --model or --profile, not both") }
    }

    func run() async throws {
        let found = try profile.map { try ModelProfile.read(path: $0) } ?? .embedded(in: ModelOptions.source(model))
        if json {
            try Terminal.write(json: found.summary)
        } else {
            Terminal.write(Self.page(found.summary))
        }
    }

    static func points(_ summary: ProfileSummary, indent: String = "") -> String {
        Figures.table(
            [[indent + "point", "mu", "mean k", "perplexity", "KL"]]
                + summary.points.map {
                    [
                        indent + $0.name, "\($0.mu)", Figures.number($0.meanExperts, 2), Figures.number($0.perplexity, 3),
                        Figures.number($0.kl, 4),
                    ]
                })
    }

    private static func page(_ summary: ProfileSummary) -> String {
        var page = "\(summary.source)\n\n"
        for (name, value) in [
            ("for model", summary.model),
            ("experts per token", "\(summary.minimum) to \(summary.maximum) of \(summary.expertCount)"),
            ("layers", "\(summary.layerCount), \(summary.layers.count) with a gate"),
            ("size", Figures.bytes(summary.bytes)), ("default point", summary.defaultPoint),
        ] { page += name.padding(toLength: 19, withPad: " ", startingAt: 0) + value + "\n" }
        page += "\n"
        page += points(summary)
        page += "\n"
        page += Figures.table(
            [["layer", "temperature", "price", "weights"]]
                + summary.layers.map {
                    ["\($0.layer)", "\($0.temperature)", "\(Float(exp(Double($0.logPrice))))", "\($0.weights)"]
                })
        return page
    }
}
