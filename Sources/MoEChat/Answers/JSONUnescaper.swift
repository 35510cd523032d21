// SPDX-License-Identifier: Apache-2.0

import MoEJSON

extension JSONEscape {
    /// What a string's text between its quotes means, nil when an escape is wrong. A surrogate that has no partner becomes U+FFFD.
    static func unescaped(_ text: some Collection<UInt8>) -> [UInt8]? {
        var unescaper = JSONUnescaper()
        var result: [UInt8] = []
        for byte in text {
            guard unescaper.take(byte, into: &result) else { return nil }
        }
        return unescaper.finish(into: &result) ? result : nil
    }
}

/// Reads a JSON string's text, byte by byte.
struct JSONUnescaper: Sendable {
    private enum State: Sendable {
        case plain, escape
        case hex(Int, UInt16)
    }
    private var state = State.plain
    /// The first half of a pair.
    private var high: UInt16?

    /// Whether the next byte stands for itself, so that a quote would end the string.
    var isPlain: Bool { if case .plain = state { true } else { false } }

    mutating func take(_ byte: UInt8, into text: inout [UInt8]) -> Bool {
        switch state {
        case .plain:
            if byte == UInt8(ascii: "\\") {
                state = .escape
            } else {
                guard byte >= 0x20 else { return false }
                flush(into: &text)
                text.append(byte)
            }
        case .escape:
            state = .plain
            let plain: UInt8
            switch Character(Unicode.Scalar(byte)) {
            case "\"", "\\", "/": plain = byte
            case "b": plain = 8
            case "f": plain = 12
            case "n": plain = 10
            case "r": plain = 13
            case "t": plain = 9
            case "u":
                state = .hex(0, 0)
                return true
            default: return false
            }
            flush(into: &text)
            text.append(plain)
        case .hex(let count, let value):
            guard let digit = byte.hexValue else { return false }
            let value = value << 4 | UInt16(digit)
            state = .hex(count + 1, value)
            if count == 3 { unit(value, into: &text) }
        }
        return true
    }

    mutating func finish(into text: inout [UInt8]) -> Bool {
        flush(into: &text)
        return isPlain
    }

    private mutating func unit(_ value: UInt16, into text: inout [UInt8]) {
        state = .plain
        if let high, UTF16.isTrailSurrogate(value) {
            self.high = nil
            text += Array(String(decoding: [high, value], as: UTF16.self).utf8)
            return
        }
        flush(into: &text)
        if UTF16.isLeadSurrogate(value) {
            high = value
        } else {
            text += Array(String(decoding: [value], as: UTF16.self).utf8)
        }
    }

    private mutating func flush(into text: inout [UInt8]) {
        guard high != nil else { return }
        high = nil
        text += Array("\u{FFFD}".utf8)
    }
}
