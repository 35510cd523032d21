// SPDX-License-Identifier: Apache-2.0

/// What can be said to the program instead of the model.
enum ChatVerb: String, CaseIterable {
    case help, system, reset, undo, regenerate, `continue`, show, save, load, routing, set, stats, exit

    /// Words that other programs have for the same.
    private static let synonyms: [String: ChatVerb] = [
        "?": .help, "clear": .reset, "new": .reset, "retry": .regenerate, "history": .show, "quit": .exit, "bye": .exit,
        "q": .exit,
    ]

    private var usage: (arguments: String, meaning: String) {
        switch self {
        case .help: ("", "this list")
        case .system: ("[TEXT]", "what the model is told first: show or set it (\"\": nothing)")
        case .reset: ("", "forget the conversation, but what /system says")
        case .undo: ("", "take back the last message and its answer")
        case .regenerate: ("", "answer the last message again")
        case .continue: ("", "let the model go on with its last answer")
        case .show: ("", "the conversation so far")
        case .save: ("FILE", "write the conversation, as JSON")
        case .load: ("FILE", "go on with one that was saved")
        case .routing: ("[SPEC]", "experts per token: show or set it (top-p:p=0.7 …)")
        case .set: ("[NAME VALUE]", "how answers are chosen: show or set it (temperature 0.7 …)")
        case .stats: ("", "figures of the last answer and of all")
        case .exit: ("", "end; so does Ctrl-D")
        }
    }

    static var list: String {
        let names = allCases.map { "/\($0.rawValue) \($0.usage.arguments)" }
        let width = (names.map(\.count).max() ?? 0) + 1
        let lines = zip(allCases, names).map { verb, name in
            "  " + name + String(repeating: " ", count: width - name.count) + verb.usage.meaning
        }
        return
            (lines + [
                "", "  Ctrl-C stops an answer. A line that ends in \\ goes on in the next one, as after",
                "  Alt-Enter; \"\"\" begins and ends a text of several lines. A space before / sends",
                "  the line to the model.",
            ]).joined(separator: "\n")
    }

    /// - Returns: nil for a message; a command's first word is a slash and letters.
    static func parse(_ line: String) throws -> (verb: ChatVerb, argument: String)? {
        guard line.hasPrefix("/") else { return nil }
        let word = line.dropFirst().prefix { $0.isLetter || $0 == "?" }
        let rest = line.dropFirst(1 + word.count)
        guard !word.isEmpty, rest.first?.isWhitespace ?? true else { return nil }
        guard let verb = ChatVerb(rawValue: word.lowercased()) ?? synonyms[word.lowercased()] else {
            throw InputError(
                description: "no command /\(word); /help lists them, a space before it sends the line to the model")
        }
        let start = rest.firstIndex { !$0.isWhitespace } ?? rest.endIndex
        let end = rest.lastIndex { !$0.isWhitespace }.map(rest.index(after:)) ?? rest.endIndex
        return (verb, start < end ? String(rest[start..<end]) : "")
    }

    /// Of the text before the cursor: commands, and the names that `/set` takes.
    static func completions(_ text: String) -> [String] {
        if text.hasPrefix("/set ") {
            return ChatSession.settingNames.map { "/set \($0) " }.filter { $0.hasPrefix(text) }
        }
        guard text.hasPrefix("/") else { return [] }
        return allCases.map { "/\($0.rawValue)" + ($0.usage.arguments.isEmpty ? "" : " ") }.filter { $0.hasPrefix(text) }
    }
}
