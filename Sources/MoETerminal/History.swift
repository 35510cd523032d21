// SPDX-License-Identifier: Apache-2.0

import Glibc

/// Lines entered before, oldest first; in a file for the next time, if one is given. The file is its owner's alone (mode 0600)
/// and has an entry per line; a line break in an entry is `\n`, a backslash `\\`. Several programs may add to it at once.
package struct History {
    package private(set) var entries: [String] = []
    private let path: String?
    private let limit: Int
    /// Longer entries are not kept in the file.
    private static let longestEntry = 64 << 10

    /// - Parameter path: nil: nothing is kept.
    /// - Returns: a history; what is wrong with the file is told by `problem`, and nothing is kept then.
    package init(path: String?, limit: Int = 1000, problem: inout String?) {
        self.limit = limit
        guard let path else {
            self.path = nil
            return
        }
        do throws(HistoryError) {
            let (found, count) = try Self.read(path)
            entries = found.suffix(limit)
            // Now and then, so that the file does not grow for ever.
            if count > 2 * limit { try Self.write(entries, to: path, flags: O_TRUNC) }
            self.path = path
        } catch {
            problem = error.description
            self.path = nil
        }
    }

    package init() {
        var none: String?
        self.init(path: nil, problem: &none)
    }

    /// Adds what was entered, unless it is what was entered just before.
    package mutating func add(_ entry: String) {
        guard !entry.allSatisfy(\.isWhitespace), entries.last != entry else { return }
        entries.append(entry)
        if entries.count > limit { entries.removeFirst() }
        guard let path, entry.utf8.count <= Self.longestEntry else { return }
        // A disk that is full now shall not disturb the conversation.
        try? Self.write([entry], to: path, flags: O_APPEND)
    }

    // MARK: The file

    private struct HistoryError: Error { let description: String }

    private static func failure(_ path: String) -> HistoryError {
        HistoryError(description: "\(path): \(String(cString: strerror(errno)))")
    }

    private static func read(_ path: String) throws(HistoryError) -> (entries: [String], count: Int) {
        let folder = path.lastIndex(of: "/").map { String(path[..<$0]) } ?? ""
        makeFolders(folder)
        // Not blocking: somebody may have put a pipe in its place.
        let file = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0o600)
        guard file >= 0 else { throw failure(path) }
        defer { close(file) }
        var status = stat()
        guard fstat(file, &status) == 0 else { throw failure(path) }
        guard status.st_mode & S_IFMT == S_IFREG else { throw HistoryError(description: "\(path): not a file") }
        if status.st_mode & 0o077 != 0 { fchmod(file, 0o600) }
        // The end of a file that has grown out of hand is all that is wanted.
        let most = 16 << 20
        let start = max(0, Int(status.st_size) - most)
        guard lseek(file, off_t(start), SEEK_SET) >= 0 else { throw failure(path) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 64 << 10)
        while bytes.count < most {
            let count = chunk.withUnsafeMutableBytes { Glibc.read(file, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw failure(path) }
            if count == 0 { break }
            bytes += chunk[..<count]
        }
        let lines = bytes.split(separator: UInt8(ascii: "\n")).dropFirst(start > 0 ? 1 : 0)
        return (lines.map { unescape(String(decoding: $0, as: UTF8.self)) }, start > 0 ? .max : lines.count)
    }

    private static func write(_ entries: [String], to path: String, flags: Int32) throws(HistoryError) {
        let file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK | flags, 0o600)
        guard file >= 0 else { throw failure(path) }
        defer { close(file) }
        // In one call, so that lines of several programs do not mix.
        let bytes = Array(entries.map { escape($0) + "\n" }.joined().utf8)
        let written = bytes.withUnsafeBytes { Glibc.write(file, $0.baseAddress, $0.count) }
        if written != bytes.count { throw failure(path) }
    }

    private static func makeFolders(_ folder: String) {
        var index = folder.startIndex
        while index < folder.endIndex {
            index = folder[folder.index(after: index)...].firstIndex(of: "/") ?? folder.endIndex
            mkdir(String(folder[..<index]), 0o700)
        }
    }

    package static func escape(_ entry: String) -> String {
        var result = String.UnicodeScalarView()
        for scalar in entry.unicodeScalars {
            switch scalar {
            case "\\": result.append(contentsOf: "\\\\".unicodeScalars)
            case "\n": result.append(contentsOf: "\\n".unicodeScalars)
            default: result.append(scalar)
            }
        }
        return String(result)
    }

    package static func unescape(_ line: String) -> String {
        var result = String.UnicodeScalarView()
        var isEscaped = false
        for scalar in line.unicodeScalars {
            if isEscaped {
                result.append(scalar == "n" ? "\n" : scalar)
                isEscaped = false
            } else if scalar == "\\" {
                isEscaped = true
            } else {
                result.append(scalar)
            }
        }
        return String(result)
    }
}
