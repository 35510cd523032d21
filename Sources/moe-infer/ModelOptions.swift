// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import CMoEDemoModel
import MoEInfer

/// What every command that runs a model takes.
struct ModelOptions: ParsableArguments {
    @Option(name: .shortAndLong, help: "A GGUF file or a Hugging Face folder. Default: the embedded model.")
    var model: String?

    @Option(help: "Worker threads. Default: the cores that this process may use.")
    var threads: Int?

    @Option(help: "Who multiplies: auto, blas, native or reference.")
    var gemm: String?

    @Option(name: .customLong("kv"), help: "Precision of the KV cache: f16, q8_0 or f32.")
    var kvPrecision: String?

    @Option(help: "Positions that the KV cache holds. Default: the model's, at most 4096.")
    var context: Int?

    @Option(help: "A JSON file with settings.")
    var config: String?

    /// - Parameter more: settings of the command's own, by key.
    func settings(context needed: Int? = nil, more: [String: String?] = [:]) async throws -> Settings {
        var overrides = more.compactMapValues { $0 }
        overrides["threads"] = threads.map(String.init)
        overrides["gemm"] = gemm
        overrides["kv"] = kvPrecision
        overrides["context"] = (needed ?? context).map(String.init)
        return try await Settings.load(commandLine: overrides, file: config)
    }

    var source: ModelSource { Self.source(model) }

    static func source(_ model: String?) -> ModelSource {
        guard let model else {
            return .bytes(
                UnsafeRawBufferPointer(start: moe_demo_model_bytes(), count: moe_demo_model_size()), name: "embedded model")
        }
        return .path(model)
    }

    func load(context: Int? = nil) async throws -> LLM {
        try await load(try await settings(context: context))
    }

    /// With a bar while weights are repacked, where a person watches.
    func load(_ settings: Settings) async throws -> LLM {
        let bar = ProgressBar("repacking weights, once")
        defer { bar.finish() }
        return try await LLM.load(
            source,
            options: EngineOptions(settings: settings) { work in
                bar.show(work.done >> 20, of: work.total >> 20, detail: "MiB")
            })
    }
}

/// How many experts each token gets.
struct RoutingOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            """
            Experts per token: native, static[:k=N[,N…]], top-p:p=0.7[,min=1,max=8,temperature=1], ratio:t=0.3[,min=2], \
            absolute:c=0.1[,min=1], profile:FILE[@POINT], profile[@POINT] (the model's own profile), union:k0=2[,k=4]; any of them \
            with +reroute:margin=0.15,entropy=0.7,z=1[,add=1]. Default: native.
            """,
            valueName: "spec"))
    var routing: String?

    @Option(help: ArgumentHelp("The same for the prompt. Default: as --routing.", valueName: "spec"))
    var routingPrefill: String?

    func policies() throws -> RoutingChoice {
        let decode = try routing.map(RoutingSpecification.parse)
        return RoutingChoice(prefill: try routingPrefill.map(RoutingSpecification.parse) ?? decode, decode: decode)
    }
}

/// Whether tokens are drafted.
struct SpeculationOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            """
            Guess tokens and check several in one step: off, lookup[:n=3,max=8] (what followed the same words before), \
            experts:k=1[,max=4] (the model itself with k experts); each with cost=0.5, what a drafted token costs of a step: the \
            less, the longer the drafts. The text is the same, its speed is not.
            """,
            valueName: "spec"))
    var speculate = "off"

    func speculation() throws -> Speculation { try Speculation.parse(speculate) }
}
