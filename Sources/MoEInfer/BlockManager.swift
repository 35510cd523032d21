// SPDX-License-Identifier: Apache-2.0

/// Who owns which block of the KV cache. A value: the scheduler holds it, tests copy it.
///
/// A block may have several users: sequences that begin alike share the full blocks of what they have in common
/// (``PrefixCache``). Blocks that nobody uses and that hold nothing are taken first, those used last before others; then the ones
/// that hold a prefix, least recently used first.
package struct BlockManager: Sendable, Equatable {
    /// Positions per block.
    package let blockSize: Int
    package let blockCount: Int
    private var blank: [Int32]
    /// By block.
    private var users: [Int32]
    private var prefixes: PrefixCache

    package init(blockCount: Int, blockSize: Int) {
        self.blockCount = blockCount
        self.blockSize = blockSize
        blank = (0..<Int32(blockCount)).reversed()
        users = Array(repeating: 0, count: blockCount)
        prefixes = PrefixCache(blockCount: blockCount)
    }

    /// Blocks that nobody uses, those that hold a prefix among them.
    package var freeCount: Int { blank.count + prefixes.idleCount }
    /// Blocks that nobody uses and that hold a prefix.
    package var idleCount: Int { prefixes.idleCount }

    /// Blocks that hold this many positions.
    package func blocks(forPositions count: Int) -> Int { (count + blockSize - 1) / blockSize }

    /// Lengthens a block table to hold `positions`; all or nothing.
    /// - Returns: false, with nothing changed, when too few blocks are free.
    package mutating func grow(_ table: inout [Int32], toPositions positions: Int) -> Bool {
        let missing = blocks(forPositions: positions) - table.count
        if missing <= 0 { return true }
        guard missing <= freeCount else { return false }
        for _ in 0..<missing {
            guard let block = blank.popLast() ?? prefixes.evict() else { preconditionFailure("a free block is not") }
            users[Int(block)] = 1
            table.append(block)
        }
        return true
    }

    /// Takes the blocks back that a table does not need for `positions`: those of drafts that were not accepted.
    package mutating func shrink(_ table: inout [Int32], toPositions positions: Int) {
        while table.count > blocks(forPositions: positions) { leave(table.removeLast()) }
    }

    /// How many positions a table could hold, with every block that is free.
    package func reach(of table: [Int32]) -> Int { (table.count + freeCount) * blockSize }

    /// Takes a table's blocks back. The last gives way first: without what comes before it, it would not be found.
    package mutating func release(_ table: inout [Int32]) {
        for block in table.reversed() { leave(block) }
        table = []
    }

    private mutating func leave(_ block: Int32) {
        let index = Int(block)
        precondition(users[index] > 0, "a block was freed twice")
        users[index] -= 1
        guard users[index] == 0 else { return }
        if prefixes.holds(block) { prefixes.rest(block) } else { blank.append(block) }
    }

    // MARK: Prefixes

    /// Appends the block that holds `tokens` after `node`, if there is one.
    /// - Returns: the node after it.
    mutating func share(
        _ tokens: ArraySlice<Int32>, routing: Int, after node: Int, into table: inout [Int32]
    ) -> Int? {
        guard let held = prefixes.find(.init(parent: node, routing: routing, tokens: tokens)) else { return nil }
        if users[Int(held.block)] == 0 { prefixes.wake(held.block) }
        users[Int(held.block)] += 1
        table.append(held.block)
        return held.node
    }

    /// Says that `block`, which is in use, holds the keys and values of `tokens` after `node`.
    /// - Returns: the node after it.
    mutating func publish(_ tokens: ArraySlice<Int32>, routing: Int, after node: Int, block: Int32) -> Int {
        prefixes.insert(.init(parent: node, routing: routing, tokens: tokens), block: block)
    }
}
