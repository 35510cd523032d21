// SPDX-License-Identifier: Apache-2.0

import MoEInfer

/// `moe-infer bench --speculate`: what drafting brings, against none, in turns.
extension BenchCommand {
    func measureSpeculation(on text: String, _ policies: [(name: String, policy: any RoutingPolicy)]) async throws {
        let speculations = try speculate.map { ($0, try Speculation.parse($0)) }.filter { !$0.1.isOff }
        let (prompt, generate, repetitions, temperature) = (prompt, generate, repetitions, temperature)
        let llm = try await model.load()
        let results = try await Interrupts.cancelling {
            var results: [SpeculationSpeed] = []
            for policy in policies {
                let bar = ProgressBar("bench")
                results += try await llm.benchmark(
                    text: text, prompt: prompt, generate: generate, rounds: repetitions, routing: policy,
                    speculations: speculations, temperature: temperature
                ) { bar.show($0, of: $1) }
                bar.finish()
            }
            return results
        }
        if json {
            try Terminal.write(json: results)
        } else {
            Terminal.write(Figures.table(speeds: results))
        }
    }
}

extension Figures {
    fileprivate static func table(speeds: [SpeculationSpeed]) -> String {
        table(
            [["speculation", "test", "tokens/s", "min", "max", "time", "tokens/step", "right", "drafted", "routing"]]
                + speeds.map { speed in
                    [
                        speed.speculation, speed.test, number(speed.tokensPerSecond.median),
                        number(speed.tokensPerSecond.min), number(speed.tokensPerSecond.max),
                        number(speed.timeRatio.median, 3), speed.usage.map { number($0.tokensPerStep, 2) } ?? "1.00",
                        speed.usage.map { number(100 * $0.acceptanceRate, 0) + " %" } ?? "-",
                        speed.usage.map { "\($0.drafted)" } ?? "-", speed.routing,
                    ]
                })
    }
}
