// SPDX-License-Identifier: Apache-2.0

import MoEInfer
import MoEModel
import Testing

/// Prevents bills that do not depend on what was asked for: two requests of one step pay by what they use.
@Suite struct StepSharesTests {
    @Test func countsWhatRowsAreMultipliedWith() {
        let shares = StepShares(row: 20, head: 7, expert: 10)
        #expect(shares.weight(rows: 1, logits: 0, evaluations: 2) == 40)
        #expect(shares.weight(rows: 1, logits: 0, evaluations: 8) == 100)
        #expect(shares.weight(rows: 3, logits: 1, evaluations: 12) == 187)
    }

    /// The embedded model's experts are most of what a row uses.
    @Test func fewerExpertsPayLessBesideMore() throws {
        let configuration = try ModelFile.open(EngineTests.model).configuration()
        let experts = try #require(configuration.experts)
        let layers = experts.layers.count { $0 }
        let shares = StepShares(configuration)
        func weight(experts: Int) -> Double { shares.weight(rows: 1, logits: 1, evaluations: experts * layers) }
        #expect(weight(experts: 1) < 0.8 * weight(experts: 8))
    }

    @Test func everyRequestIsCharged() async throws {
        let llm = try await LLM.load(EngineTests.model)
        for k in [1, 8] {
            var options = GenerationOptions(routing: RoutingChoice(StaticRouting(expertsPerToken: PerLayer(k))))
            options.sampling.maxTokens = 4
            var usage: GenerationResult.Usage?
            for try await event in llm.generate("The city was", options: options) {
                if case .finished(let result) = event { usage = result.usage }
            }
            #expect(try #require(usage).modelSeconds > 0)
        }
    }
}
