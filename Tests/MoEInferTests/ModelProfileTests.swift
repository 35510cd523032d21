// SPDX-License-Identifier: Apache-2.0

import Foundation
import MoEInfer
import MoEModel
import MoETensors
import MoETestSupport
import Testing

/// A profile inside a model: that the model routes by it, is the same model without, and says so when it cannot.
@Suite struct ModelProfileTests {
    /// A folder that is gone with the value.
    private final class Folder {
        let url = FileManager.default.temporaryDirectory.appendingPathComponent("moe-profile-\(UUID().uuidString)")
        init() throws { try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true) }
        deinit { try? FileManager.default.removeItem(at: url) }
        func path(_ name: String) -> String { url.appendingPathComponent(name).path }
        func write(_ name: String, _ text: String) throws -> String {
            try Data(text.utf8).write(to: url.appendingPathComponent(name))
            return path(name)
        }
        var files: [String] { get throws { try FileManager.default.contentsOfDirectory(atPath: url.path).sorted() } }
    }

    private func load(_ source: ModelSource) async throws -> LLM {
        var settings = Settings()
        settings.threads = 2
        settings.context = 64
        return try await LLM.load(source, options: EngineOptions(settings: settings))
    }

    private func rows(_ llm: LLM, _ routing: String?) async throws -> [[Float]] {
        let choice = try routing.map { RoutingChoice(try RoutingSpecification.parse($0)) } ?? RoutingChoice()
        let rows = Rows()
        try await llm.logits([5, 9, 17, 80, 31, 44], decodeFrom: 3, routing: choice) { rows.append($0) }
        return rows.values
    }

    private func experts(_ llm: LLM, _ routing: String?) async throws -> Double {
        var options = GenerationOptions()
        options.sampling.maxTokens = 6
        options.sampling.ignoreEOS = true
        if let routing { options.routing = RoutingChoice(try RoutingSpecification.parse(routing)) }
        var result: GenerationResult?
        for try await event in llm.generate(tokens: [5, 9, 17], options: options) {
            if case .finished(let final) = event { result = final }
        }
        return try #require(result?.usage.moe).meanExperts
    }

    /// What a request for the model's own routing answers.
    private func problem(_ llm: LLM, _ routing: String? = nil) async -> String {
        let error = await #expect(throws: RequestError.self) { _ = try await rows(llm, routing) }
        return error?.description ?? ""
    }

    /// The embedded model with another profile than its own, as text.
    private func embedded(_ text: String, in folder: Folder, as name: String = "m.gguf") throws -> ModelSource {
        guard case .path(let path) = EngineTests.plain else { preconditionFailure() }
        let writer = GGUFWriter(try GGUFFile(path: path), setting: ModelFile.profileKey, to: Array(text.utf8))
        let output = try OutputFile(path: folder.path(name))
        try writer.write(to: output) { _ in }
        try output.commit()
        return .path(folder.path(name))
    }

    @Test func aModelRoutesByItsProfile() async throws {
        let folder = try Folder()
        let plain = try await load(EngineTests.plain)
        #expect(try plain.profile == nil)
        let text = RoutingProfiles.text(model: plain.modelHash)
        let profile = try ModelProfile.read(path: try folder.write("p.json", text))
        let written = try profile.embed(in: EngineTests.plain, out: folder.path("m.gguf"))
        #expect(try folder.files == ["m.gguf", "p.json"] && written.unchangedShards == 0)

        let source = ModelSource.path(folder.path("m.gguf"))
        #expect(try ModelProfile.embeddedText(in: source) == Array(text.utf8))
        let llm = try await load(source)
        #expect(llm.modelHash == plain.modelHash, "metadata is not part of the model")
        #expect(try llm.profile == profile.profile)

        // Static routing is the plain model's, bit for bit; so is the profile's exact point.
        let reference = try await rows(plain, "static")
        #expect(try await rows(plain, nil) == reference)
        #expect(try await rows(plain, "native") == reference)
        #expect(try await rows(llm, "static") == reference)
        #expect(try await rows(llm, "profile@exact") == reference)
        #expect(try await rows(llm, "profile@mu=0") == reference)

        // The model's own routing is its profile's default point: the kernels computed as many experts as the profile says.
        let parity = try await rows(llm, "profile:\(folder.path("p.json"))")
        #expect(parity != reference)
        for routing in [nil, "native", "profile", "profile@parity", "profile@mu=1"] {
            #expect(try await rows(llm, routing) == parity, "\(routing ?? "none")")
            #expect(try await experts(llm, routing) == 2)
        }
        #expect(try await experts(llm, "static") == 8)
        #expect(try await experts(llm, "profile@fast") == 1)
        // A policy around the model's own.
        #expect(try await experts(llm, "native+reroute:entropy=0,add=1") == 3)
        #expect(try await experts(llm, "profile@fast+reroute:entropy=0,add=1") == 2)
        #expect(await problem(plain, "profile@fast+reroute:entropy=0").contains("carries no routing profile"))
        // Prompt and text apart.
        var options = GenerationOptions()
        options.sampling.maxTokens = 1
        options.routing = RoutingChoice(prefill: StaticRouting())
        let apart = try await llm.complete("A", options: options)
        #expect(apart.usage.moe?.meanExperts == 8)
        let bench = try await llm.benchmarkGeneration(
            4, batch: 2, repetitions: 1, routing: NativeRouting(), named: "native")
        #expect(bench.moe?.meanExperts == 2)
        let perplexity = try await llm.perplexity(
            of: String(repeating: "The river and the city. ", count: 20), context: 32, maximumChunks: 1)
        #expect(perplexity.moe?.meanExperts == 2)

        #expect(await problem(llm, "profile@slow").contains("has no point 'slow'; it has: exact, parity, fast, mu=NUMBER"))
        #expect(await problem(plain, "profile").contains("carries no routing profile"))
        #expect(await problem(plain, "profile@fast").contains("moe_infer.routing_profile"))

        // What inspection says.
        let inspection = try ModelInspection.inspect(source)
        #expect(inspection.profile?.points.map(\.name) == ["exact", "parity", "fast"])
        #expect(inspection.profile?.layers.count == 4 && inspection.profileProblem == nil)
        #expect(try ModelInspection.inspect(EngineTests.plain).profile == nil)
    }

    @Test func theDefaultPointMayBeAnother() async throws {
        let folder = try Folder()
        let hash = try await load(EngineTests.plain).modelHash
        let profile = try ModelProfile.read(path: try folder.write("p.json", RoutingProfiles.text(model: hash)))
        let fast = try profile.withDefault("fast")
        _ = try fast.embed(in: EngineTests.plain, out: folder.path("m.gguf"))
        let llm = try await load(.path(folder.path("m.gguf")))
        #expect(try await experts(llm, nil) == 1)
        #expect(try await experts(llm, "profile@parity") == 2)
        #expect(try llm.profile?.layers == profile.profile.layers)
        #expect(throws: RequestError.self) { _ = try profile.withDefault("slow") }

        // Without a default of its own and without parity there is none: named points still run.
        let other = RoutingProfiles.text(model: hash).replacing("parity", with: #"a \"b\" \\"#)
        let nameless = try await load(try embedded(other, in: folder, as: "nameless.gguf"))
        #expect(await problem(nameless).contains(#"has no point 'parity'; it has: exact, a "b" \, fast, mu=NUMBER"#))
        #expect(try await experts(nameless, #"profile@a "b" \"#) == 2)
        let named = try ModelProfile.read(path: try folder.write("q.json", other)).withDefault(#"a "b" \"#)
        #expect(named.profile.defaultPoint == #"a "b" \"# && named.summary.points.count == 3)

        // Embedded again, over the first.
        _ = try profile.embed(in: .path(folder.path("m.gguf")), out: folder.path("n.gguf"))
        #expect(try await experts(load(.path(folder.path("n.gguf"))), nil) == 2)
        // And out again: the file that it was.
        _ = try ModelProfile.strip(from: .path(folder.path("n.gguf")), out: folder.path("o.gguf"))
        guard case .path(let original) = EngineTests.plain else { return }
        #expect(
            try Data(contentsOf: URL(fileURLWithPath: original))
                == Data(contentsOf: URL(fileURLWithPath: folder.path("o.gguf"))))
    }

    // MARK: What is refused

    @Test func aBrokenProfileIsNotPassedOver() async throws {
        let folder = try Folder()
        let plain = try await load(EngineTests.plain)
        let (hash, reference) = (plain.modelHash, try await rows(plain, "static"))
        let cases: [(text: String, mention: String)] = [
            ("", "not valid JSON"), ("{", "not valid JSON"), ("[1]", "an object"), ("{}", "'schema' is missing"),
            (#"{"schema": "x"}"#, "not a routing profile"), ("\u{0}", "not valid JSON"),
            (String(repeating: "[", count: 100_000), "not valid JSON"),
            (RoutingProfiles.text(model: "sha256:other"), "is for model sha256:other, but this is \(hash)"),
            (RoutingProfiles.text(model: #"\u001b[31m"#), "'model' is no name"),
            (RoutingProfiles.text(model: String(repeating: "x", count: 129)), "'model' is no name"),
            (RoutingProfiles.text(model: hash).replacing("parity", with: #"a\nb"#), "'points[1].name' is no name"),
            (RoutingProfiles.text(model: hash).replacing("parity", with: ""), "'points[1].name' is no name"),
            (RoutingProfiles.text(model: hash, weight: "NaN"), "not finite"),
            (RoutingProfiles.text(model: hash, weight: "1e999"), "number out of range"),
            (RoutingProfiles.text(model: hash, weight: "1e30"), "above 1e9"),
            (RoutingProfiles.text(model: hash, layers: [0, 1, 3]), "no head for layer 2"),
            (RoutingProfiles.text(model: hash, layers: [0, 1, 2, 3], layerCount: 5), "has 5 layers"),
            (RoutingProfiles.text(model: hash, layers: [0, 1, 1, 3]), "layer 1 stands twice"),
            (RoutingProfiles.text(model: hash, experts: 32), "8 of 32 experts"),
            (RoutingProfiles.text(model: hash, maximum: 4), "4 of 16 experts"),
            (RoutingProfiles.text(model: hash, extra: #""default_point": "slow","#), "'default_point' is no point"),
            (RoutingProfiles.text(model: hash, extra: #""default_point": 7,"#), "default_point"),
        ]
        for (text, mention) in cases {
            let source = try embedded(text, in: folder)
            let llm = try await load(source)
            for routing in [nil, "native", "profile@exact"] {
                let line = await problem(llm, routing)
                #expect(line.contains(mention) && !line.contains("\n"), "\(mention): \(line)")
                #expect(line.contains("moe_infer.routing_profile") && line.contains("'static' runs without it"), "\(line)")
            }
            #expect(throws: RequestError.self) { _ = try llm.profile }
            // It can be run, looked at and mended.
            #expect(try await rows(llm, "static") == reference)
            #expect(try ModelInspection.inspect(source).profileProblem?.contains(mention) == true)
            #expect(try ModelProfile.embeddedText(in: source) == Array(text.utf8))
            #expect(throws: (any Error).self) { _ = try ModelProfile.embedded(in: source) }
            _ = try ModelProfile.strip(from: source, out: folder.path("mended.gguf"))
            #expect(try ModelInspection.inspect(.path(folder.path("mended.gguf"))).profileProblem == nil)
        }
    }

    /// A string of 1 GiB that is really there (a hole in the file): not copied, and no harm.
    @Test func aHugeProfileIsRefused() async throws {
        let folder = try Folder()
        guard case .path(let path) = try embedded("", in: folder) else { return }
        let small = try Data(contentsOf: URL(fileURLWithPath: path))
        let key = try #require(small.range(of: Data(ModelFile.profileKey.utf8)))
        let length = key.upperBound + 4
        let huge = folder.path("huge.gguf")
        try (small[..<length] + [0, 0, 0, 64, 0, 0, 0, 0]).write(to: URL(fileURLWithPath: huge))
        let file = try FileHandle(forWritingTo: URL(fileURLWithPath: huge))
        try file.seek(toOffset: UInt64(length + 8 + 1 << 30))
        try file.write(contentsOf: small[(length + 8)...])
        try file.close()
        let llm = try await load(.path(huge))
        #expect(await problem(llm).contains("too long; expected at most 67108864 bytes, found 1073741824"))
        #expect(try await rows(llm, "static").count == 6)
        _ = try ModelProfile.strip(from: .path(huge), out: folder.path("mended.gguf"))
        #expect(try await rows(load(.path(folder.path("mended.gguf"))), nil) == rows(llm, "static"))
        // A length that only claims to be.
        try (small[..<length] + [0, 0, 0, 64, 0, 0, 0, 0] + small[(length + 8)...])
            .write(to: URL(fileURLWithPath: folder.path("lies.gguf")))
        #expect(throws: ModelFileError.self) { _ = try ModelInspection.inspect(.path(folder.path("lies.gguf"))) }
    }

    @Test func aProfileThatStandsTwiceIsRefused() throws {
        let folder = try Folder()
        guard case .path(let path) = try embedded("{}", in: folder) else { return }
        var bytes = try Data(contentsOf: URL(fileURLWithPath: path))
        // The entry once more after itself, and one more in the count at byte 16.
        let key = try #require(bytes.range(of: Data(ModelFile.profileKey.utf8)))
        let entry = bytes[(key.lowerBound - 8)..<(key.upperBound + 4 + 8 + 2)]
        bytes.insert(contentsOf: entry, at: key.upperBound + 4 + 8 + 2)
        bytes[16] += 1
        try bytes.write(to: URL(fileURLWithPath: folder.path("twice.gguf")))
        let error = #expect(throws: ModelFileError.self) {
            _ = try ModelInspection.inspect(.path(folder.path("twice.gguf")))
        }
        #expect(error?.description.contains("duplicate metadata key 'moe_infer.routing_profile'") == true)
    }

    @Test func embeddingIsRefusedBeforeAnythingIsWritten() async throws {
        let folder = try Folder()
        let hash = try await load(EngineTests.plain).modelHash
        let profile = try ModelProfile.read(path: try folder.write("p.json", RoutingProfiles.text(model: hash)))
        let other = try ModelProfile.read(
            path: try folder.write("other.json", RoutingProfiles.text(model: "sha256:other")))
        let missing = try ModelProfile.read(
            path: try folder.write("missing.json", RoutingProfiles.text(model: hash, layers: [0])))
        guard case .path(let original) = try embedded("{}", in: folder) else { return }
        try FileManager.default.createSymbolicLink(atPath: folder.path("link.gguf"), withDestinationPath: original)
        try FileManager.default.linkItem(atPath: original, toPath: folder.path("hard.gguf"))
        let before = try Data(contentsOf: URL(fileURLWithPath: original))
        let files = try folder.files
        for (profile, out, mention) in [
            (other, folder.path("x.gguf"), "is for model sha256:other"),
            (missing, folder.path("x.gguf"), "no head for layer 1"),
            (profile, original, "is the model itself"), (profile, folder.path("link.gguf"), "is the model itself"),
            (profile, folder.path("hard.gguf"), "is the model itself"), (profile, "/dev/full", "No space left"),
            (profile, folder.path("none/x.gguf"), "No such file"), (profile, nil, "say where the copy goes"),
        ] as [(ModelProfile, String?, String)] {
            let error = #expect(throws: (any Error).self) { _ = try profile.embed(in: .path(original), out: out) }
            #expect(error.map { "\($0)".contains(mention) } == true, "\(mention): \(String(describing: error))")
            #expect(try folder.files == files && Data(contentsOf: URL(fileURLWithPath: original)) == before)
        }
        // Cancelled in the middle.
        #expect(throws: CancellationError.self) {
            _ = try profile.embed(
                in: .path(original), out: folder.path("x.gguf"),
                progress: { done, _ in if done > 0 { throw CancellationError() } })
        }
        #expect(try folder.files == files)
        #expect(throws: RequestError.self) {
            _ = try ModelProfile.strip(from: EngineTests.plain, out: folder.path("x.gguf"))
        }
        #expect(throws: RequestError.self) { _ = try ModelProfile.embedded(in: EngineTests.plain) }
        #expect(throws: ModelFileError.self) { _ = try ModelProfile.read(path: folder.path("none.json")) }
        #expect(try folder.files == files)
    }

    // MARK: Split models

    /// The embedded model in two files: all metadata in the first, all tensors in the second.
    private func split(in folder: Folder) throws -> String {
        guard case .path(let path) = EngineTests.plain else { preconditionFailure() }
        let (whole, file) = (try Data(contentsOf: URL(fileURLWithPath: path)), try GGUFFile(path: path))
        var table = 0
        for name in file.tensorNames { table += 24 + name.utf8.count + 8 * file.tensor(named: name)!.shape.rank }
        var name: [UInt8] = []
        name.add(file.tensorNames[0])
        let start = try #require(whole.range(of: Data(name))).lowerBound
        let data = (start + table + 31) / 32 * 32
        func shard(_ number: UInt32, entries: Data, count: Int, tensors: Int) -> [UInt8] {
            var builder = GGUFBuilder()
            builder.uint32("split.no", number)
            builder.uint32("split.count", 2)
            builder.uint32("split.tensors.count", UInt32(file.tensorNames.count))
            var bytes = [UInt8]("GGUF".utf8)
            bytes.add(UInt32(3))
            bytes.add(UInt64(tensors))
            bytes.add(UInt64(count + 3))
            return bytes + entries + builder.entries.joined()
        }
        var second = shard(1, entries: Data(), count: 0, tensors: file.tensorNames.count) + whole[start..<start + table]
        second += [UInt8](repeating: 0, count: (32 - second.count % 32) % 32) + whole[data...]
        let paths = (1...2).map { folder.path("m-0000\($0)-of-00002.gguf") }
        let first = shard(0, entries: whole[24..<start], count: file.metadata.keys.count, tensors: 0)
        try Data(first).write(to: URL(fileURLWithPath: paths[0]))
        try Data(second).write(to: URL(fileURLWithPath: paths[1]))
        return paths[1]
    }

    @Test func aSplitModelCarriesItsProfileInTheFirstShard() async throws {
        let folder = try Folder()
        let path = try split(in: folder)
        let plain = try await load(.path(path))
        let reference = try await rows(plain, nil)
        let profile = try ModelProfile.read(
            path: try folder.write("p.json", RoutingProfiles.text(model: plain.modelHash)))
        for out in ["m.gguf", "n-00002-of-00002.gguf", "n-00001-of-00003.gguf"] {
            let error = #expect(throws: RequestError.self) {
                _ = try profile.embed(in: .path(path), out: folder.path(out))
            }
            #expect(error?.description.contains("the first of 2 shards") == true)
            #expect(error?.description.contains("NAME-00001-of-00002.gguf") == true)
        }
        // The model's own files are as safe as a single one.
        for shard in [path, folder.path("m-00001-of-00002.gguf")] {
            let error = #expect(throws: RequestError.self) { _ = try profile.embed(in: .path(path), out: shard) }
            #expect(error?.description.contains("is the model itself") == true)
        }
        let written = try profile.embed(in: .path(path), out: folder.path("n-00001-of-00002.gguf"))
        #expect(written.unchangedShards == 1)
        try FileManager.default.createSymbolicLink(
            atPath: folder.path("n-00002-of-00002.gguf"), withDestinationPath: path)
        let llm = try await load(.path(folder.path("n-00002-of-00002.gguf")))
        #expect(llm.modelHash == plain.modelHash)
        #expect(try await rows(llm, "static") == reference)
        #expect(try await experts(llm, nil) == 2)
    }

    // MARK: Folders

    @Test func aFolderCarriesItsProfileAsAFile() async throws {
        let folder = try Folder()
        let fixture = Fixtures.directory.appendingPathComponent("tiny/qwen3moe")
        let model = folder.url.appendingPathComponent("model")
        try FileManager.default.createDirectory(at: model, withIntermediateDirectories: true)
        for name in try FileManager.default.contentsOfDirectory(atPath: fixture.path) {
            try FileManager.default.createSymbolicLink(
                at: model.appendingPathComponent(name), withDestinationURL: fixture.appendingPathComponent(name))
        }
        let source = ModelSource.path(model.path)
        let plain = try await load(source)
        let sizes = try ModelFile.open(source).configuration()
        let experts = try #require(sizes.experts)
        let text = RoutingProfiles.text(
            model: plain.modelHash, layers: Array(0..<sizes.layerCount), layerCount: sizes.layerCount,
            experts: experts.count,
            maximum: experts.perToken)
        let profile = try ModelProfile.read(path: try folder.write("p.json", text))
        let written = try profile.embed(in: source, out: nil)
        #expect(written.path == model.path + "/routing_profile.json")
        #expect(throws: RequestError.self) { _ = try profile.embed(in: source, out: folder.path("x")) }
        let llm = try await load(source)
        #expect(try llm.profile == profile.profile)
        #expect(try await self.experts(llm, "profile@fast") == 1)
        #expect(try await rows(llm, "profile@exact") == rows(plain, nil))
        #expect(try ModelProfile.embeddedText(in: source) == Array(text.utf8))

        _ = try ModelProfile.strip(from: source, out: nil)
        #expect(try await load(source).profile == nil)
        #expect(throws: ModelFileError.self) { _ = try ModelProfile.strip(from: source, out: nil) }
        // A link that leads nowhere is no model without a profile.
        try FileManager.default.createSymbolicLink(atPath: written.path, withDestinationPath: "/no/such/profile")
        #expect(await problem(try load(source)).contains("routing_profile.json: cannot open"))
        try FileManager.default.removeItem(atPath: written.path)
        try FileManager.default.createDirectory(atPath: written.path, withIntermediateDirectories: false)
        #expect(await problem(try load(source)).contains("expected a regular file"))
    }

    // MARK: Text

    @Test func specifications() throws {
        func point(_ text: String) throws -> NativeRouting.Point? {
            (try RoutingSpecification.parse(text) as? NativeRouting)?.point
        }
        #expect(try point("native") == .automatic && point(" native ") == .automatic)
        #expect(try point("profile") == .standard)
        #expect(try point("profile@fast") == .named("fast"))
        #expect(try point("profile@mu=0.25") == .price(0.25))
        for (text, mention) in [
            ("profile@", "a point's name"), ("profile@mu=", "'mu' expects"), ("profile@mu=-1", "'mu' expects"),
            ("profile@mu=nan", "'mu' expects"), ("profile:", "expected profile:FILE"), ("profile:@fast", "profile@POINT"),
            ("native:k=2", "unknown field"), ("profiles", "unknown policy"),
        ] {
            let error = #expect(throws: RoutingSpecificationError.self) { _ = try RoutingSpecification.parse(text) }
            #expect(error?.description.contains(mention) == true, "\(String(describing: error))")
        }
        // A profile that names its default is read so from a file, too, and survives writing.
        let folder = try Folder()
        let path = try folder.write("p.json", RoutingProfiles.text(model: "x", extra: #""default_point": "fast","#))
        #expect((try RoutingSpecification.parse("profile:\(path)") as? LearnedRouting)?.mu == 1000)
        let profile = try RoutingProfile(path: path)
        #expect(profile.defaultPoint == "fast")
        #expect(try RoutingProfile(json: Array(profile.json.utf8), file: "") == profile)
    }
}
