// SPDX-License-Identifier: Apache-2.0

/// Turns tokens into text one at a time, never with half a character: the start of one waits for the rest.
///
/// The strings returned, put together, are `Tokenizer.decode` of the same tokens (for generated text: a leading space is kept).
/// Bytes that can become no character are U+FFFD.
public struct StreamingDecoder: Sendable {
    private let tokenizer: Tokenizer
    private let skipSpecial: Bool
    private var pending: [UInt8] = []

    /// - Parameter skipSpecial: leave special tokens out instead of writing their names. Those that end a generation are left out
    ///   always.
    public init(_ tokenizer: Tokenizer, skipSpecial: Bool = true) {
        self.tokenizer = tokenizer
        self.skipSpecial = skipSpecial
    }

    /// The text that `token` completes; empty while a character is incomplete, and for special tokens that are left out.
    public mutating func append(_ token: Int32) -> String {
        if !skipSpecial, tokenizer.isSpecial(token), !tokenizer.endOfGeneration.contains(token) {
            pending.append(contentsOf: tokenizer.vocabulary.content(of: token))
        } else {
            tokenizer.append(bytesOf: token, to: &pending)
        }
        guard !pending.isEmpty else { return "" }
        let complete = pending.count - Self.incompleteSuffix(of: pending)
        guard complete > 0 else { return "" }
        defer { pending.removeFirst(complete) }
        return String(decoding: pending[..<complete], as: UTF8.self)
    }

    /// What is left when no more tokens come: U+FFFD for an incomplete character, else nothing.
    public mutating func finish() -> String {
        defer { pending.removeAll() }
        return String(decoding: pending, as: UTF8.self)
    }

    /// How many of the last bytes are the start of a character that more bytes could still complete: 0 to 3.
    private static func incompleteSuffix(of bytes: [UInt8]) -> Int {
        for length in 1...3 where length <= bytes.count {
            let first = bytes[bytes.count - length]
            if first & 0xC0 == 0x80 { continue }
            guard UTF8Text.expectedLength(first) > length else { return 0 }
            // Not every continuation makes a character: no overlong forms, no surrogates, nothing above U+10FFFF.
            if length > 1 {
                let second = bytes[bytes.count - length + 1]
                switch first {
                case 0xE0 where second < 0xA0, 0xED where second > 0x9F, 0xF0 where second < 0x90, 0xF4 where second > 0x8F:
                    return 0
                default:
                    break
                }
            }
            return length
        }
        return 0
    }
}
