// SPDX-License-Identifier: Apache-2.0

import MoEJSON

/// Reads calls that have a header with the name, and then JSON arguments.
struct TaggedCallReader: SteppedCallReader {
    private enum State: Sendable {
        case opening
        case between
        case header(Int)
        case beforeArguments
        case arguments(JSONArguments)
        case program
    }

    private let syntax: TaggedSyntax
    private let types: ToolTypes
    private let skipped: Int
    private let callOpens: [[UInt8]]
    private let afterCall: [[UInt8]]
    private let header: [(role: TaggedSyntax.Role, ends: [[UInt8]])]
    private var state = State.opening
    private var count = 0
    private var name = ""
    private var id: String?

    private static let fences = ["```json".bytes, "```".bytes]

    init(_ syntax: TaggedSyntax, types: ToolTypes, skipping: Int) {
        (self.syntax, self.types, skipped) = (syntax, types, skipping)
        callOpens = syntax.callOpens.map(\.bytes)
        afterCall = (syntax.callCloses + syntax.sectionCloses + syntax.callOpens).map(\.bytes)
        header = syntax.header.map { field in
            (field.role, field.ends.map(\.bytes) + (syntax.braceEndsHeader ? ["{".bytes] : []))
        }
    }

    mutating func step(_ window: inout TextWindow, into sink: inout AnswerSink) -> CallProgress? {
        switch state {
        case .opening:
            window.position += skipped
            // The marker opens a section or is the first call's own.
            let isCall = skipped == 0 || callOpens.contains { window.endsBefore(window.position, with: $0) }
            state = isCall ? .header(0) : .between
        case .between: return between(&window)
        case .header(let index): return readHeader(index, &window, into: &sink)
        case .beforeArguments: return beforeArguments(&window, into: &sink)
        case .arguments(var arguments):
            var bytes: [UInt8] = []
            let progress = arguments.read(&window, into: &bytes)
            guard progress != .wrong else { return .malformed("the arguments are no JSON object") }
            sink.arguments(bytes)
            state = .arguments(arguments)
            if progress == .more { return .more }
            endCall(&window, into: &sink)
        case .program:
            // Up to the next call, or to the end.
            var text: [UInt8] = []
            defer { sink.arguments(text) }
            while let byte = window.next {
                switch window.first(of: afterCall) {
                case .undecided: return .more
                case .literal:
                    text += "\"}".bytes
                    sink.arguments(text)
                    text = []
                    endCall(&window, into: &sink)
                    return nil
                case .none:
                    JSONEscape.append(byte, to: &text)
                    window.position += 1
                }
            }
            guard window.isFinal else { return .more }
            text += "\"}".bytes
            sink.arguments(text)
            text = []
            endCall(&window, into: &sink)
        }
        return nil
    }

    private mutating func between(_ window: inout TextWindow) -> CallProgress? {
        window.skipSpaces()
        guard !window.isAtEnd else { return window.isFinal && count > 0 ? .done : .more }
        let fences = syntax.isFenced && count > 0 ? Self.fences : []
        switch window.first(of: afterCall + fences) {
        case .undecided: return .more
        case .none: return count > 0 ? .done : .malformed("no call in the section")
        case .literal(let index):
            let closes = syntax.callCloses.count
            let sectionCloses = closes + syntax.sectionCloses.count
            window.position += (afterCall + fences)[index].count
            if index >= closes, index < sectionCloses {
                return count > 0 ? .done : .malformed("no call in the section")
            }
            if index >= sectionCloses, index < afterCall.count { state = .header(0) }
        }
        return nil
    }

    private mutating func readHeader(
        _ index: Int, _ window: inout TextWindow, into sink: inout AnswerSink
    ) -> CallProgress? {
        if index == 0 { (name, id) = ("", nil) }
        let field = header[index]
        switch window.field(upTo: field.ends) {
        case .more: return .more
        case .none: return syntax.mustBeKnown ? .text : .malformed("no name of a tool")
        case .field(let bytes, let end):
            let text = String(decoding: bytes.trimmed, as: UTF8.self)
            switch field.role {
            case .name: name = text
            case .id: id = text
            case .ignored: break
            case .nameInID:
                id = text
                name = Self.name(in: text)
            }
            // What is no call is looked at again, as text.
            guard !syntax.mustBeKnown || sink.knows(name) else { return .text }
            let isBrace = syntax.braceEndsHeader && end == field.ends.count - 1
            window.position += bytes.count + (isBrace ? 0 : field.ends[end].count)
            if end == 0, index + 1 < header.count, !isBrace {
                state = .header(index + 1)
                return nil
            }
        }
        guard !name.isEmpty else { return .malformed("a call without a name") }
        state = .beforeArguments
        return nil
    }

    /// `functions.NAME:INDEX`, or less of it.
    private static func name(in id: String) -> String {
        var name = Substring(id)
        if name.hasPrefix("functions.") { name = name.dropFirst("functions.".count) }
        if let colon = name.lastIndex(of: ":"), name[name.index(after: colon)...].allSatisfy(\.isNumber) {
            name = name[..<colon]
        }
        return String(name)
    }

    private mutating func beforeArguments(_ window: inout TextWindow, into sink: inout AnswerSink) -> CallProgress? {
        // A program keeps the white space that it begins with.
        var index = window.position
        while index < window.bytes.count, window.bytes[index].isSpace { index += 1 }
        guard index < window.bytes.count else {
            guard window.isFinal else { return .more }
            guard syntax.mayBeProgram else { return .more }
            return beginProgram(into: &sink)
        }
        let next = window.bytes[index]
        if syntax.mayBeProgram ? next == UInt8(ascii: "{") : JSONArguments.begin(with: next) {
            window.position = index
            sink.begin(name: name, id: id)
            state = .arguments(JSONArguments())
            return nil
        }
        if syntax.mayBeProgram { return beginProgram(into: &sink) }
        window.position = index
        let closes = syntax.callCloses.map(\.bytes)
        switch window.first(of: (syntax.isFenced ? Self.fences : []) + closes) {
        case .undecided: return .more
        case .none: return .malformed("the arguments are no JSON object")
        case .literal(let index):
            if syntax.isFenced, index < Self.fences.count {
                window.position += Self.fences[index].count
                return nil
            }
            // Nothing where the arguments should be: there are none.
            sink.begin(name: name, id: id)
            sink.arguments("{}")
            endCall(&window, into: &sink)
            return nil
        }
    }

    private mutating func beginProgram(into sink: inout AnswerSink) -> CallProgress? {
        sink.begin(name: name, id: id)
        sink.arguments("{".bytes + JSONEscape.quoted((types.programParameter(of: name) ?? "code").utf8) + ": \"".bytes)
        state = .program
        return nil
    }

    private mutating func endCall(_ window: inout TextWindow, into sink: inout AnswerSink) {
        sink.end()
        window.mark = window.position
        count += 1
        state = .between
    }
}

extension TextWindow {
    func endsBefore(_ index: Int, with literal: [UInt8]) -> Bool {
        index >= literal.count && bytes[(index - literal.count)..<index].elementsEqual(literal)
    }
}
