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
                guard replacement.elementsEqual(CollectionOfOne(0x20)) else { break }
                i += length
            }
        }
        guard i < text.count else { return [] }
        if addsSpace, !putsSpacesLast { result += space }
        var isAfterSpace = removesExtraSpaces
        while i < text.count {
            var (piece, length) = prefix(of: text, at: i)
            i += length
            while isAfterSpace, piece.first == 0x20 { piece = piece.dropFirst() }
            if let last = piece.last {
                for byte in piece { if byte == 0x20 { result += space } else { result.append(byte) } }
                isAfterSpace = last == 0x20
            }
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
            let (piece, length) = prefix(of: text, at: i)
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

    /// What the text at `index` becomes, and how much of it that is.
    private func prefix(of text: UnsafeBufferPointer<UInt8>, at index: Int) -> (ArraySlice<UInt8>, Int) {
        if let (length, _) = userDefined.longest(in: text, at: index, end: text.count) {
            return (Array(text[index..<index + length])[...], length)
        }
        if let charsmap, let (replacement, length) = charsmap.match(text, at: index, end: text.count) {
            return (replacement, length)
        }
        let length = UTF8Text.codePoint(in: text, at: index, end: text.count).length
        if length == 1, text[index] >= 0x80 { return (Self.replacement[...], 1) }
        return (Array(text[index..<index + length])[...], length)
    }
}
