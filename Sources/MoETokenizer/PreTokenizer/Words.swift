// SPDX-License-Identifier: Apache-2.0

/// The cuts themselves, each written out for one regular expression: it reproduces what a backtracking engine would match.
///
/// In the comments: L a letter, N a number, S white space, O anything else, as in `CharacterClass`.
struct Words {
    let text: UnsafeBufferPointer<UInt8>
    let start: Int
    let end: Int
    private let classes = CharacterClasses.shared

    init(text: UnsafeBufferPointer<UInt8>, start: Int, end: Int) {
        self.text = text
        self.start = start
        self.end = end
    }

    @inline(__always)
    private func character(at index: Int) -> (class: CharacterClass, length: Int) {
        classes.character(in: text, at: index, end: end)
    }

    /// The first index from `index` on whose character's class is not in `set`.
    @inline(__always)
    private func skip(_ set: CharacterClass, from index: Int) -> Int {
        var i = index
        while true {
            let (kind, length) = character(at: i)
            guard kind.isIn(set) else { return i }
            i += length
        }
    }

    @inline(__always)
    private func skipNeither(from index: Int, notMarks: Bool = false) -> Int {
        var i = index
        while true {
            let (kind, length) = character(at: i)
            guard kind.isNeither, !(notMarks && kind.isIn(.mark)) else { return i }
            i += length
        }
    }

    /// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
    func gpt2(into ends: inout [Int]) {
        var i = start
        while i < end {
            let contraction = contractionLength(at: i, ignoringCase: false)
            if contraction > 0 {
                i += contraction
            } else {
                let body = text[i] == UInt8(ascii: " ") ? i + 1 : i
                let kind = character(at: body).class
                if kind.isIn(.letter) {
                    i = skip(.letter, from: body)
                } else if kind.isIn(.number) {
                    i = skip(.number, from: body)
                } else if kind.isNeither {
                    i = skipNeither(from: body)
                } else {
                    i = endOfSpaces(from: i)
                }
            }
            ends.append(i)
        }
    }

    /// `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,digits}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
    ///
    /// With `marks`, `\p{L}+` is `[\p{L}\p{M}]+` and the class of what is neither excludes `\p{M}` too.
    func modern(digits: Int, marks: Bool, longS: Bool, into ends: inout [Int]) {
        let letters: CharacterClass = marks ? [.letter, .mark] : .letter
        var i = start
        while i < end {
            i = endOfModernWord(from: i, digits: digits, letters: letters, marks: marks, longS: longS)
            ends.append(i)
        }
    }

    @inline(__always)
    private func endOfModernWord(
        from i: Int, digits: Int, letters: CharacterClass, marks: Bool, longS: Bool
    ) -> Int {
        let contraction = contractionLength(at: i, ignoringCase: true, longS: longS)
        if contraction > 0 { return i + contraction }

        let (kind, length) = character(at: i)
        let byte = text[i]
        // [^\r\n\p{L}\p{N}]?\p{L}+: the optional character is tried first, then left out. A mark is either.
        if !kind.isIn(.letter), !kind.isIn(.number), byte != UInt8(ascii: "\r"), byte != UInt8(ascii: "\n"),
            character(at: i + length).class.isIn(letters)
        {
            return skip(letters, from: i + length)
        }
        if kind.isIn(letters) { return skip(letters, from: i) }

        if kind.isIn(.number) {
            var j = i
            for _ in 0..<digits {
                let (next, length) = character(at: j)
                guard next.isIn(.number) else { break }
                j += length
            }
            return j
        }

        let body = byte == UInt8(ascii: " ") ? i + 1 : i
        let bodyKind = character(at: body).class
        if bodyKind.isNeither, !(marks && bodyKind.isIn(.mark)) {
            var j = skipNeither(from: body, notMarks: marks)
            while j < end, text[j] == UInt8(ascii: "\r") || text[j] == UInt8(ascii: "\n") { j += 1 }
            return j
        }
        return endOfSpaces(from: i, orAfterLastLineBreak: true)
    }

    /// The length of `'s`, `'t`, `'m`, `'d`, `'re`, `'ve` or `'ll` at `index`, else 0.
    ///
    /// Without regard to case, as regular-expression engines fold it, `s` is also U+017F (long s).
    @inline(__always)
    private func contractionLength(at index: Int, ignoringCase: Bool, longS: Bool = false) -> Int {
        guard text[index] == UInt8(ascii: "'"), index + 1 < end else { return 0 }
        let fold: UInt8 = ignoringCase ? 0x20 : 0
        let first = text[index + 1]
        switch first | (first < 0x80 ? fold : 0) {
        case UInt8(ascii: "s"), UInt8(ascii: "t"), UInt8(ascii: "m"), UInt8(ascii: "d"):
            return 2
        case UInt8(ascii: "r"), UInt8(ascii: "v"):
            return index + 2 < end && text[index + 2] | fold == UInt8(ascii: "e") ? 3 : 0
        case UInt8(ascii: "l"):
            return index + 2 < end && text[index + 2] | fold == UInt8(ascii: "l") ? 3 : 0
        case 0xC5:
            return longS && index + 2 < end && text[index + 2] == 0xBF ? 3 : 0
        default:
            return 0
        }
    }

