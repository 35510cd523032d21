// SPDX-License-Identifier: Apache-2.0

import Foundation
import MoEInfer
import MoETestSupport
import Synchronization
import Testing

/// Calibration of the embedded model, on little text: that it is deterministic and exact where it must be. How good it is stands in
/// docs/routing.md.
@Suite struct CalibrationTests {
    private static let text = try? String(
        contentsOf: Fixtures.directory.appendingPathComponent("demo/heldout.txt"), encoding: .utf8)

    private static func model() async throws -> LLM {
        var settings = Settings()
        settings.context = 256
        return try await LLM.load(EngineTests.model, options: EngineOptions(settings: settings))
    }

    private static var options: CalibrationOptions {
        var options = CalibrationOptions()
        (options.tokens, options.window, options.compares) = (4096, 128, false)
        return options
    }

    private func calibrated() async throws -> (llm: LLM, profile: RoutingProfile, report: CalibrationReport) {
        let llm = try await Self.model()
        let (profile, report) = try await llm.calibrate([try #require(Self.text)], options: Self.options)
        return (llm, profile, report)
    }

    private func rows(_ llm: LLM, _ policy: any RoutingPolicy) async throws -> [[Float]] {
        let tokens = try llm.tokenizer.encode("The history of the city and its river")
        let rows = Rows()
        try await llm.logits(tokens, decodeFrom: 4, routing: RoutingChoice(policy)) { rows.append($0) }
        return rows.values
    }

    @Test func calibrationOfTheEmbeddedModel() async throws {
        let (llm, profile, report) = try await calibrated()
        #expect(profile.model == llm.modelHash)
        #expect(profile.points.map(\.name) == ["exact", "parity", "balanced", "fast"])
        let parity = try #require(profile.points.first { $0.name == "parity" })
        #expect(parity.meanExperts < 8 && parity.kl <= 0.02)
        #expect(report.layers.count == 4 && report.layers.allSatisfy { $0.explainedVariance > 0.2 })
        // The dial: what the kernels computed falls as the price rises.
        let curve = report.curve.map(\.meanExperts)
        #expect(curve == curve.sorted(by: >) && curve.first! > 7 && curve.last! < 3, "\(curve)")

        #expect(profile.curve.count == report.curve.count + 1 && profile.curve[0].mu == 0)
        #expect(profile.layers.allSatisfy { $0?.deviations.count == 7 })
        // Prices that were tuned are at least as good as those that were not, on the text for choices.
        #expect(report.tuning.tuned <= min(report.tuning.equalPrices, report.tuning.jointPrices))
        // What was announced bounds what was done.
        #expect(report.estimate.tokens > 4096 && report.estimate.memoryBytes > 0)
        #expect(report.diversity.texts == 1 && report.diversity.textInformation == nil)

        // `exact` is static routing, bit for bit; `fast` is not.
        let exact = try #require(profile.routing(point: "exact"))
        let fast = try #require(profile.routing(point: "fast"))
        let reference = try await rows(llm, StaticRouting())
        #expect(try await rows(llm, exact) == reference)
        #expect(try await rows(llm, fast) != reference)

        // A profile of another model is refused before anything runs, in one line that names both.
        let other = RoutingProfile(
            model: "sha256:other", minimum: profile.minimum, maximum: profile.maximum, expertCount: profile.expertCount,
            layers: profile.layers, points: profile.points
        ).routing(mu: 0.1)
        let error = await #expect(throws: RequestError.self) {
            try await llm.complete("A", options: GenerationOptions(routing: RoutingChoice(decode: other)))
        }
        #expect(error?.description.contains("sha256:other") == true && error?.description.contains(llm.modelHash) == true)
        await #expect(throws: RequestError.self) { try await rows(llm, other) }
    }

    /// A calibration that is cancelled leaves its record and nothing else; the next one uses it and ends with the same profile as one
    /// that was never stopped, bit for bit.
    @Test func cancelledCalibrationsGoOn() async throws {
        let text = try #require(Self.text)
        let llm = try await Self.model()
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("calibration-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        var options = Self.options
        options.tokens = 2048
        let whole = try await llm.calibrate([text], options: options)
        #expect(whole.report.resumedMeasurements == 0)

        options.journal = folder.appendingPathComponent("p.json.partial").path
        // Once within the trace, once in the tuning.
        for phase in ["trace", "joint tuning"] {
            let running = Mutex<Task<Void, any Error>?>(nil)
            let chosen = options
            let stop: @Sendable (CalibrationProgress) -> Void = { progress in
                if progress.phase == phase, progress.done > 1024 { running.withLock { $0 }?.cancel() }
            }
            running.withLock { running in
                running = Task { _ = try await llm.calibrate([text], options: chosen, progress: stop) }
            }
            let task = try #require(running.withLock { $0 })
            await #expect(throws: CancellationError.self) { try await task.value }
            #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == ["p.json.partial"])
        }
        let resumed = try await llm.calibrate([text], options: options)
        #expect(resumed.report.resumedMeasurements > 10)
        #expect(resumed.profile.json == whole.profile.json)

        // Not the record of this calibration.
        var other = options
        other.seed = 1
        let error = await #expect(throws: RequestError.self) { try await llm.calibrate([text], options: other) }
        #expect(error?.description.contains("another model, other text or other options; --restart begins anew") == true)
    }

    @Test func estimatesGrowWithTheWorkAndKeepToLimits() async throws {
        let text = try #require(Self.text)
        let llm = try await Self.model()
        var options = Self.options
        let small = try await llm.estimateCalibration([text], options: options)
        options.tokens *= 4
        let large = try await llm.estimateCalibration([text], options: options)
        #expect(small.tokens < large.tokens && small.tokensPerSecond > 0 && small.seconds > 0)
        #expect(small.tokens == small.phases.reduce(0) { $0 + $1.tokens } && small.reduced == nil)
        options.maximumSeconds = 1e-3
        let limited = try await llm.estimateCalibration([text], options: options)
        #expect(limited.tokens < small.tokens && limited.reduced?.contains("windows to learn from") == true)
    }

    @Test func tooLittleTextIsSaidSo() async throws {
        let llm = try await LLM.load(EngineTests.model)
        let error = await #expect(throws: RequestError.self) { try await llm.calibrate(["A few words."]) }
        #expect(error?.description.contains("too little text: 0 windows of 512 tokens; expected at least 3") == true)
    }

    /// Figures of text that was learned from flatter the gate.
    @Test func heldOutTextThatIsLearnedFromIsSaidSo() async throws {
        // About 10 windows, of which 8 are learned from and 4 measured on: they must meet.
        let text = String(try #require(Self.text).prefix(4500))
        var options = Self.options
        (options.tokens, options.heldOutTokens) = (1024, 512)
        let llm = try await Self.model()
        let same = try await llm.calibrate([text], heldOut: [text], options: options).report
        #expect(same.warnings.contains { $0.contains("are learned from, too") }, "\(same.warnings)")
        let apart = try await llm.calibrate([text], options: options).report
        #expect(!apart.warnings.contains { $0.contains("are learned from, too") }, "\(apart.warnings)")
    }

    /// e_m from the Gram matrix against the difference of the outputs themselves, for both weight rules.
    @Test(arguments: [true, false]) func errorsOfFewerExpertsAreThoseOfTheOutputs(renormalizes: Bool) {
        let (count, width) = (5, 37)
        var state: UInt64 = 7
        func next() -> Double {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Double(state >> 40) / Double(1 << 23) - 1
        }
        let outputs = (0..<count).map { _ in (0..<width).map { _ in next() } }
        var weights = [0.4, 0.2, 0.15, 0.1, 0.05]
        if renormalizes { weights = weights.map { $0 / 0.9 } }
        let gram = (0..<count * count).map { pair in
            zip(outputs[pair / count], outputs[pair % count]).map(*).reduce(0, +)
        }
        var errors = [Double](repeating: 0, count: count + 1)
        GramError.errors(gram, weights: weights, renormalizes: renormalizes, into: &errors)
        for m in 0...count {
            let kept = weights.prefix(m).reduce(0, +)
            let scale = renormalizes && m > 0 ? weights.reduce(0, +) / kept : 1
            let direct = (0..<width).map { column -> Double in
                let full = (0..<count).map { weights[$0] * outputs[$0][column] }.reduce(0, +)
                let less = (0..<m).map { weights[$0] * scale * outputs[$0][column] }.reduce(0, +)
                return (full - less) * (full - less)
            }.reduce(0, +)
            #expect(abs(errors[m] - direct) < 1e-10, "\(m): \(errors[m]), \(direct)")
        }
    }
}
