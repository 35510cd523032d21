// SPDX-License-Identifier: Apache-2.0

import MoEInfer
import MoEModel
import Testing

/// Prevents bills that do not depend on what was asked for: two requests of one step pay by what they use.
@Suite struct StepSharesTests {
    @Test func fewerExpertsPayLessBesideMore() async throws {
        let llm = try await LLM.load(EngineTests.model)
        func run(_ policy: any RoutingPolicy) async throws -> GenerationResult.Usage {
            var options = GenerationOptions(routing: RoutingChoice(policy))
            options.sampling.maxTokens = 200
            options.sampling.ignoreEOS = true
            for try await event in llm.generate("The city was", options: options) {
                if case .finished(let result) = event { return result.usage }
            }
            throw CancellationError()
        }
        async let one = run(StaticRouting(expertsPerToken: PerLayer(1)))
        async let eight = run(StaticRouting(expertsPerToken: PerLayer(8)))
        let (cheap, dear) = try await (one, eight)
        #expect(cheap.modelSeconds > 0)
        // They share nearly all of their steps; the embedded model's experts are most of what a row uses.
        #expect(cheap.modelSeconds < 0.8 * dear.modelSeconds)
    }
}
