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
            guard !kind.isDisjoint(with: set) else { return i }
            i += length
        }
    }

    @inline(__always)
    private func skipOther(from index: Int, notMarks: Bool = false) -> Int {
        var i = index
        while true {
            let (kind, length) = character(at: i)
            guard kind.isOther, !(notMarks && kind == .mark) else { return i }
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
                if kind.contains(.letter) {
                    i = skip(.letter, from: body)
                } else if kind.contains(.number) {
                    i = skip(.number, from: body)
                } else if kind.isOther {
                    i = skipOther(from: body)
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
    func modern(digits: Int, marks: Bool, into ends: inout [Int]) {
        let letters: CharacterClass = marks ? [.letter, .mark] : .letter
        var i = start
        while i < end {
            i = endOfModernWord(from: i, digits: digits, letters: letters, marks: marks)
            ends.append(i)
        }
    }

    @inline(__always)
    private func endOfModernWord(from i: Int, digits: Int, letters: CharacterClass, marks: Bool) -> Int {
        let contraction = contractionLength(at: i, ignoringCase: true)
        if contraction > 0 { return i + contraction }

        let (kind, length) = character(at: i)
        let byte = text[i]
        // [^\r\n\p{L}\p{N}]?\p{L}+: the optional character is tried first, then left out. A mark is either.
        if !kind.contains(.letter), !kind.contains(.number), byte != UInt8(ascii: "\r"), byte != UInt8(ascii: "\n"),
            !character(at: i + length).class.isDisjoint(with: letters)
        {
            return skip(letters, from: i + length)
        }
        if !kind.isDisjoint(with: letters) { return skip(letters, from: i) }

        if kind.contains(.number) {
            var j = i
            for _ in 0..<digits {
                let (next, length) = character(at: j)
                guard next.contains(.number) else { break }
                j += length
            }
            return j
        }

        let body = byte == UInt8(ascii: " ") ? i + 1 : i
        let bodyKind = character(at: body).class
        if bodyKind.isOther, !(marks && bodyKind == .mark) {
            var j = skipOther(from: body, notMarks: marks)
            while j < end, text[j] == UInt8(ascii: "\r") || text[j] == UInt8(ascii: "\n") { j += 1 }
            return j
        }
        return endOfSpaces(from: i, orAfterLastLineBreak: true)
    }

    /// The length of `'s`, `'t`, `'m`, `'d`, `'re`, `'ve` or `'ll` at `index`, else 0.
    ///
    /// Without regard to case, as the regular-expression engines fold it, `s` is also U+017F (long s).
    @inline(__always)
    private func contractionLength(at index: Int, ignoringCase: Bool) -> Int {
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
            return ignoringCase && index + 2 < end && text[index + 2] == 0xBF ? 3 : 0
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
            guard kind.contains(.space) else { break }
            let byte = text[i]
            last = i
            i += length
            if byte == UInt8(ascii: "\r") || byte == UInt8(ascii: "\n") { afterLineBreak = i }
        }
        if orAfterLastLineBreak, afterLineBreak > 0 { return afterLineBreak }
        // Followed by something, a run of two or more leaves its last character to the next word.
        return i < end && last > index ? last : i
    }

    /// Runs of characters for which `isIn` holds become pieces, and what is between them.
    @inline(__always)
    func isolateRuns(into ends: inout [Int], _ isIn: (CharacterClass, UInt8) -> Bool) {
        var i = start
        var isInRun: Bool?
        while i < end {
            let (kind, length) = character(at: i)
            let isMember = isIn(kind, text[i])
            if let was = isInRun, was != isMember { ends.append(i) }
            isInRun = isMember
            i += length
        }
        if start < end { ends.append(end) }
    }

    /// Each character of a class becomes a piece, and what is between them.
    func isolateEach(_ set: CharacterClass, into ends: inout [Int]) {
        var i = start
        while i < end {
            let (kind, length) = character(at: i)
            if !kind.isDisjoint(with: set) {
                if i > start, ends.last != i { ends.append(i) }
                ends.append(i + length)
            }
            i += length
        }
        if start < end, ends.last != end { ends.append(end) }
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
