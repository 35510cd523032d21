// SPDX-License-Identifier: Apache-2.0

/// What came of asking for an entry: one or several lines.
package enum Entry: Equatable, Sendable {
    case text(String)
    /// Ctrl-C.
    case interrupted(hadText: Bool)
    /// Ctrl-D, or the end of the input.
    case end
}

/// Whether a text that was ended by Enter is whole.
package enum Continuation: Equatable, Sendable {
    case complete
    /// More lines follow; so many of its last characters only said so.
    case more(drop: Int)

    /// A line that ends in a backslash goes on; a text that begins with `"""` goes on until another one ends it.
    package static func of(_ text: String) -> Continuation {
        if text.hasPrefix(quotes) {
            let rest = text.dropFirst(quotes.count)
            return trimmedEnd(rest).hasSuffix(quotes) ? .complete : .more(drop: 0)
        }
        let backslashes = text.reversed().prefix { $0 == "\\" }.count
        return backslashes % 2 == 1 ? .more(drop: 1) : .complete
    }

    /// A whole text without the quotes around it.
    package static func content(_ text: String) -> String {
        guard text.hasPrefix(quotes) else { return text }
        var rest = trimmedEnd(text.dropFirst(quotes.count))
        guard rest.hasSuffix(quotes) else { return text }
        rest = rest.dropLast(quotes.count)
        if rest.first == "\n" { rest = rest.dropFirst() }
        if rest.last == "\n" { rest = rest.dropLast() }
        return String(rest)
    }

    private static let quotes = "\"\"\""

    private static func trimmedEnd(_ text: Substring) -> Substring {
        text.lastIndex { !$0.isWhitespace }.map { text[...$0] } ?? ""
    }
}
