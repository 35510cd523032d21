// SPDX-License-Identifier: Apache-2.0

/// SentencePiece's unigram model: of all ways to write a text as pieces the one with the highest sum of scores, found by dynamic
/// programming (Viterbi) over the characters.
///
/// Kudo, "Subword Regularization" (2018). The three programs that define what a file means differ in small things.
struct UnigramEncoder: Sendable {
    enum Flavor: Sendable {
        /// Sums in single precision; a user-defined piece always wins.
        case sentencePiece
        /// Sums in double precision.
        case huggingFace
        /// Sums in double precision; a user-defined piece counts 0; no bytes.
        case llama
    }

    private let trie: PieceTrie
    private let scores: [Float]
    private let doubles: [Double]
    private let isUserDefined: [Bool]
    private let unknown: Int32?
    /// The token of each byte (256), or empty.
    private let bytes: [Int32]
    private let flavor: Flavor
    private let unknownScore: Double
    private let bestScore: Float

    private static let penalty: Float = 10

    /// - Parameters:
    ///   - pieces: those that may be part of a text, with their ids.
    ///   - scores: of each id, in double precision where the file has that.
    ///   - normal: the ids whose lowest score is the measure of an unknown character.
    init(
        pieces: [(text: [UInt8], value: Int32)], scores: [Double], userDefined: Set<Int32>, normal: some Sequence<Int32>,
        unknown: Int32?, bytes: [Int32], flavor: Flavor
    ) {
        trie = PieceTrie(pieces)
        doubles = scores
        self.scores = scores.map { Float($0) }
        isUserDefined = scores.indices.map { userDefined.contains(Int32($0)) }
        self.unknown = unknown
        self.bytes = bytes
        self.flavor = flavor
        var lowest = Double.greatestFiniteMagnitude
        var highest = -Float.greatestFiniteMagnitude
        for id in normal {
            lowest = min(lowest, scores[Int(id)])
            highest = max(highest, Float(scores[Int(id)]))
        }
        switch flavor {
        case .huggingFace: unknownScore = lowest - Double(Self.penalty)
        case .sentencePiece, .llama: unknownScore = Double(Float(lowest) - Self.penalty)
        }
        bestScore = highest
    }

    /// How a text up to a place is written best: the last piece, where it starts, and the sum.
    private struct Node {
        var id: Int32 = -2
        var start: Int32 = -1
        var sum: Double = 0
    }

    private static let unknownID: Int32 = -1

    /// Appends the ids of `text` (shorter than 2^31 bytes).
    func encode(_ text: UnsafeBufferPointer<UInt8>, into ids: inout [Int32]) {
        guard !text.isEmpty, text.count < Int(Int32.max) else { return }
        var best = [Node](repeating: Node(), count: text.count + 1)
        best[0].start = 0
        best.withUnsafeMutableBufferPointer { best in
            var i = 0
            while i < text.count {
                let length = UTF8Text.codePoint(in: text, at: i, end: text.count).length
                let sum = best[i].sum
                var hasSingle = false
                trie.forEachPrefix(of: text, at: i, end: text.count) { pieceLength, id in
                    if pieceLength == length { hasSingle = true }
                    let candidate = sum + score(of: id, length: pieceLength)
                    consider(candidate, id, from: i, at: &best[i + pieceLength])
                }
                if !hasSingle { consider(sum + unknownScore, Self.unknownID, from: i, at: &best[i + length]) }
                i += length
            }
        }
        // Back from the end.
        var pieces: [(id: Int32, start: Int, end: Int)] = []
        var end = text.count
        while end > 0 {
            let start = Int(best[end].start)
            pieces.append((best[end].id, start, end))
            end = start
        }
        // Unknown characters in a row are one: its bytes if they all are tokens, else one unknown token.
        var unknownStart = -1
        func flush(_ end: Int) {
            guard unknownStart >= 0 else { return }
            let stretch = text[unknownStart..<end]
            if !bytes.isEmpty, stretch.allSatisfy({ bytes[Int($0)] >= 0 }) {
                for byte in stretch { ids.append(bytes[Int(byte)]) }
            } else if let unknown {
                ids.append(unknown)
            }
            unknownStart = -1
        }
        for (id, start, _) in pieces.reversed() {
            if id == Self.unknownID {
                if unknownStart < 0 { unknownStart = start }
            } else {
                flush(start)
                ids.append(id)
            }
        }
        flush(text.count)
    }

    @inline(__always)
    private func score(of id: Int32, length: Int) -> Double {
        guard isUserDefined[Int(id)] else {
            return flavor == .huggingFace ? doubles[Int(id)] : Double(scores[Int(id)])
        }
        switch flavor {
        case .sentencePiece: return Double(Float(length) * bestScore) - 0.1
        case .huggingFace: return doubles[Int(id)]
        case .llama: return 0
        }
    }

    @inline(__always)
    private func consider(_ candidate: Double, _ id: Int32, from start: Int, at node: inout Node) {
        let sum = flavor == .sentencePiece ? Double(Float(candidate)) : candidate
        // The first to reach a place stays until something is better, also where a score is no number.
        guard node.start < 0 || sum > node.sum else { return }
        node = Node(id: id, start: Int32(start), sum: sum)
    }
}
