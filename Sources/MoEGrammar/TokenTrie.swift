// SPDX-License-Identifier: Apache-2.0

/// The tokens of a vocabulary as a tree of bytes, in the order of a walk that visits parents first and children by byte. Made
/// once for a model, for all its grammars.
package final class TokenTrie: Sendable {
    /// By node: its last byte.
    let bytes: [UInt8]
    /// How many bytes lead to it.
    let depths: [UInt16]
    /// The first node that is not below it.
    let ends: [Int32]
    let parents: [Int32]
    /// The tokens that end at node n: `ids[starts[n]..<starts[n + 1]]`; those below it follow, to `starts[ends[n]]`.
    let starts: [Int32]
    let ids: [Int32]
    /// Of the vocabulary, tokens without bytes among them.
    package let count: Int
    /// Bytes of the longest token.
    let longest: Int
    /// Tokens with which a text may end.
    package let endOfGeneration: [Int32]
    private let named: @Sendable (String) -> Int32?

    /// Of one token, to make the tree.
    private static let lengthLimit = Int(UInt16.max)

    /// - Parameters:
    ///   - count: ids are below it.
    ///   - endOfGeneration: with which a text ends.
    ///   - named: the id of a special token's name.
    ///   - bytes: what a token contributes to text; nothing for special tokens.
    package init(
        count: Int, endOfGeneration: some Sequence<Int32> = [],
        named: @escaping @Sendable (String) -> Int32? = { _ in nil },
        bytes tokenBytes: (Int32) -> [UInt8]
    ) {
        self.count = count
        self.named = named
        self.endOfGeneration = endOfGeneration.filter { $0 >= 0 && $0 < count }.sorted()
        let ending = Set(self.endOfGeneration)
        var text: [UInt8] = []
        var tokens: [(start: Int, count: Int, id: Int32)] = []
        for id in 0..<Int32(count) where !ending.contains(id) {
            let bytes = tokenBytes(id)
            if bytes.isEmpty || bytes.count > Self.lengthLimit { continue }
            tokens.append((text.count, bytes.count, id))
            text.append(contentsOf: bytes)
        }
        text.withUnsafeBufferPointer { text in
            tokens.sort { a, b in
                var index = 0
                let common = min(a.count, b.count)
                while index < common {
                    let (left, right) = (text[a.start + index], text[b.start + index])
                    if left != right { return left < right }
                    index += 1
                }
                return a.count != b.count ? a.count < b.count : a.id < b.id
            }
        }
        var (bytes, depths, ends, parents) = ([UInt8](), [UInt16](), [Int32](), [Int32]())
        var (starts, ids) = ([Int32](), [Int32]())
        // The nodes from the root to the last one.
        var path: [Int32] = []
        var previous: ArraySlice<UInt8> = []
        for token in tokens {
            let string = text[token.start..<token.start + token.count]
            var common = 0
            for (a, b) in zip(previous, string) {
                if a != b { break }
                common += 1
            }
            while path.count > common { ends[Int(path.removeLast())] = Int32(bytes.count) }
            for (index, byte) in string.enumerated().dropFirst(common) {
                parents.append(path.last ?? -1)
                path.append(Int32(bytes.count))
                bytes.append(byte)
                depths.append(UInt16(index + 1))
                ends.append(0)
                starts.append(Int32(ids.count))
            }
            ids.append(token.id)
            previous = string
        }
        while let node = path.popLast() { ends[Int(node)] = Int32(bytes.count) }
        starts.append(Int32(ids.count))
        self.bytes = bytes
        self.depths = depths
        self.ends = ends
        self.parents = parents
        self.starts = starts
        self.ids = ids
        longest = Int(depths.max() ?? 0)
        var offsets = [Int32](repeating: -1, count: count)
        for (node, _) in bytes.enumerated() {
            for index in starts[node]..<starts[node + 1] { offsets[Int(ids[Int(index)])] = Int32(node) }
        }
        nodes = offsets
    }

    /// By token: its node; -1 for one without bytes.
    private let nodes: [Int32]

    /// The bytes of a token, or nil for one that has none.
    package func bytes(of token: Int32) -> [UInt8]? {
        guard token >= 0, Int(token) < count, nodes[Int(token)] >= 0 else { return nil }
        return path(to: Int(nodes[Int(token)]))
    }

    /// The node of a token; -1 for one without bytes.
    func node(of token: Int32) -> Int32 { token >= 0 && Int(token) < count ? nodes[Int(token)] : -1 }

    /// The bytes that lead to a node.
    func path(to node: Int) -> [UInt8] {
        var result = [UInt8](repeating: 0, count: Int(depths[node]))
        var node = node
        for index in result.indices.reversed() {
            result[index] = bytes[node]
            node = Int(parents[node])
        }
        return result
    }

    /// The token that a grammar names, if the vocabulary has it.
    func token(_ name: TokenReference.Name) -> Int32? {
        switch name {
        case .id(let id): Int(id) < count ? id : nil
        case .text(let text): named(text)
        }
    }
}
