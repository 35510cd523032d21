// SPDX-License-Identifier: Apache-2.0

/// The types of GGUF metadata values, with the format's ids.
enum GGUFValueType: UInt32, Sendable {
    case uint8 = 0
    case int8 = 1
    case uint16 = 2
    case int16 = 3
    case uint32 = 4
    case int32 = 5
    case float32 = 6
    case bool = 7
    case string = 8
    case array = 9
    case uint64 = 10
    case int64 = 11
    case float64 = 12

    /// Bytes of one value, or nil where they vary.
    var size: Int? {
        switch self {
        case .uint8, .int8, .bool: 1
        case .uint16, .int16: 2
        case .uint32, .int32, .float32: 4
        case .uint64, .int64, .float64: 8
        case .string, .array: nil
        }
    }

    /// Bytes that one value takes at the least: a string has its length, an array its type and count.
    var minimumSize: Int { size ?? (self == .string ? 8 : 12) }

    var isInteger: Bool {
        switch self {
        case .uint8, .int8, .uint16, .int16, .uint32, .int32, .uint64, .int64: true
        default: false
        }
    }

    var isFloat: Bool { self == .float32 || self == .float64 }

    var name: String { "\(self)" }
}

/// Where a metadata value lies in its file: nothing is decoded before it is asked for.
struct GGUFValue: Sendable {
    let type: GGUFValueType
    /// Of an array; of anything else, the type itself.
    let elementType: GGUFValueType
    /// 1 for what is no array.
    let count: Int
    /// Of the first element (a string's length included), up to the end of the last. Checked to lie inside the file.
    let range: Range<Int>

    var description: String {
        type == .array ? "an array of \(count) \(elementType.name)" : type.name
    }

    /// Arrays of arrays are in the format, and no known file has any deeper than two.
    private static let depthLimit = 4

    /// Reads past one value and remembers where it was.
    init(type: GGUFValueType, reader: inout ByteReader, key: String) throws(ModelFileError) {
        guard type == .array else {
            let start = reader.position
            try GGUFValue.skip(type, count: 1, reader: &reader, key: key, depth: 0)
            self.init(type: type, elementType: type, count: 1, range: start..<reader.position)
            return
        }
        let (elementType, count) = try GGUFValue.arrayHead(&reader, key: key)
        let start = reader.position
        try GGUFValue.skip(elementType, count: count, reader: &reader, key: key, depth: 1)
        self.init(type: .array, elementType: elementType, count: count, range: start..<reader.position)
    }

    private init(type: GGUFValueType, elementType: GGUFValueType, count: Int, range: Range<Int>) {
        self.type = type
        self.elementType = elementType
        self.count = count
        self.range = range
    }

    static func readType(_ reader: inout ByteReader, key: String) throws(ModelFileError) -> GGUFValueType {
        let id = try reader.integer(UInt32.self, "the type of metadata '\(key)'")
        guard let type = GGUFValueType(rawValue: id) else {
            throw ModelFileError(
                file: reader.file, problem: "unknown type of metadata '\(key)'", expected: "a type id from 0 to 12",
                found: "\(id)")
        }
        return type
    }

    private static func arrayHead(
        _ reader: inout ByteReader, key: String
    ) throws(ModelFileError) -> (GGUFValueType, Int) {
        let type = try readType(&reader, key: key)
        return (type, try reader.count(bytesEach: type.minimumSize, "the length of array '\(key)'"))
    }

    private static func skip(
        _ type: GGUFValueType, count: Int, reader: inout ByteReader, key: String, depth: Int
    ) throws(ModelFileError) {
        if let size = type.size {
            try reader.skip(count, of: size, "metadata '\(key)'")
        } else if type == .string {
            for _ in 0..<count {
                let length = try reader.count(bytesEach: 1, "the length of a string of metadata '\(key)'")
                try reader.skip(length, of: 1, "metadata '\(key)'")
            }
        } else {
            guard depth < depthLimit else {
                throw ModelFileError(
                    file: reader.file, problem: "arrays nested too deep in metadata '\(key)'",
                    expected: "at most \(depthLimit) levels", found: "more")
            }
            for _ in 0..<count {
                let (inner, innerCount) = try arrayHead(&reader, key: key)
                try skip(inner, count: innerCount, reader: &reader, key: key, depth: depth + 1)
            }
        }
    }
}
