// SPDX-License-Identifier: Apache-2.0

/// A named, typed, shaped window on bytes that somebody else owns: usually a mapped file.
///
/// Lifetime: `storage` keeps the bytes alive; ``bytes`` is valid as long as this value (or any copy) is.
/// Invariant, checked at creation: `bytes.count` is exactly what `type` and `shape` need.
package struct TensorView: @unchecked Sendable {
    package let name: String
    package let type: ElementType
    package let shape: Shape
    /// Read-only. Alignment: at least that of the file format (GGUF 32, safetensors 8), not guaranteed for hostile files.
    package let bytes: UnsafeRawBufferPointer
    package let storage: any AnyObject & Sendable
    /// Whether groups of rows lie side by side, as only our kernels read them: never so in a file that others wrote.
    package let isInterleaved: Bool

    /// - Returns: nil when `bytes` does not hold exactly `shape` values of `type`.
    package init?(
        name: String, type: ElementType, shape: Shape, bytes: UnsafeRawBufferPointer, storage: any AnyObject & Sendable,
        isInterleaved: Bool = false
    ) {
        guard let elements = shape.checkedElementCount, shape.columns % type.blockElements == 0,
            type.byteCount(elements: elements) == bytes.count
        else { return nil }
        self.name = name
        self.type = type
        self.shape = shape
        self.bytes = bytes
        self.storage = storage
        self.isInterleaved = isInterleaved
    }

    package var elementCount: Int { shape.dimensions.reduce(1, *) }
    /// Bytes of one innermost row.
    package var rowBytes: Int { shape.columns / type.blockElements * type.blockBytes }

    /// The `index`-th entry along the outermost axis: one expert of `[E, n, k]`.
    package subscript(index: Int) -> TensorView {
        precondition(shape.rank > 1 && index >= 0 && index < shape[0])
        let inner = bytes.count / shape[0]
        return TensorView(
            name: "\(name)[\(index)]", type: type, shape: Shape(Array(shape.dimensions.dropFirst())),
            bytes: UnsafeRawBufferPointer(rebasing: bytes[index * inner..<(index + 1) * inner]), storage: storage,
            isInterleaved: isInterleaved)!
    }

    /// Gives the memory of rows back to the system, where they are mapped: they are read anew when they are looked at again.
    package func release(rows range: Range<Int>) {
        guard let file = storage as? MappedFile, let start = file.bytes.baseAddress, let own = bytes.baseAddress else {
            return
        }
        let first = own - start
        file.release(first + range.lowerBound * rowBytes..<first + range.upperBound * rowBytes)
    }
}
