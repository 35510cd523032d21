// SPDX-License-Identifier: Apache-2.0

import Foundation
import MoEInfer
import MoETestSupport
import Testing

/// How long others wait for their next token while long prompts are read. A measurement, and so only where it is asked for:
/// `MOE_MEASURE_LOAD=model.gguf` (or `demo`), on a machine that does nothing else.
@Suite struct MixedLoadTests {
    private static let asked = ProcessInfo.processInfo.environment["MOE_MEASURE_LOAD"]

    @Test(.enabled(if: asked != nil)) func timeBetweenTokens() async throws {
        let asked = try #require(Self.asked)
        let source = asked == "demo" ? EngineTests.model : ModelSource.path(asked)
        for (share, decoding) in [(nil, 1), (nil, 4), (8, 4), (512, 4)] as [(Int?, Int)] {
            var settings = Settings()
            settings.context = 1024
            settings.prefixCache = .off
            settings.sharedChunk = share
            let llm = try await LLM.load(source, options: EngineOptions(settings: settings))
            var random = SplitMix64(state: 1)
            func prompt(_ count: Int) -> [Int32] {
                (0..<count).map { _ in Int32.random(in: 100..<Int32(llm.vocabularySize), using: &random) }
            }
            let starts = (0..<decoding).map { _ in prompt(8) }
            let prompts = (0..<64).map { _ in prompt(400) }
            _ = try await Self.gaps(llm, starts, tokens: 8)
            let alone = try await Self.gaps(llm, starts, tokens: 150)
            let busy = Task { try await Self.gaps(llm, starts, tokens: 150) }
            // One prompt after the other, from when all decode until they are done.
            let readers = Task {
                try await Task.sleep(for: .milliseconds(300))
                var seconds: [Double] = []
                for tokens in prompts {
                    let began = ContinuousClock.now
                    _ = try await Self.gaps(llm, [tokens], tokens: 1)
                    if Task.isCancelled { break }
                    seconds.append((ContinuousClock.now - began) / .seconds(1))
                }
                return seconds.sorted()
            }
            let mixed = try await busy.value
            readers.cancel()
            let reading = try await readers.value
            func text(_ gaps: [Double]) -> String {
                [0.5, 0.9, 0.99, 1].map { String(format: "%.1f", 1000 * gaps[Int($0 * Double(gaps.count - 1))]) }
                    .joined(separator: " / ")
            }
            print(
                "\(decoding) decode, shared chunk \(share.map(String.init) ?? "measured"): ms between tokens p50 / p90 / p99 / max"
                    + " alone \(text(alone)), beside prompts \(text(mixed)); \(reading.count) prompts of 400 took"
                    + String(format: " %.2f s each (median)", reading.isEmpty ? .nan : reading[reading.count / 2]))
        }
    }

    /// Seconds between tokens, ascending, of sequences that run together.
    private static func gaps(_ llm: LLM, _ prompts: [[Int32]], tokens: Int) async throws -> [Double] {
        try await withThrowingTaskGroup(of: [Double].self) { group in
            for prompt in prompts {
                group.addTask {
                    var options = GenerationOptions()
                    options.sampling.maxTokens = tokens
                    options.sampling.ignoreEOS = true
                    var gaps: [Double] = []
                    var last: ContinuousClock.Instant?
                    for try await event in llm.generate(tokens: prompt, options: options) {
                        guard case .token = event else { continue }
                        let now = ContinuousClock.now
                        if let last { gaps.append((now - last) / .seconds(1)) }
                        last = now
                    }
                    return gaps
                }
            }
            return try await group.reduce(into: []) { $0 += $1 }.sorted()
        }
    }
}
