// SPDX-License-Identifier: Apache-2.0

import MoETerminal
import Testing

/// Bytes of a terminal, in any pieces.
@Suite struct KeyDecoderTests {
    static let cases: [(String, [Key])] = [
        ("hi\r", [.text("hi"), .enter]),
        ("漢e\u{301}👨‍👩‍👧", [.text("漢e\u{301}👨‍👩‍👧")]),
        ("\u{1B}[A\u{1B}OB\u{1B}[1;5D\u{1B}[3~\u{1B}[H", [.up, .down, .wordLeft, .delete, .home]),
        ("\u{1B}\r\u{1B}b\u{1B}[13;2u", [.newline, .wordLeft, .newline]),
        ("\u{1B}[200~a\r\nb\u{1B}[31m\tc\u{1B}[201~x", [.paste("a\nb[31m\tc"), .text("x")]),
        ("\u{3}\u{4}\u{12}\u{7F}", [.interrupt, .endOfFile, .search, .backspace]),
        ("\u{1B}[999;999Zq", [.other, .text("q")]),
    ]

    @Test(arguments: cases.indices) func keys(index: Int) {
        let (text, keys) = Self.cases[index]
        var decoder = KeyDecoder()
        #expect(decoder.append(text.utf8) == keys)
    }

    /// The system may give a sequence in pieces; whatever the cuts, the keys are the same.
    @Test(arguments: cases.indices) func pieces(index: Int) {
        let (text, keys) = Self.cases[index]
        for size in 1...5 {
            var decoder = KeyDecoder()
            var found: [Key] = []
            let bytes = Array(text.utf8)
            for start in stride(from: 0, to: bytes.count, by: size) {
                for key in decoder.append(bytes[start..<min(start + size, bytes.count)]) {
                    if case .text(let new) = key, case .text(let old)? = found.last {
                        found[found.count - 1] = .text(old + new)
                    } else {
                        found.append(key)
                    }
                }
            }
            #expect(found == keys, "\(size)")
        }
    }

    @Test func aLoneEscapeIsAKeyAfterAWhile() {
        var decoder = KeyDecoder()
        #expect(decoder.append([0x1B]) == [] && decoder.isWaiting)
        #expect(decoder.flush() == [.escape] && !decoder.isWaiting)
        #expect(decoder.append([0x1B, UInt8(ascii: "[")]) == [])
        #expect(decoder.flush() == [.escape, .text("[")])
    }

    @Test func bytesThatAreNoTextAreLeftOut() {
        var decoder = KeyDecoder()
        #expect(decoder.append([0x61, 0xFF, 0xC3, 0x28, 0xE2, 0x82]) == [.text("a(")])
        #expect(decoder.append([0xAC]) == [.text("€")])
        #expect(decoder.append([0xC3]) == [])
        #expect(decoder.append([0x0D]) == [.enter])
    }

    @Test(arguments: 0..<50) func anyBytesEnd(seed: UInt64) {
        var state = seed &+ 99
        var decoder = KeyDecoder()
        for _ in 0..<50 {
            var bytes: [UInt8] = []
            for _ in 0..<20 {
                state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                bytes.append(
                    [0x1B, 0x5B, 0x3B, 0x7E, UInt8(truncatingIfNeeded: state >> 40), 0xE2, 0x0D][Int(state >> 33) % 7])
            }
            for key in decoder.append(bytes) + decoder.flush() {
                if case .text(let text) = key {
                    #expect(!text.isEmpty && text.unicodeScalars.allSatisfy { $0.value >= 0x20 })
                }
            }
        }
    }
}
