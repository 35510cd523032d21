// SPDX-License-Identifier: Apache-2.0

/// Reads one call or one section of calls, as far as the window goes; asked again when more has come.
protocol CallReader: Sendable {
    /// Takes bytes from the window's position on. Begins at the marker that opened the call.
    mutating func read(_ window: inout TextWindow, into sink: inout AnswerSink) -> CallProgress
}

/// A reader that goes from state to state.
protocol SteppedCallReader: CallReader {
    /// - Returns: nil where there may be more to do.
    mutating func step(_ window: inout TextWindow, into sink: inout AnswerSink) -> CallProgress?
    /// Whether what was read so far is a guess: if no more comes it was text, and never a call.
    var mayBeText: Bool { get }
}

extension SteppedCallReader {
    var mayBeText: Bool { false }

    mutating func read(_ window: inout TextWindow, into sink: inout AnswerSink) -> CallProgress {
        while true {
            guard let progress = step(&window, into: &sink) else { continue }
            guard progress == .more, window.isFinal, mayBeText else { return progress }
            window.position = window.bytes.count
            return .text
        }
    }
}

enum CallProgress: Sendable, Equatable {
    /// Everything that could be taken is taken.
    case more
    /// The call or section is complete; text goes on at the window's position.
    case done
    /// What follows the last complete call is none. All from there to the window's position is text.
    case malformed(String)
    /// This never was a call: it is text, and nobody needs a warning.
    case text
}
