// SPDX-License-Identifier: Apache-2.0

/// What SentencePiece does to a text first: its table of replacements, spaces at the ends and in a row, the space before the text,
/// `▁` for spaces.
struct SentencePieceNormalizer: Sendable {
    var charsmap: PrecompiledCharsmap?
    /// Texts that are pieces by themselves and pass as they are.
    var userDefined = PieceTrie([])
    /// A space before the text (or after it).
    var addsSpace = true
    var removesExtraSpaces = true
    var writesMarks = true
    var putsSpacesLast = false
    /// llama.cpp's reading of the same rules: a space goes before every word, whether or not one was there.
    var isLlama = false

    private static let replacement: [UInt8] = [0xEF, 0xBF, 0xBD]

    func normalize(_ text: UnsafeBufferPointer<UInt8>) -> [UInt8] {
        isLlama ? normalizeAsLlama(text) : normalizeAsSentencePiece(text)
    }

    private var space: [UInt8] { writesMarks ? Normalizer.spaceMark : [0x20] }

    private func normalizeAsSentencePiece(_ text: UnsafeBufferPointer<UInt8>) -> [UInt8] {
        let space = space
        var result: [UInt8] = []
        result.reserveCapacity(text.count + text.count / 2)
        var i = 0
        if removesExtraSpaces {
            while i < text.count {
                let (replacement, length) = prefix(of: text, at: i)
                let isSpace =
                    replacement.map { $0.elementsEqual(CollectionOfOne(0x20)) } ?? (length == 1 && text[i] == 0x20)
                guard isSpace else { break }
                i += length
            }
        }
        guard i < text.count else { return [] }
        if addsSpace, !putsSpacesLast { result += space }
        var isAfterSpace = removesExtraSpaces
        func append(_ piece: UnsafeBufferPointer<UInt8>) {
            var k = 0
            while isAfterSpace, k < piece.count, piece[k] == 0x20 { k += 1 }
            guard k < piece.count else { return }
            while k < piece.count {
                if piece[k] == 0x20 { result += space } else { result.append(piece[k]) }
                k += 1
            }
            isAfterSpace = piece[piece.count - 1] == 0x20
        }
        while i < text.count {
            let (replaced, length) = prefix(of: text, at: i)
            if let replaced {
                replaced.withUnsafeBufferPointer { append($0) }
            } else {
                append(UnsafeBufferPointer(rebasing: text[i..<i + length]))
            }
            i += length
            if !removesExtraSpaces { isAfterSpace = false }
        }
        if removesExtraSpaces {
            while result.count >= space.count, result.suffix(space.count).elementsEqual(space) {
                result.removeLast(space.count)
            }
        }
        if addsSpace, putsSpacesLast { result += space }
        return result
    }

    private func normalizeAsLlama(_ text: UnsafeBufferPointer<UInt8>) -> [UInt8] {
        let space = space
        var result: [UInt8] = []
        result.reserveCapacity(text.count + text.count / 2)
        var hasSpace = false
        var isInWord = false
        var i = 0
        while i < text.count {
            let (replaced, length) = prefix(of: text, at: i)
            let piece = replaced ?? Array(text[i..<i + length])[...]
            i += length
            for byte in piece {
                guard byte != 0x20 else {
                    isInWord = false
                    if !removesExtraSpaces { result += space }
                    continue
                }
                if !isInWord {
                    isInWord = true
                    if addsSpace && !putsSpacesLast && !hasSpace || removesExtraSpaces {
                        result += space
                        hasSpace = true
                    }
                }
                result.append(byte)
            }
        }
        if addsSpace, putsSpacesLast { result += space }
        return result
    }

    /// What the text at `index` becomes, and how much of it that is. nil: it stays as it is.
    @inline(__always)
    private func prefix(of text: UnsafeBufferPointer<UInt8>, at index: Int) -> (ArraySlice<UInt8>?, Int) {
        if !userDefined.isEmpty, let (length, _) = userDefined.longest(in: text, at: index, end: text.count) {
            return (nil, length)
        }
        if let charsmap, let (replacement, length) = charsmap.match(text, at: index, end: text.count) {
            return (replacement, length)
        }
        let length = text[index] < 0x80 ? 1 : UTF8Text.codePoint(in: text, at: index, end: text.count).length
        if length == 1, text[index] >= 0x80 { return (Self.replacement[...], 1) }
        return (nil, length)
    }
}
