// SPDX-License-Identifier: Apache-2.0

extension GGUFMetadata {
    /// All entries as text for people, in file order: long strings and arrays shortened, one line each.
    package var summary: [(key: String, value: String)] {
        keys.map { key in (key, value(key).map { describe($0, key) } ?? "") }
    }

    private static let shownElements = 6
    private static let shownCharacters = 96

    private func describe(_ value: GGUFValue, _ key: String) -> String {
        guard value.type == .array else { return describe(value.type, at: value.range.lowerBound, key).text }
        guard value.elementType != .array else { return value.description }
        var parts: [String] = []
        var offset = value.range.lowerBound
        for _ in 0..<min(value.count, GGUFMetadata.shownElements) {
            let element = describe(value.elementType, at: offset, key)
            parts.append(value.elementType == .string ? "\"\(element.text)\"" : element.text)
            offset += element.size
        }
        if value.count <= GGUFMetadata.shownElements { return "[" + parts.joined(separator: ", ") + "]" }
        return "[" + parts.joined(separator: ", ") + ", …] (\(value.count) \(value.elementType.name))"
    }

    private func describe(_ type: GGUFValueType, at offset: Int, _ key: String) -> (text: String, size: Int) {
        let bytes = storage.bytes
        switch type {
        case .string:
            let content = stringBytes(at: offset)
            return (GGUFMetadata.shorten(content), 8 + content.count)
        case .float32:
            return (
                "\(Float(bitPattern: .init(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self))))", 4
            )
        case .float64:
            return (
                "\(Double(bitPattern: .init(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))))",
                8
            )
        case .uint64:
            return ("\(UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)))", 8)
        case .bool:
            return (bytes[offset] == 0 ? "false" : "true", 1)
        case .uint8, .int8, .uint16, .int16, .uint32, .int32, .int64:
            return ((try? integer(type, at: offset, key)).map { "\($0)" } ?? "", type.size!)
        case .array:
            preconditionFailure("arrays are described by their elements")
        }
    }

    /// One printable line: control characters escaped, bytes that are no UTF-8 replaced.
    private static func shorten(_ bytes: UnsafeRawBufferPointer) -> String {
        // Four bytes per character at the most; the cut may fall into one, which then reads as a replacement and is dropped.
        let isLong = bytes.count > shownCharacters * 4
        let text = String(decoding: UnsafeRawBufferPointer(rebasing: bytes.prefix(shownCharacters * 4)), as: UTF8.self)
        var line = ""
        var shown = 0
        for scalar in text.unicodeScalars {
            if shown == shownCharacters { return line + "… (\(bytes.count) bytes)" }
            switch scalar {
            case "\n": line += "\\n"
            case "\t": line += "\\t"
            case "\r": line += "\\r"
            default:
                if scalar.properties.generalCategory == .control {
                    line += "\\u{\(String(scalar.value, radix: 16))}"
                } else {
                    line.unicodeScalars.append(scalar)
                }
            }
            shown += 1
        }
        return isLong ? line + "… (\(bytes.count) bytes)" : line
    }
}
