// SPDX-License-Identifier: Apache-2.0

import MoECompute
import MoETensors

/// The storage of keys and values: per layer two arrays of pages (``KVLayerView``). Who owns which block is the engine's
/// business (`BlockManager`); this type only knows bytes.
///
/// The address space is reserved once and filled by first use, so growing a sequence never copies and memory that no block
/// has touched is not resident. Unsafe memory: the reservation lives as long as this object.
package final class KVCache: @unchecked Sendable {
    /// Precision of the stored keys and values.
    package enum Precision: String, Sendable, CaseIterable {
        case f16
        case f32
        /// 8-bit integers with a float16 scale per 32 elements of a head: 8.5 bits an element.
        case q8 = "q8_0"

        var type: ElementType {
            switch self {
            case .f16: .f16
            case .f32: .f32
            case .q8: .q8_0
            }
        }
    }

    package let precision: Precision
    /// Positions per block.
    package let blockSize: Int
    package let blockCount: Int
    package let layerCount: Int
    package let kvHeads: Int
    package let headDim: Int
    /// Of one layer's keys, or values.
    private let arrayBytes: Int
    /// From how many on: of small ones a huge page would be much more than what is used.
    private static let arrayBytesForHugePages = 8 << 20
    private let reservation: MemoryReservation

    /// - Throws: ``ResourceError`` when the address space cannot be had.
    package init(
        precision: Precision, blockSize: Int = 32, blockCount: Int, layerCount: Int, kvHeads: Int, headDim: Int
    ) throws {
        self.precision = precision
        self.blockSize = blockSize
        self.blockCount = blockCount
        self.layerCount = layerCount
        self.kvHeads = kvHeads
        self.headDim = headDim
        let perBlock = Self.bytesPerBlock(
            precision: precision, blockSize: blockSize, layerCount: layerCount, kvHeads: kvHeads, headDim: headDim)
        let (bytes, overflow) = perBlock.multipliedReportingOverflow(by: blockCount)
        guard !overflow else { throw ResourceError(what: "KV cache of \(blockCount) blocks", bytes: nil) }
        arrayBytes = bytes / (2 * layerCount)
        reservation = try MemoryReservation(
            bytes: bytes, purpose: "KV cache of \(blockCount * blockSize) positions",
            hugePages: arrayBytes >= Self.arrayBytesForHugePages)
    }

    /// Bytes of one block over all layers, keys and values.
    package static func bytesPerBlock(
        precision: Precision, blockSize: Int, layerCount: Int, kvHeads: Int, headDim: Int
    ) -> Int {
        2 * layerCount * kvHeads * KVLayerView.pageBytes(type: precision.type, blockSize: blockSize, headDim: headDim)
    }

    /// An empty cache of the same kind, for a text apart.
    package func sibling(positions: Int) throws -> KVCache {
        try KVCache(
            precision: precision, blockSize: blockSize, blockCount: (positions + blockSize - 1) / blockSize,
            layerCount: layerCount, kvHeads: kvHeads, headDim: headDim)
    }

    /// The pages of one layer.
    package func keys(layer: Int) -> UnsafeMutableRawPointer { reservation.base + 2 * layer * arrayBytes }
    package func values(layer: Int) -> UnsafeMutableRawPointer { reservation.base + (2 * layer + 1) * arrayBytes }
    package var byteCount: Int { reservation.byteCount }
}
