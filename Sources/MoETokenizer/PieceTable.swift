// SPDX-License-Identifier: Apache-2.0

/// A map from byte strings to numbers: one buffer holds all keys, open addressing finds them.
///
/// Made for vocabularies: filled once, asked for slices of a text without making a copy of the slice.
struct PieceTable: Sendable {
    /// All keys, one after the other.
    private var keys: [UInt8] = []
    /// Entry -> where its key starts in `keys`; one more than there are entries.
    private var starts: [Int] = [0]
    private var values: [Int32] = []
    /// Slot -> entry, or -1. The count is a power of two, at least twice the entries.
    private var slots: [Int32]
    private(set) var longestKey = 0

    init(capacity: Int) {
        var size = 16
        while size < capacity * 2 { size *= 2 }
        slots = [Int32](repeating: -1, count: size)
        starts.reserveCapacity(capacity + 1)
        values.reserveCapacity(capacity)
    }

    var count: Int { values.count }

    /// Differs from run to run, so that no file can be made whose keys all fall on the same slot. It places entries and decides
    /// nothing else.
    private static let seed = UInt64.random(in: .min ... .max)

    static func hash(_ key: UnsafeBufferPointer<UInt8>) -> UInt64 {
        var h = seed ^ UInt64(truncatingIfNeeded: key.count)
        let raw = UnsafeRawBufferPointer(key)
        var i = 0
        while i + 8 <= raw.count {
            h = mix(h, raw.loadUnaligned(fromByteOffset: i, as: UInt64.self))
            i += 8
        }
        var tail: UInt64 = 0
        while i < raw.count {
            tail = tail << 8 | UInt64(raw[i])
            i += 1
        }
        return mix(h, tail)
    }

    private static func mix(_ h: UInt64, _ word: UInt64) -> UInt64 {
        let product = (h ^ word).multipliedFullWidth(by: 0x9E37_79B9_7F4A_7C15)
        return product.high ^ product.low
    }

    /// The value of `key`, or nil.
    func find(_ key: UnsafeBufferPointer<UInt8>) -> Int32? {
        guard key.count <= longestKey else { return nil }
        let mask = slots.count - 1
        var slot = Int(truncatingIfNeeded: Self.hash(key)) & mask
        while true {
            let entry = Int(slots[slot])
            if entry < 0 { return nil }
            if equals(entry, key) { return values[entry] }
            slot = (slot + 1) & mask
        }
    }

    func find(_ key: [UInt8]) -> Int32? { key.withUnsafeBufferPointer { find($0) } }

    /// Adds `key`. False, and nothing changes, when it is there already.
    @discardableResult
    mutating func insert(_ key: UnsafeBufferPointer<UInt8>, value: Int32) -> Bool {
        if (count + 1) * 2 > slots.count { grow() }
        let mask = slots.count - 1
        var slot = Int(truncatingIfNeeded: Self.hash(key)) & mask
        while slots[slot] >= 0 {
            if equals(Int(slots[slot]), key) { return false }
            slot = (slot + 1) & mask
        }
        slots[slot] = Int32(count)
        keys.append(contentsOf: key)
        starts.append(keys.count)
        values.append(value)
        longestKey = max(longestKey, key.count)
        return true
    }

    @discardableResult
    mutating func insert(_ key: [UInt8], value: Int32) -> Bool {
        key.withUnsafeBufferPointer { insert($0, value: value) }
    }

    /// The key that was inserted as number `entry`.
    func key(_ entry: Int) -> [UInt8] { Array(keys[starts[entry]..<starts[entry + 1]]) }

    /// Whether no key has `▁` after another character, so that no merge can reach over the end of a word: then a text may be
    /// cut before every run of `▁` without any change of its ids.
    var keepsWordsApart: Bool {
        for entry in 0..<count {
            let key = keys[starts[entry]..<starts[entry + 1]]
            var isAfterOther = false
            var i = key.startIndex
            while i < key.endIndex {
                if key[i...].starts(with: Normalizer.spaceMark) {
                    if isAfterOther { return false }
                    i += 3
                } else {
                    isAfterOther = true
                    i += 1
                }
            }
        }
        return find(Normalizer.spaceMark) != nil
    }

    private func equals(_ entry: Int, _ key: UnsafeBufferPointer<UInt8>) -> Bool {
        let start = starts[entry]
        guard starts[entry + 1] - start == key.count else { return false }
        for i in 0..<key.count where keys[start + i] != key[i] { return false }
        return true
    }

    private mutating func grow() {
        let mask = slots.count * 2 - 1
        slots = [Int32](repeating: -1, count: mask + 1)
        keys.withUnsafeBufferPointer { keys in
            for entry in 0..<values.count {
                let key = UnsafeBufferPointer(rebasing: keys[starts[entry]..<starts[entry + 1]])
                var slot = Int(truncatingIfNeeded: Self.hash(key)) & mask
                while slots[slot] >= 0 { slot = (slot + 1) & mask }
                slots[slot] = Int32(entry)
            }
        }
    }
}
