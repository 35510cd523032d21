// SPDX-License-Identifier: Apache-2.0

/// Gives equal lists of words equal numbers, from 0 on.
struct WordInterner {
    private var words: [Int32] = []
    private var starts: [Int] = [0]
    /// Open addressing: a number plus one, or 0.
    private var table: [Int32] = Array(repeating: 0, count: 1024)

    var count: Int { starts.count - 1 }
    var byteCount: Int { 4 * words.count + 8 * starts.count + 4 * table.count }

    func range(_ number: Int32) -> Range<Int> { starts[Int(number)]..<starts[Int(number) + 1] }
    subscript(index: Int) -> Int32 { words[index] }
    subscript(number number: Int32) -> ArraySlice<Int32> { words[range(number)] }

    /// - Returns: the list's number, and whether it is new.
    mutating func intern(_ list: [Int32]) -> (number: Int32, isNew: Bool) {
        var slot = Self.hash(list) & (table.count - 1)
        while table[slot] != 0 {
            let number = table[slot] - 1
            let range = range(number)
            if range.count == list.count, words[range].elementsEqual(list) { return (number, false) }
            slot = (slot + 1) & (table.count - 1)
        }
        let number = Int32(count)
        words.append(contentsOf: list)
        starts.append(words.count)
        table[slot] = number + 1
        if count * 2 > table.count { grow() }
        return (number, true)
    }

    private mutating func grow() {
        table = Array(repeating: 0, count: table.count * 2)
        for number in 0..<Int32(count) {
            var slot = Self.hash(Array(words[range(number)])) & (table.count - 1)
            while table[slot] != 0 { slot = (slot + 1) & (table.count - 1) }
            table[slot] = number + 1
        }
    }

    /// FNV-1a over words, mixed.
    private static func hash(_ list: [Int32]) -> Int {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for word in list { hash = (hash ^ UInt64(UInt32(bitPattern: word))) &* 0x100_0000_01b3 }
        hash ^= hash >> 29
        return Int(truncatingIfNeeded: (hash &* 0x9e37_79b9_7f4a_7c15) >> 32)
    }
}
