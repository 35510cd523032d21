// SPDX-License-Identifier: Apache-2.0

/// What a person did at the keyboard.
package enum Key: Equatable, Sendable {
    case text(String)
    /// Everything between the brackets that a terminal puts around pasted text.
    case paste(String)
    case enter
    /// A line's end that does not send the text: Alt-Enter.
    case newline
    case left, right, up, down, home, end
    case wordLeft, wordRight
    case backspace, delete
    case deleteWord, deleteWordForward, deleteToStart, deleteToEnd
    case yank, transpose, undo
    case tab, clearScreen, search, escape
    case previous, next
    case interrupt, endOfFile, suspend
    /// A key without a meaning here.
    case other
}

/// Bytes of a terminal to keys. Bytes may come in any pieces.
package struct KeyDecoder {
    private var pending: [UInt8] = []
    /// The text of a paste whose end has not come yet.
    private var pasted: [UInt8]?

    /// No more than this of one paste is kept.
    package static let pasteLimit = 4 << 20
    package init() {}

    private static let pasteEnd = Array("\u{1B}[201~".utf8)

    /// Whether an escape sequence has begun that may as well be the escape key.
    package var isWaiting: Bool { pasted == nil && pending.first == 0x1B }

    package mutating func append(_ bytes: some Sequence<UInt8>) -> [Key] {
        pending += bytes
        var keys: [Key] = []
        while let key = next() { keys.append(key) }
        return keys
    }

    /// What was begun, when nothing follows for a while.
    package mutating func flush() -> [Key] {
        guard isWaiting else { return [] }
        let rest = pending.dropFirst()
        pending = []
        return [.escape] + append(Array(rest))
    }

    private mutating func next() -> Key? {
        if pasted != nil { return nextOfPaste() }
        guard let first = pending.first else { return nil }
        if first == 0x1B { return nextOfEscape() }
        if let key = Self.controls[first] {
            pending.removeFirst()
            return key
        }
        if first < 0x20 {
            pending.removeFirst()
            return .other
        }
        return nextOfText()
    }

    private static let controls: [UInt8: Key] = [
        0x01: .home, 0x02: .left, 0x03: .interrupt, 0x04: .endOfFile, 0x05: .end, 0x06: .right, 0x07: .escape,
        0x08: .backspace, 0x09: .tab, 0x0A: .enter, 0x0B: .deleteToEnd, 0x0C: .clearScreen, 0x0D: .enter, 0x0E: .next,
        0x10: .previous, 0x12: .search, 0x14: .transpose, 0x15: .deleteToStart, 0x17: .deleteWord, 0x19: .yank,
        0x1A: .suspend, 0x1F: .undo, 0x7F: .backspace,
    ]

    /// As many whole characters as there are; a byte that begins none is left out.
    private mutating func nextOfText() -> Key? {
        var end = 0
        while end < pending.count, pending[end] >= 0x20, pending[end] != 0x7F {
            let length = Self.length(pending[end])
            if end + length > pending.count {
                // Wait for the rest, unless what is there cannot be continued.
                if pending[(end + 1)...].allSatisfy({ $0 & 0xC0 == 0x80 }) { break }
                pending.remove(at: end)
                continue
            }
            if String(validating: pending[end..<end + length], as: UTF8.self) == nil {
                pending.remove(at: end)
            } else {
                end += length
            }
        }
        guard end > 0 else { return pending.first.map { $0 < 0x20 || $0 == 0x7F } == true ? next() : nil }
        defer { pending.removeFirst(end) }
        return .text(String(decoding: pending[..<end], as: UTF8.self))
    }

    private static func length(_ first: UInt8) -> Int {
        switch first {
        case 0xC2...0xDF: 2
        case 0xE0...0xEF: 3
        case 0xF0...0xF4: 4
        default: 1
        }
    }

    // MARK: Escape sequences

    private mutating func nextOfEscape() -> Key? {
        guard pending.count > 1 else { return nil }
        switch pending[1] {
        case UInt8(ascii: "["): return nextOfControlSequence()
        case UInt8(ascii: "O"):
            guard pending.count > 2 else { return nil }
            defer { pending.removeFirst(3) }
            return Self.finals[pending[2]] ?? .other
        case 0x1B:
            pending.removeFirst()
            return .escape
        default:
            defer { pending.removeFirst(2) }
            return Self.alternates[pending[1]] ?? .other
        }
    }

    private static let alternates: [UInt8: Key] = [
        0x0A: .newline, 0x0D: .newline, UInt8(ascii: "b"): .wordLeft, UInt8(ascii: "f"): .wordRight,
        UInt8(ascii: "d"): .deleteWordForward, 0x7F: .deleteWord, 0x08: .deleteWord,
    ]
    private static let finals: [UInt8: Key] = [
        UInt8(ascii: "A"): .up, UInt8(ascii: "B"): .down, UInt8(ascii: "C"): .right, UInt8(ascii: "D"): .left,
        UInt8(ascii: "H"): .home, UInt8(ascii: "F"): .end,
    ]
    private static let numbers: [Int: Key] = [1: .home, 3: .delete, 4: .end, 7: .home, 8: .end]

    /// `ESC [ numbers final`
    private mutating func nextOfControlSequence() -> Key? {
        guard let end = pending[2...].firstIndex(where: { !(0x20...0x3F).contains($0) }) else {
            // Longer than any that a terminal sends.
            if pending.count > 64 {
                pending = []
                return .other
            }
            return nil
        }
        let final = pending[end]
        let numbers = pending[2..<end].split(separator: UInt8(ascii: ";"), omittingEmptySubsequences: false)
            .map { Int(String(decoding: $0, as: UTF8.self)) ?? 0 }
        // A byte that ends no sequence (a control key) is a key of its own.
        pending.removeFirst((0x40...0x7E).contains(final) ? end + 1 : end)
        let isModified = numbers.count > 1 && numbers[1] > 1
        switch (final, numbers.first ?? 0) {
        case (UInt8(ascii: "~"), 200):
            pasted = []
            return nextOfPaste()
        case (UInt8(ascii: "C"), _) where isModified: return .wordRight
        case (UInt8(ascii: "D"), _) where isModified: return .wordLeft
        case (UInt8(ascii: "~"), 3) where isModified: return .deleteWordForward
        case (UInt8(ascii: "~"), let number): return Self.numbers[number] ?? .other
        // Enter with a modifier, from terminals that tell.
        case (UInt8(ascii: "u"), 13): return isModified ? .newline : .enter
        default: return Self.finals[final] ?? .other
        }
    }

    private mutating func nextOfPaste() -> Key? {
        let start = pending.firstRange(of: Self.pasteEnd)
        // The last bytes may be the beginning of the end.
        let count = start?.lowerBound ?? max(0, pending.count - Self.pasteEnd.count + 1)
        let room = Self.pasteLimit - (pasted?.count ?? 0)
        pasted?.append(contentsOf: pending.prefix(min(count, room)))
        pending.removeFirst(start?.upperBound ?? count)
        guard start != nil, let text = pasted else { return nil }
        pasted = nil
        return .paste(Self.clean(String(decoding: text, as: UTF8.self)))
    }

    /// Line ends as `\n`, no other control characters but tabs.
    package static func clean(_ text: String) -> String {
        var scalars = String.UnicodeScalarView()
        var last: Unicode.Scalar = " "
        for scalar in text.unicodeScalars {
            switch scalar.value {
            case 0x0D: scalars.append("\n")
            case 0x0A: if last != "\r" { scalars.append("\n") }
            case 0x09: scalars.append(scalar)
            case 0..<0x20, 0x7F..<0xA0: break
            default: scalars.append(scalar)
            }
            last = scalar
        }
        return String(scalars)
    }
}
