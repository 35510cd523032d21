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

            EXAMPLES
              moe-infer bench
              moe-infer bench --model olmoe.gguf --routing static --routing static:k=4 --batch 1 --batch 4
              moe-infer bench --text chat.txt --prompt 64 --generate 48 --routing static --routing native
            """)

    @Option(help: "Tokens of the prompt; 0: no prompt test.")
    var prompt = 512

    @Option(help: "Tokens to generate; 0: no generation test.")
    var generate = 128

    @Option(help: "Measure on this text instead of random tokens.")
    var text: String?

    @Option(help: "Sequences decoded together. May be given several times.")
    var batch: [Int] = []

    @Option(help: "Measured repetitions.")
    var repetitions = 3

    @Option(help: "A policy. May be given several times. Default: native.")
    var routing: [String] = []

    @Flag(help: "Show where the time of a step goes, stage by stage, instead of the speed alone.")
    var profile = false

    @OptionGroup var model: ModelOptions

    @Flag(help: "Write a JSON list.")
    var json = false

    func validate() throws {
        if prompt < 0 || generate < 0 { throw ValidationError("--prompt and --generate must not be negative") }
        if repetitions < 1 { throw ValidationError("--repetitions must be at least 1") }
        if text != nil, profile { throw ValidationError("--profile takes no --text") }
        if text != nil, prompt < 1 || generate < 1 || !batch.isEmpty {
            throw ValidationError("--text needs --prompt and --generate of at least 1, and takes no --batch")
        }
        if batch.contains(where: { $0 < 1 }) { throw ValidationError("--batch must be at least 1") }
    }

    func run() async throws {
        let specifications = routing.isEmpty ? ["native"] : routing
        let policies = try specifications.map { ($0, try RoutingSpecification.parse($0)) }
        if let text {
            try await measure(try PromptInput.read(argument: nil, file: text), policies)
            return
        }
        let batches = batch.isEmpty ? [1] : batch
        if profile {
            try await profileSteps(policies, batches: batches)
            return
        }
        let (prompt, generate, repetitions, quiet) = (prompt, generate, repetitions, json)
        let llm = try await model.load()
        let results = try await Interrupts.cancelling {
            var results: [BenchmarkResult] = []
            let bar = ProgressBar("bench")
            let total = policies.count * ((prompt > 0 ? 1 : 0) + (generate > 0 ? batches.count : 0))
            func add(_ result: BenchmarkResult) throws {
                results.append(result)
                if !quiet {
                    bar.finish()
                    Terminal.write(row(result))
                }
                bar.show(results.count, of: total)
                try Task.checkCancellation()
            }
            if !quiet { Terminal.write(header) }
            for (name, policy) in policies {
                if prompt > 0 {
                    try add(try await llm.benchmarkPrompt(prompt, repetitions: repetitions, routing: policy, named: name))
                }
                for batch in batches where generate > 0 {
                    try add(
                        try await llm.benchmarkGeneration(
                            generate, batch: batch, repetitions: repetitions, routing: policy, named: name))
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
