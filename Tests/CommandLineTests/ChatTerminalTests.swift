// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

/// Conversations at a terminal: keys, Ctrl-C, what a dumb one shows. Who breaks these leaves people with a program that cannot
/// be stopped, or a terminal that no longer echoes.
@Suite(.enabled(if: PseudoTerminal.isPossible, "needs setsid of util-linux"), .serialized) struct ChatTerminalTests {
    private let state = FileManager.default.temporaryDirectory.appendingPathComponent("moe-state-\(UUID().uuidString)")

    private func terminal(
        _ arguments: [String] = [], columns: Int = 80, environment: [String: String] = [:]
    ) throws -> PseudoTerminal {
        try PseudoTerminal(
            ["chat", "--seed", "1"] + arguments, columns: columns,
            environment: ["XDG_STATE_HOME": state.path].merging(environment) { $1 })
    }

    /// A conversation that waits for its first key.
    private func started(_ arguments: [String] = [], environment: [String: String] = [:]) async throws -> PseudoTerminal {
        let terminal = try terminal(arguments, environment: environment)
        #expect(await terminal.expect("/help lists commands"))
        #expect(await terminal.reads())
        return terminal
    }

    @Test func controlCStopsTheAnswerAndNotTheProgram() async throws {
        defer { try? FileManager.default.removeItem(at: state) }
        // Slow, so that it is under way when it is stopped.
        let terminal = try await started(["-n", "4000", "--gemm", "reference", "--threads", "1"])
        terminal.send("Hello, who are you?\r")
        #expect(await terminal.reads(keys: false))
        #expect(await terminal.expect(" "))
        try await Task.sleep(for: .milliseconds(300))
        terminal.send("\u{3}")
        #expect(await terminal.expect("(stopped)"), "\(terminal.output)")
        // The stopped answer is a part of the conversation.
        #expect(await terminal.reads())
        terminal.send("/show\r")
        #expect(await terminal.expect("user: Hello, who are you?"))
        #expect(await terminal.expect("assistant: "))
        #expect(await terminal.reads())
        // Ctrl-C with text throws the text away; twice without text ends. Each waits for the prompt: between two of them, Ctrl-C is a
        // signal to a program that has nothing to stop.
        terminal.send("abc\u{3}")
        #expect(await terminal.expect("^C"))
        #expect(await terminal.expect("> "))
        terminal.send("\u{3}")
        #expect(await terminal.expect("Ctrl-C once more ends"))
        #expect(await terminal.expect("> "))
        terminal.send("\u{3}")
        #expect(await terminal.exitCode() == 130)
        #expect(terminal.isAsBefore)
    }

    @Test func keysEditTheLine() async throws {
        defer { try? FileManager.default.removeItem(at: state) }
        let terminal = try await started()
        // Typed, moved in, changed; one emoji of several parts goes at once.
        terminal.send("/system a漢👨‍👩‍👧b\u{1B}[D\u{7F}\u{1B}[Dx\u{1B}[Fe\u{301}\r")
        #expect(await terminal.expect("set; it holds"))
        terminal.send("/system\r")
        #expect(await terminal.expect("\u{1B}[2max漢be\u{301}\u{1B}[0m"), "\(terminal.output.debugDescription)")
        // Pasted text is one entry, whatever its lines.
        terminal.send("/system \u{1B}[200~one\rtwo\r\u{1B}[201~\r")
        #expect(await terminal.expect("set; it holds"))
        terminal.send("\u{1B}[A\u{1B}[A")
        terminal.send("\u{3}")
        terminal.send("/sy\t\r")
        #expect(await terminal.expect("\u{1B}[2mone\r\ntwo\u{1B}[0m"), "\(terminal.output.debugDescription)")
        terminal.send("\u{4}")
        #expect(await terminal.exitCode() == 0)
        #expect(terminal.isAsBefore)
    }

    @Test func historyLastsAndIsTheOwnersAlone() async throws {
        defer { try? FileManager.default.removeItem(at: state) }
        let first = try await started()
        first.send("/system unusual\r")
        #expect(await first.expect("set; it holds"))
        first.send("/exit\r")
        #expect(await first.exitCode() == 0)
        let file = state.appendingPathComponent("moe-infer/chat_history").path
        let mode = try FileManager.default.attributesOfItem(atPath: file)[.posixPermissions] as? Int
        #expect(mode == 0o600)
        let second = try await started()
        second.send("\u{1B}[A\u{1B}[A")
        #expect(await second.expect("/system unusual"))
        second.send("\u{3}\u{12}unus")
        #expect(await second.expect("(history: unus)"))
        second.send("\r")
        #expect(await second.expect("set; it holds"))
        second.send("\u{4}")
        #expect(await second.exitCode() == 0)
        let third = try await started(["--no-history"])
        third.send("\u{1B}[Anothing\u{3}\u{4}")
        #expect(await third.exitCode() == 0)
        #expect(!third.output.contains("unusual"))
    }

    @Test func aDumbTerminalGetsPlainText() async throws {
        defer { try? FileManager.default.removeItem(at: state) }
        let terminal = try terminal(["-n", "8", "--show-experts"], environment: ["TERM": "dumb"])
        #expect(await terminal.expect("/help lists commands"))
        #expect(await terminal.expect("> "))
        terminal.send("Hello\n")
        #expect(await terminal.expect("> "))
        terminal.send("\u{3}")
        #expect(await terminal.expect("Ctrl-C once more ends"))
        terminal.send("/exit\n")
        #expect(await terminal.exitCode() == 0)
        #expect(!terminal.output.contains("\u{1B}"))
        #expect(terminal.isAsBefore)
    }

    @Test func coloursAreLeftOutWhenRefused() async throws {
        defer { try? FileManager.default.removeItem(at: state) }
        for (environment, isColoured) in [([:], true), (["NO_COLOR": "1"], false)] as [([String: String], Bool)] {
            let terminal = try await started(["-n", "4", "--show-experts"], environment: environment)
            terminal.send("Hello\r")
            #expect(await terminal.expect("(cut off"))
            #expect(await terminal.reads())
            terminal.send("\u{4}")
            #expect(await terminal.exitCode() == 0)
            #expect(terminal.output.contains("\u{1B}[48;5;") == isColoured)
            #expect(terminal.output.contains("\u{1B}[1;36m") == isColoured)
        }
    }

    /// The prompt and the keys are on the terminal, the answer is in the file.
    @Test func standardOutputMayBeAFile() async throws {
        defer { try? FileManager.default.removeItem(at: state) }
        try FileManager.default.createDirectory(at: state, withIntermediateDirectories: true)
        let file = state.appendingPathComponent("out")
        try Data().write(to: file)
        let terminal = try PseudoTerminal(
            ["chat", "--seed", "1", "-n", "8"], environment: ["XDG_STATE_HOME": state.path],
            standardOutput: try FileHandle(forWritingTo: file))
        #expect(await terminal.expect("> "))
        terminal.send("Hello\r")
        #expect(await terminal.expect("(cut off"))
        // Keys that come before the program reads them again are the terminal's to lose.
        #expect(await terminal.expect("> "))
        terminal.send("\u{4}")
        #expect(await terminal.exitCode() == 0)
        let text = try String(contentsOf: file, encoding: .utf8)
        #expect(text.count > 3 && !text.contains("\u{1B}"))
    }
}
