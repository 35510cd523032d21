// SPDX-License-Identifier: Apache-2.0

import Foundation
import MoETensors
import Testing

@Suite struct ModelFolderTests {
    private static let index = "model.safetensors.index.json"
    private static let shards = (1...3).map { "model-0000\($0)-of-00003.safetensors" }

    private func folder(index: String? = nil) throws -> TemporaryFolder {
        let folder = try TemporaryFolder()
        try folder.copy((ModelFolderTests.shards + [ModelFolderTests.index, "config.json"]).map { "sharded/" + $0 })
        if let index { try folder.write(ModelFolderTests.index, index) }
        return folder
    }

    @Test(arguments: ["sharded", "sharded/"]) func sharded(name: String) throws {
        let path = Files.path("sharded") + (name.hasSuffix("/") ? "/" : "")
        #expect(ModelFolder.isFolder(path))
        let folder = try ModelFolder(path: path)
        #expect(folder.path == Files.path("sharded"))
        let expected = try ExpectedTensor.all("sharded")
        #expect(Set(folder.weights.tensorNames) == Set(expected.map(\.name)))
        #expect(folder.weights.tensorBytes == expected.reduce(0) { $0 + $1.bytes })
        for tensor in expected { try tensor.check(in: folder.weights) }
        #expect(folder.weights.source.hasSuffix(ModelFolderTests.index))
        #expect(try folder.requiredObject("config.json").string("model_type") == "llama")
        #expect(try folder.object("absent.json") == nil)
        #expect(try folder.data("absent.json") == nil)
        #expect(try folder.data("config.json")?.first == UInt8(ascii: "{"))
        expectModelFileError("sharded/absent.json", "missing file") { _ = try folder.requiredObject("absent.json") }
    }

    @Test func single() throws {
        let folder = try TemporaryFolder()
        try folder.copy(["everything.safetensors", "sharded/config.json"])
        expectModelFileError("no weights", "model.safetensors", "neither") { _ = try ModelFolder(path: folder.path) }
        try folder.write("pytorch_model.bin", "x")
        expectModelFileError("no weights", "only pytorch_model.bin: convert it") { _ = try ModelFolder(path: folder.path) }
        try folder.write("model.safetensors", Files.bytes("everything.safetensors"))
        #expect(try ModelFolder(path: folder.path).weights.tensor(named: "f32")?.shape == [2, 3])
    }

    @Test func notAModel() throws {
        let folder = try TemporaryFolder()
        #expect(ModelFolder.isFolder(folder.path))
        #expect(!ModelFolder.isFolder(folder.path + "/absent"))
        expectModelFileError("not a Hugging Face model folder", "config.json") { _ = try ModelFolder(path: folder.path) }
        let file = try folder.write("file", "x")
        #expect(!ModelFolder.isFolder(file))
        expectModelFileError("expected a folder", "a regular file") { _ = try ModelFolder(path: file) }
        expectModelFileError("expected a folder", "nothing") { _ = try ModelFolder(path: folder.path + "/absent") }
        try folder.write("config.json", "{\"a\": ")
        try folder.write("model.safetensors", safetensors("{}"))
        let broken = try ModelFolder(path: folder.path)
        expectModelFileError("config.json", "not valid JSON") { _ = try broken.requiredObject("config.json") }
    }

    @Test func missingShardOrTensor() throws {
        var folder = try folder()
        try FileManager.default.removeItem(atPath: folder.path + "/" + ModelFolderTests.shards[1])
        expectModelFileError(ModelFolderTests.shards[1], "missing shard") { _ = try ModelFolder(path: folder.path) }
        folder = try self.folder(index: "{\"weight_map\":{\"absent\":\"\(ModelFolderTests.shards[0])\"}}")
        expectModelFileError(ModelFolderTests.shards[0], "tensor 'absent'", "missing tensor") {
            _ = try ModelFolder(path: folder.path)
        }
    }

    @Test(arguments: [
        "../model-00001-of-00003.safetensors", "../../x", "/etc/passwd", "a/b.safetensors", "..", ".", "", "a\\u0000b",
    ])
    func pathTraversal(shard: String) throws {
        let folder = try folder(index: "{\"weight_map\":{\"t\":\"\(shard)\"}}")
        expectModelFileError(ModelFolderTests.index, "tensor 't'", "bad shard name") {
            _ = try ModelFolder(path: folder.path)
        }
    }

    @Test func badIndex() throws {
        for (text, problem) in [
            ("", "not valid JSON"), ("[]", "not valid JSON"), ("{}", "no 'weight_map'"),
            ("{\"weight_map\":{}}", "an empty one"),
            ("{\"weight_map\":[]}", "not valid JSON"), ("{\"weight_map\":{\"a\":1}}", "not valid JSON"),
            ("{\"weight_map\":{\"a\":\"b\",\"a\":\"c\"}}", "duplicate key 'a'"),
            ("{\"weight_map\":{\"a\":\"b\"}} x", "after the end"),
        ] {
            let folder = try folder(index: text)
            expectModelFileError(ModelFolderTests.index, problem) { _ = try ModelFolder(path: folder.path) }
        }
    }
}

@Suite struct MappedFileTests {
    @Test func maps() throws {
        let file = try MappedFile(path: Files.path("everything.gguf"))
        #expect([UInt8](file.bytes) == (try Files.bytes("everything.gguf")))
        #expect(try MappedFile.contents(path: Files.path("everything.gguf"), limit: 1 << 20).count == file.bytes.count)
        file.prefetch()
    }

    @Test func refuses() throws {
        let folder = try TemporaryFolder()
        expectModelFileError(folder.path, "a regular file", "a directory") { _ = try MappedFile(path: folder.path) }
        expectModelFileError("absent", "cannot open", "No such file") { _ = try MappedFile(path: folder.path + "/absent") }
        expectModelFileError("zero byte") { _ = try MappedFile(path: folder.path + "/a\0b") }
        expectModelFileError("a device") { _ = try MappedFile(path: "/dev/null") }
        let empty = try folder.write("empty", "")
        expectModelFileError("empty", "the file is empty") { _ = try MappedFile(path: empty) }
        #expect(try MappedFile.contents(path: empty, limit: 0) == [])
        let file = try folder.write("file", "four")
        expectModelFileError("too large", "at most 3 bytes", "4") { _ = try MappedFile.contents(path: file, limit: 3) }
        // Must not wait for a writer.
        #expect(mkfifo(folder.path + "/pipe", 0o600) == 0)
        expectModelFileError("a regular file", "a pipe") { _ = try MappedFile(path: folder.path + "/pipe") }
        expectModelFileError("a pipe") { _ = try GGUFFile(path: folder.path + "/pipe") }
        expectModelFileError("a directory") { _ = try GGUFFile(path: folder.path) }
    }
}
