// SPDX-License-Identifier: Apache-2.0

import Glibc

/// Reads entries from a terminal: editing, history, search, completion, several lines, pasted text.
///
/// Of this project's own because libedit's readline interface, tried first, sends a pasted text line by line, cuts emoji of
/// several parts apart, and drops whatever is not ASCII in the C locale. Text is UTF-8 here in any locale.
package final class LineEditor {
    package struct Style: Sendable {
        package var prompt: String
        /// Before further lines of an entry.
        package var continuation: String
        /// An escape sequence for the prompt; empty: none.
        package var promptStyle: String

        package init(prompt: String, continuation: String, promptStyle: String) {
            self.prompt = prompt
            self.continuation = continuation
            self.promptStyle = promptStyle
        }
    }

    private let input: Int32
    private let output: Int32
    private let wakeup: Wakeup
    private let style: Style
    /// Texts that may stand in place of the one before the cursor.
    private let completions: (String) -> [String]
    package var history: History

    private var decoder = KeyDecoder()
    private var waiting: [Key] = []
    private var buffer = EditBuffer()
    private var screen: Screen
    /// In the history: its count is the new entry, which is kept in `draft` meanwhile.
    private var place = 0
    private var draft = ""
    /// The column that moving up and down aims at.
    private var goal: Int?
    private var search: HistorySearch?

    /// - Parameters:
    ///   - input: a terminal.
    ///   - output: the same one.
    package init(
        input: Int32, output: Int32, wakeup: Wakeup, style: Style, history: History,
        completions: @escaping (String) -> [String]
    ) {
        self.input = input
        self.output = output
        self.wakeup = wakeup
        self.style = style
        self.history = history
        self.completions = completions
        screen = Screen(descriptor: output, promptStyle: style.promptStyle)
    }

    /// Lets a person enter something. What was typed before is taken first.
    package func next() -> Entry {
        guard TerminalMode.raw.set(input) else { return .end }
        buffer = EditBuffer()
        (place, draft, goal, search) = (history.entries.count, "", nil, nil)
        screen = Screen(descriptor: output, promptStyle: style.promptStyle)
        screen.write("\u{1B}[?2004h")
        paint()
        let entry = edit()
        search = nil
        if case .text = entry { paint(atEnd: true) }
        screen.leave("\u{1B}[?2004l")
        TerminalMode.quiet.set(input)
        return entry
    }

    private func edit() -> Entry {
        while true {
            while !waiting.isEmpty {
                let key = waiting.removeFirst()
                if let entry = handle(key) { return entry }
                // Painting once is enough for all keys that are there.
                if waiting.isEmpty { paint() }
            }
            switch wakeup.wait(for: input, milliseconds: decoder.isWaiting ? 50 : -1) {
            case .event(.interrupt): return .interrupted(hadText: !buffer.isEmpty)
            case .event(.resize):
                screen.resize()
                paint()
            case .timeout:
                waiting += decoder.flush()
            case .failed: return .end
            case .input:
                var chunk = [UInt8](repeating: 0, count: 64 << 10)
                let count = chunk.withUnsafeMutableBytes { read(input, $0.baseAddress, $0.count) }
                if count > 0 {
                    waiting += decoder.append(chunk[..<count])
                } else if count == 0 || (errno != EINTR && errno != EAGAIN) {
                    return .end
                }
            }
        }
    }

    // MARK: Painting

    private func layout() -> EditLayout {
        EditLayout(
            prompt: search.map { "(history: \($0.query)) " } ?? style.prompt, continuation: style.continuation,
            characters: buffer.characters, cursor: buffer.cursor, width: screen.columns)
    }

    private func paint(atEnd: Bool = false) { screen.paint(layout(), atEnd: atEnd) }

    // MARK: Keys

    private func handle(_ key: Key) -> Entry? {
        if search != nil { return handleInSearch(key) }
        if key != .up && key != .down { goal = nil }
        switch key {
        case .text(let text): buffer.insert(text)
        case .paste(let text): buffer.insert(text.hasSuffix("\n") ? String(text.dropLast()) : text)
        case .enter: return enter()
        case .newline: buffer.insert("\n")
        case .left: buffer.moveLeft()
        case .right: buffer.moveRight()
        case .wordLeft: buffer.moveWordLeft()
        case .wordRight: buffer.moveWordRight()
        case .home: buffer.moveToLineStart()
        case .end: buffer.moveToLineEnd()
        case .up: moveRow(by: -1)
        case .down: moveRow(by: 1)
        case .previous: recall(place - 1)
        case .next: recall(place + 1)
        case .backspace: buffer.deleteBackward()
        case .delete: buffer.deleteForward()
        case .deleteWord: buffer.deleteWord()
        case .deleteWordForward: buffer.deleteWordForward()
        case .deleteToStart: buffer.deleteToStart()
        case .deleteToEnd: buffer.deleteToEnd()
        case .yank: buffer.yank()
        case .transpose: buffer.transpose()
        case .undo: buffer.undo()
        case .tab: complete()
        case .clearScreen: screen.clear()
        case .search: search = HistorySearch(before: buffer)
        case .interrupt:
            paint(atEnd: true)
            screen.write("^C")
            return .interrupted(hadText: !buffer.isEmpty)
        case .endOfFile:
            if buffer.isEmpty { return .end }
            buffer.deleteForward()
        case .suspend: suspend()
        case .escape, .other: break
        }
        return nil
    }

    private func enter() -> Entry? {
        // Only a text that ends where Enter was pressed can go on.
        switch Continuation.of(buffer.text) {
        case .complete: return .text(buffer.text)
        case .more(let drop):
            buffer.move(to: buffer.characters.count)
            for _ in 0..<drop { buffer.deleteBackward() }
            buffer.insert("\n")
            return nil
        }
    }

    /// Within the text first, then through the history.
    private func moveRow(by step: Int) {
        let layout = layout()
        let row = layout.cursorRow + step
        guard layout.rows.indices.contains(row) else {
            recall(place + step)
            return
        }
        let column = goal ?? layout.cursorColumn
        buffer.move(to: layout.index(row: row, column: column))
        goal = column
    }

    private func recall(_ index: Int) {
        guard (0...history.entries.count).contains(index), index != place else { return }
        if place == history.entries.count { draft = buffer.text }
        place = index
        buffer.set(index == history.entries.count ? draft : history.entries[index])
    }

    private func complete() {
        let before = buffer.beforeCursor
        let found = completions(before)
        guard let first = found.first else { return }
        let common = found.dropFirst().reduce(first) { $0.sharedPrefix(with: $1) }
        if common.count > before.count, common.hasPrefix(before) {
            buffer.insert(String(common.dropFirst(before.count)))
        } else if found.count > 1 {
            paint(atEnd: true)
            screen.leave()
            screen.write(found.joined(separator: "  "))
            screen.leave()
        }
    }

    private func suspend() {
        paint(atEnd: true)
        screen.leave("\u{1B}[?2004l")
        TerminalMode.original.set(input)
        kill(0, SIGTSTP)
        TerminalMode.raw.set(input)
        screen.resize()
        screen.write("\u{1B}[?2004h")
    }

    // MARK: Search

    /// - Returns: what to do when the search ended in an entry; nil to go on.
    private func handleInSearch(_ key: Key) -> Entry? {
        guard var search else { return nil }
        switch key {
        case .text(let text): search.extend(by: text)
        case .backspace: search.shorten()
        case .search: search.searchOlder()
        case .escape, .interrupt:
            buffer = search.before
            self.search = nil
            return nil
        default:
            self.search = nil
            place = search.found ?? place
            return handle(key)
        }
        search.find(in: history.entries)
        if let found = search.found { buffer.set(history.entries[found]) }
        self.search = search
        return nil
    }
}

extension String {
    func sharedPrefix(with other: String) -> String {
        String(zip(self, other).prefix { $0 == $1 }.map(\.0))
    }
}
