// SPDX-License-Identifier: Apache-2.0

package import MoETensors

/// A weight matrix `[n, k]`: n output features, k input features, rows contiguous. A view; the bytes stay in the mapped file.
package struct Matrix: @unchecked Sendable {
    package let type: ElementType
    /// Output features.
    package let n: Int
    /// Input features.
    package let k: Int
    package let rowBytes: Int
    /// Valid as long as `storage` lives.
    package let pointer: UnsafeRawPointer
    package let storage: any AnyObject & Sendable

    /// - Parameter view: a tensor of rank 2 and a type that a product can take (``ElementType/isWeight``).
    package init(_ view: TensorView) {
        precondition(view.shape.rank == 2 && view.type.isWeight)
        type = view.type
        n = view.shape[0]
        k = view.shape[1]
        rowBytes = view.rowBytes
        pointer = view.bytes.baseAddress!
        storage = view.storage
    }

    /// Bytes that a product reads.
    package var byteCount: Int { n * rowBytes }
}
