// SPDX-License-Identifier: Apache-2.0

/// Finds added and special tokens in a text, before anything else looks at it.
struct SpecialTokenSplitter: Sendable {
    struct Entry: Sendable {
        let id: Int32
        let text: [UInt8]
        /// Left in the text as text when special tokens are not to be parsed.
        var isSpecial = false
        /// White space before, or after it, belongs to it.
        var stripsLeft = false
        var stripsRight = false
        /// Only between characters that are no word characters.
        var isWholeWord = false
    }

    /// Which of several overlapping occurrences counts.
    enum Precedence: Sendable {
        /// The first in the text, then the longest (Hugging Face tokenizers).
        case leftmostLongest
        /// The longest wherever it is, then the lowest id, then the first in the text (llama.cpp).
        case longest
    }

    /// A stretch of text, or a token that stands for one.
    struct Segment: Equatable {
        let range: Range<Int>
        let token: Int32?
    }

    private let entries: [Entry]
    private let precedence: Precedence
    /// Text -> number of the entry.
    private var table: PieceTable
    /// First byte -> the lengths of the tokens that start with it, ascending.
    private var lengths = [[Int]](repeating: [], count: 256)
    /// First byte << 8 | second byte -> whether a token starts so: rejects nearly every place at once.
    private var starts = [Bool](repeating: false, count: 1 << 16)
    private var firsts = [Bool](repeating: false, count: 256)

    /// Entries without text are left out; of two with the same text the first counts.
    init(_ entries: [Entry], precedence: Precedence) {
        self.entries = entries
        self.precedence = precedence
        table = PieceTable(capacity: entries.count)
        for (number, entry) in entries.enumerated() where !entry.text.isEmpty {
            guard table.insert(entry.text, value: Int32(number)) else { continue }
            let first = Int(entry.text[0])
            firsts[first] = true
            if !lengths[first].contains(entry.text.count) { lengths[first].append(entry.text.count) }
            if entry.text.count > 1 {
                starts[first << 8 | Int(entry.text[1])] = true
            } else {
                for second in 0..<256 { starts[first << 8 | second] = true }
            }
        }
        for first in 0..<256 { lengths[first].sort() }
    }

    /// The segments of `text`, in order; stripped white space is in none of them.
    func split(_ text: UnsafeBufferPointer<UInt8>, parseSpecial: Bool) -> [Segment] {
        guard !text.isEmpty else { return [] }
        var segments: [Segment] = []
        var position = 0
        for match in matches(in: text, parseSpecial: parseSpecial) {
            let entry = entries[match.entry]
            var start = match.start
            var end = match.start + entry.text.count
            guard start >= position else { continue }
            if entry.stripsLeft { start = max(Self.startOfSpaces(endingAt: start, in: text), position) }
            if entry.stripsRight { end = Self.endOfSpaces(startingAt: end, in: text) }
            if position < start { segments.append(Segment(range: position..<start, token: nil)) }
            segments.append(Segment(range: start..<end, token: entry.id))
            position = end
        }
        if position < text.count { segments.append(Segment(range: position..<text.count, token: nil)) }
        return segments
    }

    // MARK: Matching

    private struct Match {
        let start: Int
        let entry: Int
    }

