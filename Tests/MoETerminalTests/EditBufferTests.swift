// SPDX-License-Identifier: Apache-2.0

import MoETerminal
import Testing

/// What keys do to text: a wrong place of the cursor is not seen until somebody sends a message that he did not write.
@Suite struct EditBufferTests {
    @Test func insertionAndDeletionGoByCharactersThatPeopleSee() {
        var buffer = EditBuffer("日本👨‍👩‍👧e\u{301}")
        #expect(buffer.characters.count == 4)
        buffer.deleteBackward()
        buffer.deleteBackward()
        #expect(buffer.text == "日本")
        buffer.moveLeft()
        buffer.insert("x")
        #expect(buffer.text == "日x本" && buffer.cursor == 2)
    }

    /// Keyboards and input methods send the parts one after the other.
    @Test func partsThatArriveLaterJoin() {
        var buffer = EditBuffer("e")
        buffer.insert("\u{301}")
        #expect(buffer.characters.count == 1 && buffer.cursor == 1)
        buffer.insert("👩")
        buffer.insert("\u{200D}")
        buffer.insert("👧")
        #expect(buffer.characters.count == 2 && buffer.cursor == 2)
        buffer.deleteBackward()
        #expect(buffer.text == "e\u{301}")
    }

    /// A deletion that brings two parts of one character together must not leave the cursor inside it.
    @Test func deletionJoinsWhatWasApart() {
        var buffer = EditBuffer("🇩x🇪")
        buffer.move(to: 2)
        buffer.deleteBackward()
        #expect(buffer.characters == ["🇩🇪"] && buffer.cursor <= 1)
    }

    @Test func wordsAndLines() {
        var buffer = EditBuffer("one two\nthree, four")
        buffer.deleteWord()
        #expect(buffer.text == "one two\nthree, ")
        buffer.moveToLineStart()
        #expect(buffer.cursor == 8)
        buffer.deleteToEnd()
        #expect(buffer.text == "one two\n")
        buffer.yank()
        #expect(buffer.text == "one two\nthree, ")
        buffer.move(to: 0)
        buffer.moveWordRight()
        #expect(buffer.cursor == 3)
        buffer.deleteToStart()
        #expect(buffer.text == " two\nthree, ")
        buffer.undo()
        #expect(buffer.text == "one two\nthree, " && buffer.cursor == 3)
        buffer.transpose()
        #expect(buffer.text == "on etwo\nthree, " && buffer.cursor == 4)
    }

    @Test(arguments: 0..<40) func randomKeysKeepTheCursorInTheText(seed: Int) {
        var state = UInt64(seed + 1)
        func random(_ n: Int) -> Int {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int(state >> 33) % n
        }
        let texts = ["a", " ", "\n", "漢", "\u{301}", "👨", "\u{200D}", "🇩", "\u{1F3FD}", "\r", "한", "\u{1161}", "बि"]
        var buffer = EditBuffer()
        for _ in 0..<300 {
            switch random(14) {
            case 0...4: buffer.insert(texts[random(texts.count)])
            case 5: buffer.moveLeft()
            case 6: buffer.moveRight()
            case 7: buffer.deleteBackward()
            case 8: buffer.deleteForward()
            case 9: buffer.deleteWord()
            case 10: buffer.moveWordLeft()
            case 11: buffer.deleteToEnd()
            case 12: buffer.transpose()
            default: buffer.undo()
            }
            #expect((0...buffer.characters.count).contains(buffer.cursor))
            let width = 4 + random(10)
            let layout = EditLayout(
                prompt: "> ", continuation: ". ", characters: buffer.characters, cursor: buffer.cursor, width: width)
            #expect(layout.rows.indices.contains(layout.cursorRow) && layout.cursorColumn <= width)
            #expect(layout.rows.allSatisfy { $0.width <= width && $0.first + $0.columns.count <= buffer.characters.count })
            #expect(layout.rows.map(\.columns.count).reduce(0, +) == buffer.characters.count)
        }
    }
}
