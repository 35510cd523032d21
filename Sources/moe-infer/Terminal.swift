// SPDX-License-Identifier: Apache-2.0

import Foundation
import Glibc
import Synchronization

/// What a person sees: standard output for results, standard error for all else.
enum Terminal {
    static let errorIsTerminal = isatty(STDERR_FILENO) == 1
    static let outputIsTerminal = isatty(STDOUT_FILENO) == 1
    nonisolated(unsafe) private static var lineIsOpen = false

    /// Text to standard output, at once.
    static func write(_ text: String) {
        var bytes = Array(text.utf8)[...]
        while !bytes.isEmpty {
            let written = bytes.withUnsafeBytes { Glibc.write(STDOUT_FILENO, $0.baseAddress, $0.count) }
            if written < 0 {
                if errno == EINTR { continue }
                // The reader has gone (`| head`): there is nobody left to write for.
                Glibc.exit(errno == EPIPE ? 0 : 1)
            }
            bytes = bytes.dropFirst(written)
        }
        if let last = text.last { lineIsOpen = last != "\n" }
    }

    static func error(_ line: String) { FileHandle.standardError.write(Data((line + "\n").utf8)) }

    /// Ends a line of output that was left open, before something else is said.
    static func finishLine() {
        if lineIsOpen { write("\n") }
    }

    static func oneLine(_ text: String) -> String {
        text.split(whereSeparator: \.isNewline).joined(separator: "; ")
    }

    /// One JSON document.
    static func write(json value: some Encodable) throws {
        let encoder = JSONEncoder()
        encoder.keyEncodingStrategy = .convertToSnakeCase
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        write(String(decoding: try encoder.encode(value), as: UTF8.self) + "\n")
    }
}

/// Ctrl-C: the first asks the work to stop, the second ends the process.
enum Interrupts {
    static func install() {
        signal(SIGPIPE, SIG_IGN)
    }

    /// Runs `body` in a task that Ctrl-C cancels.
    static func cancelling<Result: Sendable>(_ body: @escaping @Sendable () async throws -> Result) async throws -> Result {
        let task = Task { try await body() }
        signal(SIGINT, SIG_IGN)
        let source = DispatchSource.makeSignalSource(signal: SIGINT, queue: .global())
        nonisolated(unsafe) var seen = false
        source.setEventHandler {
            if seen { Glibc.exit(130) }
            seen = true
            task.cancel()
        }
        source.resume()
        defer {
            source.cancel()
            signal(SIGINT, SIG_DFL)
        }
        return try await task.value
    }
}

/// A bar on standard error, only where a person watches.
final class ProgressBar: Sendable {
    private let title: String
    private let start = ContinuousClock.now
    private let lastShown = Mutex(ContinuousClock.now - .seconds(1))

    init(_ title: String) { self.title = title }

    func show(_ done: Int, of total: Int, detail: String = "") {
        guard Terminal.errorIsTerminal, total > 0 else { return }
        let isDue = lastShown.withLock { last in
            guard done == total || ContinuousClock.now - last > .milliseconds(100) else { return false }
            last = .now
            return true
        }
        guard isDue else { return }
        let width = 30
        let filled = width * done / total
        let elapsed = (ContinuousClock.now - start) / .seconds(1)
        let remaining = done > 0 ? elapsed / Double(done) * Double(total - done) : 0
        let bar = String(repeating: "█", count: filled) + String(repeating: "░", count: width - filled)
        let line = "\r\(title) \(bar) \(done)/\(total) \(detail) \(Int(remaining.rounded(.up))) s left\u{1B}[K"
        FileHandle.standardError.write(Data(line.utf8))
    }

    func finish() {
        if Terminal.errorIsTerminal { FileHandle.standardError.write(Data("\r\u{1B}[K".utf8)) }
    }
}
