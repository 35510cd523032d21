// SPDX-License-Identifier: Apache-2.0

/// What full blocks hold, so that a sequence that begins as another did finds its keys and values computed; and in which order blocks
/// that nobody uses give way.
///
/// Blocks form a tree: a block is found by the block before it, its tokens and how these were routed. Keys are compared, not only
/// hashed: no collision can give one request another's context.
///
/// ```
/// root ──[system prompt, 32 tokens]──> node 1 ──[…]──> node 2 ──[user A]──> node 3
///                                                          └────[user B]──> node 4
/// ```
struct PrefixCache: Sendable, Equatable {
    struct Key: Hashable, Sendable {
        /// The block before; ``root`` for a sequence's first.
        let parent: Int
        /// The number of the policy by which these tokens were routed: another policy leaves other keys and values.
        let routing: Int
        /// [blockSize]
        let tokens: ArraySlice<Int32>
    }

    struct Held: Equatable, Sendable {
        let block: Int32
        /// The parent of what comes after. Never given twice, so that a block whose parent is gone is never found.
        let node: Int
    }

    static let root = 0

    private var held: [Key: Held] = [:]
    /// By block; nil: it holds nothing that others may use.
    private var keys: [Key?]
    private var lastNode = root
    /// Blocks that nobody uses, a ring from the one that gives way first: neighbours by block; the last index is the ring's head.
    private var next: [Int32]
    private var previous: [Int32]
    private(set) var idleCount = 0
    private var head: Int { keys.count }

    init(blockCount: Int) {
        keys = Array(repeating: nil, count: blockCount)
        next = Array(repeating: -1, count: blockCount + 1)
        previous = next
        next[blockCount] = Int32(blockCount)
        previous[blockCount] = Int32(blockCount)
    }

    func find(_ key: Key) -> Held? { held[key] }

    func holds(_ block: Int32) -> Bool { keys[Int(block)] != nil }

    /// Says what `block` holds.
    /// - Returns: the node for what comes after; that of the other block, which stays the one that is found, when two hold the same.
    mutating func insert(_ key: Key, block: Int32) -> Int {
        if let other = held[key] { return other.node }
        lastNode += 1
        // A copy of the tokens alone: a slice would keep its whole sequence.
        let key = Key(parent: key.parent, routing: key.routing, tokens: ArraySlice(Array(key.tokens)))
        held[key] = Held(block: block, node: lastNode)
        keys[Int(block)] = key
        return lastNode
    }

    /// Nobody uses `block` any more; it gives way after all others.
    mutating func rest(_ block: Int32) {
        let last = previous[head]
        next[Int(last)] = block
        previous[Int(block)] = last
        next[Int(block)] = Int32(head)
        previous[head] = block
        idleCount += 1
    }

    /// Somebody uses `block` again.
    mutating func wake(_ block: Int32) {
        let (before, after) = (previous[Int(block)], next[Int(block)])
        next[Int(before)] = after
        previous[Int(after)] = before
        idleCount -= 1
    }

    /// Forgets what the block holds that was not used for longest.
    mutating func evict() -> Int32? {
        let oldest = next[head]
        guard oldest != Int32(head) else { return nil }
        wake(oldest)
        if let key = keys[Int(oldest)] { held[key] = nil }
        keys[Int(oldest)] = nil
        return oldest
    }
}
