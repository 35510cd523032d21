// SPDX-License-Identifier: Apache-2.0

/// The bytes of an answer that are not yet dealt with. What is taken is dropped, unless a mark keeps it.
struct TextWindow: Sendable {
    private(set) var bytes: [UInt8] = []
    /// The next byte to look at.
    var position = 0
    /// Within a call: where its text begins, or, after some of a section are complete, the rest's. All from here on is kept.
    var mark = 0
    /// Nothing comes after `bytes`.
    var isFinal = false

    var rest: Int { bytes.count - position }
    var isAtEnd: Bool { position == bytes.count }

    /// The next byte, if it has come.
    var next: UInt8? { position < bytes.count ? bytes[position] : nil }

    mutating func append(_ text: String) {
        bytes.append(contentsOf: text.utf8)
    }

    /// Forgets what lies before `index`, when that is more than half: so each byte moves a bounded number of times. Gives by how
    /// many bytes every index moved down.
    mutating func compact(keeping index: Int) -> Int {
        guard index > 4096, index > bytes.count / 2 else { return 0 }
        bytes.removeFirst(index)
        position -= index
        mark = max(0, mark - index)
        return index
    }

    func text(_ range: Range<Int>) -> String { String(decoding: bytes[range], as: UTF8.self) }

    /// Whether a literal stands at a place.
    enum Match { case yes, no, undecided }

    func match(_ literal: [UInt8], at index: Int) -> Match {
        let count = min(literal.count, bytes.count - index)
        for i in 0..<count where bytes[index + i] != literal[i] { return .no }
        return count == literal.count ? .yes : isFinal ? .no : .undecided
    }

    func match(_ literal: [UInt8]) -> Match { match(literal, at: position) }

    /// Passes over JSON's white space.
    mutating func skipSpaces() {
        while position < bytes.count, bytes[position].isSpace { position += 1 }
    }
}

extension UInt8 {
    /// Space, tab, line feed, carriage return.
    var isSpace: Bool { self == 0x20 || self == 0x0A || self == 0x0D || self == 0x09 }
    var isNewline: Bool { self == 0x0A || self == 0x0D }
    var isDigit: Bool { self >= 0x30 && self <= 0x39 }

    init(_ character: Unicode.Scalar) { self.init(ascii: character) }
}

extension TextWindow {
    enum Found { case literal(Int), none, undecided }

    /// Which of several literals stands here. One that another one begins with comes after it.
    func first(of literals: [[UInt8]]) -> Found {
        var undecided = false
        for (index, literal) in literals.enumerated() {
            switch match(literal) {
            case .yes: return undecided ? .undecided : .literal(index)
            case .undecided: undecided = true
            case .no: break
            }
        }
        return undecided ? .undecided : .none
    }

    enum Field { case field([UInt8], end: Int), more, none }

    /// The most that a name or a key may have.
    static let nameLimit = 256

    /// The text up to one of several literals, and which one it is; takes neither it nor the text.
    func field(upTo ends: [[UInt8]], limit: Int = nameLimit) -> Field {
        var index = position
        while index < bytes.count {
            guard index - position <= limit else { return .none }
            for (number, end) in ends.enumerated() {
                switch match(end, at: index) {
                case .yes: return .field(Array(bytes[position..<index]), end: number)
                case .undecided: return .more
                case .no: break
                }
            }
            index += 1
        }
        return isFinal ? .none : .more
    }
}

extension String {
    var bytes: [UInt8] { Array(utf8) }
}

extension Collection<UInt8> {
    /// Without white space at its ends.
    var trimmed: [UInt8] {
        guard let first = firstIndex(where: { !$0.isSpace }) else { return [] }
        var bytes = Array(self[first...])
        while bytes.last?.isSpace == true { bytes.removeLast() }
        return bytes
    }
}
