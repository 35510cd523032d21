// SPDX-License-Identifier: Apache-2.0

import MoEJSON

/// Reads gpt-oss's answers: messages, each with a header that says what it is and for whom. The prompt ends within the first
/// header, after the role.
struct HarmonyReader: Sendable {
    private enum State: Sendable {
        /// Where a header may begin, or text that has none.
        case start
        case header
        case text(isReasoning: Bool)
        /// Before the arguments of a call.
        case call(name: String, isBuiltIn: Bool)
        case arguments(JSONArguments)
        /// After complete arguments.
        case afterArguments
        case program
    }

    private static let headerLimit = 300
    private static let starts = ["<|start|>", "<|channel|>", "<|constrain|>", "<|message|>", "to="].map(\.bytes)
    private static let message = "<|message|>".bytes
    private static let ends = ["<|end|>", "<|call|>", "<|return|>", "<|start|>", "<|channel|>"].map(\.bytes)
    /// The ends that are a header's beginning too.
    private static let headerEnds = 3...4

    private let types: ToolTypes
    private var state: State
    /// Kinds of text that have been given.
    private var hasReasoning = false
    private var hasContent = false
    /// The next text is a message of its own: it stands apart from what came before.
    private var isNewMessage = false

    init(types: ToolTypes, startsInReasoning: Bool) {
        self.types = types
        state = startsInReasoning ? .text(isReasoning: true) : .start
    }

    mutating func read(_ window: inout TextWindow, into sink: inout AnswerSink) {
        while step(&window, into: &sink) {}
        if window.isFinal { finish(&window, into: &sink) }
        var keep = window.position
        switch state {
        case .header, .call, .arguments, .program: keep = min(keep, window.mark)
        default: break
        }
        _ = window.compact(keeping: keep)
    }

    /// False: more must come first.
    private mutating func step(_ window: inout TextWindow, into sink: inout AnswerSink) -> Bool {
        switch state {
        case .start:
            let start = window.position
            window.skipSpaces()
            guard !window.isAtEnd else {
                if !window.isFinal { window.position = start }
                return false
            }
            switch window.first(of: Self.starts) {
            case .undecided:
                window.position = start
                return false
            case .literal:
                window.mark = start
                state = .header
            case .none:
                window.position = start
                begin(isReasoning: false)
            }
        case .header: return readHeader(&window, into: &sink)
        case .text(let isReasoning):
            let start = window.position
            let end = passText(&window)
            give(window.text(start..<window.position), isReasoning: isReasoning, into: &sink)
            return take(end: end, &window)
        case .call(let name, let isBuiltIn):
            window.skipSpaces()
            guard let next = window.next else { return false }
            if isBuiltIn ? next == UInt8(ascii: "{") : JSONArguments.begin(with: next) {
                sink.begin(name: name)
                state = .arguments(JSONArguments())
                return true
            }
            switch window.first(of: Self.ends) {
            case .undecided: return false
            case .literal:
                sink.begin(name: name)
                sink.arguments("{}")
                sink.end()
                state = .afterArguments
            case .none:
                guard isBuiltIn else {
                    abandon("the arguments are no JSON object", &window, into: &sink)
                    return true
                }
                sink.begin(name: name)
                sink.arguments(
                    "{".bytes + JSONEscape.quoted((types.programParameter(of: name) ?? "code").utf8) + ": \"".bytes)
                state = .program
            }
        case .arguments(var arguments):
            var bytes: [UInt8] = []
            let progress = arguments.read(&window, into: &bytes)
            guard progress != .wrong else {
                abandon("the arguments are no JSON object", &window, into: &sink)
                return true
            }
            sink.arguments(bytes)
            state = .arguments(arguments)
            guard progress == .done else { return false }
            sink.end()
            state = .afterArguments
        case .afterArguments:
            window.skipSpaces()
            guard !window.isAtEnd else { return false }
            switch window.first(of: Self.ends) {
            case .undecided: return false
            case .literal(let index): return take(end: index, &window)
            case .none:
                sink.warn(.malformedCall("something else follows a call"))
                begin(isReasoning: false)
            }
        case .program:
            let start = window.position
            let end = passText(&window)
            var text: [UInt8] = []
            JSONEscape.append(window.bytes[start..<window.position], to: &text)
            sink.arguments(text)
            guard end != nil || window.isFinal else { return false }
            sink.arguments("\"}")
            sink.end()
            state = .afterArguments
        }
        return true
    }

