// SPDX-License-Identifier: Apache-2.0

import MoEModel
import MoETokenizer

/// Speed of generating with one way to draft, and without.
public struct SpeculationSpeed: Sendable, Encodable {
    /// `tg128`
    public let test: String
    public let threads: Int
    public let routing: String
    public let speculation: String
    /// Of the tokens after the first, over the rounds.
    public let tokensPerSecond: BenchmarkResult.Speed
    /// Time over that without drafts in the same round: below 1, drafting pays.
    public let timeRatio: BenchmarkResult.TimeRatio
    /// Over all rounds; nil without drafts.
    public let usage: SpeculationUsage?

    enum CodingKeys: String, CodingKey {
        case test, threads, routing, speculation
        case tokensPerSecond = "tokens_per_second"
        case timeRatio = "time_ratio"
        case usage
    }
}

extension LLM {
    /// What drafting brings on this machine: continues pieces of a text, with each way to draft and without, in turns. Every
    /// round takes another piece, in an order that rotates.
    ///
    /// - Parameters:
    ///   - prompt: tokens of a piece.
    ///   - generate: tokens of a continuation, at least 2; the model's own choice, past its end of text.
    ///   - speculations: with their names. None is measured first.
    ///   - temperature: 0 is greedy, which small models answer with repetitions: drafts then look better than they are.
    /// - Throws: ``RequestError`` also when a text comes out different with drafts: it must not.
    public func benchmark(
        text: String, prompt: Int, generate: Int, rounds: Int, routing: (name: String, policy: any RoutingPolicy),
        speculations: [(name: String, speculation: Speculation)], temperature: Float = 0,
        progress: @escaping @Sendable (_ done: Int, _ total: Int) -> Void = { _, _ in }
    ) async throws -> [SpeculationSpeed] {
        guard prompt >= 1, generate >= 2, rounds >= 1 else {
            throw RequestError("nothing to measure: \(prompt) and \(generate) tokens, \(rounds) rounds")
        }
        let (window, overflow) = prompt.addingReportingOverflow(generate)
        guard !overflow, window <= contextLength else {
            throw RequestError("\(prompt) and \(generate) tokens were asked for, but the context holds \(contextLength)")
        }
        let windows = EvaluationText.cut(text, tokenizer: try tokenizer, window: prompt).shuffledForTiming()
        guard !windows.isEmpty else { throw RequestError("the text is too short: \(prompt) tokens are needed") }

        let cases = [("off", Speculation.off)] + speculations
        var runs = cases.map { _ in [GenerationResult]() }
        // Round 0 warms up.
        for round in 0...rounds {
            for turn in cases.indices {
                let index = (turn + round) % cases.count
                var options = GenerationOptions(routing: RoutingChoice(routing.policy))
                options.sampling.maxTokens = generate
                options.sampling.ignoreEOS = true
                options.sampling.temperature = temperature
                options.sampling.seed = UInt64(round)
                options.speculation = cases[index].1
                let result = try await complete(tokens: windows[round % windows.count], options: options)
                if round > 0 { runs[index].append(result) }
                progress(round * cases.count + turn + 1, (rounds + 1) * cases.count)
            }
        }
        for (index, run) in runs.enumerated() {
            guard zip(run, runs[0]).allSatisfy({ $0.tokens == $1.tokens }) else {
                throw RequestError("drafting by '\(cases[index].0)' changed the text: this must not be")
            }
        }
        return zip(cases, runs).map { item, run in
            let seconds = run.map { max($0.timings.generationSeconds, 1e-9) }
            let ratios = zip(seconds, runs[0]).map { $0 / max($1.timings.generationSeconds, 1e-9) }.sorted()
            let speeds = seconds.map { Double(generate - 1) / $0 }.sorted()
            let usages = run.compactMap(\.usage.speculation)
            return SpeculationSpeed(
                test: "tg\(generate)", threads: threads, routing: routing.name, speculation: item.0,
                tokensPerSecond: .init(median: quantile(speeds, 0.5), min: speeds[0], max: speeds[speeds.count - 1]),
                timeRatio: .init(
                    median: quantile(ratios, 0.5), lower: quantile(ratios, 0.25), upper: quantile(ratios, 0.75)),
                usage: usages.isEmpty
                    ? nil
                    : SpeculationUsage(
                        steps: usages.reduce(0) { $0 + $1.steps }, drafted: usages.reduce(0) { $0 + $1.drafted },
                        accepted: usages.reduce(0) { $0 + $1.accepted }, moe: nil))
        }
    }

    private func complete(tokens: [Int32], options: GenerationOptions) async throws -> GenerationResult {
        for try await event in generate(tokens: tokens, options: options) {
            if case .finished(let result) = event { return result }
        }
        throw CancellationError()
    }
}
