// SPDX-License-Identifier: Apache-2.0

/// The ids of the words met last: text repeats its words. Direct-mapped, so its cost does not depend on what the words are.
struct WordCache {
    static let longestWord = 64
    private static let largest = 1 << 15

    private struct Slot {
        var word: UInt32 = 0
        var ids: UInt32 = 0
        var wordLength: UInt8 = 0
        var idCount: UInt8 = 0
    }

    private var slots: [Slot] = []
    private var words: [UInt8] = []
    private var ids: [Int32] = []
    private let size: Int

    /// - Parameter length: of the text, in bytes: a short one needs no large table.
    init(length: Int) {
        var size = 64
        while size < Self.largest, size * 4 < length { size *= 2 }
        self.size = size
    }

    /// Appends the ids of `word` (not empty) if they are known.
    @inline(__always)
    func append(_ word: UnsafeBufferPointer<UInt8>, hash: UInt64, to output: inout [Int32]) -> Bool {
        guard !slots.isEmpty else { return false }
        let slot = slots[Int(truncatingIfNeeded: hash) & (size - 1)]
        guard Int(slot.wordLength) == word.count else { return false }
        let isSame = words.withUnsafeBufferPointer { words in
            for i in 0..<word.count where words[Int(slot.word) + i] != word[i] { return false }
            return true
        }
        guard isSame else { return false }
        if slot.idCount == 1 {
            output.append(ids[Int(slot.ids)])
        } else {
            output.append(contentsOf: ids[Int(slot.ids)..<Int(slot.ids) + Int(slot.idCount)])
        }
        return true
    }

    mutating func insert(_ word: UnsafeBufferPointer<UInt8>, hash: UInt64, ids new: ArraySlice<Int32>) {
        // A word of removed characters may give more ids than it has bytes.
        guard new.count < 256 else { return }
        if slots.isEmpty || words.count > 1 << 22 {
            slots = [Slot](repeating: Slot(), count: size)
            words.removeAll(keepingCapacity: true)
            ids.removeAll(keepingCapacity: true)
        }
        slots[Int(truncatingIfNeeded: hash) & (size - 1)] = Slot(
            word: UInt32(words.count), ids: UInt32(ids.count), wordLength: UInt8(word.count), idCount: UInt8(new.count))
        words.append(contentsOf: word)
        ids.append(contentsOf: new)
    }
}
