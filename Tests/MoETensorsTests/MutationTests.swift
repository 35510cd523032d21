// SPDX-License-Identifier: Apache-2.0

import Foundation
import MoETensors
import Testing

/// Damaged files, the same ones in every run: each opens or throws a ``ModelFileError``, and none takes memory for what it
/// merely claims to hold. Prevents: a crash, a hang, or an allocation by a count from the file.
@Suite(.serialized) struct MutationTests {
    private static let mutantsPerFixture = 400
    /// bytes, for one file. Not for all of them: a sanitizer keeps freed memory for a while. Large, because the peak is the whole
    /// process's and other suites run meanwhile (one takes 490 MB); the counts that damage makes up are far larger.
    private static let memoryLimit = 2 << 30

    private func peakMemory() throws -> Int {
        let status = try String(contentsOfFile: "/proc/self/status", encoding: .utf8)
        let line = try #require(status.split(separator: "\n").first { $0.hasPrefix("VmHWM:") })
        return try #require(line.split(whereSeparator: { !$0.isNumber }).first.flatMap { Int($0) }) * 1024
    }

    /// Reads all that a caller could ask for.
    private func exercise(_ file: GGUFFile) throws -> Int {
        var refused = 0
        func attempt(_ body: () throws -> Void) throws {
            do { try body() } catch is ModelFileError { refused += 1 }
        }
        for key in file.metadata.keys {
            try attempt { _ = try file.metadata.string(key) }
            try attempt { _ = try file.metadata.int(key) }
            try attempt { _ = try file.metadata.float(key) }
            try attempt { _ = try file.metadata.bool(key) }
            try attempt { _ = try file.metadata.bools(key) }
            try attempt { _ = try file.metadata.ints(key) }
            try attempt { _ = try file.metadata.floats(key) }
            try attempt { _ = try file.metadata.bytes(key) }
            try attempt { _ = try file.metadata.strings(key) }
            try attempt { _ = try file.metadata.rawStrings(key) }
        }
        for (_, value) in file.metadata.summary { #expect(value.utf8.count < 10_000) }
        return refused + touch(file)
    }

    /// The first and the last byte of every tensor.
    private func touch(_ store: any WeightStore) -> Int {
        var sum = 0
        for name in store.tensorNames {
            guard let view = store.tensor(named: name) else {
                #expect(store.problem(with: name) != nil)
                continue
            }
            #expect(view.type.byteCount(elements: view.elementCount) == view.bytes.count)
            sum += Int(view.bytes.first ?? 0) + Int(view.bytes.last ?? 0)
        }
        return sum
    }

    private func run(_ fixture: String, open: (UnsafeRawBufferPointer) throws -> Void) throws {
        let original = try Files.bytes(fixture)
        var random = SplitMix(state: 0x6d6f65 &+ UInt64(original.count))
        var peak = try peakMemory()
        var opened = 0
        for number in 0..<MutationTests.mutantsPerFixture {
            let mutant = Mutation.allCases[number % Mutation.allCases.count].apply(to: original, random: &random)
            do {
                try withMemory(mutant, open)
                opened += 1
            } catch let error as ModelFileError {
                #expect(!error.description.contains("\n"))
            } catch {
                Issue.record("mutant \(number) of \(fixture): \(error)")
            }
            let now = try peakMemory()
            #expect(now - peak < MutationTests.memoryLimit, "mutant \(number) of \(fixture)")
            peak = now
        }
        // Otherwise the mutants are too weak, or so strong that nothing behind the header is reached.
        #expect(opened > 10 && opened < MutationTests.mutantsPerFixture - 100, "\(opened) opened")
    }

    @Test(arguments: ["everything.gguf", "aligned-256.gguf"]) func gguf(fixture: String) throws {
        try run(fixture) { _ = try exercise(GGUFFile(bytes: $0, name: fixture)) }
    }

    @Test(arguments: ["everything.safetensors", "sharded/model-00001-of-00003.safetensors"])
    func safetensors(fixture: String) throws {
        try run(fixture) { _ = touch(try SafetensorsFile(bytes: $0, name: fixture)) }
    }

    /// Through files and the mapping, with shards: some of the same damage.
    @Test func mutantsOnDisk() throws {
        let folder = try TemporaryFolder()
        try folder.copy([
            "split/model-00001-of-00003.gguf", "split/model-00002-of-00003.gguf", "split/model-00003-of-00003.gguf",
        ])
        let original = try Files.bytes("split/model-00002-of-00003.gguf")
        var random = SplitMix(state: 2)
        for number in 0..<100 {
            let mutant = Mutation.allCases[number % Mutation.allCases.count].apply(to: original, random: &random)
            let path = try folder.write("model-00002-of-00003.gguf", mutant)
            do { _ = try exercise(GGUFFile(path: path)) } catch is ModelFileError {}
        }
    }

    @Test func indexAndConfiguration() throws {
        var random = SplitMix(state: 3)
        for fixture in ["sharded/model.safetensors.index.json", "sharded/config.json", "expected.json"] {
            let original = try Files.bytes(fixture)
            for number in 0..<100 {
                let mutant = Mutation.allCases[number % Mutation.allCases.count].apply(to: original, random: &random)
                do { _ = try JSONObject(mutant, file: fixture).keys } catch { #expect(error.file == fixture) }
            }
        }
    }
}

private enum Mutation: CaseIterable {
    case flipBit, flipBits, truncate, hugeCount, smallCount, swapWords, duplicateRange, removeRange, replaceDigits,
        zeroRange

    func apply(to original: [UInt8], random: inout SplitMix) -> [UInt8] {
        var bytes = original
        // Most of what can be wrong is in the first half: tables, not data.
        func position(_ size: Int = 1) -> Int {
            random.below(max(1, (random.below(4) == 0 ? bytes.count : bytes.count / 2) - size))
        }
        func put(_ value: UInt64, at start: Int) {
            for i in 0..<8 where start + i < bytes.count {
                bytes[start + i] = UInt8(truncatingIfNeeded: value >> (8 * UInt64(i)))
            }
        }
        switch self {
        case .flipBit: bytes[position()] ^= 1 << UInt8(random.below(8))
        case .flipBits: for _ in 0..<8 { bytes[position()] ^= 1 << UInt8(random.below(8)) }
        case .truncate: bytes.removeLast(1 + random.below(bytes.count - 1))
        case .hugeCount:
            put([1 << 60, .max, 1 << 63, 1 << 32, 1 << 31, UInt64(bytes.count)][random.below(6)], at: position(8))
        case .smallCount: put(UInt64(random.below(64)), at: position(8))
        case .swapWords:
            let (first, second) = (position(8), position(8))
            for i in 0..<8 where max(first, second) + i < bytes.count { bytes.swapAt(first + i, second + i) }
        case .duplicateRange:
            let start = position(32)
            let range = bytes[start..<min(bytes.count, start + 1 + random.below(64))]
            bytes.insert(contentsOf: range, at: random.below(2) == 0 ? start : position())
        case .removeRange:
            let start = position(32)
            bytes.removeSubrange(start..<min(bytes.count, start + 1 + random.below(64)))
        case .replaceDigits:
            let digits = bytes.indices.filter { (0x30...0x39).contains(bytes[$0]) }
            for _ in 0..<3 where !digits.isEmpty {
                bytes[digits[random.below(digits.count)]] = 0x30 + UInt8(random.below(10))
            }
        case .zeroRange:
            let start = position(32)
            for i in start..<min(bytes.count, start + 1 + random.below(32)) { bytes[i] = 0 }
        }
        return bytes
    }
}

/// A small seeded generator (Steele et al. 2014), so that every run sees the same mutants.
private struct SplitMix {
    var state: UInt64

    mutating func below(_ limit: Int) -> Int {
        state &+= 0x9e37_79b9_7f4a_7c15
        var value = state
        value = (value ^ value >> 30) &* 0xbf58_476d_1ce4_e5b9
        value = (value ^ value >> 27) &* 0x94d0_49bb_1331_11eb
        return Int((value ^ value >> 31) % UInt64(limit))
    }
}
