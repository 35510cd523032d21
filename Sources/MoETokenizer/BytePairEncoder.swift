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

    /// Of a character that no symbol covers, the bytes without a token are left out and the others stay; else all or none count.
    var skipsMissingBytes = false
    /// Runs of line feeds that are tokens as they stand.
    var lineFeeds: PieceTable?

    /// Appends the ids of `word`.
    func encode(_ word: UnsafeBufferPointer<UInt8>, merger: inout PairMerger, into ids: inout [Int32]) {
        if let id = wholeWords?.find(word) {
            ids.append(id)
            return
        }
        if let lineFeeds, word.first == 0x0A, word.allSatisfy({ $0 == 0x0A }), let id = lineFeeds.find(word) {
            ids.append(id)
            return
        }
        appendSymbols(of: word, to: &merger)
        merger.merge(end: word.count) { left, right, _, _ in merges.find(left, right) }
        for symbol in merger.symbols {
            if symbol < vocabularySize {
                ids.append(symbol)
            } else {
                ids += substitutes[Int(symbol - vocabularySize)]
            }
        }
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
                } else if skipsMissingBytes {
                    for (k, byte) in character.enumerated() where bytes[Int(byte)] >= 0 {
                        merger.append(bytes[Int(byte)], start: i + k)
                    }
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
