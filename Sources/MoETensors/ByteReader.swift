// SPDX-License-Identifier: Apache-2.0

/// A cursor over little-endian bytes that nobody vouches for: every read is checked against what is left before it happens.
package struct ByteReader {
    /// For error messages.
    package let file: String
    package let bytes: UnsafeRawBufferPointer
    package private(set) var position = 0

    package init(_ bytes: UnsafeRawBufferPointer, file: String) {
        self.bytes = bytes
        self.file = file
    }

    package var remaining: Int { bytes.count - position }

    /// - Parameter what: what is being read, for the message: "the number of tensors".
    package mutating func integer<T: FixedWidthInteger & BitwiseCopyable>(
        _ type: T.Type = T.self, _ what: @autoclosure () -> String
    ) throws(ModelFileError) -> T {
        let size = MemoryLayout<T>.size
        guard size <= remaining else { throw truncated(what(), size: "\(size)") }
        defer { position += size }
        return T(littleEndian: bytes.loadUnaligned(fromByteOffset: position, as: T.self))
    }

    /// A 64-bit count of things that take at least `bytesEach` each in the rest of the file. What does not fit there is an
    /// error, so the caller may reserve space for the result.
    package mutating func count(
        bytesEach: Int, _ what: @autoclosure () -> String
    ) throws(ModelFileError) -> Int {
        let value = try integer(UInt64.self, what())
        guard value <= UInt64(remaining / bytesEach) else {
            throw ModelFileError(
                file: file, problem: "\(what()) at byte \(position - 8) does not fit the file",
                expected: "at most \(remaining / bytesEach)", found: "\(value)")
        }
        return Int(value)
    }

    /// The next `count` bytes, not copied.
    package mutating func take(
        _ count: Int, _ what: @autoclosure () -> String
    ) throws(ModelFileError) -> UnsafeRawBufferPointer {
        guard count >= 0, count <= remaining else { throw truncated(what(), size: "\(count)") }
        defer { position += count }
        return UnsafeRawBufferPointer(rebasing: bytes[position..<position + count])
    }

    /// Passes over `count` items of `size` bytes each.
    package mutating func skip(
        _ count: Int, of size: Int, _ what: @autoclosure () -> String
    ) throws(ModelFileError) {
        let (total, overflow) = count.multipliedReportingOverflow(by: size)
        guard !overflow, total >= 0, total <= remaining else { throw truncated(what(), size: "\(count) x \(size)") }
        position += total
    }

    private func truncated(_ what: String, size: String) -> ModelFileError {
        ModelFileError(
            file: file, problem: "the file ends inside \(what) at byte \(position)", expected: "\(size) bytes",
            found: "\(remaining)")
    }
}
