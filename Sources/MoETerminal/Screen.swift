// SPDX-License-Identifier: Apache-2.0

import Glibc

/// Paints the rows under edit, from the row where the prompt began. Uses nothing but moving up, the line's start and erasing
/// what follows: what every terminal of today knows.
struct Screen {
    private let descriptor: Int32
    /// The escape sequence that the prompt is written in; empty: none.
    let promptStyle: String
    /// Rows from the first painted one to the cursor.
    private var cursorRow = 0
    /// Of the rows painted last, and of the cursor's row up to the cursor: where they are after a change of size follows from these.
    private var widths: [Int] = []
    private var cursorColumn = 0
    private(set) var columns: Int
    private var height: Int
    /// The row of the layout that is painted first: all rows need not fit.
    private var top = 0

    init(descriptor: Int32, promptStyle: String) {
        self.descriptor = descriptor
        self.promptStyle = promptStyle
        (columns, height) = Self.size(descriptor)
    }

    private static func size(_ descriptor: Int32) -> (Int, Int) {
        let size = TerminalMode.size(descriptor)
        return (size?.columns ?? 80, size?.rows ?? 24)
    }

    /// Terminals wrap the rows that no longer fit.
    mutating func resize() {
        (columns, height) = Self.size(descriptor)
        let above = widths.prefix(cursorRow).reduce(0) { $0 + max(1, ($1 + columns - 1) / columns) }
        cursorRow = above + max(0, cursorColumn - 1) / columns
    }

    /// - Parameter atEnd: leave the cursor behind the last row.
    mutating func paint(_ layout: EditLayout, atEnd: Bool = false) {
        // One that holds the cursor.
        top = max(0, min(top, layout.rows.count - height))
        if layout.cursorRow < top { top = layout.cursorRow }
        if layout.cursorRow >= top + height { top = layout.cursorRow - height + 1 }
        let rows = layout.rows[top..<min(top + height, layout.rows.count)]

        var text = cursorRow > 0 ? "\u{1B}[\(cursorRow)A" : ""
        text += "\r\u{1B}[J"
        text += rows.map { styled($0.prefix) + $0.text }.joined(separator: "\r\n")
        cursorRow = atEnd ? rows.count - 1 : layout.cursorRow - top
        if !atEnd {
            let up = rows.count - 1 - cursorRow
            if up > 0 { text += "\u{1B}[\(up)A" }
            text += "\r" + styled(layout.rows[layout.cursorRow].prefix) + layout.cursorHead
        }
        widths = rows.map(\.width)
        cursorColumn = layout.cursorColumn
        write(text)
    }

    /// What is written next stands below, and is not painted over.
    mutating func leave(_ text: String = "") {
        write(text + "\r\n")
        (cursorRow, top, widths, cursorColumn) = (0, 0, [], 0)
    }

    mutating func clear() {
        write("\u{1B}[H\u{1B}[2J")
        (cursorRow, top, widths, cursorColumn) = (0, 0, [], 0)
    }

    private func styled(_ prefix: String) -> String {
        prefix.isEmpty || promptStyle.isEmpty ? prefix : promptStyle + prefix + "\u{1B}[0m"
    }

    func write(_ text: String) {
        var bytes = Array(text.utf8)[...]
        while !bytes.isEmpty {
            let count = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count > 0 {
                bytes = bytes.dropFirst(count)
            } else if errno != EINTR && errno != EAGAIN {
                return
            }
        }
    }
}
