// SPDX-License-Identifier: Apache-2.0

/// Reads text with blocks in it: passes content and reasoning on up to the next marker, and hands calls to their readers.
struct TextReader: Sendable {
    private let shape: AnswerFormat.TextShape
    private let types: ToolTypes
    private let contentMarkers: MarkerTable
    /// Of each kind of reasoning block.
    private let reasoningMarkers: [MarkerTable]
    /// Without markers, text passes through untouched.
    private let trims: Bool

    /// The kind of reasoning block that this is in, nil in content.
    private var reasoning: Int?
    private var call: (any CallReader)?
    /// Text up to here holds no marker and is white space from `position` on, or is held back with it.
    private var scanned = 0
    /// Nothing but white space came since the answer or the last block began.
    private var isBlockStart = true
    /// Nothing but white space came at all.
    private var isAnswerStart = true
    /// Empty lines at the beginning of a block are dropped.
    private var trimsLeading: Bool

    init(_ shape: AnswerFormat.TextShape, types: ToolTypes, startsInReasoning: Bool) {
        var shape = shape
        if types.names.isEmpty { shape.calls = [] }
        let calls = shape.calls.enumerated().flatMap { index, syntax in
            syntax.markers(types: types).map { MarkerTable.Marker($0.text, .call(syntax: index), $0.place) }
        }
        contentMarkers = MarkerTable(
            shape.reasoning.map { .init($0.open, .openReasoning, $0.place) }
                // Models close blocks that nobody opened.
                + shape.reasoning.map { .init($0.close, .drop, .blockStart) } + shape.dropped + calls)
        reasoningMarkers = shape.reasoning.map { kind in
            // A model may open the block that its prompt has opened already.
            MarkerTable(
                [.init(kind.close, .closeReasoning), .init(kind.open, .drop, .blockStart)]
                    + (shape.callsEndReasoning ? calls.filter { $0.place == .anywhere } : []))
        }
        (self.shape, self.types) = (shape, types)
        trims = !contentMarkers.markers.isEmpty
        reasoning = startsInReasoning && !shape.reasoning.isEmpty ? 0 : nil
        trimsLeading = !shape.reasoning.isEmpty
    }

    mutating func read(_ window: inout TextWindow, into sink: inout AnswerSink) {
        while true {
            if call != nil {
                guard readCall(&window, into: &sink) else { break }
            } else {
                guard readText(&window, into: &sink) else { break }
            }
        }
        scanned -= window.compact(keeping: call == nil ? window.position : window.mark)
    }

    // MARK: Text

    /// Passes text on up to a marker. False: more must come first.
    private mutating func readText(_ window: inout TextWindow, into sink: inout AnswerSink) -> Bool {
        let table = reasoning.map { reasoningMarkers[$0] } ?? contentMarkers
        // What is not white space ends here.
        var end = window.position
        while scanned < window.bytes.count {
            if window.bytes[scanned].isSpace {
                scanned += 1
                if !trims { end = scanned }
                continue
            }
            switch table.find(in: window, at: scanned, blockStart: isBlockStart, answerStart: isAnswerStart) {
            case .none:
                if isBlockStart { dropLeading(&window, upTo: scanned) }
                isBlockStart = false
                isAnswerStart = false
                scanned += 1
                end = scanned
            case .undecided:
                pass(&window, upTo: end, into: &sink)
                return false
            case .marker(let marker):
                pass(&window, upTo: end, into: &sink)
                enter(marker, &window)
                return true
            }
        }
        // At the very end, white space is content like any other, unless nothing else stood in its block.
        if window.isFinal, !isBlockStart || !trimsLeading { end = scanned }
        pass(&window, upTo: max(end, window.position), into: &sink)
        return false
    }

    private mutating func pass(_ window: inout TextWindow, upTo end: Int, into sink: inout AnswerSink) {
        guard end > window.position else { return }
        let text = window.text(window.position..<end)
        if reasoning != nil { sink.reasoning(text) } else { sink.content(text) }
        window.position = end
    }

    /// Drops the empty lines that a block begins with; of a line that is not empty, only a space that follows a marker directly.
    private mutating func dropLeading(_ window: inout TextWindow, upTo end: Int) {
        guard trimsLeading else { return }
        let run = window.bytes[window.position..<end]
        window.position = run.lastIndex(where: \.isNewline).map { $0 + 1 } ?? end
    }

    private mutating func enter(_ marker: MarkerTable.Marker, _ window: inout TextWindow) {
        let before = window.position
        let after = scanned + marker.bytes.count
        isBlockStart = true
        switch marker.action {
        case .call(let syntax):
            // The white space before it is a part of it, in case that it is none.
            window.mark = before
            window.position = scanned
            call = shape.calls[syntax].reader(types: types, marker: marker.bytes)
            return
        case .openReasoning:
            reasoning = shape.reasoning.firstIndex { Array($0.open.utf8) == marker.bytes }
        case .closeReasoning: reasoning = nil
        case .drop: break
        }
        trimsLeading = true
        window.position = after
        scanned = after
        isAnswerStart = false
    }

    // MARK: Calls

    private mutating func readCall(_ window: inout TextWindow, into sink: inout AnswerSink) -> Bool {
        let progress = call!.read(&window, into: &sink)
        switch progress {
        case .more:
            guard window.isFinal else { return false }
            sink.abandon()
            sink.warn(.unfinishedCall)
            window.position = window.bytes.count
        case .malformed(let why):
            sink.abandon()
            sink.warn(.malformedCall(why))
        case .done, .text: break
        }
        if progress == .done {
            reasoning = nil
            isBlockStart = true
            trimsLeading = true
        } else {
            let end = window.position
            window.position = window.mark
            pass(&window, upTo: end, into: &sink)
            isBlockStart = false
        }
        isAnswerStart = false
        call = nil
        scanned = window.position
        return true
    }
}