    /// `\s*[\r\n]+` if asked for, else `\s+(?!\S)`, else `\s+`, at `index`, where there is white space.
    @inline(__always)
    private func endOfSpaces(from index: Int, orAfterLastLineBreak: Bool = false) -> Int {
        var i = index
        var last = index
        var afterLineBreak = -1
        while true {
            let (kind, length) = character(at: i)
            guard kind.isIn(.space) else { break }
            let byte = text[i]
            last = i
            i += length
            if byte == UInt8(ascii: "\r") || byte == UInt8(ascii: "\n") { afterLineBreak = i }
        }
        if orAfterLastLineBreak, afterLineBreak > 0 { return afterLineBreak }
        // Followed by something, a run of two or more leaves its last character to the next word.
        return i < end && last > index ? last : i
    }

    /// Calls `body` with the end of each occurrence of `string`, and of what lies between.
    func forEachPiece(of string: [UInt8], _ body: (_ end: Int, _ isMatch: Bool) -> Void) {
        var i = start
        var pending = start
        while i + string.count <= end {
            guard text[i] == string[0], text[i..<i + string.count].elementsEqual(string) else {
                i += 1
                continue
            }
            if pending < i { body(i, false) }
            i += string.count
            body(i, true)
            pending = i
        }
        if pending < end { body(end, false) }
    }

    /// Calls `body` with the end of each character of `set`, and of what lies between.
    func forEachPiece(in set: CharacterBitmap, _ body: (_ end: Int, _ isMatch: Bool) -> Void) {
        var i = start
        var pending = start
        while i < end {
            let (value, length) = UTF8Text.codePoint(in: text, at: i, end: end)
            if set.contains(value) {
                if pending < i { body(i, false) }
                pending = i + length
                body(pending, true)
            }
            i += length
        }
        if pending < end { body(end, false) }
    }

    /// Which numbers are grouped, and how.
    enum Grouping: Sendable {
        /// llama.cpp's own splitter of "afmoe": runs of \p{N}; what comes before a run stays with its first group.
        case withTextBefore
        /// `(?=(\d{3})+(?!\d))` of "superbpe": ASCII digits; cut before every group of three.
        case digits
        /// `\d{1,3}(?=(?:\d{3})*\b)` as in tokenizer.json: a run of \p{Nd} that no word character follows.
        case decimalsBeforeBoundary(word: CharacterBitmap)
    }

    /// Runs of numbers in groups of three, of which the first has what is left over.
    func groupsFromRight(_ grouping: Grouping, into ends: inout [Int]) {
        var i = start
        var last = start
        func append(_ index: Int) {
            if index > last { ends.append(index) }
            last = index
        }
        var numbers: [Int] = []
        while i < end {
            numbers.removeAll(keepingCapacity: true)
            let first = i
            while i < end {
                let (kind, length) = character(at: i)
                let isMember =
                    switch grouping {
                    case .withTextBefore: kind.isIn(.number)
                    case .digits: (0x30...0x39).contains(text[i])
                    case .decimalsBeforeBoundary: kind.isIn(.decimal)
                    }
                guard isMember else { break }
                i += length
                numbers.append(i)
            }
            guard !numbers.isEmpty else {
                i += character(at: i).length
                continue
            }
            if case .decimalsBeforeBoundary(let word) = grouping {
                if i < end, word.contains(UTF8Text.codePoint(in: text, at: i, end: end).value) { continue }
                append(first)
            }
            if case .digits = grouping, numbers.count % 3 == 0 { append(first) }
            for (k, place) in numbers.enumerated() where (numbers.count - 1 - k) % 3 == 0 {
                // After the last group of three "superbpe" does not cut.
                if case .digits = grouping, k + 1 == numbers.count { break }
                append(place)
            }
        }
        append(end)
    }

    /// Every three ASCII digits in a row become a piece, and what is between them.
    func isolateDigitTriples(into ends: inout [Int]) {
        func isDigit(_ index: Int) -> Bool { (0x30...0x39).contains(text[index]) }
        var i = start
        while i + 3 <= end {
            guard isDigit(i), isDigit(i + 1), isDigit(i + 2) else {
                i += 1
                continue
            }
            if i > start, ends.last != i { ends.append(i) }
            i += 3
            ends.append(i)
        }
        if start < end, ends.last != end { ends.append(end) }
    }

    /// A piece starts at every `▁` (U+2581: E2 96 81), or at those that follow another character.
    func cutBeforeSpaceMark(onlyBeforeRun: Bool, into ends: inout [Int]) {
        var i = start
        var endOfLast = onlyBeforeRun ? start : -1
        while i + 3 <= end {
            guard text[i] == 0xE2, text[i + 1] == 0x96, text[i + 2] == 0x81 else {
                i += 1
                continue
            }
            if i > start, !onlyBeforeRun || endOfLast != i { ends.append(i) }
            i += 3
            endOfLast = i
        }
        if start < end { ends.append(end) }
    }
}
