// SPDX-License-Identifier: Apache-2.0

import Foundation
import MoECompute
import MoEInfer
import MoEModel
import Synchronization
import Testing

/// Weights in a file of their own: the same answers, made once, made again when it is not what it should be.
@Suite struct RepackedWeightsTests {
    private static let isPossible = Interleaving.group(.q8_0, n: 32, k: 256) != nil

    private let folder = FileManager.default.temporaryDirectory.appendingPathComponent("moe-repacked-\(UUID().uuidString)")

    private func load(_ source: ModelSource = EngineTests.plain, change: (inout Settings) -> Void = { _ in }) async throws
        -> (
            llm: LLM, isPrepared: Bool
        )
    {
        var settings = Settings()
        (settings.threads, settings.context, settings.repack, settings.repackFolder) = (2, 64, .on, folder.path)
        change(&settings)
        let seen = Mutex<[WeightPreparation]>([])
        let llm = try await LLM.load(
            source, options: EngineOptions(settings: settings) { work in seen.withLock { $0.append(work) } })
        let steps = seen.withLock { $0 }
        #expect(steps.map(\.done) == steps.map(\.done).sorted() && steps.last?.done == steps.last?.total)
        return (llm, !steps.isEmpty)
    }

    private func rows(_ llm: LLM) async throws -> [[Float]] {
        let rows = Rows()
        try await llm.logits([5, 9, 17, 80, 31, 44, 7, 12, 90, 3, 61], decodeFrom: 7) { rows.append($0) }
        return rows.values
    }

    private var files: [String] { get throws { try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted() } }

    @Test(.enabled(if: isPossible, "no interleaved kernels here")) func oneFileAndTheSameAnswers() async throws {
        defer { try? FileManager.default.removeItem(at: folder) }
        let plain = try await load { $0.repack = .off }
        #expect(!plain.isPrepared && !FileManager.default.fileExists(atPath: folder.path))
        let expected = try await rows(plain.llm)
        let first = try await load()
        #expect(try await rows(first.llm) == expected && first.isPrepared)
        let name = try #require(try files.first)
        #expect(try files.count == 1 && name.hasSuffix(".weights"))
        let second = try await load()
        #expect(try await rows(second.llm) == expected && !second.isPrepared)

        // What is not the file that was written is written again: another header, another length, another state of the model's file.
        let path = folder.appendingPathComponent(name)
        let whole = try Data(contentsOf: path)
        for damaged in [Data([0]) + whole.dropFirst(), whole.dropLast(), Data()] {
            try damaged.write(to: path)
            let again = try await load()
            #expect(try await rows(again.llm) == expected && again.isPrepared)
            #expect(try Data(contentsOf: path) == whole)
        }
        guard case .path(let model) = EngineTests.plain else { preconditionFailure() }
        let copy = folder.appendingPathComponent("copy.gguf")
        try FileManager.default.copyItem(atPath: model, toPath: copy.path)
        try FileManager.default.setAttributes([.modificationDate: Date(timeIntervalSince1970: 1)], ofItemAtPath: copy.path)
        #expect(try await load(.path(copy.path)).isPrepared)
    }

    @Test func whatCannotBeIsSaid() async throws {
        defer { try? FileManager.default.removeItem(at: folder) }
        try Data("a file".utf8).write(to: folder)  // where the folder should be
        if Self.isPossible { await #expect(throws: (any Error).self) { _ = try await load() } }
        for gemm in [MatmulPlan.Mode.blas, .reference] {
            let error = await #expect(throws: SettingsError.self) { _ = try await load { $0.gemm = gemm } }
            #expect(error?.description.contains("MOE_REPACK") == true)
        }
    }

    @Test(.enabled(if: isPossible, "no interleaved kernels here")) func whatAKilledProcessLeftIsRemoved() async throws {
        defer { try? FileManager.default.removeItem(at: folder) }
        _ = try await load()
        let name = try #require(try files.first)
        try FileManager.default.removeItem(at: folder.appendingPathComponent(name))
        // Of the same process number too: in a container it is always the same.
        let abandoned = ["\(name).1.part", "\(name).\(getpid()).part"]
        let others = ["\(name).2.part", "other.weights.1.part", "b.part"]
        for name in abandoned + others { try Data("x".utf8).write(to: folder.appendingPathComponent(name)) }
        // Another process writes this one.
        let writer = open(folder.appendingPathComponent(others[0]).path, O_RDONLY)
        defer { close(writer) }
        #expect(flock(writer, LOCK_EX | LOCK_NB) == 0)
        _ = try await load()
        #expect(try files == (others + [name]).sorted())
    }

    /// Prevents: gigabytes written for a model that is then refused.
    @Test func aModelThatIsRefusedLeavesNothing() async throws {
        defer { try? FileManager.default.removeItem(at: folder) }
        guard case .path(let model) = EngineTests.plain else { preconditionFailure() }
        var bytes = try Data(contentsOf: URL(fileURLWithPath: model))
        let name = try #require(bytes.firstRange(of: Data("blk.3.attn_q.weight".utf8)))
        bytes.replaceSubrange(name, with: Data("blk.3.attn_x.weight".utf8))
        let copy = FileManager.default.temporaryDirectory.appendingPathComponent("moe-refused-\(UUID().uuidString).gguf")
        try bytes.write(to: copy)
        defer { try? FileManager.default.removeItem(at: copy) }
        await #expect(throws: ModelFileError.self) { _ = try await load(.path(copy.path)) }
        #expect(!FileManager.default.fileExists(atPath: folder.path))
    }
}
