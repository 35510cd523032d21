// SPDX-License-Identifier: Apache-2.0

import MoEJSON

/// Reads calls that are JSON objects.
struct JSONCallReader: SteppedCallReader {
    private enum State: Sendable {
        case opening
        /// Before, between and after objects.
        case between
        /// Before a key; `first`: or the object's end.
        case key(first: Bool)
        case colon
        case value
        case arguments(JSONArguments)
        /// A value that is of no interest, or an id that is no string.
        case other(JSONChecker, isID: Bool)
        case afterValue
    }

    private enum Key: Sendable { case name, arguments, id, other }

    private let syntax: JSONSyntax
    private let closes: [[UInt8]]
    private let skipped: Int
    private var state = State.opening
    private var isInList = false
    private var count = 0

    // Of the current object.
    private var key = Key.other
    private var name: String?
    private var id: String?
    private var hasArguments = false
    private var hasBegun = false
    /// Arguments that wait for the name or the id.
    private var waiting: [UInt8] = []
    /// Open objects around the current one: `{"type": "function", "function": {…}}`.
    private var outer = 0
    private var idText: [UInt8] = []

    init(_ syntax: JSONSyntax, skipping: Int) {
        self.syntax = syntax
        closes = syntax.closes.map(\.bytes)
        skipped = skipping
    }

    var mayBeText: Bool { syntax.isGuess && !hasBegun }

    mutating func step(_ window: inout TextWindow, into sink: inout AnswerSink) -> CallProgress? {
        switch state {
        case .opening:
            window.position += skipped
            state = .between
        case .between: return between(&window)
        case .key(let first):
            window.skipSpaces()
            guard let next = window.next else { return .more }
            if first, next == UInt8(ascii: "}") { return closeObject(&window, into: &sink) }
            switch string(&window) {
            case .more: return .more
            case .none: return wrong("a key is no string")
            case .field(let text, _): return take(key: text)
            }
        case .colon:
            window.skipSpaces()
            guard let next = window.next else { return .more }
            guard next == UInt8(ascii: ":") else { return wrong("a colon is missing") }
            window.position += 1
            state = .value
        case .value: return value(&window, into: &sink)
        case .arguments(var arguments):
            var bytes: [UInt8] = []
            let progress = arguments.read(&window, into: &bytes)
            guard progress != .wrong else { return wrong("the arguments are no JSON object") }
            give(bytes, into: &sink)
            state = progress == .done ? .afterValue : .arguments(arguments)
            if progress == .more { return .more }
        case .other(var checker, let isID):
            while let byte = window.next {
                // A number ends where something else begins.
                if checker.isCompleteNumber, !byte.isNumberByte {
                    endOther(isID: isID)
                    return nil
                }
                let step = checker.take(byte)
                guard step != .wrong else { return wrong("no JSON") }
                if isID, idText.count < TextWindow.nameLimit { idText.append(byte) }
                window.position += 1
                if step == .done {
                    endOther(isID: isID)
                    return nil
                }
            }
            state = .other(checker, isID: isID)
            return .more
        case .afterValue: return afterValue(&window, into: &sink)
        }
        return nil
    }

    // MARK: Around the objects

    private mutating func between(_ window: inout TextWindow) -> CallProgress? {
        window.skipSpaces()
        guard let next = window.next else { return window.isFinal && count > 0 ? .done : .more }
        switch Character(Unicode.Scalar(next)) {
        case "{":
            (name, id, hasArguments, hasBegun, outer) = (nil, nil, false, false, 0)
            (waiting, idText) = ([], [])
            state = .key(first: true)
        case "[" where !isInList && count == 0: isInList = true
        case "]" where isInList: isInList = false
        case ",", ";":
            guard count > 0 else { return wrong("a call is missing") }
        default: return close(&window)
        }
        window.position += 1
        return nil
    }

    private mutating func close(_ window: inout TextWindow) -> CallProgress? {
        // The first fence opens the block, the second one closes it.
        let isOpening = syntax.isFenced && count == 0
        switch window.first(of: isOpening ? Self.fences : closes) {
        case .literal(let index):
            window.position += isOpening ? Self.fences[index].count : closes[index].count
            return isOpening ? nil : count > 0 ? .done : wrong("no call between the markers")
        case .undecided: return .more
        case .none:
            guard count > 0 else { return wrong("no JSON object") }
            // Without a closing marker, text just goes on.
            return closes.isEmpty ? .done : .malformed("something else follows a call")
        }
    }

    private static let fences = ["```json".bytes, "```".bytes]

    /// What is wrong within a call that may never have been one.
    private func wrong(_ why: String) -> CallProgress {
        syntax.isGuess && !hasBegun ? .text : .malformed(why)
    }

    // MARK: Within an object

    private func string(_ window: inout TextWindow) -> TextWindow.Field {
        guard window.next == UInt8(ascii: "\"") else { return .none }
        var index = window.position + 1
        while index < window.bytes.count {
            guard index - window.position <= TextWindow.nameLimit else { return .none }
            switch window.bytes[index] {
            case UInt8(ascii: "\\"): index += 2
            case UInt8(ascii: "\""):
                let text = JSONEscape.unescaped(window.bytes[(window.position + 1)..<index])
                window.position = index + 1
                return text.map { .field($0, end: 0) } ?? .none
            default: index += 1
            }
        }
        return .more
    }

