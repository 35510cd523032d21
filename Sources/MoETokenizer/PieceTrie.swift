// SPDX-License-Identifier: Apache-2.0

/// Byte strings with values, to be found as the beginnings of a text.
struct PieceTrie: Sendable {
    /// (node, byte) -> (value + 1 or 0, child); node 0 is the root.
    private var edges: PairTable
    /// First byte -> its node, or -1: the root's edges again, without a search.
    private var first = [Int32](repeating: -1, count: 256)
    private var firstValue = [Int32](repeating: -1, count: 256)
    let isEmpty: Bool

    /// Of two equal strings the last counts; empty ones are left out.
    init(_ pieces: [(text: [UInt8], value: Int32)]) {
        let bytes = pieces.reduce(0) { $0 + $1.text.count }
        edges = PairTable(capacity: bytes)
        isEmpty = bytes == 0
        var count: Int32 = 1
        for (text, value) in pieces {
            var node: Int32 = 0
            for (k, byte) in text.enumerated() {
                let isLast = k == text.count - 1
                let known = edges.find(node, Int32(byte))
                let child = known?.symbol ?? count
                if known == nil { count += 1 }
                if known == nil || isLast {
                    let rank = isLast ? UInt32(value) + 1 : known?.priority ?? 0
                    edges.insert(node, Int32(byte), rank: rank, merged: child, replacing: true)
                }
                if k == 0 {
                    first[Int(byte)] = child
                    if isLast { firstValue[Int(byte)] = value }
                }
                node = child
            }
        }
    }

    /// Calls `body` with the length and the value of every string that `text` has at `index`, shortest first.
    @inline(__always)
    func forEachPrefix(
        of text: UnsafeBufferPointer<UInt8>, at index: Int, end: Int, _ body: (_ length: Int, _ value: Int32) -> Void
    ) {
        guard index < end else { return }
        var node = first[Int(text[index])]
        guard node >= 0 else { return }
        if firstValue[Int(text[index])] >= 0 { body(1, firstValue[Int(text[index])]) }
        var i = index + 1
        while i < end, let (value, child) = edges.find(node, Int32(text[i])) {
            i += 1
            node = child
            if value > 0 { body(i - index, Int32(value) - 1) }
        }
    }

    func longest(in text: UnsafeBufferPointer<UInt8>, at index: Int, end: Int) -> (length: Int, value: Int32)? {
        guard !isEmpty else { return nil }
        var found: (Int, Int32)?
        forEachPrefix(of: text, at: index, end: end) { found = ($0, $1) }
        return found
    }
}
