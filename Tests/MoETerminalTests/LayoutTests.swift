// SPDX-License-Identifier: Apache-2.0

import MoETerminal
import Testing

/// Rows and columns: a wrong width puts the cursor beside the character that it changes.
@Suite struct LayoutTests {
    @Test(
        arguments: [
            ("a", 1), ("漢", 2), ("한", 2), ("ｱ", 1), ("Ａ", 2), ("e\u{301}", 1), ("👍", 2), ("👍🏽", 2), ("👨‍👩‍👧", 2), ("🇩🇪", 2),
            ("❤️", 2),
            ("\u{1112}\u{1161}\u{11AB}", 2), ("\u{200B}", 0), ("é", 1), ("बि", 2), ("1️⃣", 2), ("\u{20000}", 2), ("©", 1),
        ] as [(Character, Int)]) func widths(character: Character, width: Int)
    {
        #expect(DisplayWidth.of(character) == width)
    }

    @Test func rowsAreCutWhereTheyAreFull() {
        let layout = EditLayout(prompt: "> ", continuation: ". ", characters: Array("abcdefgh"), cursor: 8, width: 6)
        #expect(layout.rows.map(\.text) == ["abcd", "efgh"])
        #expect(layout.rows.map(\.prefix) == ["> ", ""])
        #expect((layout.cursorRow, layout.cursorColumn) == (1, 4))
        // A full last row: the cursor has a row of its own.
        let full = EditLayout(prompt: "> ", continuation: ". ", characters: Array("abcd"), cursor: 4, width: 6)
        #expect(full.rows.map(\.text) == ["abcd", ""])
        #expect((full.cursorRow, full.cursorColumn) == (1, 0))
    }

    /// A character of two columns never straddles the edge.
    @Test func wideCharactersGoToTheNextRowWhole() {
        let layout = EditLayout(prompt: "> ", continuation: ". ", characters: Array("a漢字"), cursor: 2, width: 6)
        #expect(layout.rows.map(\.text) == ["a漢", "字"])
        #expect((layout.cursorRow, layout.cursorColumn, layout.cursorHead) == (1, 0, ""))
    }

    @Test func linesHaveAPromptOfTheirOwn() {
        let layout = EditLayout(prompt: "> ", continuation: ". ", characters: Array("ab\n\ncd"), cursor: 3, width: 20)
        #expect(layout.rows.map { $0.prefix + $0.text } == ["> ab", ". ", ". cd"])
        #expect((layout.cursorRow, layout.cursorColumn) == (1, 2))
        #expect(layout.index(row: 0, column: 9) == 2 && layout.index(row: 2, column: 3) == 5)
    }

    @Test func controlCharactersAreShownNotSent() {
        let layout = EditLayout(
            prompt: "", continuation: "", characters: Array("a\u{1B}[31m\u{9B}\u{202E}b"), cursor: 0, width: 40)
        #expect(layout.rows[0].text == "a^[[31m??b")
        #expect("x\u{1B}]0;t\u{7}\u{9B}2J\ny\u{202E}".withoutControls == "x?]0;t??2J\ny?")
    }

    @Test(arguments: [
        ("one", Continuation.complete), ("one\\", .more(drop: 1)), ("one\\\\", .complete), ("\"\"\"a", .more(drop: 0)),
        ("\"\"\"a\nb\"\"\"", .complete), ("\"\"\"", .more(drop: 0)), ("\"\"\"\"\"\"", .complete),
        ("say \"\"\"x", .complete),
    ]) func continuation(text: String, expected: Continuation) {
        #expect(Continuation.of(text) == expected)
    }

    @Test func quotesAreTakenOff() {
        #expect(Continuation.content("\"\"\"\na\n b\n\"\"\" ") == "a\n b")
        #expect(Continuation.content("\"\"\"a\"\"\"") == "a")
        #expect(Continuation.content("\"\"\"a") == "\"\"\"a")
        #expect(Continuation.content("a \"\"\"") == "a \"\"\"")
    }
}
