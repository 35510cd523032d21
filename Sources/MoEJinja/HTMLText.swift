// SPDX-License-Identifier: Apache-2.0

/// The little of HTML and URLs that filters need.
enum HTMLText {
    /// Without comments and tags, entities by their characters, runs of space as one.
    static func withoutTags(_ text: String) -> String {
        let plain = removing("<", ">", from: removing("<!--", "-->", from: text))
        return PythonText.words(unescaped(plain), limit: .max).joined(separator: " ")
    }

    private static func removing(_ begin: String, _ end: String, from text: String) -> String {
        var result = ""
        var start = 0
        while let open = PythonText.find(begin, in: text, from: start),
            let close = PythonText.find(end, in: text, from: open + begin.utf8.count)
        {
            result += PythonText.part(text, start..<open)
            start = close + end.utf8.count
        }
        return result + PythonText.part(text, start..<text.utf8.count)
    }

    private static let entities = ["amp": "&", "lt": "<", "gt": ">", "quot": "\"", "apos": "'", "nbsp": "\u{a0}"]

    private static func unescaped(_ text: String) -> String {
        var parts = text.split(separator: "&", omittingEmptySubsequences: false)
        guard parts.count > 1 else { return text }
        var result = String(parts.removeFirst())
        for part in parts {
            guard let end = part.firstIndex(of: ";") else {
                result += "&" + part
                continue
            }
            let name = part[..<end]
            var character = entities[String(name)]
            if name.hasPrefix("#") {
                let isHexadecimal = name.dropFirst().first == "x" || name.dropFirst().first == "X"
                let code = UInt32(name.dropFirst(isHexadecimal ? 2 : 1), radix: isHexadecimal ? 16 : 10)
                character = code.flatMap(Unicode.Scalar.init).map { String($0) }
            }
            result += character.map { $0 + part[part.index(after: end)...] } ?? "&" + part
        }
        return result
    }

    /// As `urllib.parse.quote`; in a query a space is `+` and a slash is encoded as well.
    static func percentEncoded(_ text: String, isQuery: Bool) -> String {
        var result = ""
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "."), UInt8(ascii: "-"),
                UInt8(ascii: "~"):
                result.unicodeScalars.append(Unicode.Scalar(byte))
            case UInt8(ascii: "/") where !isQuery: result += "/"
            case UInt8(ascii: " ") where isQuery: result += "+"
            default: result += "%" + PythonText.padded(String(byte, radix: 16, uppercase: true), 2)
            }
        }
        return result
    }
}
