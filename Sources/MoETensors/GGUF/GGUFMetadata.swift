// SPDX-License-Identifier: Apache-2.0

/// The key-value part of a GGUF file. Values stay in the file as bytes and are decoded when asked for, so that a vocabulary of
/// 150,000 tokens costs nothing until somebody wants it.
///
/// Accessors give nil for a key that is not there, and throw ``ModelFileError`` for a value of another type or one that does
/// not fit: a file that says something, but not what is expected, is never read as one that says nothing.
package struct GGUFMetadata: Sendable {
    let storage: MappedFile
    private let values: [GGUFValue]
    private let index: [String: Int]
    /// In file order.
    package let keys: [String]
    /// Where each entry lies in the file, key included; in file order, without gaps.
    let entries: [Range<Int>]

    /// The most elements that an accessor decodes; the largest vocabularies have some hundred thousand.
    static let elementLimit = 1 << 24
    /// The format's own limit on keys, used for tensor names as well.
    static let nameLimit = 65_535

    /// Reads `count` entries.
    init(count: Int, reader: inout ByteReader, storage: MappedFile) throws(ModelFileError) {
        self.storage = storage
        var keys: [String] = []
        var values: [GGUFValue] = []
        var index: [String: Int] = [:]
        var entries: [Range<Int>] = []
        for number in 0..<count {
            let start = reader.position
            let key = try reader.name("the key of metadata entry \(number)")
            let type = try GGUFValue.readType(&reader, key: key)
            guard index.updateValue(number, forKey: key) == nil else {
                throw ModelFileError(file: reader.file, problem: "duplicate metadata key '\(key)'")
            }
            keys.append(key)
            values.append(try GGUFValue(type: type, reader: &reader, key: key))
            entries.append(start..<reader.position)
        }
        (self.keys, self.values, self.index, self.entries) = (keys, values, index, entries)
    }

    func value(_ key: String) -> GGUFValue? { index[key].map { values[$0] } }

    // MARK: Single values

    package func string(_ key: String) throws(ModelFileError) -> String? {
        guard let value = value(key) else { return nil }
        guard value.type == .string else { throw wrongType(key, value, expected: "a string") }
        return try utf8(stringBytes(at: value.range.lowerBound), key)
    }

    /// The bytes of a string, whatever they are.
    /// - Parameter limit: the most bytes that are copied; a longer string is an error.
    package func stringBytes(_ key: String, limit: Int) throws(ModelFileError) -> [UInt8]? {
        guard let value = value(key) else { return nil }
        guard value.type == .string else { throw wrongType(key, value, expected: "a string") }
        let bytes = stringBytes(at: value.range.lowerBound)
        guard bytes.count <= limit else {
            throw ModelFileError(
                file: storage.name, problem: "metadata '\(key)' is too long", expected: "at most \(limit) bytes",
                found: "\(bytes.count)")
        }
        return [UInt8](bytes)
    }

    /// Any integer type. An array of equal integers counts as that integer: some files give one value per layer.
    package func int(_ key: String) throws(ModelFileError) -> Int? {
        guard let value = value(key) else { return nil }
        guard value.elementType.isInteger, value.count > 0 else { throw wrongType(key, value, expected: "an integer") }
        let size = value.elementType.size!
        let first = try integer(value.elementType, at: value.range.lowerBound, key)
        for offset in stride(from: value.range.lowerBound, to: value.range.upperBound, by: size).dropFirst() {
            let other = try integer(value.elementType, at: offset, key)
            guard other == first else {
                throw ModelFileError(
                    file: storage.name, problem: "metadata '\(key)' differs between layers", expected: "one value",
                    found: "\(first) and \(other)")
            }
        }
        return first
    }

    /// A float of either size, or an integer.
    package func float(_ key: String) throws(ModelFileError) -> Double? {
        guard let value = value(key) else { return nil }
        guard value.type.isFloat || value.type.isInteger else { throw wrongType(key, value, expected: "a number") }
        return try number(value.type, at: value.range.lowerBound, key)
    }

    package func bool(_ key: String) throws(ModelFileError) -> Bool? {
        guard let value = value(key) else { return nil }
        guard value.type == .bool else { throw wrongType(key, value, expected: "a bool") }
        return try bool(at: value.range.lowerBound, key)
    }

    // MARK: Arrays

    package func bools(_ key: String) throws(ModelFileError) -> [Bool]? {
        try elements(key, expected: "an array of bool") {
            $0 == .bool
        } decode: { _, offset throws(ModelFileError) in
            try bool(at: offset, key)
        }
    }

    package func ints(_ key: String) throws(ModelFileError) -> [Int]? {
        try elements(key, expected: "an array of integers") {
            $0.isInteger
        } decode: { type, offset throws(ModelFileError) in
            try integer(type, at: offset, key)
        }
    }

    package func floats(_ key: String) throws(ModelFileError) -> [Float]? {
        try elements(key, expected: "an array of numbers") {
            $0.isFloat || $0.isInteger
        } decode: { type, offset throws(ModelFileError) in
            Float(try number(type, at: offset, key))
        }
    }

    /// The bytes of an array of 8-bit integers.
    package func bytes(_ key: String) throws(ModelFileError) -> [UInt8]? {
        guard let value = value(key) else { return nil }
        guard value.type == .array, value.elementType == .uint8 || value.elementType == .int8 else {
            throw wrongType(key, value, expected: "an array of uint8")
        }
        try checkLength(key, value)
        return [UInt8](storage.bytes[value.range])
    }

    /// An array of strings, which must be valid UTF-8.
    package func strings(_ key: String) throws(ModelFileError) -> [String]? {
        try collectStrings(key) { bytes throws(ModelFileError) in try utf8(bytes, key) }
    }

    /// An array of strings as bytes: a byte-level vocabulary may hold parts of characters.
    package func rawStrings(_ key: String) throws(ModelFileError) -> [[UInt8]]? {
        try collectStrings(key) { bytes throws(ModelFileError) in [UInt8](bytes) }
    }

    private func collectStrings<Element>(
        _ key: String, _ make: (UnsafeRawBufferPointer) throws(ModelFileError) -> Element
    ) throws(ModelFileError) -> [Element]? {
        guard let value = value(key) else { return nil }
        guard value.type == .array, value.elementType == .string else {
            throw wrongType(key, value, expected: "an array of strings")
        }
        try checkLength(key, value)
        var result: [Element] = []
        result.reserveCapacity(value.count)
        var offset = value.range.lowerBound
        for _ in 0..<value.count {
            let bytes = stringBytes(at: offset)
            result.append(try make(bytes))
            offset += 8 + bytes.count
        }
        return result
    }

    private func elements<Element>(
        _ key: String, expected: String, accepts: (GGUFValueType) -> Bool,
        decode: (GGUFValueType, Int) throws(ModelFileError) -> Element
    ) throws(ModelFileError) -> [Element]? {
        guard let value = value(key) else { return nil }
        guard value.type == .array, accepts(value.elementType), let size = value.elementType.size else {
            throw wrongType(key, value, expected: expected)
        }
        try checkLength(key, value)
        var result: [Element] = []
        result.reserveCapacity(value.count)
        for number in 0..<value.count {
            result.append(try decode(value.elementType, value.range.lowerBound + number * size))
        }
        return result
    }

    // MARK: Decoding. Offsets come from values whose ranges were checked when the file was opened.

    /// The bytes of the string whose length stands at `offset`.
    func stringBytes(at offset: Int) -> UnsafeRawBufferPointer {
        let length = Int(load(UInt64.self, at: offset))
        return UnsafeRawBufferPointer(rebasing: storage.bytes[offset + 8..<offset + 8 + length])
    }

    private func load<T: FixedWidthInteger & BitwiseCopyable>(_ type: T.Type, at offset: Int) -> T {
        T(littleEndian: storage.bytes.loadUnaligned(fromByteOffset: offset, as: T.self))
    }

    func integer(_ type: GGUFValueType, at offset: Int, _ key: String) throws(ModelFileError) -> Int {
        switch type {
        case .uint8: return Int(load(UInt8.self, at: offset))
        case .int8: return Int(load(Int8.self, at: offset))
        case .uint16: return Int(load(UInt16.self, at: offset))
        case .int16: return Int(load(Int16.self, at: offset))
        case .uint32: return Int(load(UInt32.self, at: offset))
        case .int32: return Int(load(Int32.self, at: offset))
        case .int64: return Int(load(Int64.self, at: offset))
        case .uint64:
            let value = load(UInt64.self, at: offset)
            guard let value = Int(exactly: value) else {
                throw ModelFileError(
                    file: storage.name, problem: "metadata '\(key)' is too large", expected: "at most \(Int.max)",
                    found: "\(value)")
            }
            return value
        case .float32, .float64, .bool, .string, .array:
            preconditionFailure("not an integer type")
        }
    }

    private func number(_ type: GGUFValueType, at offset: Int, _ key: String) throws(ModelFileError) -> Double {
        switch type {
        case .float32: Double(Float(bitPattern: load(UInt32.self, at: offset)))
        case .float64: Double(bitPattern: load(UInt64.self, at: offset))
        default: Double(try integer(type, at: offset, key))
        }
    }

    private func bool(at offset: Int, _ key: String) throws(ModelFileError) -> Bool {
        let byte = storage.bytes[offset]
        guard byte <= 1 else {
            throw ModelFileError(
                file: storage.name, problem: "metadata '\(key)' is not a bool", expected: "the byte 0 or 1",
                found: "\(byte)")
        }
        return byte == 1
    }

    private func utf8(_ bytes: UnsafeRawBufferPointer, _ key: String) throws(ModelFileError) -> String {
        guard let string = String(validating: bytes, as: UTF8.self) else {
            throw ModelFileError(file: storage.name, problem: "metadata '\(key)' is not valid UTF-8")
        }
        return string
    }

    private func checkLength(_ key: String, _ value: GGUFValue) throws(ModelFileError) {
        guard value.count <= GGUFMetadata.elementLimit else {
            throw ModelFileError(
                file: storage.name, problem: "metadata '\(key)' is too long",
                expected: "at most \(GGUFMetadata.elementLimit) elements", found: "\(value.count)")
        }
    }

    private func wrongType(_ key: String, _ value: GGUFValue, expected: String) -> ModelFileError {
        ModelFileError(
            file: storage.name, problem: "wrong type of metadata '\(key)'", expected: expected, found: value.description)
    }
}

extension ByteReader {
    /// A length and that many bytes of UTF-8: a key or a tensor's name.
    mutating func name(_ what: @autoclosure () -> String) throws(ModelFileError) -> String {
        let start = position
        let length = try count(bytesEach: 1, "the length of \(what())")
        guard length <= GGUFMetadata.nameLimit else {
            throw ModelFileError(
                file: file, problem: "\(what()) at byte \(start) is too long",
                expected: "at most \(GGUFMetadata.nameLimit) bytes", found: "\(length)")
        }
        guard let name = String(validating: try take(length, what()), as: UTF8.self) else {
            throw ModelFileError(file: file, problem: "\(what()) at byte \(start) is not valid UTF-8")
        }
        return name
    }
}
