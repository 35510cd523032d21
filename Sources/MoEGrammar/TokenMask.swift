// SPDX-License-Identifier: Apache-2.0

/// Which tokens may come next: a bit per token, kept by who samples.
package struct TokenMask {
    /// Bit `id % 64` of word `id / 64`.
    package private(set) var words: [UInt64]
    /// How many bits are set.
    package var count: Int { words.reduce(0) { $0 + $1.nonzeroBitCount } }

    package var isEmpty: Bool { words.allSatisfy { $0 == 0 } }

    package init(tokenCount: Int) { words = Array(repeating: 0, count: (tokenCount + 63) / 64) }

    package func contains(_ token: Int32) -> Bool {
        token >= 0 && Int(token) < words.count * 64 && words[Int(token) >> 6] >> UInt64(token & 63) & 1 == 1
    }

    package mutating func insert(_ token: Int32) { words[Int(token) >> 6] |= 1 << UInt64(token & 63) }
    mutating func remove(_ token: Int32) { words[Int(token) >> 6] &= ~(1 << UInt64(token & 63)) }
    mutating func removeAll() { for index in words.indices { words[index] = 0 } }

    mutating func insertAll(below count: Int) {
        for index in words.indices { words[index] = .max }
        if count & 63 != 0 { words[words.count - 1] = (1 << UInt64(count & 63)) - 1 }
    }

    mutating func copy(_ other: [UInt64]) { words.withUnsafeMutableBufferPointer { _ = $0.update(from: other) } }

    /// The only token, if there is one and no other.
    package var only: Int32? {
        var found: Int32?
        for (index, word) in words.enumerated() where word != 0 {
            if found != nil || word & (word - 1) != 0 { return nil }
            found = Int32(index * 64 + word.trailingZeroBitCount)
        }
        return found
    }

    /// Makes every logit whose token is not allowed -infinity.
    /// - Parameter logits: `[vocabulary]`; those beyond the mask are not allowed either.
    package func apply(to logits: UnsafeMutableBufferPointer<Float>) {
        var token = 0
        for word in words {
            let end = min(token + 64, logits.count)
            if word == 0 {
                while token < end {
                    logits[token] = -.infinity
                    token += 1
                }
            } else if word != .max {
                var bits = word
                while token < end {
                    if bits & 1 == 0 { logits[token] = -.infinity }
                    bits >>= 1
                    token += 1
                }
            }
            token = end
        }
        while token < logits.count {
            logits[token] = -.infinity
            token += 1
        }
    }
}
