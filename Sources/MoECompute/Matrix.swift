// SPDX-License-Identifier: Apache-2.0

package import MoETensors

/// A weight matrix `[n, k]`: n output features, k input features, rows contiguous, or interleaved (``Interleaving``).
///
/// Lifetime: a bare view on the bytes of a ``TensorView``; whoever keeps a matrix keeps the ``WeightStore`` it came from.
/// It holds no reference itself, so that lists of products are made without reference counting.
package struct Matrix: @unchecked Sendable, BitwiseCopyable {
    package let type: ElementType
    /// Output features.
    package let n: Int
    /// Input features.
    package let k: Int
    package let rowBytes: Int
    package let pointer: UnsafeRawPointer
    /// Groups of rows lie side by side: the native path only.
    package let isInterleaved: Bool

    /// - Parameter view: a tensor of rank 2 and a type that a product can take (``ElementType/isWeight``).
    package init(_ view: TensorView) {
        precondition(view.shape.rank == 2 && view.type.isWeight)
        type = view.type
        n = view.shape[0]
        k = view.shape[1]
        rowBytes = view.rowBytes
        pointer = view.bytes.baseAddress!
        isInterleaved = view.isInterleaved
    }

    /// A matrix in memory that the caller keeps: rows `rowBytes` apart.
    package init(
        type: ElementType, n: Int, k: Int, rowBytes: Int, pointer: UnsafeRawPointer, isInterleaved: Bool = false
    ) {
        self.type = type
        self.n = n
        self.k = k
        self.rowBytes = rowBytes
        self.pointer = pointer
        self.isInterleaved = isInterleaved
    }

    /// Rows `range` as a matrix of its own.
    package func rows(_ range: Range<Int>) -> Matrix {
        precondition(range.lowerBound >= 0 && range.upperBound <= n)
        if isInterleaved {
            let group = Interleaving.group(type, n: n, k: k)!
            precondition(range.lowerBound % group == 0 && range.count % group == 0)
        }
        return Matrix(
            type: type, n: range.count, k: k, rowBytes: rowBytes, pointer: pointer + range.lowerBound * rowBytes,
            isInterleaved: isInterleaved)
    }

    /// Bytes that a product reads.
    package var byteCount: Int { n * rowBytes }
}
