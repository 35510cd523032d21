// SPDX-License-Identifier: Apache-2.0

import Foundation
import MoEInfer
import MoETestSupport
import Testing

/// What a comparison is made of, and one comparison of the embedded model on little text. How good the policies are stands in
/// docs/routing.md.
@Suite struct ComparisonTests {
    // MARK: Parts

    @Test func timesAreMadeMonotoneByPooling() {
        #expect(PolicyCurve.isotonic([1, 2, 3]) == [1, 2, 3])
        #expect(PolicyCurve.isotonic([1, 3, 2, 4]) == [1, 2.5, 2.5, 4])
        #expect(PolicyCurve.isotonic([3, 2, 1]) == [2, 2, 2])
        #expect(PolicyCurve.isotonic([]).isEmpty)
    }

    @Test func aBlendLiesBetweenItsTwoPoints() {
        let few = PolicyScore(windows: [.init(rows: 10, loss: 20, kl: 4, evaluations: 10, tokenLayers: 10)])
        let many = PolicyScore(windows: [.init(rows: 10, loss: 10, kl: 0, evaluations: 50, tokenLayers: 10)])
        let blend = few.blended(with: many, share: 0.25)
        #expect(abs(blend.kl - 0.3) < 1e-12 && abs(blend.meanExperts - 2) < 1e-12)
        #expect(abs(log(blend.perplexity) - 1.75) < 1e-12)
    }

    @Test func theBootstrapIsPairedAndStratified() {
        // Two domains of which the second is much harder for both: the difference is the same everywhere, so its interval is a point.
        let ours = PolicyScore(windows: [1.0, 2, 100, 110].map { .init(rows: 1, kl: $0) })
        let theirs = PolicyScore(windows: [1.5, 2.5, 100.5, 110.5].map { .init(rows: 1, kl: $0) })
        let bootstrap = PairedBootstrap(seed: 1, strata: [[0, 1], [2, 3]])
        #expect(bootstrap.klDifference(ours, theirs) == [-0.5, -0.5])
        // A domain alone stays among its own windows, and every draw has two of each.
        let values = ours.windows.map(\.kl)
        let second = bootstrap.interval(of: values, rows: [1, 1, 1, 1], only: [2, 3])
        #expect(second == [100, 110])
        let all = bootstrap.interval(of: values, rows: [1, 1, 1, 1])
        #expect(all[0] >= 50.5 && all[1] <= 56 && all[0] < all[1])
    }

    @Test func theBootstrapFindsTheErrorOfAMean() {
        var random = SplitMix64(state: 3)
        let values = (0..<400).map { _ in Double(random.next() >> 11) / Double(1 << 53) }
        let interval = PairedBootstrap(seed: 7, windows: 400).interval(of: values, rows: values.map { _ in 1 })
        // The mean of 400 uniform numbers has a deviation of 0.0144, so the interval is 0.0566 wide.
        #expect(abs(interval[1] - interval[0] - 0.0566) < 0.006, "\(interval)")
    }

    @Test func mixedTextTakesLinesOfEachTextInTurn() {
        let prose = (0..<20).map { "prose line \($0)\n" }.joined()
        let code = (0..<20).map { "code line \($0)\n" }.joined()
        let mixed = EvaluationText.mixture(of: [prose, code], pieceBytes: 30)
        let lines = mixed.split(separator: "\n")
        #expect(lines.first == "prose line 0" && lines.contains("code line 0"))
        // Whole lines only, none lost on the way, and both kinds in every stretch.
        #expect(lines.allSatisfy { $0.hasPrefix("prose line ") || $0.hasPrefix("code line ") })
        #expect(lines.prefix(8).contains { $0.hasPrefix("prose") } && lines.prefix(8).contains { $0.hasPrefix("code") })
        #expect(EvaluationText.mixture(of: ["", "x"]) == "")
    }

    // MARK: The whole