    /// The occurrences that count, ascending, none overlapping another.
    private func matches(in text: UnsafeBufferPointer<UInt8>, parseSpecial: Bool) -> [Match] {
        switch precedence {
        case .leftmostLongest:
            var found: [Match] = []
            var i = 0
            while true {
                i = nextStart(from: i, in: text)
                guard i < text.count else { break }
                var longest = -1
                walk(from: i, in: text) { longest = $0 }
                guard longest >= 0 else {
                    i += 1
                    continue
                }
                let entry = entries[longest]
                let end = i + entry.text.count
                // An occurrence that does not count still hides what it overlaps.
                if parseSpecial || !entry.isSpecial, !entry.isWholeWord || Self.isWord(i..<end, in: text) {
                    found.append(Match(start: i, entry: longest))
                }
                i = end
            }
            return found

        case .longest:
            var all: [Match] = []
            var i = nextStart(from: 0, in: text)
            while i < text.count {
                walk(from: i, in: text) { number in
                    if parseSpecial || !entries[number].isSpecial { all.append(Match(start: i, entry: number)) }
                }
                i = nextStart(from: i + 1, in: text)
            }
            guard all.count > 1 else { return all }
            all.sort { a, b in
                let (x, y) = (entries[a.entry], entries[b.entry])
                if x.text.count != y.text.count { return x.text.count > y.text.count }
                return a.entry != b.entry ? a.entry < b.entry : a.start < b.start
            }
            var taken = [Bool](repeating: false, count: text.count)
            var found: [Match] = []
            for match in all {
                let range = match.start..<match.start + entries[match.entry].text.count
                // Longer ones came first, so an overlap shows at an end.
                guard !taken[range.lowerBound], !taken[range.upperBound - 1] else { continue }
                for i in range { taken[i] = true }
                found.append(match)
            }
            return found.sorted { $0.start < $1.start }
        }
    }

    /// The first place from `index` on where the first two bytes are those of a token.
    private func nextStart(from index: Int, in text: UnsafeBufferPointer<UInt8>) -> Int {
        var i = index
        starts.withUnsafeBufferPointer { starts in
            firsts.withUnsafeBufferPointer { firsts in
                while i < text.count {
                    let first = Int(text[i])
                    if firsts[first], i + 1 == text.count ? !lengths[first].isEmpty : starts[first << 8 | Int(text[i + 1])]
                    {
                        break
                    }
                    i += 1
                }
            }
        }
        return i
    }

    /// Calls `body` with every entry that starts at `index`, shortest first.
    private func walk(from index: Int, in text: UnsafeBufferPointer<UInt8>, _ body: (Int) -> Void) {
        for length in lengths[Int(text[index])] {
            guard index + length <= text.count else { break }
            if let number = table.find(UnsafeBufferPointer(rebasing: text[index..<index + length])) { body(Int(number)) }
        }
    }

    // MARK: Neighbours

    private static func endOfSpaces(startingAt index: Int, in text: UnsafeBufferPointer<UInt8>) -> Int {
        var i = index
        while true {
            let (kind, length) = CharacterClasses.shared.character(in: text, at: i, end: text.count)
            guard kind.isIn(.space) else { return i }
            i += length
        }
    }

    private static func startOfSpaces(endingAt index: Int, in text: UnsafeBufferPointer<UInt8>) -> Int {
        var i = index
        while i > 0 {
            let start = startOfCharacter(before: i, in: text)
            guard CharacterClasses.shared.character(in: text, at: start, end: i).class.isIn(.space) else { break }
            i = start
        }
        return i
    }

    private static func startOfCharacter(before index: Int, in text: UnsafeBufferPointer<UInt8>) -> Int {
        var i = index - 1
        while i > 0, index - i < 4, text[i] & 0xC0 == 0x80 { i -= 1 }
        return i
    }

    /// Whether no word character touches the range.
    private static func isWord(_ range: Range<Int>, in text: UnsafeBufferPointer<UInt8>) -> Bool {
        let classes = CharacterClasses.shared
        func isWordCharacter(_ kind: CharacterClass, _ byte: UInt8) -> Bool {
            kind.isIn([.letter, .number, .mark]) || byte == UInt8(ascii: "_")
        }
        if range.lowerBound > 0 {
            let before = startOfCharacter(before: range.lowerBound, in: text)
            let kind = classes.character(in: text, at: before, end: range.lowerBound).class
            if isWordCharacter(kind, text[before]) { return false }
        }
        if range.upperBound < text.count {
            let kind = classes.character(in: text, at: range.upperBound, end: text.count).class
            if isWordCharacter(kind, text[range.upperBound]) { return false }
        }
        return true
    }
}
