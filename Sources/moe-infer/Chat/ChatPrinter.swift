// SPDX-License-Identifier: Apache-2.0

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

    init(mostExperts: Int) { self.mostExperts = mostExperts }

    mutating func begin() { (part, endsLine, warnings) = (.nothing, true, []) }

    mutating func show(_ event: ChatEvent) {
        switch event {
        case .reasoning(let piece): show(piece, as: .reasoning)
        case .content(let piece): show(piece, as: .content)
        case .toolCallBegan(_, _, let name):
            show(ChatText("\n\(name)("), as: .content)
        case .toolCallArguments(_, let fragment): show(ChatText(fragment), as: .content)
        case .toolCallEnded, .toolCallAbandoned: show(ChatText(")\n"), as: .content)
        case .warning(let warning): warnings.append(warning.description)
        case .finished: break
        }
    }

    mutating func end(note: String?) {
        if !endsLine { write("\n") }
        for warning in warnings { Terminal.error("warning: \(Terminal.oneLine(warning))") }
        if let note { Terminal.error(Self.dimmed("(\(note))")) }
    }

    /// What is in the background, where that can be shown.
    static func dimmed(_ text: String) -> String {
        Terminal.errorIsTerminal && Terminal.hasColours ? "\u{1B}[2m\(text)\u{1B}[0m" : text
    }

    private mutating func show(_ piece: ChatText, as new: Part) {
        // What a model thinks is for who watches; a pipe gets the answer.
        if new == .reasoning, !showsReasoning || !Terminal.outputIsTerminal { return }
        guard !piece.text.isEmpty else { return }
        if new != part {
            if part == .reasoning { write(endsLine ? "\n" : "\n\n") }
            if new == .reasoning, !Terminal.hasColours { write("[thinking]\n") }
            if new == .content, part == .reasoning, !Terminal.hasColours { write("[answer]\n") }
            part = new
        }
        let text = Terminal.outputIsTerminal ? piece.text.withoutControls : piece.text
        if showsExperts {
            write(ExpertColour.marked(text, experts: piece.meanExperts, most: mostExperts))
        } else {
            // Dimmed piece by piece: nothing stays dimmed when an answer is stopped.
            write(new == .reasoning && Terminal.hasColours ? "\u{1B}[2m\(text)\u{1B}[0m" : text)
        }
        endsLine = text.hasSuffix("\n")
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
