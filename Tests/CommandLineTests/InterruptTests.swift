// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

/// Ctrl-C in a program that does one piece of work after the other.
@Suite struct InterruptTests {
    /// Prevents: a signal that only the first piece hears, because its source went away when it was done. Nothing would stop the program.
    @Test(.timeLimit(.minutes(3))) func everyPieceOfWorkIsStopped() async throws {
        let process = Process()
        process.executableURL = CommandLineTests.program
        process.arguments = ["bench", "--serve", "--gemm", "reference", "--threads", "1"]
        process.environment = ProcessInfo.processInfo.environment.filter { !$0.key.hasPrefix("MOE_") }
        let (input, output) = (Pipe(), Pipe())
        (process.standardInput, process.standardOutput) = (input, output)
        try process.run()
        defer { process.terminate() }
        try input.fileHandleForWriting.write(contentsOf: Data("generate=1\ngenerate=4000\n".utf8))
        // Loaded, and the first piece is done.
        var lines = 0
        while lines < 2 {
            let text = output.fileHandleForReading.availableData
            try #require(!text.isEmpty)
            lines += text.count { $0 == UInt8(ascii: "\n") }
        }
        try await Task.sleep(for: .milliseconds(500))
        process.interrupt()
        process.waitUntilExit()
        #expect(process.terminationReason == .exit && process.terminationStatus == 130)
    }
}
