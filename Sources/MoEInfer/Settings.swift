// SPDX-License-Identifier: Apache-2.0

import Configuration
import Foundation
package import MoECompute
package import MoEModel
import SystemPackage

/// What a deployment may choose, from (highest first) the command line, a JSON file, and the environment.
///
/// | key | environment | meaning |
/// |---|---|---|
/// | `threads` | `MOE_THREADS` | worker threads; default: the cores this process may use |
/// | `gemm` | `MOE_GEMM` | `auto`, `blas`, `native` or `reference` |
/// | `kv` | `MOE_KV` | precision of the KV cache: `f16` or `f32` |
/// | `context` | `MOE_CONTEXT` | positions per sequence; default: the model's, at most 4096 |
/// | `batch` | `MOE_BATCH` | sequences that run together |
/// | `cache` | `MOE_CACHE` | positions that the KV cache holds for all sequences together; default: `context` · `batch` |
/// | `chunk` | `MOE_CHUNK` | prompt tokens per step |
/// | `blas.library` | `MOE_BLAS_LIBRARY` | a BLAS to load at run time instead of the linked one |
public struct Settings: Sendable, Equatable {
    public var threads: Int?
    package var gemm = MatmulPlan.Mode.auto
    /// nil: f16, or f32 where figures are compared with other programs' (``LLM/logits(_:decodeFrom:routing:row:)``).
    package var kvPrecision: KVCache.Precision?
    public var context: Int?
    public var batch = 8
    public var cache: Int?
    public var chunk = 512
    public var blasLibrary: String?

    public init() {}

    /// - Parameters:
    ///   - commandLine: values by key, as text.
    ///   - file: a JSON file with the same keys; also named by `MOE_CONFIG`.
    /// - Throws: ``SettingsError`` for a value that cannot be.
    public static func load(commandLine: [String: String] = [:], file: String? = nil) async throws -> Settings {
        var providers: [any ConfigProvider] = [
            InMemoryProvider(
                values: Dictionary(
                    uniqueKeysWithValues: commandLine.map { key, value in
                        (
                            AbsoluteConfigKey(key.split(separator: ".").map(String.init)),
                            ConfigValue(.string(value), isSecret: false)
                        )
                    }))
        ]
        if let file = file ?? ProcessInfo.processInfo.environment["MOE_CONFIG"] {
            do {
                providers.append(try await FileProvider<JSONSnapshot>(filePath: FilePath(file)))
            } catch {
                throw SettingsError(description: "\(file): cannot be read as JSON settings: \(error)")
            }
        }
        providers.append(EnvironmentVariablesProvider().prefixKeys(with: "moe"))
        return try await Settings(Reader(config: ConfigReader(providers: providers)))
    }

    private init(_ reader: Reader) async throws {
        threads = try await reader.integer("threads", 1...4096)
        gemm = try await reader.choice("gemm") ?? gemm
        kvPrecision = try await reader.choice("kv")
        context = try await reader.integer("context", 1...1_000_000_000)
        batch = try await reader.integer("batch", 1...4096) ?? batch
        cache = try await reader.integer("cache", 1...1_000_000_000_000)
        chunk = try await reader.integer("chunk", 1...65_536) ?? chunk
        blasLibrary = try await reader.text("blas.library")
    }
}

/// A setting that cannot be used, in one line.
public struct SettingsError: UsageError, Equatable, CustomStringConvertible {
    public let description: String
}

/// Values as text or as JSON's own types, checked.
private struct Reader {
    let config: ConfigReader

    func text(_ key: String) async throws -> String? {
        do {
            let value = try await config.fetchString(forKey: ConfigKey(key))
            return value.flatMap { $0.isEmpty ? nil : $0 }
        } catch {
            throw SettingsError(key, expected: "text", found: "another type")
        }
    }

    func integer(_ key: String, _ range: ClosedRange<Int>) async throws -> Int? {
        let expected = "a whole number from \(range.lowerBound) to \(range.upperBound)"
        let value: Int?
        do {
            value = try await config.fetchInt(forKey: ConfigKey(key))
        } catch {
            // The command line and the environment hold text only.
            guard let text = try await text(key) else { return nil }
            guard let number = Int(text) else { throw SettingsError(key, expected: expected, found: "'\(text)'") }
            value = number
        }
        guard let value else { return nil }
        guard range.contains(value) else { throw SettingsError(key, expected: expected, found: "\(value)") }
        return value
    }

    func choice<Value: RawRepresentable & CaseIterable>(_ key: String) async throws -> Value?
    where Value.RawValue == String {
        guard let text = try await text(key) else { return nil }
        guard let value = Value(rawValue: text) else {
            throw SettingsError(
                key, expected: "one of " + Value.allCases.map(\.rawValue).joined(separator: ", "), found: "'\(text)'")
        }
        return value
    }
}

extension SettingsError {
    fileprivate init(_ key: String, expected: String, found: String) {
        let variable = "MOE_" + key.uppercased().replacing(".", with: "_")
        description = "setting '\(key)' (\(variable)): expected \(expected), found \(found)"
    }
}
