// SPDX-License-Identifier: Apache-2.0

/// The text under edit: characters as people see them, and the place of the cursor among them. Pure, so that every key's
/// meaning can be tested without a terminal.
package struct EditBuffer: Equatable {
    package private(set) var characters: [Character] = []
    /// Before this character: 0 to the count.
    package private(set) var cursor = 0
    /// What was deleted last by a key that deletes much.
    private var killed: [Character] = []
    private var past: [State] = []

    private struct State: Equatable {
        var characters: [Character]
        var cursor: Int
    }

    package init(_ text: String = "") {
        characters = Array(text)
        cursor = characters.count
    }

    package var text: String { String(characters) }
    package var isEmpty: Bool { characters.isEmpty }
    package var beforeCursor: String { String(characters[..<cursor]) }

    /// Replaces everything; the cursor goes to the end.
    package mutating func set(_ text: String) {
        remember()
        characters = Array(text)
        cursor = characters.count
    }

    // MARK: Changes

    /// At the cursor. A mark that belongs to the character before it joins that.
    package mutating func insert(_ text: String) {
        guard !text.isEmpty else { return }
        remember()
        let start = max(0, cursor - 1)
        let head = Array(String(characters[start..<cursor]) + text)
        var end = cursor
        var new = head
        // A mark behind the cursor may join as well.
        if end < characters.count, let last = head.last {
            let joined = Array(String([last, characters[end]]))
            if joined.count == 1 {
                new = head.dropLast() + joined
                end += 1
            }
        }
        characters.replaceSubrange(start..<end, with: new)
        cursor = start + new.count
    }

    package mutating func deleteBackward() { if cursor > 0 { remove(cursor - 1..<cursor) } }
    package mutating func deleteForward() { if cursor < characters.count { remove(cursor..<cursor + 1) } }

    package mutating func deleteWord() { kill(wordStart..<cursor) }
    package mutating func deleteWordForward() { kill(cursor..<wordEnd) }
    package mutating func deleteToStart() { kill(lineStart..<cursor) }
    /// To the line's end; at the end, the line break.
    package mutating func deleteToEnd() {
        kill(cursor..<(lineEnd == cursor ? min(cursor + 1, characters.count) : lineEnd))
    }

    package mutating func yank() { insert(String(killed)) }

    /// Swaps the two characters around the cursor; at the end, the last two.
    package mutating func transpose() {
        let right = cursor == characters.count ? cursor - 1 : cursor
        guard right > 0 else { return }
        remember()
        characters.swapAt(right - 1, right)
        cursor = right + 1
    }

    package mutating func undo() {
        guard let state = past.popLast() else { return }
        (characters, cursor) = (state.characters, state.cursor)
    }

    private mutating func kill(_ range: Range<Int>) {
        guard !range.isEmpty else { return }
        killed = Array(characters[range])
        remove(range)
    }

    private mutating func remove(_ range: Range<Int>) {
        remember()
        // What was apart may join now: as one character from here on.
        let (left, right) = (characters[..<range.lowerBound].suffix(1), characters[range.upperBound...].prefix(1))
        let joined = Array(String(left + right))
        characters.replaceSubrange(range.lowerBound - left.count..<range.upperBound + right.count, with: joined)
        cursor = range.lowerBound - left.count + min(left.count, joined.count)
    }

    private mutating func remember() {
        past.append(State(characters: characters, cursor: cursor))
        if past.count > 200 { past.removeFirst(100) }
    }

    // MARK: Places

    package mutating func moveLeft() { cursor = max(0, cursor - 1) }
    package mutating func moveRight() { cursor = min(characters.count, cursor + 1) }
    package mutating func moveWordLeft() { cursor = wordStart }
    package mutating func moveWordRight() { cursor = wordEnd }
    package mutating func moveToLineStart() { cursor = lineStart }
    package mutating func moveToLineEnd() { cursor = lineEnd }
    package mutating func move(to index: Int) { cursor = max(0, min(characters.count, index)) }

    private var lineStart: Int {
        characters[..<cursor].lastIndex(where: \.isNewline).map { $0 + 1 } ?? 0
    }

    private var lineEnd: Int { characters[cursor...].firstIndex(where: \.isNewline) ?? characters.count }

    private static func isWord(_ character: Character) -> Bool { character.isLetter || character.isNumber }

    private var wordStart: Int {
        var index = cursor
        while index > 0, !Self.isWord(characters[index - 1]) { index -= 1 }
        while index > 0, Self.isWord(characters[index - 1]) { index -= 1 }
        return index
    }

    private var wordEnd: Int {
        var index = cursor
        while index < characters.count, !Self.isWord(characters[index]) { index += 1 }
        while index < characters.count, Self.isWord(characters[index]) { index += 1 }
        return index
    }
}
