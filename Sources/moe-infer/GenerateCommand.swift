// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import Foundation
import MoEInfer

struct GenerateCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "generate",
        abstract: "Continue a text.",
        discussion: """
            The prompt is the argument, or --file, or standard input. Text goes to standard output as it is made; the closing
            line of figures goes to standard error.

            EXAMPLES
              moe-infer generate "The city was" --routing top-p:p=0.7,min=1,max=8
              moe-infer generate "The city was" --show-experts
              moe-infer generate --file prompt.txt --temperature 0.8 --seed 7 --json
              moe-infer generate --file edit.txt --model coder.gguf --speculate lookup
              moe-infer generate "Yes or no? " --grammar 'root ::= "yes" | "no"'
              moe-infer generate --file question.txt --model chat.gguf --json-schema answer.schema.json
              echo "def add(a, b):" | moe-infer generate --model coder.gguf --stop $'\\n\\n'
            """)

    @Argument(help: "The text to continue. `-` or nothing: standard input.")
    var prompt: String?

    @Option(help: "Read the prompt from a file.")
    var file: String?

    @OptionGroup var model: ModelOptions
    @OptionGroup var routing: RoutingOptions
    @OptionGroup var speculation: SpeculationOptions
    @OptionGroup var sampling: SamplingArguments
    @OptionGroup var grammar: GrammarOptions

    @Flag(help: "Show each token's experts: in colour; without a terminal as a small number after it.")
    var showExperts = false

    @Flag(help: "Show by layer how many experts were used, which, and how sure the router was.")
    var stats = false

    @Flag(help: "Write one JSON document instead of text.")
    var json = false

    func validate() throws {
        if prompt != nil, file != nil { throw ValidationError("give the prompt as an argument or by --file, not both") }
    }

    func run() async throws {
        var options = try sampling.options(routing: routing)
        options.speculation = try speculation.speculation()
        options.grammar = try grammar.load()
        let text = try PromptInput.read(argument: prompt, file: file)
        let started = ContinuousClock.now
        let llm = try await model.load()
        let loadSeconds = (ContinuousClock.now - started) / .seconds(1)
        let (quiet, showExperts, most, request) = (json, showExperts, llm.expertsPerToken, options)
        let result = try await Interrupts.cancelling {
            var result: GenerationResult?
            for try await event in llm.generate(text, options: request) {
                switch event {
                case .prompt: break
                case .token(let token):
                    if !quiet {
                        Terminal.write(
                            showExperts
                                ? ExpertColour.marked(token.text, experts: token.meanExperts, most: most) : token.text)
                    }
                case .text(let text): if !quiet { Terminal.write(text) }
                case .finished(let final): result = final
                }
            }
            try Task.checkCancellation()
            guard let result else { throw CancellationError() }
            return result
        }
        if json {
            try Terminal.write(json: GenerateReport(result, loadSeconds: loadSeconds, layers: stats))
        } else {
            Terminal.finishLine()
            if stats, !result.layers.isEmpty { Terminal.error("\n" + Figures.table(layers: result.layers)) }
            Terminal.error(Figures.line(result))
        }
    }
}

/// The prompt's text: bytes must be UTF-8.
enum PromptInput {
    static func read(argument: String?, file: String?) throws -> String {
        if let argument, argument != "-" { return argument }
        let data: Data
        if let file {
            // A handle, not FileManager: pipes (`<(…)`) have no length.
            do {
                guard let handle = FileHandle(forReadingAtPath: file) else { throw InputError(description: "") }
                data = try handle.readToEnd() ?? Data()
            } catch {
                throw InputError(description: "\(file): cannot be read")
            }
        } else {
            do {
                data = try FileHandle.standardInput.readToEnd() ?? Data()
            } catch {
                throw InputError(description: "standard input cannot be read")
            }
        }
        guard let text = String(validating: data, as: UTF8.self) else {
            throw InputError(description: "\(file ?? "standard input"): the text is not valid UTF-8")
        }
        return text
    }
}

struct InputError: Error, CustomStringConvertible {
    let description: String
}

struct SamplingArguments: ParsableArguments {
    @Option(name: [.customShort("n"), .long], help: "The most tokens to generate.")
    var maxTokens = 256

    @Option(help: "0: always the likeliest token; 1: as the model says.")
    var temperature: Float = 0

    @Option(help: "Sample among the k likeliest tokens; 0: all.")
    var topK = 0

    @Option(help: "Sample among the fewest tokens that hold this probability.")
    var topP: Float = 1

    @Option(help: "Leave out tokens less likely than this share of the likeliest.")
    var minP: Float = 0

    @Option(help: "Divides the logits of tokens seen before; 1: off.")
    var repetitionPenalty: Float = 1

    @Option(help: "Subtracted once from the logits of tokens generated before.")
    var presencePenalty: Float = 0

    @Option(help: "Subtracted from the logits for every time a token was generated before.")
    var frequencyPenalty: Float = 0

    @Option(help: "The random numbers' seed; the same seed gives the same text.")
    var seed: UInt64 = 0

    @Option(help: "Stop before this text. May be given several times.")
    var stop: [String] = []

    @Option(help: ArgumentHelp("Added to a token's logit. May be given several times.", valueName: "id=value"))
    var logitBias: [String] = []

    @Option(help: "Report each token's log probability and this many alternatives (with --json).")
    var logprobs: Int?

    @Flag(help: "Go on past the model's end-of-text token.")
    var ignoreEos = false

    func validate() throws {
        if maxTokens < 0 { throw ValidationError("--max-tokens must not be negative") }
        if !(temperature >= 0 && temperature.isFinite) { throw ValidationError("--temperature must be 0 or more") }
        if !(topP > 0 && topP <= 1) { throw ValidationError("--top-p must be above 0 and at most 1") }
        if !(minP >= 0 && minP <= 1) { throw ValidationError("--min-p must be from 0 to 1") }
        if topK < 0 { throw ValidationError("--top-k must not be negative") }
        if !(repetitionPenalty > 0 && repetitionPenalty.isFinite) {
            throw ValidationError("--repetition-penalty must be above 0")
        }
        if !(0...100).contains(logprobs ?? 0) { throw ValidationError("--logprobs must be from 0 to 100") }
        _ = try biases()
    }

    private func biases() throws -> [Int32: Float] {
        var result: [Int32: Float] = [:]
        for item in logitBias {
            let pair = item.split(separator: "=", maxSplits: 1)
            guard pair.count == 2, let id = Int32(pair[0]), let value = Float(pair[1]), !value.isNaN else {
                throw ValidationError("--logit-bias expects id=value, found '\(item)'")
            }
            result[id] = value
        }
        return result
    }

    func options(routing: RoutingOptions) throws -> GenerationOptions {
        var sampling = SamplingOptions()
        sampling.maxTokens = maxTokens
        sampling.temperature = temperature
        sampling.topK = topK
        sampling.topP = topP
        sampling.minP = minP
        sampling.repetitionPenalty = repetitionPenalty
        sampling.presencePenalty = presencePenalty
        sampling.frequencyPenalty = frequencyPenalty
        sampling.seed = seed
        sampling.stop = stop
        sampling.logitBias = try biases()
        sampling.logprobs = logprobs
        sampling.ignoreEOS = ignoreEos
        return GenerationOptions(sampling: sampling, routing: try routing.policies())
    }
}
