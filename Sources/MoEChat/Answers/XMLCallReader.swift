// SPDX-License-Identifier: Apache-2.0

import MoEJSON

/// Reads calls whose parameters stand in tags, and makes JSON of them.
struct XMLCallReader: SteppedCallReader {
    private enum State: Sendable {
        case opening
        case between
        case name
        case nameTail
        /// Between parameters.
        case body
        case key
        case beforeValue
        /// A string, given as it comes.
        case string
        /// Any other value, which is kept until its type is known.
        case value
    }

    private let syntax: XMLSyntax
    private let types: ToolTypes
    private let skipped: Int
    private let callOpens: [[UInt8]]
    private let sectionCloses: [[UInt8]]
    private let nameEnds: [[UInt8]]
    private let keyOpen: [UInt8]
    private let keyEnds: [[UInt8]]
    private let callClose: [UInt8]
    /// What ends a value, and what ends one that is quoted.
    private let plainEnds: [[UInt8]]
    private let quotedEnds: [[UInt8]]
    private static let quote = "<![CDATA[".bytes

    private var state = State.opening
    private var count = 0
    private var name = ""
    private var key = ""
    private var keyCount = 0
    private var expected: Set<JSONType>?
    /// A line's end right here belongs to the opening tag.
    private var isLineStart = false
    private var value: [UInt8] = []
    private var isQuoted = false

    init(_ syntax: XMLSyntax, types: ToolTypes, skipping: Int) {
        (self.syntax, self.types, skipped) = (syntax, types, skipping)
        callOpens = syntax.callOpens.map(\.bytes)
        sectionCloses = syntax.sectionCloses.map(\.bytes)
        nameEnds = (syntax.nameEnds + syntax.nameStops).map(\.bytes)
        (keyOpen, keyEnds) = (syntax.keyOpen.bytes, syntax.keyEnds.map(\.bytes))
        callClose = syntax.callClose.bytes
        plainEnds = (syntax.trimsLines ? ["\n" + syntax.valueClose] : []).map(\.bytes) + [syntax.valueClose.bytes]
        quotedEnds = [("]]>" + syntax.valueClose).bytes]
    }

    mutating func step(_ window: inout TextWindow, into sink: inout AnswerSink) -> CallProgress? {
        switch state {
        case .opening:
            window.position += skipped
            state = callOpens.contains { window.endsBefore(window.position, with: $0) } ? .name : .between
        case .between: return between(&window)
        case .name:
            switch window.field(upTo: nameEnds) {
            case .more: return .more
            case .none: return .malformed("no name of a tool")
            case .field(let bytes, let end):
                name = String(decoding: bytes.trimmed, as: UTF8.self)
                guard !name.isEmpty, !name.contains("<") else { return .malformed("a call without a name") }
                window.position += bytes.count + (end < syntax.nameEnds.count ? nameEnds[end].count : 0)
                sink.begin(name: name)
                sink.arguments("{")
                keyCount = 0
                state = syntax.nameTail == nil ? .body : .nameTail
            }
        case .nameTail:
            let tail = syntax.nameTail!.bytes
            switch window.field(upTo: [tail]) {
            case .more: return .more
            case .none: return .malformed("a tag without an end")
            case .field(let bytes, _):
                window.position += bytes.count + tail.count
                state = .body
            }
        case .body: return body(&window, into: &sink)
        case .key:
            switch window.field(upTo: keyEnds) {
            case .more: return .more
            case .none: return .malformed("a parameter without a name")
            case .field(let bytes, let end):
                window.position += bytes.count + keyEnds[end].count
                key = String(decoding: bytes.trimmed, as: UTF8.self)
                expected = types.types(of: key, tool: name)
                if syntax.keyEndTellsType {
                    expected = end == 0 ? [.string] : Set(JSONType.allCases).subtracting([.string])
                }
                sink.arguments((keyCount == 0 ? "" : ", ").bytes + JSONEscape.quoted(key.utf8) + ": ".bytes)
                keyCount += 1
                state = .beforeValue
            }
        case .beforeValue:
            if let open = syntax.valueOpen?.bytes {
                window.skipSpaces()
                switch window.match(open) {
                case .undecided: return .more
                case .no: return .malformed("a parameter without a value")
                case .yes: window.position += open.count
                }
            }
            isQuoted = false
            if syntax.mayBeCDATA {
                guard !window.isAtEnd || window.isFinal else { return .more }
                switch window.match(Self.quote) {
                case .undecided: return .more
                case .no: break
                case .yes:
                    isQuoted = true
                    window.position += Self.quote.count
                }
            }
            isLineStart = syntax.trimsLines
            value = []
            if expected == [.string] {
                sink.arguments("\"")
                state = .string
            } else {
                state = .value
            }
        case .string:
            var text: [UInt8] = []
            let isComplete = readValue(&window) { JSONEscape.append($0, to: &text) }
            sink.arguments(text)
            guard isComplete else { return .more }
            sink.arguments("\"")
            state = .body
        case .value:
            var text: [UInt8] = []
            let isComplete = readValue(&window) { text.append($0) }
            value += text
            guard isComplete else { return .more }
            let (json, isExact) = ToolTypes.json(value, types: expected)
            if !isExact { sink.warn(.repairedCall("\(key) is not of the type that the tool wants")) }
            sink.arguments(json)
            state = .body
        }
        return nil
    }

    private mutating func between(_ window: inout TextWindow) -> CallProgress? {
        window.skipSpaces()
        guard !window.isAtEnd else { return window.isFinal && count > 0 ? .done : .more }
        switch window.first(of: callOpens + sectionCloses) {
        case .undecided: return .more
        case .none: return count > 0 ? .done : .malformed("no call in the section")
        case .literal(let index):
            if index >= callOpens.count {
                window.position += sectionCloses[index - callOpens.count].count
                return count > 0 ? .done : .malformed("no call in the section")
            }
            window.position += callOpens[index].count
            state = .name
        }
        return nil
    }

    private mutating func body(_ window: inout TextWindow, into sink: inout AnswerSink) -> CallProgress? {
        window.skipSpaces()
        guard !window.isAtEnd else { return .more }
        switch window.first(of: [keyOpen, callClose] + sectionCloses) {
        case .undecided: return .more
        case .none: return .malformed("something else than a parameter")
        case .literal(0):
            window.position += keyOpen.count
            state = .key
        case .literal(let index):
            if index == 1 {
                window.position += callClose.count
            } else {
                sink.warn(.repairedCall("its closing tag is missing"))
            }
            sink.arguments("}")
            sink.end()
            count += 1
            window.mark = window.position
            state = .between
            // Where calls have no section around them, text goes on at once.
            if sectionCloses.isEmpty { return .done }
        }
        return nil
    }

    /// Gives a value's bytes up to its end. False: more must come first.
    private mutating func readValue(_ window: inout TextWindow, _ give: (UInt8) -> Void) -> Bool {
        let valueEnds = isQuoted ? quotedEnds : plainEnds
        while let byte = window.next {
            if byte == UInt8(ascii: "\n") || valueEnds.contains(where: { $0[0] == byte }) {
                switch window.first(of: valueEnds) {
                case .undecided: return false
                case .literal(let index):
                    // The same line's end cannot belong to both tags, but then there is nothing between them.
                    window.position += valueEnds[index].count
                    return true
                case .none: break
                }
                if isLineStart, byte == UInt8(ascii: "\n") {
                    isLineStart = false
                    window.position += 1
                    continue
                }
            }
            isLineStart = false
            give(byte)
            window.position += 1
        }
        return false
    }
}
