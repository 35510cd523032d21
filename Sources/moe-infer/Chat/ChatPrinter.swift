// SPDX-License-Identifier: Apache-2.0

import Glibc
import MoEInfer
import MoETerminal

/// Shows an answer while it is made: to standard output, whatever else there is to say to standard error.
struct ChatPrinter {
    /// Nothing of the answer is shown: it goes into a document.
    var isSilent = false
    var showsExperts = false
    var showsReasoning = true
    /// k of the model.
    let mostExperts: Int

    private enum Part { case nothing, reasoning, content }
    private var part = Part.nothing
    private var endsLine = true
    private var warnings: [String] = []
    /// Something stands in the place where the answer will begin.
    private var isWaiting = false
    private var wrapper = WordWrapper(width: nil)

    init(mostExperts: Int) { self.mostExperts = mostExperts }

    mutating func begin() {
        (part, endsLine, warnings) = (.nothing, true, [])
        wrapper = WordWrapper(width: Terminal.outputIsTerminal ? TerminalMode.size(STDOUT_FILENO)?.columns : nil)
    }

    mutating func show(_ event: ChatEvent) {
        switch event {
        case .reasoning(let piece): show(piece, as: .reasoning)
        case .content(let piece): show(piece, as: .content)
        case .toolCallBegan(_, _, let name):
            show(ChatText("\n\(name)("), as: .content)
        case .toolCallArguments(_, let fragment): show(ChatText(fragment), as: .content)
        case .toolCallEnded, .toolCallAbandoned: show(ChatText(")\n"), as: .content)
        case .warning(let warning): warnings.append(warning.description)
        case .finished, .token: break
        }
    }

    /// Says that the answer takes a while: a long conversation has to be read first.
    mutating func wait() {
        guard part == .nothing, !isSilent, Terminal.hasColours else { return }
        Terminal.write("\u{1B}[2m… (Ctrl-C stops)\u{1B}[0m")
        isWaiting = true
    }

    private mutating func stopWaiting() {
        if isWaiting { Terminal.write("\r\u{1B}[K") }
        isWaiting = false
    }

    mutating func end(note: String?) {
        stopWaiting()
        writeStyled(wrapper.finish())
        if !endsLine { write("\n") }
        for warning in warnings { Terminal.error("warning: \(Terminal.oneLine(warning))") }
        if let note { Self.say("(\(note))") }
    }

    /// To a person, beside the conversation: in the background, where that can be shown, and not broken within words.
    static func say(_ text: String) {
        var wrapper = WordWrapper(width: Terminal.errorIsTerminal ? TerminalMode.size(STDERR_FILENO)?.columns : nil)
        Terminal.error(dimmed(wrapper.append(text) + wrapper.finish()))
    }

    private static func dimmed(_ text: String) -> String {
        Terminal.errorIsTerminal && Terminal.hasColours ? "\u{1B}[2m\(text)\u{1B}[0m" : text
    }

    private mutating func show(_ piece: ChatText, as new: Part) {
        // What a model thinks is for who watches; a pipe gets the answer.
        if new == .reasoning, !showsReasoning || !Terminal.outputIsTerminal { return }
        guard !piece.text.isEmpty else { return }
        stopWaiting()
        if new != part {
            writeStyled(wrapper.finish())
            if part == .reasoning { write(endsLine ? "\n" : "\n\n") }
            if new == .reasoning, !Terminal.hasColours { write("[thinking]\n") }
            if new == .content, part == .reasoning, !Terminal.hasColours { write("[answer]\n") }
            part = new
        }
        let text = Terminal.outputIsTerminal ? piece.text.withoutControls : piece.text
        if showsExperts {
            write(ExpertColour.marked(text, experts: piece.meanExperts, most: mostExperts))
        } else {
            writeStyled(wrapper.append(text))
        }
        endsLine = text.hasSuffix("\n")
    }

    /// Dimmed piece by piece: nothing stays dimmed when an answer is stopped.
    private func writeStyled(_ text: String) {
        guard !text.isEmpty else { return }
        write(part == .reasoning && Terminal.hasColours ? "\u{1B}[2m\(text)\u{1B}[0m" : text)
    }

    private func write(_ text: String) { if !isSilent { Terminal.write(text) } }
}

/// One answer of `moe-infer chat --json`: a document on a line.
struct ChatReport: Encodable {
    let message: ChatTranscript.Message
    let finishReason: String
    let warnings: [String]
    let seed: UInt64
    let usage: GenerateReport.Usage
    let timings: GenerateReport.Timings

    init(_ result: ChatResult, seed: UInt64, loadSeconds: Double) {
        message = ChatTranscript.Message(result.message)
        finishReason = result.finishReason.rawValue
        warnings = result.warnings.map(\.description)
        self.seed = seed
        let report = GenerateReport(result.generation, loadSeconds: loadSeconds, layers: false)
        (usage, timings) = (report.usage, report.timings)
    }
}
