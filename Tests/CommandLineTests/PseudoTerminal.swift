// SPDX-License-Identifier: Apache-2.0

import Foundation
import Glibc

/// The program at a terminal of its own, as a person would have it. `setsid` makes the terminal its controlling one, without
/// which Ctrl-C would be no signal.
final class PseudoTerminal {
    struct Missing: Error, CustomStringConvertible { let description: String }

    private let master: Int32
    private let slave: Int32
    private let process = Process()
    /// Everything that was shown.
    private(set) var output = ""
    private var pending: [UInt8] = []
    /// Where the next `expect` begins to look.
    private var seen: String.Index

    static let setsid = "/usr/bin/setsid"
    static var isPossible: Bool { FileManager.default.isExecutableFile(atPath: setsid) }

    /// - Parameter standardOutput: nil: the terminal.
    init(
        _ arguments: [String], columns: Int = 80, rows: Int = 24, environment: [String: String] = [:],
        standardOutput: FileHandle? = nil
    ) throws {
        seen = output.startIndex
        // TIOCSPTLCK and TIOCGPTN of Linux: what unlockpt and ptsname do.
        master = open("/dev/ptmx", O_RDWR | O_NOCTTY)
        var (lock, number): (Int32, Int32) = (0, 0)
        guard master >= 0, ioctl(master, 0x4004_5431, &lock) == 0, ioctl(master, 0x8004_5430, &number) == 0 else {
            throw Missing(description: "no pseudo-terminal")
        }
        slave = open("/dev/pts/\(number)", O_RDWR | O_NOCTTY)
        guard slave >= 0 else { throw Missing(description: "no pseudo-terminal") }
        var size = winsize(ws_row: UInt16(rows), ws_col: UInt16(columns), ws_xpixel: 0, ws_ypixel: 0)
        _ = ioctl(slave, UInt(TIOCSWINSZ), &size)
        _ = fcntl(master, F_SETFL, O_NONBLOCK)
        let handle = FileHandle(fileDescriptor: slave)
        process.executableURL = URL(fileURLWithPath: Self.setsid)
        process.arguments = ["--ctty", "--wait", CommandLineTests.program.path] + arguments
        process.environment = ProcessInfo.processInfo.environment
            .filter { !$0.key.hasPrefix("MOE_") && !["NO_COLOR", "TERM"].contains($0.key) }
            .merging(["TERM": "xterm-256color"]) { $1 }.merging(environment) { $1 }
        process.standardInput = handle
        process.standardOutput = standardOutput ?? handle
        process.standardError = handle
        try process.run()
    }

    deinit {
        if process.isRunning { process.terminate() }
        close(master)
        close(slave)
    }

    func send(_ text: String) {
        let bytes = Array(text.utf8)
        _ = bytes.withUnsafeBytes { write(master, $0.baseAddress, $0.count) }
    }

    /// Waits until `text` is shown after what was expected before.
    /// - Returns: whether it was.
    func expect(_ text: String, seconds: Double = 120) async -> Bool {
        await wait(seconds) {
            guard let range = output.range(of: text, range: seen..<output.endIndex) else { return false }
            seen = range.upperBound
            return true
        }
    }

    /// Waits until the program reads keys one by one, or no longer does; what was shown until then is not expected any more. Keys that
    /// come before are the terminal's to lose.
    func reads(keys wanted: Bool = true, seconds: Double = 120) async -> Bool {
        guard await wait(seconds, until: { flags.map { $0 & tcflag_t(ICANON) != 0 } != wanted }) else { return false }
        read()
        seen = output.endIndex
        return true
    }

    /// Waits until the program has ended.
    func exitCode(seconds: Double = 120) async -> Int32? {
        guard await wait(seconds, until: { !process.isRunning }) else { return nil }
        read()
        return process.terminationStatus
    }

    /// Reads what is shown until `condition` holds.
    private func wait(_ seconds: Double, until condition: () -> Bool) async -> Bool {
        let deadline = ContinuousClock.now + .seconds(seconds)
        while true {
            read()
            if condition() { return true }
            if ContinuousClock.now > deadline { return false }
            try? await Task.sleep(for: .milliseconds(10))
        }
    }

    /// Whether the terminal echoes and gives whole lines, as it did at first.
    var isAsBefore: Bool {
        flags.map { $0 & tcflag_t(ECHO | ICANON | ISIG) == tcflag_t(ECHO | ICANON | ISIG) } ?? false
    }

    private var flags: tcflag_t? {
        var mode = termios()
        return tcgetattr(slave, &mode) == 0 ? mode.c_lflag : nil
    }

    private func read() {
        var chunk = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = chunk.withUnsafeMutableBytes { Glibc.read(master, $0.baseAddress, $0.count) }
            guard count > 0 else { break }
            pending += chunk[..<count]
        }
        // Whole characters only: a string's end must not change under an index.
        guard let text = String(validating: pending, as: UTF8.self), !text.isEmpty else { return }
        let offset = output.utf8.distance(from: output.startIndex, to: seen)
        output += text
        seen = output.utf8.index(output.startIndex, offsetBy: offset)
        pending = []
    }
}
