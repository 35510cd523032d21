// SPDX-License-Identifier: Apache-2.0

import Configuration
import Foundation
import MoECompute
import SystemPackage

/// Settings by key, from (highest first) the command line, a JSON file, and the environment: as text or as JSON's own types, checked.
package struct SettingsReader {
    private let config: ConfigReader

    /// - Parameters:
    ///   - commandLine: values by key, as text.
    ///   - file: a JSON file with the same keys; also named by `MOE_CONFIG`.
    /// - Throws: ``SettingsError`` for a file that cannot be read.
    package init(commandLine: [String: String], file: String?) async throws {
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
        config = ConfigReader(providers: providers)
    }

    package func text(_ key: String) async throws -> String? {
        do {
            let value = try await config.fetchString(forKey: ConfigKey(key))
            return value.flatMap { $0.isEmpty ? nil : $0 }
        } catch {
            throw SettingsError(key, expected: "text", found: "another type")
        }
    }

    package func integer(_ key: String, _ range: ClosedRange<Int>) async throws -> Int? {
        let value: Int?
        do {
            value = try await config.fetchInt(forKey: ConfigKey(key))
        } catch {
            // The command line and the environment hold text only.
            guard let text = try await text(key) else { return nil }
            guard let number = Int(text) else { throw SettingsError(key, range: range, found: "'\(text)'") }
            value = number
        }
        guard let value else { return nil }
        guard range.contains(value) else { throw SettingsError(key, range: range, found: "\(value)") }
        return value
    }

    package func number(_ key: String, _ range: ClosedRange<Double>) async throws -> Double? {
        let value: Double?
        do {
            value = try await config.fetchDouble(forKey: ConfigKey(key))
        } catch {
            guard let text = try await text(key) else { return nil }
            value = Double(text) ?? .nan
        }
        guard let value else { return nil }
        guard range.contains(value) else {
            throw SettingsError(
                key, expected: "a number from \(range.lowerBound) to \(range.upperBound)", found: "\(value)")
        }
        return value
    }

    /// Words between commas.
    package func list(_ key: String) async throws -> [String]? {
        try await text(key)?.split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) }
    }

    /// nil: not set, or `none`.
    func cpus(_ key: String) async throws -> [Int]? {
        guard let text = try await text(key), text != "none" else { return nil }
        guard let list = CPUList(text) else {
            throw SettingsError(key, expected: "none or different CPUs like 0-3,8", found: "'\(text)'")
        }
        return list.numbers
    }

    package func choice<Value: RawRepresentable & CaseIterable>(_ key: String) async throws -> Value?
    where Value.RawValue == String {
        guard let text = try await text(key) else { return nil }
        guard let value = Value(rawValue: text) else {
            throw SettingsError(
                key, expected: "one of " + Value.allCases.map(\.rawValue).joined(separator: ", "), found: "'\(text)'")
        }
        return value
    }
}
