// SPDX-License-Identifier: Apache-2.0

import Foundation
import MoETensors
import MoETestSupport
import Testing

enum Files {
    static let directory = Fixtures.directory.appendingPathComponent("files")
    static func path(_ name: String) -> String { directory.appendingPathComponent(name).path }
    static func bytes(_ name: String) throws -> [UInt8] {
        [UInt8](try Data(contentsOf: directory.appendingPathComponent(name)))
    }
}

/// A tensor as `expected.json` describes it.
struct ExpectedTensor {
    let name: String
    let type: String
    let shape: [Int]
    let bytes: Int
    let crc32: UInt32

    static func all(_ key: String) throws -> [ExpectedTensor] {
        let data = try Data(contentsOf: Files.directory.appendingPathComponent("expected.json"))
        let root = try #require(try JSONSerialization.jsonObject(with: data) as? [String: [[String: Any]]])
        return try #require(root[key]).map { entry in
            ExpectedTensor(
                name: try #require(entry["name"] as? String), type: try #require(entry["type"] as? String),
                shape: try #require(entry["shape"] as? [Int]), bytes: try #require(entry["bytes"] as? Int),
                crc32: UInt32(try #require(entry["crc32"] as? Int)))
        }
    }

    /// That `store` has the tensor, byte for byte.
    func check(in store: any WeightStore) throws {
        let view = try #require(store.tensor(named: name), "\(name)")
        #expect(view.name == name)
        #expect(view.type.name == type)
        #expect(view.shape == Shape(shape))
        #expect(view.bytes.count == bytes)
        #expect(ExpectedTensor.crc32(view.bytes) == crc32, "\(name)")
        #expect(try store.tensor(named: name, shape: Shape(shape)).bytes.baseAddress == view.bytes.baseAddress)
    }

    private static func crc32(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
        ~bytes.reduce(~UInt32(0)) { sum, byte in
            (0..<8).reduce(sum ^ UInt32(byte)) { value, _ in value >> 1 ^ (value & 1 == 0 ? 0 : 0xedb8_8320) }
        }
    }
}

/// A folder that is gone with the value.
final class TemporaryFolder {
    let path: String

    init() throws {
        let url = FileManager.default.temporaryDirectory.appendingPathComponent("moe-tensors-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
        path = url.path
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    @discardableResult
    func write(_ name: String, _ bytes: [UInt8]) throws -> String {
        let file = path + "/" + name
        try Data(bytes).write(to: URL(fileURLWithPath: file))
        return file
    }

    @discardableResult
    func write(_ name: String, _ text: String) throws -> String { try write(name, [UInt8](text.utf8)) }

    /// Copies fixtures, flat.
    func copy(_ fixtures: [String]) throws {
        for name in fixtures {
            try write(String(name.split(separator: "/").last!), Files.bytes(name))
        }
    }
}

/// Bytes at an aligned address of exactly their size, so that a sanitizer sees a read past the end.
func withMemory<Result>(_ content: [UInt8], _ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: content.count, alignment: 16)
    memory.copyBytes(from: content)
    defer { memory.deallocate() }
    return try body(UnsafeRawBufferPointer(memory))
}

/// That `body` throws a ``ModelFileError`` of one line that holds all of `texts`.
func expectModelFileError(
    _ texts: String..., sourceLocation: SourceLocation = #_sourceLocation, _ body: () throws -> Void
) {
    do {
        try body()
        Issue.record("no error; expected one with \(texts)", sourceLocation: sourceLocation)
    } catch let error as ModelFileError {
        let line = error.description
        #expect(!line.contains("\n"), sourceLocation: sourceLocation)
        for text in texts {
            #expect(line.contains(text), "'\(text)' in: \(line)", sourceLocation: sourceLocation)
        }
    } catch {
        Issue.record("not a ModelFileError: \(error)", sourceLocation: sourceLocation)
    }
}

/// A safetensors file of this header, with `dataSize` bytes of data.
func safetensors(_ header: String, length: UInt64? = nil, dataSize: Int = 16) -> [UInt8] {
    // Padded as writers do, so that the data is aligned.
    let padded = header + String(repeating: " ", count: (8 - header.utf8.count % 8) % 8)
    var result: [UInt8] = []
    result.add(length ?? UInt64(padded.utf8.count))
    return result + [UInt8](padded.utf8) + [UInt8](repeating: 1, count: dataSize)
}
