// SPDX-License-Identifier: Apache-2.0

import CMoEKernels
package import MoETensors

/// Weights in the order that kernels with a lane a row want: groups of rows, 4 bytes of each side by side. As many bytes as in a file, none
/// of them changed; products have the same bits.
package enum Interleaving {
    /// Rows of a group of a tensor `[…, n, k]`; nil when it cannot be interleaved, or this CPU has no kernels for it.
    package static func group(_ tensor: TensorView) -> Int? {
        let shape = tensor.shape
        guard shape.rank > 1 else { return nil }
        // An expert's gate and up may be one matrix, of which each is half.
        let parts = shape.rank > 2 ? 2 : 1
        guard shape[shape.rank - 2] % parts == 0 else { return nil }
        return group(tensor.type, n: shape[shape.rank - 2] / parts, k: shape.columns)
    }

    package static func group(_ type: ElementType, n: Int, k: Int) -> Int? {
        let rows = moe_interleaved_rows(Int32(type.rawValue), Int64(n), Int64(k))
        return rows > 0 ? Int(rows) : nil
    }

    /// Interleaves whole groups of a tensor's rows.
    /// - Parameters:
    ///   - rows: multiples of the group, counted over all matrices.
    ///   - out: as many bytes as the rows have.
    package static func interleave(_ tensor: TensorView, rows range: Range<Int>, into out: UnsafeMutableRawBufferPointer) {
        guard let group = group(tensor), range.lowerBound % group == 0, range.count % group == 0,
            out.count == range.count * tensor.rowBytes, range.lowerBound >= 0,
            range.upperBound * tensor.rowBytes <= tensor.bytes.count
        else { preconditionFailure("not whole groups of rows") }
        moe_interleave(
            Int32(tensor.type.rawValue), Int32(group), tensor.bytes.baseAddress! + range.lowerBound * tensor.rowBytes,
            Int64(range.count), Int64(tensor.shape.columns), out.baseAddress!)
    }
}
