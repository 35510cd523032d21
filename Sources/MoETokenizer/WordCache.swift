// SPDX-License-Identifier: Apache-2.0

/// The ids of the words met last: text repeats its words. Direct-mapped, so its cost does not depend on what the words are.
struct WordCache {
    static let longestWord = 64
    private static let size = 1 << 13

    private struct Slot {
        var word = 0..<0
        var ids = 0..<0
    }

    private var slots: [Slot] = []
    private var words: [UInt8] = []
    private var ids: [Int32] = []

    /// Appends the ids of `word` if they are known.
    func append(_ word: UnsafeBufferPointer<UInt8>, hash: UInt64, to output: inout [Int32]) -> Bool {
        guard !slots.isEmpty else { return false }
        let slot = slots[Int(truncatingIfNeeded: hash) & (Self.size - 1)]
        guard slot.word.count == word.count else { return false }
        for i in 0..<word.count where words[slot.word.lowerBound + i] != word[i] { return false }
        for i in slot.ids { output.append(ids[i]) }
        return true
    }

    mutating func insert(_ word: UnsafeBufferPointer<UInt8>, hash: UInt64, ids new: ArraySlice<Int32>) {
        if slots.isEmpty || words.count > 1 << 20 {
            slots = [Slot](repeating: Slot(), count: Self.size)
            words.removeAll(keepingCapacity: true)
            ids.removeAll(keepingCapacity: true)
        }
        let slot = Slot(word: words.count..<words.count + word.count, ids: ids.count..<ids.count + new.count)
        words.append(contentsOf: word)
        ids.append(contentsOf: new)
        slots[Int(truncatingIfNeeded: hash) & (Self.size - 1)] = slot
    }
}