    private mutating func take(key text: [UInt8]) -> CallProgress? {
        state = .colon
        let text = String(decoding: text, as: UTF8.self)
        if syntax.nameIsKey, outer == 0 {
            guard name == nil else { return wrong("a call with two names") }
            (name, key) = (text, .arguments)
        } else if syntax.nameKeys.contains(text) {
            key = .name
        } else if syntax.argumentKeys.contains(text) {
            key = .arguments
        } else {
            key = syntax.idKeys.contains(text) ? .id : .other
            // A guess gives up as soon as it meets what no call has.
            if syntax.isGuess, key == .other, text != "type", text != "function", text != "id" { return wrong("") }
        }
        isFunction = text == "function"
        return nil
    }

    /// The key is `function`, the value of which may be the call itself.
    private var isFunction = false

    private mutating func value(_ window: inout TextWindow, into sink: inout AnswerSink) -> CallProgress? {
        window.skipSpaces()
        guard let next = window.next else { return .more }
        if isFunction, next == UInt8(ascii: "{"), key != .arguments {
            guard outer == 0 else { return wrong("functions within functions") }
            outer += 1
            window.position += 1
            state = .key(first: true)
            return nil
        }
        switch key {
        case .name, .id:
            switch string(&window) {
            case .more: return .more
            case .none:
                guard key == .id else { return wrong("the name is no string") }
                state = .other(JSONChecker(), isID: true)
                return nil
            case .field(let text, _):
                let text = String(decoding: text, as: UTF8.self)
                if key == .id { id = text } else { name = text }
            }
            state = .afterValue
            return begin(into: &sink)
        case .arguments:
            guard !hasArguments else { return wrong("a call with arguments twice") }
            hasArguments = true
            if let progress = begin(into: &sink) { return progress }
            if next == UInt8(ascii: "n") {
                // No arguments.
                state = .other(JSONChecker(), isID: false)
                give("{}".bytes, into: &sink)
            } else {
                state = .arguments(JSONArguments())
            }
            return nil
        case .other:
            state = .other(JSONChecker(), isID: false)
            return nil
        }
    }

    private mutating func endOther(isID: Bool) {
        if isID { id = String(decoding: idText.trimmed, as: UTF8.self) }
        state = .afterValue
    }

    private mutating func afterValue(_ window: inout TextWindow, into sink: inout AnswerSink) -> CallProgress? {
        window.skipSpaces()
        guard let next = window.next else {
            return window.isFinal ? closeEarly(&window, into: &sink) ?? .more : .more
        }
        switch Character(Unicode.Scalar(next)) {
        case ",":
            window.position += 1
            state = .key(first: false)
        case "}" where outer > 0:
            outer -= 1
            window.position += 1
        case "}": return closeObject(&window, into: &sink)
        default:
            switch window.first(of: closes) {
            case .undecided: return .more
            case .literal: return closeEarly(&window, into: &sink) ?? wrong("a brace is missing")
            case .none: return wrong("a comma or a brace is missing")
            }
        }
        return nil
    }

    /// Ends a call whose last brace is missing, if it lacks nothing else.
    private mutating func closeEarly(_ window: inout TextWindow, into sink: inout AnswerSink) -> CallProgress? {
        guard hasBegun, hasArguments else { return nil }
        sink.warn(.repairedCall("its last brace is missing"))
        endCall(&window, into: &sink)
        return window.isFinal && window.isAtEnd ? .done : between(&window)
    }

    private mutating func closeObject(_ window: inout TextWindow, into sink: inout AnswerSink) -> CallProgress? {
        window.position += 1
        guard name != nil else { return wrong("a call without a name") }
        if !hasBegun {
            guard !syntax.isGuess || hasArguments else { return .text }
            if let progress = begin(into: &sink, isComplete: true) { return progress }
        }
        if !hasArguments { give("{}".bytes, into: &sink) }
        endCall(&window, into: &sink)
        return nil
    }

    private mutating func endCall(_ window: inout TextWindow, into sink: inout AnswerSink) {
        sink.end()
        window.mark = window.position
        count += 1
        state = .between
    }

    // MARK: Events

    /// Tells that a call begins, once its name is known and what else must be.
    private mutating func begin(into sink: inout AnswerSink, isComplete: Bool = false) -> CallProgress? {
        guard let name, !hasBegun else { return nil }
        guard isComplete || !syntax.idComesLast || id != nil else { return nil }
        guard isComplete || !syntax.isGuess || hasArguments else { return nil }
        guard !name.isEmpty else { return wrong("a call without a name") }
        guard !syntax.mustBeKnown || sink.knows(name) else { return wrong("an unknown tool") }
        hasBegun = true
        sink.begin(name: name, id: id)
        sink.arguments(waiting)
        waiting = []
        return nil
    }

    private mutating func give(_ bytes: some Collection<UInt8>, into sink: inout AnswerSink) {
        if hasBegun { sink.arguments(bytes) } else { waiting += bytes }
    }
}

extension UInt8 {
    fileprivate var isNumberByte: Bool {
        isDigit || self == UInt8(ascii: ".") || self == UInt8(ascii: "e") || self == UInt8(ascii: "E")
            || self == UInt8(ascii: "+") || self == UInt8(ascii: "-")
    }
}
