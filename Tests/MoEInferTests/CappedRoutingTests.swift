// SPDX-License-Identifier: Apache-2.0

import MoEInfer
import MoEModel
import MoETestSupport
import Testing

/// A cap holds what is computed, whatever it is put around.
@Suite struct CappedRoutingTests {
    @Test(arguments: [
        "static", "static:k=4,2", "ratio:min=3,t=0.1", "top-p:p=0.95,min=1,max=16", "absolute:c=0,min=1",
        "static:k=2+reroute:entropy=0,add=4", "top-p:p=0.5+reroute:margin=1,add=3", "union:k0=3,k=4",
    ]) func holds(routing: String) async throws {
        let tiny = try TinyEngine { $0.prefixCache = .off }
        let base = try RoutingSpecification.parse(routing)
        for cap in 0...3 {
            let result = try await tiny.run(
                [5, 9, 40, 2, 77, 31], TinyEngine.options(20, routing: CappedRouting(base, maximum: cap)))
            let moe = try #require(result.usage.moe)
            #expect(moe.histogram.count <= cap + 1, "cap \(cap)")
            if cap == 0 { #expect(moe.expertEvaluations == 0) }
        }
        // Above what the policy asks for it does nothing.
        let (free, capped) = (
            try await tiny.run([5, 9, 40, 2], TinyEngine.options(20, routing: base)),
            try await tiny.run([5, 9, 40, 2], TinyEngine.options(20, routing: CappedRouting(base, maximum: 16)))
        )
        expectSame(free, capped)
        #expect(free.usage.moe?.histogram == capped.usage.moe?.histogram)
    }

    /// Under static routing a cap is another k, bit for bit.
    @Test func ofStaticRoutingIsStaticRouting() async throws {
        let tiny = try TinyEngine { $0.prefixCache = .off }
        let capped = try await tiny.run(
            [5, 9, 40], TinyEngine.options(20, routing: CappedRouting(StaticRouting(), maximum: 2)))
        let fixed = try await tiny.run(
            [5, 9, 40], TinyEngine.options(20, routing: StaticRouting(expertsPerToken: PerLayer(2))))
        expectSame(capped, fixed)
        #expect(capped.usage.moe?.histogram == fixed.usage.moe?.histogram)
    }

    /// The learned gate of the embedded model, which reads more than the ranking.
    @Test func ofTheModelsOwnRouting() async throws {
        var settings = Settings()
        settings.threads = 2
        settings.context = 128
        let llm = try await LLM.load(EngineTests.model, options: EngineOptions(settings: settings))
        var options = GenerationOptions()
        options.sampling.maxTokens = 16
        options.sampling.ignoreEOS = true
        options.routing = RoutingChoice(CappedRouting(NativeRouting(), maximum: 2))
        let moe = try #require(try await llm.complete("The history of the city", options: options).usage.moe)
        #expect(moe.histogram.count == 3 && moe.histogram[1] > 0 && moe.histogram[2] > 0, "\(moe.histogram)")
    }

    @Test func capsARequestsPolicies() async throws {
        let tiny = try TinyEngine { $0.prefixCache = .off }
        var options = TinyEngine.options(10)
        options.fallbacks = [StaticRouting(expertsPerToken: PerLayer(3))]
        options.capExperts(at: 2)
        for level in [0, 1] {
            await tiny.llm.setPressure(level)
            #expect(try await tiny.run([1, 2, 3], options).usage.moe?.meanExperts == 2)
        }
    }

    @Test func equality() {
        let two = CappedRouting(StaticRouting(), maximum: 2)
        #expect(two.isSame(as: CappedRouting(CappedRouting(StaticRouting(), maximum: 2), maximum: 5)))
        #expect(!two.isSame(as: CappedRouting(StaticRouting(), maximum: 3)))
        #expect(!two.isSame(as: CappedRouting(RatioRouting(threshold: PerLayer(0.5)), maximum: 2)))
        #expect(!two.isSame(as: StaticRouting()))
        #expect(CappedRouting(UnionRouting(own: 1), maximum: 2).batchPolicy == .union(own: 1))
        #expect(CappedRouting(StaticRouting(), maximum: -1).maximum == 0)
        #expect(
            CappedRouting(StaticRouting(expertsPerToken: PerLayer(9)), maximum: 2).problem(layerCount: 2, expertCount: 8)
                != nil)
    }
}
