// SPDX-License-Identifier: Apache-2.0

/// Breaks a stream of text between words where a terminal would break within them. Lines of code (between lines that begin
/// with three backquotes) are left alone, so that they can be copied.
package struct WordWrapper {
    /// The terminal's columns; nil: nothing is broken.
    package var width: Int?
    /// Of the line under way, what is out already.
    private var column = 0
    /// Spaces that are left out if the line is broken after them, and the word that follows: it may go on.
    private var spaces = ""
    private var word = ""
    private var wordWidth = 0
    private var isCode = false
    /// The first characters of the line, as far as they may be the mark of code.
    private var lineStart: String? = ""

    package init(width: Int?) { self.width = width }

    package mutating func append(_ text: String) -> String {
        guard width != nil else { return text }
        var result = ""
        for character in text { take(character, into: &result) }
        return result
    }

    /// The word under way.
    package mutating func finish() -> String {
        var result = ""
        flush(into: &result)
        (column, lineStart, isCode) = (0, "", false)
        return result
    }

    private mutating func take(_ character: Character, into result: inout String) {
        if character.isNewline {
            flush(into: &result)
            result += "\n"
            (column, lineStart) = (0, "")
            return
        }
        noteLineStart(character)
        if isCode {
            flush(into: &result)
            result.append(character)
            column += DisplayWidth.of(character)
        } else if character == " " || character == "\t" {
            if !word.isEmpty { flush(into: &result) }
            spaces.append(character)
        } else {
            let columns = DisplayWidth.of(character)
            // Scripts without spaces break anywhere.
            if columns > 1 { flush(into: &result) }
            word.append(character)
            wordWidth += columns
            if columns > 1 { flush(into: &result) }
        }
    }

    private mutating func noteLineStart(_ character: Character) {
        guard var start = lineStart else { return }
        if start.isEmpty, character == " " { return }
        start.append(character)
        if start == "```" { isCode.toggle() }
        lineStart = start.allSatisfy { $0 == "`" } && start.count < 3 ? start : nil
    }

    private mutating func flush(into result: inout String) {
        defer { (spaces, word, wordWidth) = ("", "", 0) }
        guard !word.isEmpty else {
            result += spaces
            column += spaces.count
            return
        }
        guard let width else { return }
        if column > 0, column + spaces.count + wordWidth > width {
            result += "\n" + word
            column = wordWidth
        } else {
            result += spaces + word
            column += spaces.count + wordWidth
        }
        // The terminal breaks a word that is longer than a line.
        if column > width { column = (column - 1) % width + 1 }
    }
}
