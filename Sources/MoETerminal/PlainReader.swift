// SPDX-License-Identifier: Apache-2.0

import Glibc

/// Entries from a pipe, a file, or a terminal that can do nothing: lines as the system gives them.
package final class PlainReader {
    package struct Failure: Error, CustomStringConvertible {
        package let description: String
    }

    private let input: Int32
    private let wakeup: Wakeup
    private var buffer: [UInt8] = []
    private var isAtEnd = false
    private var lineNumber = 0
    /// The most bytes that one entry may have.
    private static let limit = 64 << 20

    package init(input: Int32, wakeup: Wakeup) {
        self.input = input
        self.wakeup = wakeup
    }

    /// - Parameter prompt: called before each line; with whether it continues an entry.
    /// - Throws: ``Failure``: not UTF-8, or far too long.
    package func next(prompt: (Bool) -> Void) throws -> Entry {
        var text = ""
        while true {
            prompt(!text.isEmpty)
            switch try line() {
            case nil:
                return .interrupted(hadText: !text.isEmpty)
            case .some(nil):
                // What was begun counts, though nothing ended it.
                return text.isEmpty ? .end : .text(text)
            case .some(.some(let line)):
                text += line
                guard case .more(let drop) = Continuation.of(text) else { return .text(text) }
                text.removeLast(drop)
                text += "\n"
                if text.utf8.count > Self.limit { throw tooLong }
            }
        }
    }

    /// - Returns: nil for an interrupt, `.some(nil)` at the end.
    private func line() throws -> String?? {
        var searched = 0
        while true {
            if let end = buffer[searched...].firstIndex(of: UInt8(ascii: "\n")) {
                defer { buffer.removeFirst(end + 1) }
                return try text(buffer[..<end])
            }
            searched = buffer.count
            if isAtEnd {
                defer { buffer = [] }
                return buffer.isEmpty ? .some(nil) : try text(buffer[...])
            }
            if buffer.count > Self.limit { throw tooLong }
            switch wakeup.wait(for: input, milliseconds: -1) {
            case .event(.interrupt): return nil
            case .event(.resize), .timeout: continue
            case .failed: isAtEnd = true
            case .input:
                var chunk = [UInt8](repeating: 0, count: 64 << 10)
                let count = chunk.withUnsafeMutableBytes { read(input, $0.baseAddress, $0.count) }
                if count > 0 {
                    buffer += chunk[..<count]
                } else if count == 0 || (errno != EINTR && errno != EAGAIN) {
                    isAtEnd = true
                }
            }
        }
    }

    private var tooLong: Failure { Failure(description: "standard input, line \(lineNumber + 1): more than 64 MiB") }

    private func text(_ bytes: ArraySlice<UInt8>) throws -> String {
        lineNumber += 1
        let bytes = bytes.last == UInt8(ascii: "\r") ? bytes.dropLast() : bytes
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw Failure(description: "standard input, line \(lineNumber): not valid UTF-8")
        }
        return text
    }
}
