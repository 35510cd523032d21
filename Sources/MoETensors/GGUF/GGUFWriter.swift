// SPDX-License-Identifier: Apache-2.0

/// Writes a copy of a GGUF file in which one string of the metadata is set or removed. All else is the same bytes: the other
/// entries and the tensors' table in their order, the data as it lies (offsets count from its start). Only the padding before
/// the data changes, because the metadata before it has another size.
///
/// Of a split model this is the first shard, which holds the metadata.
package struct GGUFWriter: Sendable {
    private enum Piece: Sendable {
        case bytes([UInt8])
        /// Of the source.
        case range(Range<Int>)

        var count: Int {
            switch self {
            case .bytes(let bytes): bytes.count
            case .range(let range): range.count
            }
        }
    }

    private let source: MappedFile
    private let pieces: [Piece]
    /// Of the copy.
    package let byteCount: Int

    /// Bytes between two reports of progress, and what is held of the source at a time.
    private static let pieceSize = 8 << 20

    /// - Parameters:
    ///   - key: lower-case words joined by `_` and `.`, as the format asks.
    ///   - value: UTF-8; nil removes the entry. One that is there already is replaced; a new one comes last.
    package init(_ file: GGUFFile, setting key: String, to value: [UInt8]?) {
        let content = file.first
        source = content.file
        let kept = zip(content.metadata.keys, content.metadata.entries).filter { $0.0 != key }.map { $0.1 }
        var entry: [UInt8] = []
        if let value {
            entry.append(string: Array(key.utf8))
            entry.append(integer: GGUFValueType.string.rawValue)
            entry.append(string: value)
        }
        var head = Array("GGUF".utf8)
        head.append(integer: content.version)
        head.append(integer: UInt64(content.tensors.count))
        head.append(integer: UInt64(kept.count + (value == nil ? 0 : 1)))

        var pieces = [Piece.bytes(head)]
        // Entries that were neighbours go in one piece.
        var run: Range<Int>?
        for range in kept {
            if let open = run, open.upperBound == range.lowerBound {
                run = open.lowerBound..<range.upperBound
            } else {
                if let run { pieces.append(.range(run)) }
                run = range
            }
        }
        if let run { pieces.append(.range(run)) }
        pieces.append(.bytes(entry))
        pieces.append(.range(content.tensorTable))
        let end = pieces.reduce(0) { $0 + $1.count }
        let size = source.bytes.count
        let data = min(GGUFContent.aligned(content.tensorTable.upperBound, to: content.alignment), size)..<size
        if content.tensorTable.upperBound < size {
            pieces.append(.bytes([UInt8](repeating: 0, count: GGUFContent.aligned(end, to: content.alignment) - end)))
        }
        pieces.append(.range(data))
        self.pieces = pieces
        byteCount = pieces.reduce(0) { $0 + $1.count }
    }

    /// Writes the copy; memory is bounded, whatever the file's size.
    /// - Parameter progress: bytes written so far; what it throws ends the copy.
    /// - Throws: ``ModelFileError`` when it cannot be written.
    package func write(to output: OutputFile, progress: (Int) throws -> Void) throws {
        var done = 0
        for piece in pieces {
            switch piece {
            case .bytes(let bytes):
                try output.write(bytes)
                done += bytes.count
            case .range(let range):
                var start = range.lowerBound
                while start < range.upperBound {
                    try progress(done)
                    let part = start..<min(start + Self.pieceSize, range.upperBound)
                    try output.write(UnsafeRawBufferPointer(rebasing: source.bytes[part]))
                    source.release(part)
                    done += part.count
                    start = part.upperBound
                }
            }
        }
        try progress(done)
    }
}

extension [UInt8] {
    fileprivate mutating func append(integer value: some FixedWidthInteger) {
        Swift.withUnsafeBytes(of: value.littleEndian) { append(contentsOf: $0) }
    }

    /// A length and that many bytes.
    fileprivate mutating func append(string: [UInt8]) {
        append(integer: UInt64(string.count))
        append(contentsOf: string)
    }
}
