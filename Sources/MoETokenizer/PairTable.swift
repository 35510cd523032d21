// SPDX-License-Identifier: Apache-2.0

/// The merges of byte-pair encoding: (left symbol, right symbol) -> (rank, merged symbol), by open addressing.
struct PairTable: Sendable {
    private struct Slot {
        var key: UInt64
        var rank: UInt32
        var merged: Int32
    }

    private static let empty = UInt64.max
    private static let seed = UInt64.random(in: .min ... .max)

    /// A copy at hand: the shared one is made when it is first asked for, which every access would check.
    private let seed = Self.seed
    private var slots: [Slot]
    private(set) var count = 0

    /// - Parameter capacity: how many pairs there will be at most.
    init(capacity: Int) {
        var size = 16
        while size < capacity * 2 { size *= 2 }
        slots = [Slot](repeating: Slot(key: Self.empty, rank: 0, merged: 0), count: size)
    }

    @inline(__always)
    private static func key(_ left: Int32, _ right: Int32) -> UInt64 {
        UInt64(UInt32(bitPattern: left)) << 32 | UInt64(UInt32(bitPattern: right))
    }

    @inline(__always)
    private func hash(_ key: UInt64) -> Int {
        let product = (key ^ seed).multipliedFullWidth(by: 0x9E37_79B9_7F4A_7C15)
        return Int(truncatingIfNeeded: product.high ^ product.low)
    }

    @inline(__always)
    func find(_ left: Int32, _ right: Int32) -> PairMerger.Merge? {
        let key = Self.key(left, right)
        let mask = slots.count - 1
        var slot = hash(key) & mask
        while true {
            let found = slots[slot]
            if found.key == key { return (found.rank, found.merged) }
            if found.key == Self.empty { return nil }
            slot = (slot + 1) & mask
        }
    }

    /// Adds a merge of two symbols (0 or more). A pair that is there already gets the new rank if `replacing`, else stays.
    mutating func insert(_ left: Int32, _ right: Int32, rank: UInt32, merged: Int32, replacing: Bool) {
        precondition((count + 1) * 2 <= slots.count + 1, "more merges than the table was made for")
        let key = Self.key(left, right)
        let mask = slots.count - 1
        var slot = hash(key) & mask
        while slots[slot].key != Self.empty {
            if slots[slot].key == key {
                if replacing { slots[slot] = Slot(key: key, rank: rank, merged: merged) }
                return
            }
            slot = (slot + 1) & mask
        }
        slots[slot] = Slot(key: key, rank: rank, merged: merged)
        count += 1
    }
}
