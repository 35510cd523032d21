// SPDX-License-Identifier: Apache-2.0

import MoEInfer
import Testing

@Suite struct RoutingTraceTests {
    @Test func mutualInformationOfKnownTables() {
        #expect(RoutingTrace.mutualInformation([[10, 0], [0, 3]]) == 1, "domains that never share an expert, any length")
        #expect(abs(RoutingTrace.mutualInformation([[4, 4, 2], [40, 40, 20]])) < 1e-12, "domains alike")
        #expect(
            abs(RoutingTrace.mutualInformation([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]) - 2) < 1e-12)
        #expect(RoutingTrace.mutualInformation([[5, 5], [0, 0]]) == 0, "a domain without tokens says nothing")
        #expect(RoutingTrace.mutualInformation([]) == 0)
    }

    @Test func everyTokenIsTold() async throws {
        var settings = Settings()
        settings.context = 512
        let llm = try await LLM.load(EngineTests.model, options: EngineOptions(settings: settings))
        // Longer than the context of 512 tokens, with characters of several bytes.
        let text = String(repeating: "Žižkov — the city, naïve and 東京. ", count: 60)
        let policy = try RoutingSpecification.parse("top-p:p=0.6,min=1,max=8")
        let trace = try await llm.route([("one", text), ("two", "A short text.")], routing: RoutingChoice(policy))
        let ids = try llm.tokenizer.encode(text)
        #expect(ids.count > llm.contextLength)
        #expect(trace.domains.map(\.name) == ["one", "two"])
        #expect(trace.domains[0].tokens.map(\.id) == ids)
        #expect(trace.domains[0].tokens.dropFirst().map(\.text).joined() == text)
        let counted = trace.domains.flatMap(\.tokens).reduce(0) { $0 + $1.experts.reduce(0, +) }
        #expect(counted == trace.moe.expertEvaluations)
        #expect(trace.domains.reduce(0) { $0 + $1.load.reduce(0) { $0 + $1.reduce(0, +) } } == counted)
        #expect(trace.heat(1) == 0 && trace.heat(trace.largestMean) == 1)
        await #expect(throws: RequestError.self) { _ = try await llm.route([]) }
    }
}
