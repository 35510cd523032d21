// SPDX-License-Identifier: Apache-2.0

/// Byte-pair encoding of one word: its bytes or characters become symbols, then merges are applied, lowest rank first.
///
/// A symbol is a token id, or, from `vocabularySize` on, a string that is no token but takes part in merges.
/// Sennrich et al., "Neural Machine Translation of Rare Words with Subword Units" (2016); over bytes: Radford et al. (2019).
struct BytePairEncoder: Sendable {
    /// What a word is made of before the first merge.
    enum Alphabet: Sendable {
        /// A symbol per byte (256, -1 where there is none).
        case bytes([Int32])
        /// A symbol per character where `pieces` has it, else the tokens of its bytes (256, or empty), else the unknown token.
        case characters(pieces: PieceTable, bytes: [Int32])
    }

    let alphabet: Alphabet
    let merges: PairTable
    let vocabularySize: Int32
    /// What a symbol from `vocabularySize` on is written as when it is left at the end.
    var substitutes: [[Int32]] = []
    /// Words that are tokens as they stand, whatever the merges would give; nil when merges always decide.
    var wholeWords: PieceTable?
    /// Stands for a character that no symbol covers. nil: such a character leaves nothing.
    var unknown: Int32?
    /// Neighbouring unknown characters share one unknown token.
    var fusesUnknown = false

    /// Room that is used again from word to word.
    struct Scratch {
        var merger = PairMerger()
        var cache = WordCache()
    }

    /// Appends the ids of `word`.
    func encode(_ word: UnsafeBufferPointer<UInt8>, scratch: inout Scratch, into ids: inout [Int32]) {
        guard !word.isEmpty else { return }
        let cached = word.count <= WordCache.longestWord
        var hash: UInt64 = 0
        if cached {
            hash = PieceTable.hash(word)
            if scratch.cache.append(word, hash: hash, to: &ids) { return }
        }
        let first = ids.count
        if let id = wholeWords?.find(word) {
            ids.append(id)
        } else {
            appendSymbols(of: word, to: &scratch.merger)
            scratch.merger.merge(end: word.count) { left, right, _, _ in merges.find(left, right) }
            for symbol in scratch.merger.symbols {
                if symbol < vocabularySize {
                    ids.append(symbol)
                } else {
                    ids += substitutes[Int(symbol - vocabularySize)]
                }
            }
        }
        if cached { scratch.cache.insert(word, hash: hash, ids: ids[first...]) }
    }

    private func appendSymbols(of word: UnsafeBufferPointer<UInt8>, to merger: inout PairMerger) {
        merger.removeAll()
        var isAfterUnknown = false
        func appendUnknown(at index: Int) {
            guard let unknown else { return }
            if !(fusesUnknown && isAfterUnknown) { merger.append(unknown, start: index) }
            isAfterUnknown = true
        }
        switch alphabet {
        case .bytes(let symbols):
            for (i, byte) in word.enumerated() {
                let symbol = symbols[Int(byte)]
                if symbol >= 0 {
                    merger.append(symbol, start: i)
                    isAfterUnknown = false
                } else {
                    appendUnknown(at: i)
                }
            }
        case .characters(let pieces, let bytes):
            var i = 0
            while i < word.count {
                let length = UTF8Text.codePoint(in: word, at: i, end: word.count).length
                let character = UnsafeBufferPointer(rebasing: word[i..<i + length])
                if let symbol = pieces.find(character) {
                    merger.append(symbol, start: i)
                    isAfterUnknown = false
                } else if !bytes.isEmpty, character.allSatisfy({ bytes[Int($0)] >= 0 }) {
                    for (k, byte) in character.enumerated() { merger.append(bytes[Int(byte)], start: i + k) }
                    isAfterUnknown = false
                } else {
                    appendUnknown(at: i)
                }
                i += length
            }
        }
    }
}

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
