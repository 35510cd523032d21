// SPDX-License-Identifier: Apache-2.0

/// Text under edit, cut into the rows of a terminal. Every row fits; nothing is left to the terminal's own wrapping, whose
/// last column differs between terminals.
package struct EditLayout: Equatable {
    package struct Row: Equatable {
        /// A prompt, or nothing.
        package var prefix: String
        /// What is printed after it.
        package var text: String
        /// Columns that both take.
        package var width: Int
        /// The characters of the buffer that start here, and where each begins.
        package var first: Int
        package var columns: [Int]
    }

    package private(set) var rows: [Row]
    package private(set) var cursorRow = 0
    /// The cursor's row up to the cursor, without prefix: printed again, it puts the cursor in its place whatever the terminal thinks that a
    /// character's width is.
    package private(set) var cursorHead = ""
    package private(set) var cursorColumn = 0

    /// - Parameters:
    ///   - prompt: before the first row.
    ///   - continuation: before each line after the first.
    ///   - width: the terminal's columns.
    package init(prompt: String, continuation: String, characters: [Character], cursor: Int, width: Int) {
        let width = max(width, 4)
        func start(_ text: String, first: Int) -> Row {
            // A prompt that leaves no room is left out.
            let columns = DisplayWidth.of(text)
            return columns + 2 > width
                ? Row(prefix: "", text: "", width: 0, first: first, columns: [])
                : Row(prefix: text, text: "", width: columns, first: first, columns: [])
        }
        var row = start(prompt, first: 0)
        rows = []
        func isHere(_ index: Int) -> Bool { index == cursor }
        for (index, character) in characters.enumerated() {
            if character.isNewline {
                if isHere(index) { (cursorRow, cursorColumn, cursorHead) = (rows.count, row.width, row.text) }
                row.columns.append(row.width)
                rows.append(row)
                row = start(continuation, first: index + 1)
                continue
            }
            var (shown, columns) = Self.shown(character)
            if columns > width { (shown, columns) = ("?", 1) }
            if row.width + columns > width {
                rows.append(row)
                row = Row(prefix: "", text: "", width: 0, first: index, columns: [])
            }
            if isHere(index) { (cursorRow, cursorColumn, cursorHead) = (rows.count, row.width, row.text) }
            row.columns.append(row.width)
            row.text += shown
            row.width += columns
        }
        if isHere(characters.count) {
            if row.width >= width {
                rows.append(row)
                row = Row(prefix: "", text: "", width: 0, first: characters.count, columns: [])
            }
            (cursorRow, cursorColumn, cursorHead) = (rows.count, row.width, row.text)
        }
        rows.append(row)
    }

    /// A control character as people know it, a tab as spaces.
    private static func shown(_ character: Character) -> (String, Int) {
        if character == "\t" { return ("    ", 4) }
        if let value = character.unicodeScalars.first?.value, character.unicodeScalars.count == 1 {
            if value < 0x20 { return ("^" + String(UnicodeScalar(UInt8(value + 0x40))), 2) }
            if 0x7F..<0xA0 ~= value { return ("?", 1) }
        }
        let text = String(character).withoutControls
        return (text, DisplayWidth.of(character))
    }

    /// The place in the text that is in `row` at, or before, `column`.
    package func index(row: Int, column: Int) -> Int {
        let row = rows[row]
        let place = row.columns.lastIndex { $0 <= column } ?? 0
        return row.first + place
    }
}
