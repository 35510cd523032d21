// SPDX-License-Identifier: Apache-2.0

/// Memory of one step: handed out by a moving pointer and taken back all at once, so that a steady decode loop allocates
/// nothing. Grows when a step needs more than any before it.
///
/// Lifetime: what ``floats(_:)`` and ``integers(_:)`` return is valid until the next ``reset()``. Contents are undefined.
package final class ScratchArena {
    private static let alignment = 64
    private var chunks: [UnsafeMutableRawBufferPointer] = []
    private var offset = 0
    private var current = 0

    package init() {}

    deinit { for chunk in chunks { chunk.deallocate() } }

    /// Bytes held.
    package var byteCount: Int { chunks.reduce(0) { $0 + $1.count } }

    /// Takes everything back. Chunks are merged once, so that the next step finds one that is large enough.
    package func reset() {
        if chunks.count > 1 {
            let total = byteCount
            for chunk in chunks { chunk.deallocate() }
            chunks = [.allocate(byteCount: total, alignment: Self.alignment)]
        }
        current = 0
        offset = 0
    }

    /// A place to go back to: everything handed out after it is taken back by ``release(to:)``.
    package struct Mark {
        fileprivate let current: Int
        fileprivate let offset: Int
    }

    package func mark() -> Mark { Mark(current: current, offset: offset) }
    package func release(to mark: Mark) { (current, offset) = (mark.current, mark.offset) }

    /// `count` uninitialised floats, 64-byte aligned.
    package func floats(_ count: Int) -> UnsafeMutablePointer<Float> {
        bytes(count * MemoryLayout<Float>.stride).bindMemory(to: Float.self, capacity: count)
    }

    /// `count` uninitialised 32-bit integers, 64-byte aligned.
    package func integers(_ count: Int) -> UnsafeMutablePointer<Int32> {
        bytes(count * MemoryLayout<Int32>.stride).bindMemory(to: Int32.self, capacity: count)
    }

    /// `count` uninitialised values of a trivial type, 64-byte aligned.
    package func values<T: BitwiseCopyable>(_ type: T.Type, _ count: Int) -> UnsafeMutablePointer<T> {
        bytes(count * MemoryLayout<T>.stride).bindMemory(to: T.self, capacity: count)
    }

    private func bytes(_ count: Int) -> UnsafeMutableRawPointer {
        let needed = (max(count, 1) + Self.alignment - 1) / Self.alignment * Self.alignment
        while current < chunks.count {
            if offset + needed <= chunks[current].count {
                defer { offset += needed }
                return chunks[current].baseAddress! + offset
            }
            current += 1
            offset = 0
        }
        chunks.append(.allocate(byteCount: max(needed, 1 << 20), alignment: Self.alignment))
        offset = needed
        return chunks[current].baseAddress!
    }
}
