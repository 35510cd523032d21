// SPDX-License-Identifier: Apache-2.0

/// GPT-2's alphabet: a printable character for every byte, so that a vocabulary of bytes can be written as text.
///
/// The printable characters of Latin-1 (`!`…`~`, `¡`…`¬`, `®`…`ÿ`) stand for themselves; the other 68 bytes, in ascending order,
/// are U+0100, U+0101 and so on: a space is `Ġ`, a line feed `Ċ`.
enum ByteLevelAlphabet {
    /// byte -> code point
    static let codePoints: [UInt16] = {
        var next: UInt16 = 0x100
        return (0..<256).map { byte in
            if (0x21...0x7E).contains(byte) || (0xA1...0xAC).contains(byte) || (0xAE...0xFF).contains(byte) {
                return UInt16(byte)
            }
            defer { next += 1 }
            return next
        }
    }()

    /// code point -> byte, -1 where the code point is not in the alphabet
    private static let bytes: [Int16] = {
        var table = [Int16](repeating: -1, count: 0x144)
        for (byte, codePoint) in codePoints.enumerated() { table[Int(codePoint)] = Int16(byte) }
        return table
    }()

    /// The bytes that `text` spells, or nil when a character of it is not in the alphabet.
    static func decode(_ text: UnsafeBufferPointer<UInt8>) -> [UInt8]? {
        let table = bytes
        var decoded: [UInt8] = []
        decoded.reserveCapacity(text.count)
        var i = 0
        while i < text.count {
            let (codePoint, length) = UTF8Text.codePoint(in: text, at: i, end: text.count)
            guard codePoint < table.count, table[Int(codePoint)] >= 0 else { return nil }
            decoded.append(UInt8(table[Int(codePoint)]))
            i += length
        }
        return decoded
    }

    /// The character of `byte`, as UTF-8.
    static func character(of byte: UInt8) -> [UInt8] {
        Array(String(Character(Unicode.Scalar(codePoints[Int(byte)]) ?? "?")).utf8)
    }
}
