// SPDX-License-Identifier: Apache-2.0

import MoEJSON

/// One safetensors file. Immutable; opening reads the header and no weight.
///
/// Layout: a 64-bit little-endian length, that many bytes of JSON
/// `{"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, …, "__metadata__": {…}}`, then the data that the
/// offsets count from. Source: the format's description in the `safetensors` repository.
package final class SafetensorsFile: WeightStore, Sendable {
    package let source: String
    package let tensorNames: [String]
    package let tensorBytes: Int
    /// The header's `__metadata__`.
    package let metadata: [String: String]
    private let file: MappedFile
    private let entries: [String: Entry]

    struct Entry: Sendable {
        let type: SafetensorsType
        let shape: Shape
        /// In the file.
        let range: Range<Int>
    }

    /// The reference implementation's limit, bytes.
    private static let headerLimit = 100_000_000

    package convenience init(path: String) throws(ModelFileError) {
        try self.init(MappedFile(path: path))
    }

    /// A file that is in memory already.
    /// - Parameter bytes: unchanged until the process ends, at an address that is a multiple of 16.
    package convenience init(bytes: UnsafeRawBufferPointer, name: String) throws(ModelFileError) {
        try self.init(MappedFile(memory: bytes, name: name))
    }

    private init(_ file: MappedFile) throws(ModelFileError) {
        self.file = file
        source = file.name
        let header = try SafetensorsFile.header(file)
        let dataStart = 8 + header.count
        let json = try JSONFile([UInt8](header), file: file.name)
        try json.refuseDuplicateKeys()
        let members = try json.root()
        var names: [String] = []
        var entries = [String: Entry](minimumCapacity: members.count)
        var metadata: [String: String] = [:]
        for member in members {
            let name = try json.string(member.key)
            if name == "__metadata__" {
                for entry in try json.object(member.value) {
                    metadata[try json.string(entry.key)] = try json.string(entry.value)
                }
                continue
            }
            entries[name] = try EntryFields(member.value, of: json, tensor: name).entry(
                tensor: name, dataStart: dataStart, fileSize: file.bytes.count, file: file.name)
            names.append(name)
        }
        try checkOverlap(names.map { ($0, entries[$0]!.range) }, file: file.name)
        tensorBytes = entries.values.reduce(0) { $0 + $1.range.count }
        (tensorNames, self.entries, self.metadata) = (names, entries, metadata)
    }

    private static func header(_ file: MappedFile) throws(ModelFileError) -> UnsafeRawBufferPointer {
        var reader = ByteReader(file.bytes, file: file.name)
        if file.bytes.starts(with: "version https://git-lfs".utf8) {
            throw ModelFileError(
                file: file.name, problem: "not a safetensors file",
                found: "a Git LFS pointer: the file itself was not downloaded")
        }
        let length = try reader.integer(UInt64.self, "the header's length")
        guard length <= headerLimit else {
            throw ModelFileError(
                file: file.name, problem: "the header is too long (is it a safetensors file?)",
                expected: "at most \(headerLimit) bytes", found: "\(length)")
        }
        let header = try reader.take(Int(length), "the header")
        guard header.first == UInt8(ascii: "{") else {
            throw ModelFileError(
                file: file.name, problem: "not a safetensors file", expected: "a header that begins with '{'",
                found: header.first.map { "byte \($0)" } ?? "nothing")
        }
        return header
    }

    /// nil when there is no such tensor, or none that can be read: see ``problem(with:)``.
    package func tensor(named name: String) -> TensorView? {
        guard let entry = entries[name], let type = entry.type.elementType, isAligned(entry, type) else { return nil }
        return TensorView(
            name: name, type: type, shape: entry.shape, bytes: UnsafeRawBufferPointer(rebasing: file.bytes[entry.range]),
            storage: file)
    }

    package func problem(with name: String) -> ModelFileError? {
        guard let entry = entries[name] else { return nil }
        guard let type = entry.type.elementType else {
            return ModelFileError(
                file: source, tensor: name, problem: "unsupported element type", expected: "F32, F16 or BF16",
                found: entry.type.name)
        }
        if isAligned(entry, type) { return nil }
        return ModelFileError(
            file: source, tensor: name, problem: "the data is not aligned (save the file again with a current safetensors)",
            expected: "a multiple of \(type.blockBytes)", found: "byte \(entry.range.lowerBound)")
    }

    /// Kernels read whole elements. Writers have aligned the data since 2022.
    private func isAligned(_ entry: Entry, _ type: ElementType) -> Bool {
        (Int(bitPattern: file.bytes.baseAddress) + entry.range.lowerBound) % type.blockBytes == 0
    }

    /// nil when there is no such tensor.
    func byteCount(of name: String) -> Int? { entries[name]?.range.count }

    package func prefetch() { file.prefetch() }
}

/// A tensor's entry of the header as it is written.
private struct EntryFields {
    var type: SafetensorsType?
    var shape: [Int]?
    var offsets: [Int]?

    init(_ value: JSONDocument.Value, of json: JSONFile, tensor: String) throws(ModelFileError) {
        for field in try json.object(value) {
            let key = try json.string(field.key)
            switch key {
            case "dtype": type = SafetensorsType(try json.string(field.value))
            case "shape": shape = try EntryFields.integers(field.value, of: json, tensor: tensor, what: key)
            case "data_offsets": offsets = try EntryFields.integers(field.value, of: json, tensor: tensor, what: key)
            default: break
            }
        }
    }

    private static func integers(
        _ value: JSONDocument.Value, of json: JSONFile, tensor: String, what: String
    ) throws(ModelFileError) -> [Int] {
        var result: [Int] = []
        for element in try json.array(value) {
            guard case .integer(let value) = json.document.content(element), value >= 0 else {
                throw ModelFileError(
                    file: json.file, tensor: tensor, problem: "bad '\(what)'", expected: "integers from 0 to \(Int.max)")
            }
            result.append(value)
        }
        return result
    }

    func entry(
        tensor: String, dataStart: Int, fileSize: Int, file: String
    ) throws(ModelFileError) -> SafetensorsFile.Entry {
        func failure(_ problem: String, expected: String, found: String) -> ModelFileError {
            ModelFileError(file: file, tensor: tensor, problem: problem, expected: expected, found: found)
        }
        guard let type, let shape, let offsets else {
            let missing = [
                type == nil ? "dtype" : nil, shape == nil ? "shape" : nil, offsets == nil ? "data_offsets" : nil,
            ]
            throw failure(
                "incomplete header entry", expected: "dtype, shape and data_offsets",
                found: "no " + missing.compactMap { $0 }.joined(separator: ", no "))
        }
        let available = fileSize - dataStart
        guard offsets.count == 2, offsets[0] <= offsets[1] else {
            throw failure("bad 'data_offsets'", expected: "a begin and an end", found: "\(offsets)")
        }
        guard offsets[1] <= available else {
            throw failure(
                "data past the end of the file (is it complete?)", expected: "at most \(available)", found: "\(offsets)")
        }
        let extents = Shape(shape)
        guard let elements = extents.checkedElementCount else {
            throw failure("the shape is too large", expected: "fewer than 2^63 elements", found: "\(extents)")
        }
        let size = offsets[1] - offsets[0]
        if type.bits != nil, type.byteCount(elements: elements) != size {
            throw failure(
                "the data's size does not fit \(type.name) \(extents)",
                expected: type.byteCount(elements: elements).map { "\($0) bytes" } ?? "whole bytes", found: "\(size)")
        }
        return SafetensorsFile.Entry(
            type: type, shape: extents, range: dataStart + offsets[0]..<dataStart + offsets[1])
    }
}
