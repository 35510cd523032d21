// SPDX-License-Identifier: Apache-2.0

// Continues a text: swift run Minimal MODEL "The city was"

import MoEInfer

let arguments = CommandLine.arguments
guard arguments.count == 3 else { fatalError("usage: Minimal MODEL PROMPT") }

let llm = try await LLM.load(.path(arguments[1]))

var options = GenerationOptions()
options.sampling.maxTokens = 32
options.routing = RoutingChoice(try RoutingSpecification.parse("top-p:p=0.7,min=1,max=8"))

for try await event in llm.generate(arguments[2], options: options) {
    switch event {
    case .token(let token): print(token.text, terminator: "")
    case .text(let text): print(text, terminator: "")
    case .prompt: break
    case .finished(let result):
        print("\n\(result.usage.completionTokens) tokens, \(result.usage.moe?.meanExperts ?? 0) experts per token")
    }
}
