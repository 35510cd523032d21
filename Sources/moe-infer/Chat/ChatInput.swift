// SPDX-License-Identifier: Apache-2.0

import Dispatch
import Foundation
import Glibc
import MoETerminal
import Synchronization

/// Where a person's, or a pipe's, lines come from.
final class ChatInput: @unchecked Sendable {
    /// Somebody sits at a terminal; what he types may be edited.
    let isInteractive = isatty(STDIN_FILENO) == 1
    private let source: Source
    private let wakeup: Wakeup
    /// Reading blocks a thread, which shall not be one of those that tasks run on.
    private let queue = DispatchQueue(label: "chat input")

    private enum Source {
        case editor(LineEditor)
        case plain(PlainReader, prompt: Int32?)
    }

    /// - Parameter keepsHistory: whether entries are kept in a file for the next time.
    init(wakeup: Wakeup, keepsHistory: Bool, completions: @escaping (String) -> [String]) {
        self.wakeup = wakeup
        // Standard error first: standard output may go to a file.
        let output = [STDERR_FILENO, STDOUT_FILENO].first { isatty($0) == 1 }
        guard isInteractive, let output, !Terminal.isDumb, TerminalMode.quiet.set(STDIN_FILENO) else {
            source = .plain(PlainReader(input: STDIN_FILENO, wakeup: wakeup), prompt: isInteractive ? output : nil)
            return
        }
        var problem: String?
        let history = History(path: keepsHistory ? Self.historyPath : nil, problem: &problem)
        if let problem { Terminal.error("warning: no history is kept: \(Terminal.oneLine(problem))") }
        let style = LineEditor.Style(
            prompt: "> ", continuation: ". ", promptStyle: Terminal.hasColours ? "\u{1B}[1;36m" : "")
        source = .editor(
            LineEditor(
                input: STDIN_FILENO, output: output, wakeup: wakeup, style: style, history: history,
                completions: completions))
    }

    /// `chat_history` in the state folder (XDG Base Directory Specification).
    private static var historyPath: String? {
        let environment = ProcessInfo.processInfo.environment
        if let folder = environment["XDG_STATE_HOME"], folder.hasPrefix("/") { return folder + "/moe-infer/chat_history" }
        return environment["HOME"].flatMap { $0.hasPrefix("/") ? $0 + "/.local/state/moe-infer/chat_history" : nil }
    }

    /// The next entry, as it was typed.
    func next() async throws -> Entry {
        try await withCheckedThrowingContinuation { done in
            queue.async { [self] in done.resume(with: Result { try read() }) }
        }
    }

    private func read() throws -> Entry {
        // What came when nobody was asked to enter anything.
        wakeup.clear()
        switch source {
        case .editor(let editor):
            let entry = editor.next()
            if case .text(let text) = entry { editor.history.add(text) }
            return entry
        case .plain(let reader, let output):
            return try reader.next { isContinued in
                guard let output else { return }
                let prompt = isContinued ? ". " : "> "
                _ = prompt.withCString { write(output, $0, strlen($0)) }
            }
        }
    }
}

/// Signals, from the beginning of a conversation to its end: Ctrl-C stops the answer, or tells who reads the keys. Where nobody
/// sits at a terminal it ends the program.
final class ChatSignals: Sendable {
    let wakeup: Wakeup
    let isInteractive: Bool
    private let running = Mutex<(@Sendable () -> Void)?>(nil)
    /// Kept, or nothing would be heard. Never touched again.
    nonisolated(unsafe) private let sources: [any DispatchSourceSignal]

    init(wakeup: Wakeup, isInteractive: Bool) {
        self.wakeup = wakeup
        self.isInteractive = isInteractive
        sources = [SIGINT, SIGTERM, SIGWINCH].map { number in
            signal(number, SIG_IGN)
            return DispatchSource.makeSignalSource(signal: number, queue: .global())
        }
        let handlers: [@Sendable () -> Void] = [
            { [weak self] in self?.interrupt() }, { Glibc.exit(143) }, { wakeup.send(.resize) },
        ]
        for (source, handler) in zip(sources, handlers) {
            source.setEventHandler(handler: handler)
            source.resume()
        }
    }

    private func interrupt() {
        if !isInteractive {
            Terminal.finishLine()
            Glibc.exit(130)
        }
        if let stop = running.withLock({ $0 }) { stop() } else { wakeup.send(.interrupt) }
    }

    /// Runs a task that Ctrl-C stops.
    func stopping<Result: Sendable>(_ task: Task<Result, any Error>) async throws -> Result {
        running.withLock { $0 = { task.cancel() } }
        defer { running.withLock { $0 = nil } }
        return try await task.value
    }
}
