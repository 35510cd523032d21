// SPDX-License-Identifier: Apache-2.0

import Foundation
import MoEInfer
import MoEModel
import MoETestSupport
import Testing

/// Names mean the same for every model: never less quality than the name says.
@Suite struct OperatingPointTests {
    private func embedded(_ model: ModelSource = EngineTests.model) async throws -> LLM {
        var settings = Settings()
        settings.threads = 2
        settings.context = 128
        return try await LLM.load(model, options: EngineOptions(settings: settings))
    }

    @Test func ofAModelWithAProfile() async throws {
        let llm = try await embedded()
        let points = llm.operatingPoints
        #expect(points.map(\.name) == ["exact", "parity", "balanced", "fast"])
        let means = try points.map { try #require($0.meanExperts) }
        #expect(means == means.sorted(by: >) && means[0] == 8)
        #expect(try llm.operatingPoint("exact").isSame(as: StaticRouting()))
        let profile = try #require(try llm.profile)
        for name in ["parity", "balanced", "fast"] {
            let policy = try #require(try llm.operatingPoint(name) as? LearnedRouting)
            #expect(policy.mu == profile.points.first { $0.name == name }?.mu)
        }
        let cheaper = try llm.fallbacks(below: "parity", downTo: "fast")
        #expect(cheaper.map { ($0 as? LearnedRouting)?.mu } == ["balanced", "fast"].map { profile.routing(point: $0)?.mu })
        #expect(try llm.fallbacks(below: "fast", downTo: "parity").isEmpty)
        #expect(throws: RequestError.self) { _ = try llm.fallbacks(below: "fast", downTo: "slow") }
        var options = GenerationOptions()
        options.sampling.maxTokens = 12
        options.sampling.ignoreEOS = true
        var measured: [Double] = []
        for name in points.map(\.name) {
            options.routing = RoutingChoice(try llm.routing(named: name))
            measured.append(
                try #require(try await llm.complete("The river flows through the", options: options).usage.moe).meanExperts)
        }
        #expect(measured[0] == 8 && measured == measured.sorted(by: >), "\(measured)")
    }

    @Test func ofAModelWithoutAProfile() async throws {
        let llm = try await embedded(EngineTests.plain)
        #expect(llm.operatingPoints.map(\.name) == ["exact", "parity", "balanced", "fast"])
        #expect(llm.operatingPoints.map(\.meanExperts) == [8, 8, nil, nil])
        #expect(try llm.fallbacks(below: "exact", downTo: "fast").count == 2, "parity is the same as exact")
        #expect(try llm.operatingPoint("parity").isSame(as: StaticRouting()))
        var means: [Double] = []
        for point in llm.operatingPoints {
            let policy = try llm.operatingPoint(point.name)
            #expect(policy.isSame(as: try RoutingSpecification.parse(point.routing)), "the text says what it is")
            let text = try String(
                decoding: Data(contentsOf: Fixtures.directory.appendingPathComponent("demo/heldout.txt")), as: UTF8.self)
            let report = try await llm.perplexity(
                of: text, context: 128, maximumChunks: 2, routing: RoutingChoice(policy))
            means.append(try #require(report.moe).meanExperts)
        }
        #expect(means[0] == 8 && means[1] == 8)
        #expect(means[2] >= 4 && means[2] < 6 && means[3] >= 2 && means[3] < means[2], "\(means)")
    }

    /// A profile that lacks a point has the next dearer one in its place; one of its own names is a point as well.
    @Test func ofAProfileWithOtherPoints() async throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("points-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let hash = try await embedded(EngineTests.plain).modelHash
        func load(_ text: String) async throws -> LLM {
            let path = folder.appendingPathComponent("\(UUID().uuidString)").path
            try text.write(toFile: path + ".json", atomically: true, encoding: .utf8)
            _ = try ModelProfile.read(path: path + ".json").embed(in: EngineTests.plain, out: path + ".gguf")
            return try await embedded(.path(path + ".gguf"))
        }
        // exact, parity (mu 1) and fast (mu 1000).
        let llm = try await load(RoutingProfiles.text(model: hash))
        #expect((try llm.operatingPoint("balanced") as? LearnedRouting)?.mu == 1)
        #expect((try llm.operatingPoint("fast") as? LearnedRouting)?.mu == 1000)
        #expect(llm.operatingPoints.map(\.routing) == ["static", "profile@parity", "profile@parity", "profile@fast"])
        let named = try await load(RoutingProfiles.text(model: hash).replacing(#""parity""#, with: #""gentle""#))
        #expect(try named.operatingPoint("parity").isSame(as: StaticRouting()))
        #expect(try named.operatingPoint("balanced").isSame(as: StaticRouting()))
        #expect((try named.routing(named: "gentle") as? LearnedRouting)?.mu == 1)
        #expect(named.operatingPoints.map(\.name) == ["exact", "parity", "balanced", "gentle", "fast"])
    }

    @Test func ofADenseModel() async throws {
        let llm = try TinyEngine("llama").llm
        #expect(llm.operatingPoints.map(\.name) == ["exact", "parity", "balanced", "fast"])
        for point in llm.operatingPoints {
            #expect(try llm.operatingPoint(point.name).isSame(as: StaticRouting()) && point.meanExperts == nil)
        }
        #expect(throws: RequestError.self) { _ = try llm.routing(named: "static:k=2") }
    }

    @Test func textOfStrangers() async throws {
        let llm = try TinyEngine().llm
        #expect(try llm.routing(named: " static:k=2 ").isSame(as: StaticRouting(expertsPerToken: PerLayer(2))))
        #expect(try llm.routing(named: "native").isSame(as: StaticRouting()))
        for (text, mention) in [
            ("quick", "exact, parity, balanced, fast"), ("", "exact, parity"), ("static:k=99", "99 experts"),
            ("profile:/etc/passwd", "files cannot be named"), (" profile :/etc/passwd@x", "files cannot be named"),
            ("profile:/etc/passwd+reroute:z=1", "files cannot be named"), ("profile@fast", "no routing profile"),
            (String(repeating: "x", count: 100_000), "at most 1024"), ("a\nb", "unknown policy"),
        ] {
            let error = #expect(throws: RequestError.self) { _ = try llm.routing(named: text) }
            #expect(error?.description.contains(mention) == true, "\(String(describing: error))")
            #expect(error?.description.contains("\n") == false)
        }
        #expect(throws: RequestError.self) { _ = try llm.operatingPoint("quick") }
        // Whoever owns the machine may.
        #expect {
            _ = try llm.routing(named: "profile:/none", allowingFiles: true)
        } throws: {
            !"\($0)".contains("cannot be")
        }
    }
}