    // MARK: Headers

    private mutating func readHeader(_ window: inout TextWindow, into sink: inout AnswerSink) -> Bool {
        switch window.field(upTo: [Self.message], limit: Self.headerLimit) {
        case .more: return false
        case .none:
            guard !window.isFinal else { return false }
            // No header ever is that long. Its first byte is text, so that the rest is none again.
            sink.warn(.malformedCall("a header without an end"))
            begin(isReasoning: false)
            window.position += 1
            give(window.text((window.position - 1)..<window.position), isReasoning: false, into: &sink)
        case .field(let bytes, _):
            window.position += bytes.count + Self.message.count
            let header = String(decoding: bytes, as: UTF8.self)
            let recipient = Self.word(after: "to=", in: header)
            let channel = Self.word(after: "<|channel|>", in: header)
            switch recipient {
            case nil, "assistant", "user", "all": begin(isReasoning: channel == "analysis")
            case let name?:
                let isBuiltIn = !name.hasPrefix("functions.")
                let name = isBuiltIn ? name : String(name.dropFirst("functions.".count))
                state = .call(name: name, isBuiltIn: isBuiltIn)
            }
        }
        return true
    }

    /// The word after the last `mark`.
    private static func word(after mark: String, in header: String) -> String? {
        guard let range = header.lastRange(of: mark) else { return nil }
        let word = header[range.upperBound...].prefix { !$0.isWhitespace && $0 != "<" }
        return word.isEmpty ? nil : String(word)
    }

    // MARK: Texts

    /// Moves on to the next end of a message, of which the number is given; nil: it has not come.
    private func passText(_ window: inout TextWindow) -> Int? {
        while let byte = window.next {
            if byte == UInt8(ascii: "<") {
                switch window.first(of: Self.ends) {
                case .undecided: return nil
                case .literal(let index): return index
                case .none: break
                }
            }
            window.position += 1
        }
        return nil
    }

    private mutating func begin(isReasoning: Bool) {
        state = .text(isReasoning: isReasoning)
        isNewMessage = true
    }

    private mutating func give(_ text: String, isReasoning: Bool, into sink: inout AnswerSink) {
        guard !text.isEmpty else { return }
        let isApart = isNewMessage && (isReasoning ? hasReasoning : hasContent)
        isNewMessage = false
        if isReasoning {
            hasReasoning = true
            sink.reasoning((isApart ? "\n" : "") + text)
        } else {
            hasContent = true
            sink.content((isApart ? "\n" : "") + text)
        }
    }

    private mutating func take(end: Int?, _ window: inout TextWindow) -> Bool {
        guard let end else { return false }
        if Self.headerEnds.contains(end) {
            window.mark = window.position
            state = .header
        } else {
            window.position += Self.ends[end].count
            state = .start
        }
        return true
    }

    /// The call is none: its header and what came of it are content, and so is the rest of the message.
    private mutating func abandon(_ why: String, _ window: inout TextWindow, into sink: inout AnswerSink) {
        sink.abandon()
        sink.warn(.malformedCall(why))
        begin(isReasoning: false)
        give(window.text(window.mark..<window.position), isReasoning: false, into: &sink)
    }

    private mutating func finish(_ window: inout TextWindow, into sink: inout AnswerSink) {
        let warning: AnswerWarning?
        switch state {
        case .header:
            let isCall = window.text(window.mark..<window.bytes.count).contains("to=")
            warning = isCall ? .unfinishedCall : .malformedCall("a header without an end")
        case .call, .arguments: warning = .unfinishedCall
        default: warning = nil
        }
        if let warning {
            sink.abandon()
            sink.warn(warning)
            begin(isReasoning: false)
            give(window.text(window.mark..<window.bytes.count), isReasoning: false, into: &sink)
        }
        window.position = window.bytes.count
    }
}

extension String {
    fileprivate func lastRange(of text: String) -> Range<Index>? {
        var found: Range<Index>?
        var rest = self[...]
        while let range = rest.firstRange(of: text) {
            found = range
            rest = rest[range.upperBound...]
        }
        return found
    }
}
