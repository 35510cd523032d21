// SPDX-License-Identifier: Apache-2.0

/// Who owns which block of the KV cache. A value: the scheduler holds it, tests copy it.
///
/// Freed blocks are used again first, so that memory once touched is touched again before new pages are.
package struct BlockManager: Sendable, Equatable {
    /// Positions per block.
    package let blockSize: Int
    package let blockCount: Int
    private var free: [Int32]

    package init(blockCount: Int, blockSize: Int) {
        self.blockCount = blockCount
        self.blockSize = blockSize
        free = (0..<Int32(blockCount)).reversed()
    }

    package var freeCount: Int { free.count }

    /// Blocks that hold this many positions.
    package func blocks(forPositions count: Int) -> Int { (count + blockSize - 1) / blockSize }

    /// Lengthens a block table to hold `positions`; all or nothing.
    /// - Returns: false, with nothing changed, when too few blocks are free.
    package mutating func grow(_ table: inout [Int32], toPositions positions: Int) -> Bool {
        let missing = blocks(forPositions: positions) - table.count
        if missing <= 0 { return true }
        guard missing <= free.count else { return false }
        for _ in 0..<missing { table.append(free.removeLast()) }
        return true
    }

    /// Takes the blocks back that a table does not need for `positions`: those of drafts that were not accepted.
    package mutating func shrink(_ table: inout [Int32], toPositions positions: Int) {
        while table.count > blocks(forPositions: positions) { free.append(table.removeLast()) }
    }

    /// How many positions a table could hold, with every block that is free.
    package func reach(of table: [Int32]) -> Int { (table.count + free.count) * blockSize }

    /// Takes a table's blocks back.
    package mutating func release(_ table: inout [Int32]) {
        free.append(contentsOf: table.reversed())
        precondition(free.count <= blockCount, "a block was freed twice")
        table = []
    }
}
