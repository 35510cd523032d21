// SPDX-License-Identifier: Apache-2.0

import Foundation
import Glibc
import Synchronization

/// What a person sees: standard output for results, standard error for all else.
enum Terminal {
    static let errorIsTerminal = isatty(STDERR_FILENO) == 1
    static let outputIsTerminal = isatty(STDOUT_FILENO) == 1
    /// Whether standard output may be styled: a terminal that can, and a person who did not refuse (no-color.org).
    static let hasColours = outputIsTerminal && !isDumb && (getenv("NO_COLOR").map { $0.pointee == 0 } ?? true)
    /// A terminal that knows no escape sequences.
    static let isDumb = ["", "dumb"].contains(getenv("TERM").map { String(cString: $0) } ?? "")
    nonisolated(unsafe) private static var lineIsOpen = false
    nonisolated(unsafe) fileprivate static var barIsShown = false

    /// Text to standard output, at once. When the reader has gone (`| head`) there is nobody left to write for; when the disk
    /// is full, that is said.
    static func write(_ text: String) {
        if let problem = put(text, to: STDOUT_FILENO) {
            if problem == EPIPE { Glibc.exit(0) }
            error("error: standard output: \(String(cString: strerror(problem)))")
            Glibc.exit(1)
        }
        if let last = text.last { lineIsOpen = last != "\n" }
    }

    /// A line to standard error. Nothing can be done when that is closed.
    static func error(_ line: String) { _ = put(line + "\n", to: STDERR_FILENO) }

    /// - Returns: nil, or the error number.
    @discardableResult
    fileprivate static func put(_ text: String, to descriptor: Int32) -> Int32? {
        var bytes = Array(text.utf8)[...]
        while !bytes.isEmpty {
            let written = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if written >= 0 {
                bytes = bytes.dropFirst(written)
            } else if errno != EINTR {
                return errno
            }
        }
        return nil
    }

    /// Ends a line of output that was left open, or a bar, before something else is said.
    static func finishLine() {
        if barIsShown { put("\r\u{1B}[K", to: STDERR_FILENO) }
        barIsShown = false
        if lineIsOpen { write("\n") }
    }

    /// Control characters are shown as question marks: names in files that others wrote must not steer the terminal.
    static func oneLine(_ text: String) -> String {
        let line = text.split(whereSeparator: \.isNewline).joined(separator: "; ")
        let shown = line.unicodeScalars.map { $0.properties.generalCategory == .control ? "?" : $0 }
        return String(String.UnicodeScalarView(shown))
    }

    /// One JSON document.
    static func write(json value: some Encodable) throws { write(try text(json: value)) }

    /// - Parameter isLine: for files with a document per line.
    static func text(json value: some Encodable, isLine: Bool = false) throws -> String {
        let encoder = JSONEncoder()
        encoder.keyEncodingStrategy = .convertToSnakeCase
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        if !isLine { encoder.outputFormatting.insert(.prettyPrinted) }
        return String(decoding: try encoder.encode(value), as: UTF8.self) + "\n"
    }
}

/// Ctrl-C: the first asks the work to stop, the second ends the process. SIGTERM ends it at once. Either way a file that is
/// not finished is removed.
enum Interrupts {
    private static let unfinished = Mutex<String?>(nil)

    static func install() {
        signal(SIGPIPE, SIG_IGN)
        // A file that grows past the user's limit is an error of the write, said in a line.
        signal(SIGXFSZ, SIG_IGN)
    }

    /// Removes this file when the process is ended before ``keepFiles()``.
    static func remove(_ path: String) { unfinished.withLock { $0 = path } }
    static func keepFiles() { unfinished.withLock { $0 = nil } }

    private static func end(_ code: Int32) -> Never {
        unfinished.withLock { if let path = $0 { unlink(path) } }
        Glibc.exit(code)
    }

    private struct State {
        /// Never let go: a source that is made after another one of the same signal went away hears nothing.
        var sources: [any DispatchSourceSignal] = []
        var cancel: (@Sendable () -> Void)?
    }
    nonisolated(unsafe) private static var kept = State()
    private static let lock = Mutex(())

    /// Runs `body` in a task that Ctrl-C cancels.
    static func cancelling<Result: Sendable>(_ body: @escaping @Sendable () async throws -> Result) async throws -> Result {
        let task = Task { try await body() }
        lock.withLock { _ in
            kept.cancel = { task.cancel() }
            if kept.sources.isEmpty { kept.sources = [listen(SIGINT, interrupt), listen(SIGTERM) { end(143) }] }
        }
        defer { lock.withLock { _ in kept.cancel = nil } }
        return try await task.value
    }

    /// The second time, or where nothing can be cancelled, it is the end.
    private static func interrupt() {
        let cancel = lock.withLock { _ in
            defer { kept.cancel = nil }
            return kept.cancel
        }
        if let cancel { cancel() } else { end(130) }
    }

    private static func listen(_ number: Int32, _ handler: @escaping @Sendable () -> Void) -> any DispatchSourceSignal {
        signal(number, SIG_IGN)
        let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
        source.setEventHandler(handler: handler)
        source.resume()
        return source
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
        Terminal.barIsShown = true
        Terminal.put(line, to: STDERR_FILENO)
    }

    func finish() {
        guard Terminal.barIsShown else { return }
        Terminal.put("\r\u{1B}[K", to: STDERR_FILENO)
        Terminal.barIsShown = false
    }
}
