// SPDX-License-Identifier: Apache-2.0

/// Reads a call's arguments as they come: a JSON object, or a string in which there is one.
struct JSONArguments: Sendable {
    enum Progress: Sendable { case more, done, wrong }

    private enum State: Sendable { case start, object, quoted(JSONUnescaper) }

    private var state = State.start
    private var checker = JSONChecker()

    /// Whether arguments can begin so.
    static func begin(with byte: UInt8) -> Bool { byte == UInt8(ascii: "{") || byte == UInt8(ascii: "\"") }

    /// Takes what there is of them; `bytes` gets the object's text. What is wrong is not taken.
    mutating func read(_ window: inout TextWindow, into bytes: inout [UInt8]) -> Progress {
        if case .start = state {
            guard let next = window.next else { return .more }
            guard Self.begin(with: next) else { return .wrong }
            state = next == UInt8(ascii: "{") ? .object : .quoted(JSONUnescaper())
            if next == UInt8(ascii: "\"") { window.position += 1 }
        }
        if case .quoted(let unescaper) = state { return readQuoted(unescaper, &window, into: &bytes) }
        let start = window.position
        defer { bytes += window.bytes[start..<window.position] }
        while let byte = window.next {
            switch checker.take(byte) {
            case .more: window.position += 1
            case .done:
                window.position += 1
                return .done
            case .wrong: return .wrong
            }
        }
        return .more
    }

    private mutating func readQuoted(
        _ unescaper: JSONUnescaper, _ window: inout TextWindow, into bytes: inout [UInt8]
    ) -> Progress {
        var unescaper = unescaper
        while let byte = window.next {
            let before = bytes.count
            let isEnd = unescaper.isPlain && byte == UInt8(ascii: "\"")
            guard isEnd ? unescaper.finish(into: &bytes) : unescaper.take(byte, into: &bytes),
                bytes[before...].allSatisfy({ isNext($0) }), !isEnd || checker.isDone
            else { return .wrong }
            window.position += 1
            if isEnd { return .done }
        }
        state = .quoted(unescaper)
        return .more
    }

    /// Whether the object, or white space around it, goes on with this byte.
    private mutating func isNext(_ byte: UInt8) -> Bool {
        if checker.isDone || checker.depth == 0, byte.isSpace { return true }
        guard checker.depth > 0 || byte == UInt8(ascii: "{") else { return false }
        return checker.take(byte) != .wrong
    }
}
