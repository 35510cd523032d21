// SPDX-License-Identifier: Apache-2.0

/// Reads one call or one section of calls, as far as the window goes; asked again when more has come.
protocol CallReader: Sendable {
    /// Takes bytes from the window's position on. Begins at the marker that opened the call.
    mutating func read(_ window: inout TextWindow, into sink: inout AnswerSink) -> CallProgress
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
