// SPDX-License-Identifier: Apache-2.0

/// The values of a text in its order: a container is followed by all that is in it, and an object's key by its value.
struct JSONTable: Sendable {
    struct Node: Sendable {
        enum Kind: UInt8 {
            case null, `true`, `false`, integer, double, array, object
            /// Lies in the text as it is.
            case string
            /// Has escapes in the text, and lies in ``JSONTable/unescaped``.
            case escapedString
        }

        let kind: Kind
        private let start: UInt32
        private let payload: UInt64

        init(_ kind: Kind, offset: Int, payload: UInt64 = 0) {
            self.kind = kind
            start = UInt32(truncatingIfNeeded: offset)
            self.payload = payload
        }

        /// A string's bytes, or a container's elements and the node after the last one.
        init(_ kind: Kind, offset: Int, _ first: Int, count: Int) {
            self.init(kind, offset: offset, payload: UInt64(first) << 32 | UInt64(count))
        }

        /// In the text.
        var offset: Int { Int(start) }
        var integer: Int { Int(truncatingIfNeeded: payload) }
        var double: Double { Double(bitPattern: payload) }
        private var high: Int { Int(payload >> 32) }
        private var low: Int { Int(payload & 0xffff_ffff) }
        /// Of a string: its bytes.
        var range: Range<Int> { high..<high + low }
        /// Of a container: how many elements or members.
        var count: Int { low }
        /// Of a container: the index of the node after the last one in it.
        var next: Int { high }
        /// The index of the node after this value, which is at `index`.
        func end(at index: Int) -> Int { kind == .array || kind == .object ? next : index + 1 }
    }

    /// The most bytes that a text may have: offsets and counts have 32 bits.
    static let textLimit = Int(UInt32.max)

    var nodes: [Node] = []
    /// The strings that had escapes, one after the other.
    var unescaped: [UInt8] = []

    /// The index of the first key that stands in one object again.
    func duplicateKey(text: UnsafeBufferPointer<UInt8>, unescaped: UnsafeBufferPointer<UInt8>) -> Int? {
        let text = UnsafeRawBufferPointer(text)
        let unescaped = UnsafeRawBufferPointer(unescaped)
        var few: [Key] = []
        for object in nodes.indices where nodes[object].kind == .object && nodes[object].count > 1 {
            // A few keys are compared faster than hashed.
            let areMany = nodes[object].count > 8
            var many = Set<Key>(minimumCapacity: areMany ? nodes[object].count : 0)
            few.removeAll(keepingCapacity: true)
            var index = object + 1
            while index < nodes[object].next {
                let node = nodes[index]
                let key = Key(bytes: .init(rebasing: (node.kind == .string ? text : unescaped)[node.range]))
                if areMany ? !many.insert(key).inserted : few.contains(key) { return index }
                if !areMany { few.append(key) }
                index = nodes[index + 1].end(at: index + 1)
            }
        }
        return nil
    }

    /// Hashed with the process's random seed: a hostile file cannot make keys collide.
    private struct Key: Hashable {
        let bytes: UnsafeRawBufferPointer

        static func == (a: Key, b: Key) -> Bool { a.bytes.count == b.bytes.count && a.bytes.elementsEqual(b.bytes) }
        func hash(into hasher: inout Hasher) { hasher.combine(bytes: bytes) }
    }
}
