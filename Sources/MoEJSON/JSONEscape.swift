// SPDX-License-Identifier: Apache-2.0

/// Writes strings as JSON, byte by byte: what is escaped depends on no other byte, so a string can be written as it comes. As Python's
/// `json.dumps` does without ASCII escapes.
package enum JSONEscape {
    package static func append(_ byte: UInt8, to text: inout [UInt8]) {
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"): escape(byte, &text)
        case 0x08: escape(UInt8(ascii: "b"), &text)
        case 0x09: escape(UInt8(ascii: "t"), &text)
        case 0x0A: escape(UInt8(ascii: "n"), &text)
        case 0x0C: escape(UInt8(ascii: "f"), &text)
        case 0x0D: escape(UInt8(ascii: "r"), &text)
        case 0x00..<0x20:
            text += "\\u00".utf8
            text.append(hexDigits[Int(byte >> 4)])
            text.append(hexDigits[Int(byte & 15)])
        default: text.append(byte)
        }
    }

    package static func append(_ bytes: some Collection<UInt8>, to text: inout [UInt8]) {
        for byte in bytes { append(byte, to: &text) }
    }

    /// A whole string, quotes included.
    package static func quoted(_ bytes: some Collection<UInt8>) -> [UInt8] {
        var text: [UInt8] = []
        appendQuoted(bytes, to: &text)
        return text
    }

    package static func appendQuoted(_ bytes: some Collection<UInt8>, to text: inout [UInt8]) {
        text.append(UInt8(ascii: "\""))
        append(bytes, to: &text)
        text.append(UInt8(ascii: "\""))
    }

    private static func escape(_ letter: UInt8, _ text: inout [UInt8]) {
        text.append(UInt8(ascii: "\\"))
        text.append(letter)
    }

    private static let hexDigits = Array("0123456789abcdef".utf8)
}
