// SPDX-License-Identifier: Apache-2.0

import CPCRE2

/// A regular expression that `PatternParser` does not know, run by PCRE2 (whose Unicode version is its own).
final class PCREExpression: @unchecked Sendable {
    // Compiled once and only read afterwards, which PCRE2 allows from any thread.
    private let expression: OpaquePointer

    struct Failure: Error {
        let what: String
    }

    static var isAvailable: Bool { moe_pcre2_available() != 0 }
    static var version: String { String(cString: moe_pcre2_version()) }

    init(_ pattern: String, _ dialect: PatternParser.Dialect) throws(Failure) {
        guard !Self.hasNestedClass(pattern) else { throw Failure(what: "PCRE2 has no nested character classes") }
        var pattern = pattern
        var message = [CChar](repeating: 0, count: 256)
        let compiled = pattern.withUTF8 { utf8 in
            message.withUnsafeMutableBufferPointer { message in
                utf8.withMemoryRebound(to: CChar.self) {
                    moe_pcre2_compile($0.baseAddress, $0.count, dialect == .oniguruma ? 1 : 0, message.baseAddress)
                }
            }
        }
        guard let compiled else {
            let text = message.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
            throw Failure(what: String(decoding: text, as: UTF8.self))
        }
        expression = compiled
    }

    deinit { moe_pcre2_free(expression) }

    /// A class in a class, or an intersection: they mean something else to PCRE2, without an error.
    private static func hasNestedClass(_ pattern: String) -> Bool {
        var isInside = false
        var isFirst = false
        let bytes = Array(pattern.utf8)
        var i = 0
        while i < bytes.count {
            let byte = bytes[i]
            if byte == UInt8(ascii: "\\") {
                i += 2
                isFirst = false
                continue
            }
            if isInside {
                let next = i + 1 < bytes.count ? bytes[i + 1] : 0
                if byte == UInt8(ascii: "["), next != UInt8(ascii: ":") { return true }
                if byte == UInt8(ascii: "&"), next == byte { return true }
                if byte == UInt8(ascii: "]"), !isFirst { isInside = false }
                if byte != UInt8(ascii: "^") { isFirst = false }
            } else if byte == UInt8(ascii: "[") {
                isInside = true
                isFirst = true
            }
            i += 1
        }
        return false
    }

    /// As `PatternMatcher.forEachPiece`. A match that costs too many steps ends the search: the rest is one piece.
    func forEachPiece(
        of text: UnsafeBufferPointer<UInt8>, start: Int, end: Int, _ body: (_ end: Int, _ isMatch: Bool) -> Void
    ) {
        let stretch = UnsafeBufferPointer(rebasing: text[start..<end])
        guard let clean = Self.cleaned(stretch) else {
            search(stretch) { body(start + $0, $1) }
            return
        }
        clean.withUnsafeBufferPointer { search($0) { body(start + $0, $1) } }
    }

    private func search(_ text: UnsafeBufferPointer<UInt8>, _ body: (_ end: Int, _ isMatch: Bool) -> Void) {
        var pending = 0
        var from = 0
        while from < text.count {
            var first = 0
            var last = 0
            let limit = UInt32(clamping: 16 * (text.count - pending) + 65536)
            guard moe_pcre2_match(expression, text.baseAddress, text.count, from, limit, &first, &last) == 1 else { break }
            if pending < first { body(first, false) }
            pending = first
            if last > first {
                body(last, true)
                pending = last
                from = last
            } else {
                // An empty match cuts; the search goes on after the next character.
                guard first < text.count else { break }
                from = first + UTF8Text.codePoint(in: text, at: first, end: text.count).length
            }
        }
        if pending < text.count { body(text.count, false) }
    }

    /// nil for valid UTF-8; else a text of the same length that is.
    private static func cleaned(_ text: UnsafeBufferPointer<UInt8>) -> [UInt8]? {
        var clean: [UInt8]?
        var i = 0
        while i < text.count {
            let length = UTF8Text.codePoint(in: text, at: i, end: text.count).length
            if length == 1, text[i] >= 0x80 {
                if clean == nil { clean = Array(text) }
                clean?[i] = 0x1A
            }
            i += length
        }
        return clean
    }
}
