// SPDX-License-Identifier: Apache-2.0

import Foundation
import MoETensors
import MoETestSupport
import Testing

@Suite struct GGUFSplitTests {
    private static let names = (1...3).map { "model-0000\($0)-of-00003.gguf" }

    private func folder() throws -> TemporaryFolder {
        let folder = try TemporaryFolder()
        try folder.copy(GGUFSplitTests.names.map { "split/" + $0 })
        return folder
    }

    @Test(arguments: 0..<3) func anyShardOpensAll(number: Int) throws {
        let file = try GGUFFile(path: Files.path("split/" + GGUFSplitTests.names[number]))
        #expect(file.source == Files.path("split/" + GGUFSplitTests.names[0]))
        let expected = try ExpectedTensor.all("split")
        #expect(file.tensorNames == expected.map(\.name))
        #expect(file.tensorBytes == expected.reduce(0) { $0 + $1.bytes })
        for tensor in expected { try tensor.check(in: file) }
        #expect(try file.metadata.int("llama.block_count") == 1)
    }

    @Test func missing() throws {
        let folder = try folder()
        try FileManager.default.removeItem(atPath: folder.path + "/" + GGUFSplitTests.names[1])
        expectModelFileError(GGUFSplitTests.names[1], "missing shard 2 of 3") {
            _ = try GGUFFile(path: folder.path + "/" + GGUFSplitTests.names[0])
        }
    }

    @Test func cyclic() throws {
        let folder = try folder()
        try FileManager.default.removeItem(atPath: folder.path + "/" + GGUFSplitTests.names[2])
        try FileManager.default.createSymbolicLink(
            atPath: folder.path + "/" + GGUFSplitTests.names[2], withDestinationPath: GGUFSplitTests.names[0])
        expectModelFileError(GGUFSplitTests.names[2], "misnumbered shard", "expected 2, found 0") {
            _ = try GGUFFile(path: folder.path + "/" + GGUFSplitTests.names[0])
        }
    }

    @Test func renamed() throws {
        let folder = try folder()
        try folder.write("model.gguf", Files.bytes("split/" + GGUFSplitTests.names[0]))
        expectModelFileError("one of 3 shards", "model-00001-of-00003.gguf") {
            _ = try GGUFFile(path: folder.path + "/model.gguf")
        }
        for name in ["model-00001-of-00002.gguf", "model-00002-of-00004.gguf"] {
            try folder.write(name, Files.bytes("split/" + GGUFSplitTests.names[0]))
            expectModelFileError("the name and 'split.count' disagree") { _ = try GGUFFile(path: folder.path + "/" + name) }
        }
        for name in [
            "-00000-of-00003.gguf", "m-00004-of-00003.gguf", "m-0001-of-0003.gguf", "m-+0001-of-00003.gguf", ".gguf",
        ] {
            try folder.write(name, Files.bytes("split/" + GGUFSplitTests.names[0]))
            expectModelFileError("its name does not say which") { _ = try GGUFFile(path: folder.path + "/" + name) }
        }
        expectModelFileError("one shard of a split model", "1 of 3") {
            try withMemory(Files.bytes("split/" + GGUFSplitTests.names[0])) {
                _ = try GGUFFile(bytes: $0, name: "embedded")
            }
        }
    }

    private func shard(_ no: UInt32?, of count: UInt32, tensors: [String], total: UInt32? = nil) -> [UInt8] {
        var builder = GGUFBuilder()
        if let no { builder.uint32("split.no", no) }
        builder.uint32("split.count", count)
        if let total { builder.uint32("split.tensors.count", total) }
        builder.tensors = tensors.enumerated().map { .init(name: $1, offset: UInt64(32 * $0)) }
        return builder.bytes
    }

    private func expectError(_ texts: String, first: [UInt8], second: [UInt8]) throws {
        let folder = try TemporaryFolder()
        let path = try folder.write("m-00001-of-00002.gguf", first)
        try folder.write("m-00002-of-00002.gguf", second)
        expectModelFileError(texts) { _ = try GGUFFile(path: path) }
    }

    @Test func disagreeing() throws {
        let first = shard(0, of: 2, tensors: ["a"], total: 2)
        try expectError("duplicate tensor name", first: first, second: shard(1, of: 2, tensors: ["a"]))
        try expectError(
            "wrong number of tensors in all shards", first: first, second: shard(1, of: 2, tensors: ["b", "c"]))
        try expectError("wrong 'split.count'", first: first, second: shard(1, of: 3, tensors: ["b"]))
        try expectError("missing metadata 'split.no'", first: first, second: shard(nil, of: 2, tensors: ["b"]))
        try expectError("wrong 'split.no'", first: first, second: shard(0, of: 2, tensors: ["b"]))
        try expectError("bad metadata 'split.count'", first: shard(0, of: .max, tensors: ["a"]), second: first)
        try expectError("not a GGUF file", first: first, second: [1, 2, 3, 4])
    }

    @Test func oneOfOneIsAWholeModel() throws {
        let folder = try TemporaryFolder()
        let path = try folder.write("m-00001-of-00001.gguf", shard(0, of: 1, tensors: ["a"], total: 1))
        #expect(try GGUFFile(path: path).tensorNames == ["a"])
    }
}
