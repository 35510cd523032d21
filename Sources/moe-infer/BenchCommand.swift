// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import MoEInfer

struct BenchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench",
        abstract: "Measure the speed of prompts and of generation.",
        discussion: """
            Random tokens, different in every sequence. The first repetition warms up and is not counted. --batch and --routing
            may be given several times: all combinations run, one after the other.
            With --text, prompts and what follows them are real text, another piece in every repetition, and the policies take
            turns: times are compared with the first policy's of the same repetition.
            With --speculate, pieces of the text are continued with drafts and without, in turns: a time below 1 says that drafts pay.
            With --serve, one case is read per line of standard input and answered by a line of JSON, with the model kept loaded:
            "prompt=512", "generate=64 depth=4096 batch=4 seed=7 routing=static:k=4", or "limits" for what the machine can do.

            EXAMPLES
              moe-infer bench
              moe-infer bench --model olmoe.gguf --routing static --routing static:k=4 --batch 1 --batch 4
              moe-infer bench --text chat.txt --prompt 64 --generate 48 --routing static --routing native
              moe-infer bench --text code.txt --prompt 256 --generate 64 --speculate lookup --speculate experts:k=1
            """)

    @Option(help: "Tokens of the prompt; 0: no prompt test.")
    var prompt = 512

    @Option(help: "Tokens to generate; 0: no generation test.")
    var generate = 128

    @Option(help: "Measure on this text instead of random tokens.")
    var text: String?

    @Option(help: "Sequences decoded together. May be given several times.")
    var batch: [Int] = []

    @Option(help: "Positions that each sequence holds before what is measured.")
    var depth = 0

    @Option(help: "Measured repetitions.")
    var repetitions = 3

    @Option(help: "A policy. May be given several times. Default: native.")
    var routing: [String] = []

    @Option(
        help: ArgumentHelp(
            "Measure generation with drafts, as in generate; with --text. May be given several times.", valueName: "spec"))
    var speculate: [String] = []

    @Option(help: "With --speculate: 0 is greedy, where small models repeat themselves and drafts look better.")
    var temperature: Float = 0

    @Flag(help: "Show where the time of a step goes, stage by stage, instead of the speed alone.")
    var profile = false

    @OptionGroup var model: ModelOptions

    @Flag(help: "Write a JSON list.")
    var json = false

    @Flag(help: "Measure the cases that standard input names, one a line.")
    var serve = false

    func validate() throws {
        if prompt < 0 || generate < 0 { throw ValidationError("--prompt and --generate must not be negative") }
        if repetitions < 1 { throw ValidationError("--repetitions must be at least 1") }
        if text != nil, profile { throw ValidationError("--profile takes no --text") }
        if text != nil, prompt < 1 || generate < 1 || !batch.isEmpty || depth != 0 {
            throw ValidationError("--text needs --prompt and --generate of at least 1, and takes no --batch and no --depth")
        }
        if depth < 0 { throw ValidationError("--depth must not be negative") }
        if serve, json || profile || text != nil || !routing.isEmpty || !batch.isEmpty || depth != 0 {
            throw ValidationError("with --serve, cases come from standard input only")
        }
        if !speculate.isEmpty, text == nil || generate < 2 {
            throw ValidationError("--speculate needs --text, and --generate of at least 2")
        }
        if !(temperature >= 0 && temperature.isFinite) { throw ValidationError("--temperature must be 0 or more") }
        if temperature != 0, speculate.isEmpty { throw ValidationError("--temperature goes with --speculate") }
        if batch.contains(where: { $0 < 1 }) { throw ValidationError("--batch must be at least 1") }
    }

    func run() async throws {
        if serve {
            try await BenchServer(loading: model).run()
            return
        }
        let specifications = routing.isEmpty ? ["native"] : routing
        let policies = try specifications.map { ($0, try RoutingSpecification.parse($0)) }
        if let text, !speculate.isEmpty {
            try await measureSpeculation(on: try PromptInput.read(argument: nil, file: text), policies)
            return
        }
        if let text {
            try await measure(try PromptInput.read(argument: nil, file: text), policies)
            return
        }
        var tests = prompt > 0 ? [try BenchmarkCase.prompt(prompt, depth: depth)] : []
        if generate > 0 {
            tests += try (batch.isEmpty ? [1] : batch).map { try .generation(generate, batch: $0, depth: depth) }
        }
        if profile {
            try await profileSteps(tests, policies)
            return
        }
        let (repetitions, quiet, all) = (repetitions, json, tests)
        let llm = try await model.load()
        let results = try await Interrupts.cancelling {
            var results: [BenchmarkResult] = []
            let bar = ProgressBar("bench")
            func add(_ result: BenchmarkResult) throws {
                results.append(result)
                if !quiet {
                    bar.finish()
                    Terminal.write(row(result))
                }
                bar.show(results.count, of: policies.count * all.count)
                try Task.checkCancellation()
            }
            if !quiet { Terminal.write(header) }
            for (name, policy) in policies {
                for test in all {
                    try add(
                        try await llm.benchmark(test, repetitions: repetitions, routing: policy, named: name))
                }
            }
            bar.finish()
            return results
        }
        if json { try Terminal.write(json: results) }
    }

    private func measure(_ text: String, _ policies: [(name: String, policy: any RoutingPolicy)]) async throws {
        let (prompt, generate, repetitions) = (prompt, generate, repetitions)
        let llm = try await model.load()
        let results = try await Interrupts.cancelling {
            let bar = ProgressBar("bench")
            let results = try await llm.benchmark(
                text: text, prompt: prompt, generate: generate, rounds: repetitions, policies: policies
            ) { bar.show($0, of: $1) }
            bar.finish()
            return results
        }
        if json {
            try Terminal.write(json: results)
        } else {
            Terminal.write(header + results.map(row).joined())
        }
    }
}

private let header = columns(["test", "batch", "threads", "tokens/s", "min", "max", "experts", "time", "routing"])

private func row(_ result: BenchmarkResult) -> String {
    columns([
        result.test, "\(result.batch)", "\(result.threads)", Figures.number(result.tokensPerSecond.median),
        Figures.number(result.tokensPerSecond.min), Figures.number(result.tokensPerSecond.max),
        result.moe.map { Figures.number($0.meanExperts, 2) } ?? "-",
        result.timeRatio.map { Figures.number($0.median, 3) } ?? "-", result.routing,
    ])
}

private func columns(_ cells: [String]) -> String {
    let widths = [7, 5, 7, 10, 10, 10, 8, 7, 0]
    return zip(cells, widths).enumerated().map { index, cell in
        let padding = String(repeating: " ", count: max(0, cell.1 - cell.0.count))
        return index == 0 || index == cells.count - 1 ? cell.0 + padding : padding + cell.0
    }.joined(separator: " ") + "\n"
}
