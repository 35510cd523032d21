// SPDX-License-Identifier: Apache-2.0

import MoEJSON

/// Reads calls that are written as in a program.
struct LiteralCallReader: SteppedCallReader {
    private enum State: Sendable {
        case opening
        case between
        case name
        case arguments(LiteralTranslator)
    }

    private let syntax: LiteralSyntax
    private let skipped: Int
    private let closes: [[UInt8]]
    private let nameEnds: [[UInt8]]
    private var state = State.opening
    private var isInList = false
    private var count = 0
    private var hasBegun = false

    init(_ syntax: LiteralSyntax, skipping: Int) {
        (self.syntax, skipped) = (syntax, skipping)
        closes = syntax.closes.map(\.bytes)
        nameEnds = [(syntax.isGemma ? "{" : "(").bytes]
    }

    var mayBeText: Bool { syntax.mustBeKnown && !hasBegun }

    mutating func step(_ window: inout TextWindow, into sink: inout AnswerSink) -> CallProgress? {
        switch state {
        case .opening:
            window.position += skipped
            state = syntax.isGemma ? .name : .between
        case .between: return between(&window)
        case .name:
            switch window.field(upTo: nameEnds) {
            case .more:
                // What no name has in it need not be waited for.
                if syntax.mustBeKnown, window.bytes[window.position...].contains(where: { !$0.isNameByte }) { return .text }
                return .more
            case .none: return wrong("no name of a tool")
            case .field(let bytes, _):
                var name = String(decoding: bytes.trimmed, as: UTF8.self)
                if let suffix = syntax.suffix, name.hasSuffix(suffix) { name.removeLast(suffix.count) }
                guard !name.isEmpty, name.utf8.allSatisfy(\.isNameByte) else { return wrong("no name of a tool") }
                guard !syntax.mustBeKnown || sink.knows(name) else { return wrong("an unknown tool") }
                window.position += bytes.count + 1
                hasBegun = true
                sink.begin(name: name)
                sink.arguments(LiteralTranslator.opening)
                state = .arguments(LiteralTranslator(syntax.isGemma ? .members : .arguments))
            }
        case .arguments(var translator):
            var json: [UInt8] = []
            while let byte = window.next {
                let step = translator.take(byte, into: &json)
                guard step != .wrong else { return .malformed("the arguments cannot be read") }
                window.position += 1
                guard step == .done else { continue }
                sink.arguments(json)
                sink.end()
                window.mark = window.position
                count += 1
                state = .between
                return nil
            }
            sink.arguments(json)
            state = .arguments(translator)
            return .more
        }
        return nil
    }

    private mutating func between(_ window: inout TextWindow) -> CallProgress? {
        window.skipSpaces()
        guard let next = window.next else { return window.isFinal && count > 0 ? .done : .more }
        switch Character(Unicode.Scalar(next)) {
        case "[" where count == 0 && !isInList: isInList = true
        case "]" where isInList && count > 0:
            isInList = false
            if closes.isEmpty {
                window.position += 1
                return .done
            }
        case ",", ";":
            guard count > 0 else { return wrong("a call is missing") }
        default:
            switch window.first(of: closes) {
            case .undecided: return .more
            case .literal(let index):
                window.position += closes[index].count
                return count > 0 ? .done : wrong("no call between the markers")
            case .none: break
            }
            if count > 0, !isInList, !next.isNameByte || closes.isEmpty {
                return closes.isEmpty ? .done : .malformed("something else follows a call")
            }
            guard next.isNameByte, !syntax.isGemma else { return wrong("no call") }
            state = .name
            return nil
        }
        window.position += 1
        return nil
    }

    private func wrong(_ why: String) -> CallProgress {
        syntax.mustBeKnown && !hasBegun ? .text : .malformed(why)
    }
}

/// Reads a program: the rest of the answer, for a tool that runs it.
struct ProgramReader: CallReader {
    private let tool: String
    private let parameter: String
    private let skipped: Int
    private var hasBegun = false

    init(tool: String, types: ToolTypes, skipping: Int) {
        (self.tool, skipped) = (tool, skipping)
        parameter = types.programParameter(of: tool) ?? "code"
    }

    mutating func read(_ window: inout TextWindow, into sink: inout AnswerSink) -> CallProgress {
        if !hasBegun {
            window.position += skipped
            hasBegun = true
            sink.begin(name: tool)
            sink.arguments("{".bytes + JSONEscape.quoted(parameter.utf8) + ": \"".bytes)
        }
        var text: [UInt8] = []
        JSONEscape.append(window.bytes[window.position...], to: &text)
        window.position = window.bytes.count
        if window.isFinal { text += "\"}".bytes }
        sink.arguments(text)
        guard window.isFinal else { return .more }
        sink.end()
        window.mark = window.position
        return .done
    }
}

/// Reads calls of a format that has several notations: what comes first says which.
struct ChoiceReader: CallReader {
    private let choices: [(begins: [UInt8], notation: CallSyntax.Notation)]
    private let otherwise: [CallSyntax.Notation]
    private let types: ToolTypes
    private let skipped: Int
    private var chosen: (any CallReader)?

    init(
        _ choices: [(begins: [UInt8], notation: CallSyntax.Notation)], otherwise: [CallSyntax.Notation], types: ToolTypes,
        skipping: Int
    ) {
        (self.choices, self.otherwise, self.types, skipped) = (choices, otherwise, types, skipping)
    }

    mutating func read(_ window: inout TextWindow, into sink: inout AnswerSink) -> CallProgress {
        if chosen == nil {
            var index = window.position + skipped
            while index < window.bytes.count, window.bytes[index].isSpace { index += 1 }
            guard index < window.bytes.count else { return .more }
            var notation = choices.first { $0.begins.contains(window.bytes[index]) }?.notation
            if notation == nil, otherwise.count > 1 {
                // A call in a program's notation, or a program.
                let start = index
                while index < window.bytes.count, window.bytes[index].isNameByte, index - start < TextWindow.nameLimit {
                    index += 1
                }
                guard index < window.bytes.count || window.isFinal else { return .more }
                let isCall = window.match("(".bytes, at: index) == .yes && window.endsBefore(index, with: ".call".bytes)
                notation = otherwise[isCall ? 0 : 1]
            }
            guard let notation = notation ?? otherwise.first else { return .malformed("no call") }
            chosen = notation.reader(types: types, skipping: skipped)
        }
        return chosen!.read(&window, into: &sink)
    }
}

extension UInt8 {
    /// Of a function's name.
    fileprivate var isNameByte: Bool {
        switch self {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"),
            UInt8(ascii: "_"), UInt8(ascii: "."), UInt8(ascii: "-"):
            true
        default: self >= 0x80
        }
    }
}
