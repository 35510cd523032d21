// SPDX-License-Identifier: Apache-2.0

import Foundation
import MoETensors
import MoETestSupport
import Testing

/// Copies with one string of the metadata set: prevents a copy that loses or moves anything else.
@Suite struct GGUFWriterTests {
    private static let key = "moe_infer.test"

    private func write(_ value: [UInt8]?, from path: String, to copy: String, limit: Int = .max) throws {
        let writer = GGUFWriter(try GGUFFile(path: path), setting: Self.key, to: value)
        let output = try OutputFile(path: copy)
        try writer.write(to: output) { if $0 > limit { throw CancellationError() } }
        try output.commit()
        #expect(try Data(contentsOf: URL(fileURLWithPath: copy)).count == writer.byteCount)
    }

    @Test(arguments: ["everything.gguf", "everything-v2.gguf", "aligned-256.gguf"])
    func onlyTheEntryChanges(name: String) throws {
        let folder = try TemporaryFolder()
        let (source, copy, back) = (Files.path(name), folder.path + "/copy.gguf", folder.path + "/back.gguf")
        // Three lengths, so that the padding differs.
        for value in ["", "seven 7", String(repeating: "ä", count: 5000)] {
            try write(Array(value.utf8), from: source, to: copy)
            let (old, new) = (try GGUFFile(path: source), try GGUFFile(path: copy))
            #expect(try new.metadata.string(Self.key) == value)
            #expect(new.metadata.keys == old.metadata.keys + [Self.key])
            #expect(new.metadata.summary.dropLast().map(\.value) == old.metadata.summary.map(\.value))
            #expect(new.version == old.version && new.tensorNames == old.tensorNames)
            for tensor in old.tensorNames {
                let (was, now) = (try #require(old.tensor(named: tensor)), try #require(new.tensor(named: tensor)))
                #expect(was.type == now.type && was.shape == now.shape && was.bytes.elementsEqual(now.bytes), "\(tensor)")
            }
            // Taken out again, the file is what it was.
            try write(nil, from: copy, to: back)
            #expect(try Data(contentsOf: URL(fileURLWithPath: back)) == Data(contentsOf: URL(fileURLWithPath: source)))
        }
    }

    @Test func anOlderEntryIsReplacedAndNeverDoubled() throws {
        let folder = try TemporaryFolder()
        let (first, second) = (folder.path + "/1.gguf", folder.path + "/2.gguf")
        try write([65, 66], from: Files.path("everything.gguf"), to: first)
        try write([67], from: first, to: second)
        #expect(try GGUFFile(path: second).metadata.string(Self.key) == "C")
        try write([67], from: Files.path("everything.gguf"), to: first)
        #expect(try Data(contentsOf: URL(fileURLWithPath: first)) == Data(contentsOf: URL(fileURLWithPath: second)))
    }

    @Test func theFirstShardOfASplitModel() throws {
        let folder = try TemporaryFolder()
        try folder.copy((1...3).map { "split/model-0000\($0)-of-00003.gguf" })
        let first = folder.path + "/model-00001-of-00003.gguf"
        let file = try GGUFFile(path: folder.path + "/model-00002-of-00003.gguf")
        #expect(!file.fitsFirstShard("x.gguf") && !file.fitsFirstShard("x-00002-of-00003.gguf"))
        #expect(file.fitsFirstShard("x-00001-of-00003.gguf"))
        let output = try OutputFile(path: first)
        try GGUFWriter(file, setting: Self.key, to: [66]).write(to: output) { _ in }
        try output.commit()
        let copy = try GGUFFile(path: first)
        #expect(try copy.metadata.string(Self.key) == "B")
        for tensor in try ExpectedTensor.all("split") { try tensor.check(in: copy) }
    }

    @Test func filesWithoutTensors() throws {
        let folder = try TemporaryFolder()
        var builder = GGUFBuilder()
        builder.uint32("a", 1)
        let source = try folder.write("none.gguf", builder.bytes)
        try write([65], from: source, to: folder.path + "/copy.gguf")
        let copy = try GGUFFile(path: folder.path + "/copy.gguf")
        #expect(copy.metadata.keys == ["a", Self.key] && copy.tensorNames.isEmpty)
    }

    // MARK: Output

    @Test func whatIsNotCommittedLeavesNothing() throws {
        let folder = try TemporaryFolder()
        let copy = try folder.write("copy.gguf", "old")
        #expect(throws: CancellationError.self) {
            try write([65], from: Files.path("everything.gguf"), to: copy, limit: 3)
        }
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == ["copy.gguf"])
        #expect(try String(contentsOfFile: copy, encoding: .utf8) == "old")
    }

    @Test(arguments: [
        ("/dev/full", "No space left"), ("/no/such/folder/x", "No such file"), ("/", "Is a directory"),
        ("/dev/null/x", "Not a directory"), ("a\0b", "zero byte"),
    ])
    func whatCannotBeWrittenIsSaidSo(path: String, mention: String) {
        expectModelFileError("cannot be written", mention) {
            let output = try OutputFile(path: path)
            try output.write([1, 2, 3])
            try output.commit()
        }
    }

    @Test func linksAreFollowed() throws {
        let folder = try TemporaryFolder()
        let (target, link) = (try folder.write("target", "old"), folder.path + "/link")
        try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: target)
        let output = try OutputFile(path: link)
        try output.write(Array("new".utf8))
        try output.commit()
        #expect(try FileManager.default.destinationOfSymbolicLink(atPath: link) == target)
        #expect(try String(contentsOfFile: target, encoding: .utf8) == "new")
        try FileManager.default.removeItem(atPath: target)
        expectModelFileError("cannot be written") { _ = try OutputFile(path: link) }
        #expect(!MappedFile.isAbsent(link) && MappedFile.isAbsent(target))
    }

    // MARK: Reading

    @Test func aStringPastTheLimitIsNotCopied() throws {
        var builder = GGUFBuilder()
        var text: [UInt8] = []
        text.add("twelve bytes")
        builder.entry("text", type: 8, text)
        builder.uint32("number", 1)
        try withMemory(builder.bytes) { bytes in
            let metadata = try GGUFFile(bytes: bytes, name: "f").metadata
            #expect(try metadata.stringBytes("text", limit: 12) == Array("twelve bytes".utf8))
            #expect(try metadata.stringBytes("absent", limit: 12) == nil)
            expectModelFileError("'text'", "too long", "at most 11 bytes", "found 12") {
                _ = try metadata.stringBytes("text", limit: 11)
            }
            expectModelFileError("'number'", "a string") { _ = try metadata.stringBytes("number", limit: 11) }
        }
    }
}
