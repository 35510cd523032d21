// SPDX-License-Identifier: Apache-2.0

import MoETerminal
import Testing

/// Answers on a screen.
@Suite struct WordWrapperTests {
    private func wrapped(_ text: String, width: Int?, piece: Int = .max) -> String {
        var wrapper = WordWrapper(width: width)
        var result = ""
        let characters = Array(text)
        for start in stride(from: 0, to: characters.count, by: min(piece, characters.count)) {
            result += wrapper.append(
                String(characters[start..<min(start + min(piece, characters.count), characters.count)]))
        }
        return result + wrapper.finish()
    }

    static let cases: [(String, String)] = [
        ("one two three four", "one two\nthree four"),
        ("exactly ten", "exactly\nten"),
        ("abcdefghij klm", "abcdefghij\nklm"),
        ("abcdefghijklm no", "abcdefghijklm no"),
        ("a  b\n\n  c", "a  b\n\n  c"),
        ("漢字漢字漢字漢字", "漢字漢字漢\n字漢字"),
        ("x\n```\nlet a = b + c + d\n```\nand words again", "x\n```\nlet a = b + c + d\n```\nand words\nagain"),
        ("- `a` b c d e f", "- `a` b c\nd e f"),
    ]

    /// However the text comes in pieces, it is the same on the screen, and nothing but spaces became line breaks.
    @Test(arguments: cases.indices) func words(index: Int) {
        let (text, expected) = Self.cases[index]
        for piece in [1, 2, 3, 7, 100] { #expect(wrapped(text, width: 10, piece: piece) == expected) }
        #expect(wrapped(text, width: nil, piece: 3) == text)
        #expect(expected.filter { !$0.isWhitespace } == text.filter { !$0.isWhitespace })
    }
}
