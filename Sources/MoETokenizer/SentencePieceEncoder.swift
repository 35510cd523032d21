// SPDX-License-Identifier: Apache-2.0

/// SentencePiece's byte-pair variant: characters are merged while the result is a piece, highest score first; a character that
/// is no piece is written as its bytes.
///
/// Kudo and Richardson, "SentencePiece" (2018). Spaces are `▁` (U+2581) in the pieces and in the text that comes here.
struct SentencePieceEncoder: Sendable {
    let pieces: PieceTable
    /// Of each id: lower goes first.
    let priorities: [UInt32]
    /// The token of each byte (256), -1 where there is none.
    let bytes: [Int32]
    let unknown: Int32?
    /// Pieces that are found first and take no part in merges.
    var userDefined = PieceTrie([])
    /// Neighbouring unknown characters share one unknown token.
    var fusesUnknown = false

    /// A priority for a score: the higher the score, the lower the number. NaN is the worst.
    static func priority(score: Float) -> UInt32 {
        guard !score.isNaN else { return .max - 1 }
        let bits = (score == 0 ? 0 : score).bitPattern  // -0 and 0 are equals
        let ascending = bits >> 31 == 1 ? ~bits : bits | 1 << 31
        return min(~ascending, .max - 1)
    }

    /// Appends the ids of `text`.
    func encode(_ text: UnsafeBufferPointer<UInt8>, merger: inout PairMerger, into ids: inout [Int32]) {
        merger.removeAll()
        var i = 0
        while i < text.count {
            if let (length, id) = userDefined.longest(in: text, at: i, end: text.count) {
                // Below every id, and told apart from "no piece".
                merger.append(-2 - id, start: i)
                i += length
                continue
            }
            let length = UTF8Text.codePoint(in: text, at: i, end: text.count).length
            merger.append(pieces.find(UnsafeBufferPointer(rebasing: text[i..<i + length])) ?? -1, start: i)
            i += length
        }
        merger.merge(end: text.count) { left, right, start, end in
            guard left > -2, right > -2, let id = pieces.find(UnsafeBufferPointer(rebasing: text[start..<end])) else {
                return nil
            }
            return (priorities[Int(id)], id)
        }
        var isAfterUnknown = false
        for (k, symbol) in merger.symbols.enumerated() {
            if symbol != -1 {
                ids.append(symbol >= 0 ? symbol : -2 - symbol)
                isAfterUnknown = false
                continue
            }
            let end = k + 1 < merger.starts.count ? merger.starts[k + 1] : text.count
            for byte in text[merger.starts[k]..<end] {
                let token = bytes[Int(byte)]
                if token >= 0 {
                    ids.append(token)
                } else if let unknown, !(fusesUnknown && isAfterUnknown) {
                    ids.append(unknown)
                    isAfterUnknown = true
                }
            }
        }
    }
}
