// SPDX-License-Identifier: Apache-2.0

/// SentencePiece's normalisation rules, compiled: a double array of strings (a trie of darts-clone) and what replaces each.
///
/// The layout: the size of the trie in bytes (32 bits, little-endian), its units of 32 bits, then the replacements, each ended by 0.
struct PrecompiledCharsmap: Sendable {
    private let units: [UInt32]
    private let replacements: [UInt8]

    /// nil for bytes that are no such table.
    init?(_ bytes: [UInt8]) {
        func word(_ index: Int) -> UInt32 {
            UInt32(bytes[index]) | UInt32(bytes[index + 1]) << 8 | UInt32(bytes[index + 2]) << 16 | UInt32(bytes[index + 3])
                << 24
        }
        guard bytes.count >= 8 else { return nil }
        let size = Int(word(0))
        guard size > 0, size % 4 == 0, size <= bytes.count - 4 else { return nil }
        units = (0..<size / 4).map { word(4 + 4 * $0) }
        replacements = Array(bytes[(4 + size)...])
        // Every replacement ends inside.
        guard replacements.isEmpty || replacements.last == 0 else { return nil }
    }

    /// The replacement of the longest (or the shortest) string of the table that `text` has at `index`, and that string's length.
    func match(
        _ text: UnsafeBufferPointer<UInt8>, at index: Int, end: Int, shortest: Bool = false
    ) -> (replacement: ArraySlice<UInt8>, length: Int)? {
        var found: (value: Int, length: Int)?
        var position = Int(offset(units[0]))
        var i = index
        while i < end {
            let byte = UInt32(text[i])
            guard byte != 0 else { break }
            position ^= Int(byte)
            guard position < units.count else { break }
            let unit = units[position]
            guard unit & (1 << 31 | 0xFF) == byte else { break }
            i += 1
            position ^= Int(offset(unit))
            guard position < units.count else { break }
            if unit >> 8 & 1 == 1 {
                found = (Int(units[position] & 0x7FFF_FFFF), i - index)
                if shortest { break }
            }
        }
        guard let found, found.value < replacements.count else { return nil }
        let stop = replacements[found.value...].firstIndex(of: 0) ?? replacements.count
        return (replacements[found.value..<stop], found.length)
    }

    @inline(__always)
    private func offset(_ unit: UInt32) -> UInt32 { (unit >> 10) << ((unit & 1 << 9) >> 6) }

    /// The text as the normalizer Precompiled of `tokenizers` has it: a grapheme of less than six bytes is replaced as a whole by
    /// what the table has for its start, in others each character is.
    func normalizeGraphemes(_ text: [UInt8]) -> [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity(text.count + 16)
        for grapheme in String(decoding: text, as: UTF8.self) {
            let bytes = Array(grapheme.utf8)
            bytes.withUnsafeBufferPointer { bytes in
                if bytes.count < 6, let found = match(bytes, at: 0, end: bytes.count, shortest: true) {
                    result += found.replacement
                    return
                }
                var i = 0
                while i < bytes.count {
                    let length = UTF8Text.codePoint(in: bytes, at: i, end: bytes.count).length
                    if let found = match(bytes, at: i, end: i + length, shortest: true) {
                        result += found.replacement
                    } else {
                        result += bytes[i..<i + length]
                    }
                    i += length
                }
            }
        }
        return result
    }
}
