// SPDX-License-Identifier: Apache-2.0

import Crypto
import Foundation
import MoETensors

/// What a calibration has measured so far, so that one that was stopped goes on where it was.
///
/// A calibration is a fixed sequence of measurements; each has a key, and its result is numbers, kept bit for bit. When it runs again
/// with the same model, text and options, what the file has is not measured again, and the result is the same file, bit for bit.
///
/// ```
/// magic "MoEJRNL1" | length, binding (UTF-8) | count | count × (length, key | length, doubles) | SHA-256 of all before
/// ```
/// Integers are UInt64, all little-endian. Written beside its place and renamed, at most every ``interval`` seconds: it is whole, or
/// it is the one before.
package final class CalibrationJournal {
    private let path: String?
    private let binding: String
    private var records: [String: [Double]] = [:]
    private var changed = false
    private var written = ContinuousClock.now
    private let interval: Duration
    /// Results that were found in the file.
    package private(set) var resumedRecords = 0

    static let magic = "MoEJRNL1"
    private static let sizeLimit = 4 << 30

    /// - Parameters:
    ///   - path: nil: nothing is kept.
    ///   - binding: names all that a result depends on.
    ///   - restarts: what is there is not read.
    /// - Throws: ``RequestError`` for a file that is something else, or is damaged. One of another calibration is refused, too: it
    ///   may be hours of work.
    package init(path: String?, binding: String, restarts: Bool, interval: Duration = .seconds(15)) throws {
        self.path = path
        self.binding = binding
        self.interval = interval
        guard let path, !restarts, FileManager.default.fileExists(atPath: path) else { return }
        do {
            records = try Self.read(try MappedFile.contents(path: path, limit: Self.sizeLimit), binding: binding)
        } catch let problem as Problem {
            throw RequestError("\(path): \(problem.text); --restart begins anew")
        }
        resumedRecords = records.count
    }

    /// The numbers under this key: from the file, or else measured now.
    package func value(_ key: String, measure: () async throws -> [Double]) async throws -> [Double] {
        if let known = records[key] { return known }
        try Task.checkCancellation()
        let value = try await measure()
        set(key, value)
        try saveAtTimes()
        return value
    }

    package subscript(key: String) -> [Double]? { records[key] }

    package func set(_ key: String, _ value: [Double]?) {
        records[key] = value
        changed = true
    }

    /// Writes what is new when the last time is long enough ago.
    package func saveAtTimes() throws {
        if ContinuousClock.now - written >= interval { try save() }
    }

    /// - Throws: ``RequestError`` when the file cannot be written.
    package func save() throws {
        guard let path, changed else { return }
        do {
            try encoded().write(to: URL(fileURLWithPath: path), options: .atomic)
        } catch {
            throw RequestError("\(path): cannot be written: \(error.localizedDescription)")
        }
        changed = false
        written = .now
    }

    // MARK: Format

    private func encoded() -> Data {
        var data = Data(Self.magic.utf8)
        func append(_ value: UInt64) { withUnsafeBytes(of: value.littleEndian) { data.append(contentsOf: $0) } }
        func append(_ text: String) {
            append(UInt64(text.utf8.count))
            data.append(contentsOf: text.utf8)
        }
        append(binding)
        append(UInt64(records.count))
        for (key, values) in records.sorted(by: { $0.key < $1.key }) {
            append(key)
            append(UInt64(values.count))
            for value in values { append(value.bitPattern) }
        }
        data.append(contentsOf: SHA256.hash(data: data))
        return data
    }

    private struct Problem: Error {
        let text: String
    }

    private static func read(_ bytes: [UInt8], binding: String) throws -> [String: [Double]] {
        let digest = SHA256.byteCount
        guard bytes.count >= magic.utf8.count + digest, bytes.starts(with: magic.utf8) else {
            throw Problem(text: "is not the record of a calibration")
        }
        var rest = bytes.dropLast(digest)
        guard SHA256.hash(data: rest).elementsEqual(bytes.suffix(digest)) else { throw Problem(text: "is damaged") }
        rest = rest.dropFirst(magic.utf8.count)
        func number() throws -> UInt64 {
            guard rest.count >= 8 else { throw Problem(text: "ends early") }
            defer { rest = rest.dropFirst(8) }
            return rest.prefix(8).reversed().reduce(0) { $0 << 8 | UInt64($1) }
        }
        func count(of width: Int) throws -> Int {
            let value = try number()
            guard value <= UInt64(rest.count / width) else { throw Problem(text: "ends early") }
            return Int(value)
        }
        func text() throws -> String {
            let length = try count(of: 1)
            defer { rest = rest.dropFirst(length) }
            return String(decoding: rest.prefix(length), as: UTF8.self)
        }
        let found = try text()
        guard found == binding else {
            throw Problem(text: "belongs to a calibration of another model, other text or other options")
        }
        var records: [String: [Double]] = [:]
        for _ in 0..<(try count(of: 16)) {
            let key = try text()
            let length = try count(of: 8)
            records[key] = try (0..<length).map { _ in Double(bitPattern: try number()) }
        }
        return records
    }
}
