// SPDX-License-Identifier: Apache-2.0

// A routing policy of one's own: swift run CustomPolicy MODEL "The city was"

import MoEInfer

/// Spends experts where the gate is undecided: two when the best expert is clearly ahead of the second, else the model's own k.
struct MarginRouting: RoutingPolicy {
    var margin: Float

    func maximumExperts(modelExpertsPerToken: Int, expertCount: Int) -> Int { modelExpertsPerToken }

    func expertCount(for token: RoutingContext, logits: Span<Float>, ranked: Span<Float>) -> Int {
        guard ranked.count > 2 else { return ranked.count }
        return ranked[0] > margin * ranked[1] ? 2 : ranked.count
    }
}

let arguments = CommandLine.arguments
guard arguments.count == 3 else { fatalError("usage: CustomPolicy MODEL PROMPT") }

let llm = try await LLM.load(.path(arguments[1]))
var options = GenerationOptions()
options.sampling.maxTokens = 32

for (name, policy) in [("static", StaticRouting()), ("margin 1.5", MarginRouting(margin: 1.5))]
    as [(String, any RoutingPolicy)]
{
    options.routing = RoutingChoice(policy)
    let result = try await llm.complete(arguments[2], options: options)
    print("\(name): \(result.usage.moe?.meanExperts ?? 0) experts per token\n\(result.text)\n")
}
