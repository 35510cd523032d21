// SPDX-License-Identifier: Apache-2.0

import Foundation
import MoETestSupport
import Testing

/// The decode loop allocates nothing: the built program is run under a counter of allocations, once for some tokens and once for
/// more. What silently breaks this otherwise: an array or a boxed collection per step, which no output shows.
@Suite struct AllocationTests {
    /// Builds the counter with the first C compiler of the path.
    private static func counter(in folder: URL) throws -> String {
        let library = folder.appendingPathComponent("count.so").path
        for compiler in ["clang", "cc", "gcc"] {
            let process = Process()
            process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
            process.arguments = [
                compiler, "-O1", "-shared", "-fPIC", Fixtures.directory.appendingPathComponent("allocations/count.c").path,
                "-o", library,
            ]
            process.standardError = FileHandle.nullDevice
            try process.run()
            process.waitUntilExit()
            if process.terminationStatus == 0 { return library }
        }
        throw CocoaError(.fileNoSuchFile, userInfo: [NSLocalizedDescriptionKey: "no C compiler built the counter"])
    }

    private func allocations(_ arguments: [String], counter: String) async throws -> Int {
        let result = try await CommandLineTests.run(arguments, environment: ["LD_PRELOAD": counter])
        #expect(result.code == 0)
        let line = try #require(result.errorLines.last { $0.hasPrefix("allocations ") })
        return try #require(Int(line.dropFirst("allocations ".count)))
    }

    /// Batches of one and of three sequences, static and learned routing; the first repetition warms up.
    @Test(arguments: ["static", "native", "top-p:p=0.7,min=1,max=8"], [1, 3])
    func decodingAllocatesNothing(routing: String, batch: Int) async throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("moe-allocations-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let counter = try Self.counter(in: folder)
        let counts = try await [32, 96].asyncMap { tokens in
            try await allocations(
                [
                    "bench", "--prompt", "0", "--generate", "\(tokens)", "--repetitions", "1", "--batch", "\(batch)",
                    "--routing", routing, "--json",
                ], counter: counter)
        }
        // Scratch memory that grows once, and the lists of tokens to feed; one allocation a step would be 128.
        #expect(abs(counts[1] - counts[0]) < 32, "\(counts[1] - counts[0]) allocations in 128 more steps")
    }
}

extension Array {
    fileprivate func asyncMap<T>(_ transform: (Element) async throws -> T) async rethrows -> [T] {
        var results: [T] = []
        for element in self { results.append(try await transform(element)) }
        return results
    }
}
