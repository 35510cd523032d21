// SPDX-License-Identifier: Apache-2.0

/// What each token is: its kind and its bytes, all in one buffer.
struct Vocabulary: Sendable {
    enum Kind: UInt8, Sendable {
        /// Contributes its bytes to text.
        case text
        /// Has a name instead: control tokens and the unknown token.
        case special
        /// Contributes nothing: unused, or a hole in the numbering.
        case unused
    }

    private var bytes: [UInt8] = []
    private var starts: [Int] = [0]
    private var kinds: [Kind] = []
    /// Name -> id of the special tokens, and of other added ones.
    private(set) var named: [[UInt8]: Int32] = [:]

    init(capacity: Int) {
        starts.reserveCapacity(capacity + 1)
        kinds.reserveCapacity(capacity)
        bytes.reserveCapacity(capacity * 8)
    }

    var count: Int { kinds.count }

    /// The next token. `content`: what it contributes to text, or the name of a special token.
    mutating func append(_ content: some Collection<UInt8>, kind: Kind) {
        bytes.append(contentsOf: content)
        starts.append(bytes.count)
        kinds.append(kind)
    }

    /// Lets a token be found by its name.
    mutating func name(_ id: Int32, _ text: [UInt8]) {
        if named[text] == nil { named[text] = id }
    }

    /// The same as strings.
    var namedStrings: [String: Int32] {
        Dictionary(
            named.map { (String(decoding: $0.key, as: UTF8.self), $0.value) }, uniquingKeysWith: { first, _ in first })
    }

    func kind(of id: Int32) -> Kind? {
        id >= 0 && id < kinds.count ? kinds[Int(id)] : nil
    }

    /// The content of `id`; nothing for an id that is no token.
    func content(of id: Int32) -> ArraySlice<UInt8> {
        guard id >= 0, id < kinds.count else { return [] }
        return bytes[starts[Int(id)]..<starts[Int(id) + 1]]
    }
}
