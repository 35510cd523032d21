// SPDX-License-Identifier: Apache-2.0

import Crypto
import Foundation
import MoEInfer
import MoEJSON
import Synchronization

/// What one key may do.
package struct KeyRights: Sendable {
    package var name: String
    package var requestsPerMinute: Int?
    /// Prompt and generated.
    package var tokensPerMinute: Int?
    /// Answers at a time.
    package var concurrent: Int?
    /// Higher goes first among requests of the same key.
    package var priority = 0
    /// The cheapest operating point that load may lead to; nil: the server's.
    package var floor: String?

    package init(name: String) { self.name = name }

    package static let everyone = KeyRights(name: "anonymous")
}

/// Who may use the server, and how much.
///
/// A file of keys is JSON, which holds only SHA-256 digests of them (`moe-infer key` makes a random one and prints its entry):
///
/// ```json
/// {"keys": [{"name": "team-a", "sha256": "…", "requests_per_minute": 60, "tokens_per_minute": 100000, "concurrent": 4,
///            "floor": "balanced", "priority": 0}]}
/// ```
package final class APIKeys: Sendable {
    private struct Key: Sendable {
        let digest: [UInt8]
        let rights: KeyRights
    }

    /// What a key has used in the last minute: a bucket that fills evenly.
    private struct Usage {
        var requests = 0.0
        var tokens = 0.0
        var time: ContinuousClock.Instant
    }

    private let keys: [Key]
    private let byName: [String: KeyRights]
    private let usage = Mutex<[String: Usage]>([:])

    /// Whether nobody needs a key.
    package var areOpen: Bool { keys.isEmpty }

    /// - Throws: ``ServerError`` for a file that cannot be read or says something that cannot be.
    package init(file: String?, key: String?) throws {
        var keys: [Key] = []
        if let key {
            keys.append(Key(digest: Array(SHA256.hash(data: Array(key.utf8))), rights: KeyRights(name: "default")))
        }
        if let file { keys += try Self.read(file) }
        self.keys = keys
        byName = Dictionary(keys.map { ($0.rights.name, $0.rights) }, uniquingKeysWith: { first, _ in first })
    }

    private static func read(_ file: String) throws -> [Key] {
        func wrong(_ what: String) -> ServerError { ServerError(description: "\(file): \(what)") }
        guard let data = FileManager.default.contents(atPath: file) else { throw wrong("cannot be read") }
        do {
            guard let entries = try JSONFields(body: Array(data)).objects("keys"), !entries.isEmpty else {
                throw wrong("expected keys as {\"keys\": [{\"name\": …, \"sha256\": …}]}")
            }
            var names: Set<String> = []
            return try entries.map { entry in
                let name = try entry.required("name")
                guard names.insert(name).inserted else { throw wrong("two keys are named '\(name)'") }
                guard let digest = bytes(hexadecimal: try entry.required("sha256")), digest.count == 32 else {
                    throw wrong("key '\(name)': expected \"sha256\" as 64 hexadecimal digits")
                }
                var rights = KeyRights(name: name)
                rights.requestsPerMinute = try entry.int("requests_per_minute", 1...Int.max)
                rights.tokensPerMinute = try entry.int("tokens_per_minute", 1...Int.max)
                rights.concurrent = try entry.int("concurrent", 1...Int.max)
                rights.priority = try entry.int("priority", -1_000_000...1_000_000) ?? 0
                rights.floor = try entry.string("floor")
                return Key(digest: digest, rights: rights)
            }
        } catch let error as APIError {
            throw wrong(error.message)
        }
    }

    private static func bytes(hexadecimal text: String) -> [UInt8]? {
        let digits = text.utf8.compactMap { Character(UnicodeScalar($0)).hexDigitValue }
        guard digits.count == text.utf8.count, digits.count.isMultiple(of: 2) else { return nil }
        return stride(from: 0, to: digits.count, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
    }

    // MARK: Asking

    /// Whose key it is. Every stored digest is compared, each in constant time: how long it takes tells nothing.
    package func rights(of key: String) -> KeyRights? {
        let digest = Array(SHA256.hash(data: Array(key.utf8)))
        var found: KeyRights?
        for key in keys {
            var difference: UInt8 = 0
            for (a, b) in zip(key.digest, digest) { difference |= a ^ b }
            if difference == 0 { found = key.rights }
        }
        return found
    }

    package func concurrency(of name: String) -> Int { byName[name]?.concurrent ?? .max }

    package var floors: [String] { keys.compactMap(\.rights.floor) }

    /// Counts a request.
    /// - Throws: ``APIError`` 429 when the key has had its share of this minute.
    package func charge(_ rights: KeyRights, now: ContinuousClock.Instant = .now) throws(APIError) {
        guard rights.requestsPerMinute != nil || rights.tokensPerMinute != nil else { return }
        let wait = usage.withLock { usage -> Double? in
            var entry = Self.drained(usage[rights.name], rights, now: now)
            defer { usage[rights.name] = entry }
            if let limit = rights.requestsPerMinute, entry.requests + 1 > Double(limit) {
                return (entry.requests + 1 - Double(limit)) * 60 / Double(limit)
            }
            if let limit = rights.tokensPerMinute, entry.tokens > Double(limit) {
                return (entry.tokens - Double(limit)) * 60 / Double(limit)
            }
            entry.requests += 1
            return nil
        }
        if let wait {
            throw .tooMany("the key '\(rights.name)' has had its share of this minute", retryAfter: wait)
        }
    }

    package func charge(_ rights: KeyRights, tokens: Int, now: ContinuousClock.Instant = .now) {
        guard rights.tokensPerMinute != nil else { return }
        usage.withLock { usage in
            var entry = Self.drained(usage[rights.name], rights, now: now)
            entry.tokens += Double(tokens)
            usage[rights.name] = entry
        }
    }

    private static func drained(_ entry: Usage?, _ rights: KeyRights, now: ContinuousClock.Instant) -> Usage {
        guard var entry else { return Usage(time: now) }
        let minutes = max(0, (now - entry.time) / .seconds(60))
        entry.requests = max(0, entry.requests - minutes * Double(rights.requestsPerMinute ?? 0))
        entry.tokens = max(0, entry.tokens - minutes * Double(rights.tokensPerMinute ?? 0))
        entry.time = now
        return entry
    }
}

/// Makes keys.
public enum APIKeyMaker {
    /// - Returns: a new random key, its entry for a file of keys, and both as JSON.
    public static func make(name: String) -> (key: String, entry: String, json: String) {
        let random = SymmetricKey(size: .bits256).withUnsafeBytes { Array($0) }
        let key = "moe-" + hexadecimal(random)
        let entry: JSONTree = [
            "name": .string(name), "sha256": .string(hexadecimal(Array(SHA256.hash(data: Array(key.utf8))))),
        ]
        func text(_ value: JSONTree) -> String { String(decoding: value.bytes, as: UTF8.self) }
        return (key, text(entry), text(["key": .string(key), "entry": entry]))
    }

    private static func hexadecimal(_ bytes: [UInt8]) -> String { bytes.map { String(format: "%02x", $0) }.joined() }
}