    @Test(arguments: [0.0, 0.5]) func theVerdictSaysWhoWins(_ harm: Double) throws {
        let report = try Self.verdict(klBounds: [-0.02, -0.01], perplexityBounds: [harm - 0.1, harm + 0.1])
        #expect(report.contains(harm == 0 ? "beats" : "does NOT beat"), "\(report)")
    }

    private static func verdict(klBounds: [Double], perplexityBounds: [Double]) throws -> String {
        let difference = ComparisonReport.Difference(
            policy: "per-layer static", kl: -0.015, kl95: klBounds, perplexity: 0, perplexity95: perplexityBounds)
        return ComparisonReport.verdict(
            candidate: "the learned gate", matched: [.init(at: 0.5, differences: [difference])], rival: "per-layer static")
    }

    @Test func comparisonOfTheEmbeddedModel() async throws {
        let text = try String(
            contentsOf: Fixtures.directory.appendingPathComponent("demo/heldout.txt"), encoding: .utf8)
        var settings = Settings()
        settings.context = 256
        let llm = try await LLM.load(EngineTests.plain, options: EngineOptions(settings: settings))
        var options = ComparisonOptions()
        (options.window, options.tokens, options.meanExperts) = (128, 512, [2, 4])
        (options.promptTokens, options.decodeTokens, options.rounds) = (32, 8, 2)
        let half = text.index(text.startIndex, offsetBy: text.count / 2)
        let report = try await llm.compare(
            [("first", String(text[..<half])), ("second", String(text[half...]))], options: options)

        #expect(report.domains == ["first", "second", "mixed"])
        #expect(report.reference.kl == 0 && report.reference.topOne == 1 && report.reference.meanExperts == 8)
        #expect(report.reference.decode.timeRatio == 1)
        let topP = try #require(report.policies.first { $0.name == "top-p" })
        #expect(zip(topP.points.map(\.meanExperts), [2.0, 4.0]).allSatisfy { abs($0 - $1) < 0.05 })
        for policy in report.policies {
            // The dial changes what was computed, and more experts are closer to static routing.
            let (few, many) = (try #require(policy.points.first), try #require(policy.points.last))
            #expect(few.meanExperts < many.meanExperts && few.kl > many.kl && many.kl > 0, "\(policy.name)")
            #expect(few.decode.expertBytesPerToken < many.decode.expertBytesPerToken)
            for point in policy.points {
                #expect(point.kl95[0] <= point.kl && point.kl <= point.kl95[1] && point.kl99 > point.kl)
                #expect(point.domains.count == 3 && point.layers.count == 4)
            }
            // What is printed as the setting is the setting.
            let again = try RoutingSpecification.parse(few.routing)
            let usage = try await llm.perplexity(of: text, context: 128, maximumChunks: 4, routing: RoutingChoice(again))
                .moe
            #expect(abs(try #require(usage).meanExperts - few.meanExperts) < 0.7, "\(few.routing)")
        }
        #expect(report.matchedExperts.count == 2)
        #expect(report.verdict.hasPrefix("no routing profile"))
    }

    @Test func whatCannotBeComparedIsRefused() async throws {
        let llm = try await LLM.load(EngineTests.model)
        func refuses(_ words: String, texts: [(String, String)], _ change: (inout ComparisonOptions) -> Void = { _ in })
            async
        {
            var options = ComparisonOptions()
            change(&options)
            await #expect { try await llm.compare(texts.map { ($0.0, $0.1) }, options: options) } throws: {
                "\($0)".contains(words)
            }
        }
        await refuses("'short' is too short", texts: [("short", "too few words")])
        await refuses("given twice", texts: [("a", String(repeating: "word ", count: 999)), ("a", "b")])
        await refuses("windows of 9", texts: [("a", "b")]) { $0.window = 9 }
        await refuses("must fit a window", texts: [("a", "b")]) { $0.promptTokens = 500 }
        await refuses("a mean of 9.0", texts: [("a", "b")]) { $0.meanExperts = [9] }
        await refuses("a mean of nan", texts: [("a", "b")]) { $0.meanExperts = [.nan] }
    }
}
