// SPDX-License-Identifier: Apache-2.0

import Glibc
import MoEInfer

/// `bench --serve`: the other side of `Tools/peers`, which measures several engines in turns and so keeps each loaded.
///
/// The first line says that the model is loaded. Then each line of standard input is answered by one: a case by its seconds,
/// `limits` by what the machine can do, what cannot be measured by `{"error": …}`.
struct BenchServer {
    private struct Ready: Encodable {
        let loadSeconds: Double
        let vocabularySize: Int
    }

    private struct Answer: Encodable {
        let run: BenchmarkSession.Run
        let test: String

        enum CodingKeys: String, CodingKey { case test, seconds, tokens, threads, moe }

        func encode(to encoder: any Encoder) throws {
            var container = encoder.container(keyedBy: CodingKeys.self)
            try container.encode(test, forKey: .test)
            try container.encode(run.seconds, forKey: .seconds)
            try container.encode(run.tokens, forKey: .tokens)
            try container.encode(run.threads, forKey: .threads)
            try container.encodeIfPresent(run.moe, forKey: .moe)
        }
    }

    private struct Problem: Encodable {
        let error: String
    }

    private let session: BenchmarkSession
    private let ready: Ready

    init(loading model: ModelOptions) async throws {
        let start = ContinuousClock.now
        let llm = try await model.load()
        session = llm.benchmarkSession()
        ready = Ready(loadSeconds: (ContinuousClock.now - start) / .seconds(1), vocabularySize: llm.vocabularySize)
    }

    func run() async throws {
        try answer(ready)
        while let line = readLine() {
            let words = line.split(separator: " ")
            if words.isEmpty { continue }
            let session = session
            do {
                if words == ["limits"] {
                    try answer(try await Interrupts.cancelling { try await session.limits() })
                } else {
                    let (test, routing) = try Self.parse(words)
                    let run = try await Interrupts.cancelling { try await session.run(test, routing: routing) }
                    try answer(Answer(run: run, test: test.name))
                }
            } catch let error as CancellationError {
                throw error
            } catch {
                try answer(Problem(error: Terminal.oneLine("\(error)")))
            }
        }
    }

    private func answer(_ value: some Encodable) throws { Terminal.write(try Terminal.text(json: value, isLine: true)) }

    /// `prompt=512` or `generate=64`, with `batch=`, `depth=`, `seed=` and `routing=` as wanted.
    private static func parse(_ words: [Substring]) throws -> (BenchmarkCase, any RoutingPolicy) {
        var values: [Substring: Substring] = [:]
        for word in words {
            guard let sign = word.firstIndex(of: "="),
                values.updateValue(word[word.index(after: sign)...], forKey: word[..<sign]) == nil
            else { throw RequestError("'\(word)' is not a setting of its own") }
        }
        func number(_ key: Substring) throws -> Int? {
            guard let text = values.removeValue(forKey: key) else { return nil }
            guard let value = Int(text), value >= 0 else { throw RequestError("\(key) must be a number, found '\(text)'") }
            return value
        }
        let routing = try RoutingSpecification.parse(values.removeValue(forKey: "routing").map(String.init) ?? "native")
        let (prompt, generate, batch) = (try number("prompt"), try number("generate"), try number("batch") ?? 1)
        let (depth, seed) = (try number("depth") ?? 0, UInt64(try number("seed") ?? 0))
        if let unknown = values.keys.min() { throw RequestError("'\(unknown)' is not known") }
        switch (prompt, generate) {
        case (let count?, nil) where batch == 1: return (try .prompt(count, depth: depth, seed: seed), routing)
        case (nil, let count?): return (try .generation(count, batch: batch, depth: depth, seed: seed), routing)
        default: throw RequestError("a case is either prompt=N of one sequence or generate=N")
        }
    }
}
