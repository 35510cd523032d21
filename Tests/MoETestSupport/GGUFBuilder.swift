// SPDX-License-Identifier: Apache-2.0

extension [UInt8] {
    package mutating func add<T: FixedWidthInteger>(_ value: T) {
        Swift.withUnsafeBytes(of: value.littleEndian) { append(contentsOf: $0) }
    }

    /// A GGUF string.
    package mutating func add(_ text: String) {
        add(UInt64(text.utf8.count))
        append(contentsOf: text.utf8)
    }
}

/// Writes GGUF files, right or wrong: every field can lie.
package struct GGUFBuilder {
    package struct Tensor {
        package var name = "t"
        /// As in the file: innermost first.
        package var extents: [UInt64] = [4]
        package var rank: UInt32?
        package var type: UInt32 = 0
        package var offset: UInt64 = 0

        package init(
            name: String = "t", extents: [UInt64] = [4], rank: UInt32? = nil, type: UInt32 = 0, offset: UInt64 = 0
        ) {
            self.name = name
            self.extents = extents
            self.rank = rank
            self.type = type
            self.offset = offset
        }
    }

    package init() {}

    package var version: UInt32 = 3
    package var tensorCount: UInt64?
    package var entryCount: UInt64?
    package var entries: [[UInt8]] = []
    package var tensors: [Tensor] = []
    package var alignment = 32
    package var data = [UInt8](repeating: 1, count: 64)

    package mutating func entry(_ key: String, type: UInt32, _ value: [UInt8]) {
        var entry: [UInt8] = []
        entry.add(key)
        entry.add(type)
        entries.append(entry + value)
    }

    package mutating func uint32(_ key: String, _ value: UInt32) {
        var bytes: [UInt8] = []
        bytes.add(value)
        entry(key, type: 4, bytes)
    }

    package mutating func array(_ key: String, elementType: UInt32, count: UInt64, _ elements: [UInt8] = []) {
        var bytes: [UInt8] = []
        bytes.add(elementType)
        bytes.add(count)
        entry(key, type: 9, bytes + elements)
    }

    package var bytes: [UInt8] {
        var result = [UInt8]("GGUF".utf8)
        result.add(version)
        result.add(tensorCount ?? UInt64(tensors.count))
        result.add(entryCount ?? UInt64(entries.count))
        result += entries.joined()
        for tensor in tensors {
            result.add(tensor.name)
            result.add(tensor.rank ?? UInt32(tensor.extents.count))
            for extent in tensor.extents { result.add(extent) }
            result.add(tensor.type)
            result.add(tensor.offset)
        }
        if tensors.isEmpty { return result }
        result += [UInt8](repeating: 0, count: (alignment - result.count % alignment) % alignment)
        return result + data
    }
}
