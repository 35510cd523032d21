// SPDX-License-Identifier: Apache-2.0

/// BERT's WordPiece: the longest piece that a word begins with, then the longest one that goes on from there; a word that cannot be
/// written so is one unknown token. Without pieces that go on it is a plain list of words.
struct WordPieceEncoder: Sendable {
    private let starts: PieceTrie
    /// Without their prefix.
    private let continuations: PieceTrie
    private let unknown: Int32
    private let longestWord: Int

    /// - Parameter longestWord: in characters; longer ones are unknown.
    init(pieces: [(text: [UInt8], value: Int32)], continuationPrefix: [UInt8], unknown: Int32, longestWord: Int) {
        starts = PieceTrie(pieces)
        continuations = PieceTrie(
            pieces.compactMap {
                $0.text.starts(with: continuationPrefix) && $0.text.count > continuationPrefix.count
                    ? (Array($0.text.dropFirst(continuationPrefix.count)), $0.value) : nil
            })
        self.unknown = unknown
        self.longestWord = longestWord
    }

    func encode(_ word: UnsafeBufferPointer<UInt8>, into ids: inout [Int32]) {
        let count = ids.count
        guard UTF8Text.codePoints(of: word).count <= longestWord else {
            ids.append(unknown)
            return
        }
        var i = 0
        while i < word.count {
            guard let (length, id) = (i == 0 ? starts : continuations).longest(in: word, at: i, end: word.count) else {
                ids.removeLast(ids.count - count)
                ids.append(unknown)
                return
            }
            ids.append(id)
            i += length
        }
    }
}

/// Words as they are, each a token or unknown.
struct WordLevelEncoder: Sendable {
    let words: PieceTable
    let unknown: Int32?

    func encode(_ word: UnsafeBufferPointer<UInt8>, into ids: inout [Int32]) {
        if let id = words.find(word) ?? unknown { ids.append(id) }
    }
}

/// The longest piece that the rest of the text begins with, again and again (RWKV).
struct LongestMatchEncoder: Sendable {
    let pieces: PieceTrie
    /// Stands for a byte with which no piece begins.
    let unknown: Int32?

    func encode(_ text: UnsafeBufferPointer<UInt8>, into ids: inout [Int32]) {
        var i = 0
        while i < text.count {
            if let (length, id) = pieces.longest(in: text, at: i, end: text.count) {
                ids.append(id)
                i += length
            } else {
                if let unknown { ids.append(unknown) }
                i += 1
            }
        }
    }
}
