// SPDX-License-Identifier: Apache-2.0

import Foundation
import MoETensors
import Testing

/// Files that Python's `gguf` wrote.
@Suite struct GGUFFileTests {
    @Test(arguments: [(name: "everything.gguf", version: 3), (name: "everything-v2.gguf", version: 2)])
    func tensors(name: String, version: Int) throws {
        let file = try GGUFFile(path: Files.path(name))
        let expected = try ExpectedTensor.all("gguf")
        #expect(file.version == version)
        #expect(file.source == Files.path(name))
        #expect(file.tensorNames == expected.map(\.name))
        #expect(file.tensorBytes == expected.reduce(0) { $0 + $1.bytes })
        for tensor in expected { try tensor.check(in: file) }
        // Every element type there is.
        #expect(Set(expected.map(\.type)) == Set(ElementType.allCases.map(\.name)))
        #expect(file.tensor(named: "absent") == nil)
        #expect(file.problem(with: "absent") == nil)
        expectModelFileError("everything", "'absent'", "missing tensor", "[3]") {
            _ = try file.tensor(named: "absent", shape: [3])
        }
        expectModelFileError("'shape.cube'", "wrong shape", "[2, 4, 3]", "[4, 2, 3]") {
            _ = try file.tensor(named: "shape.cube", shape: [2, 4, 3])
        }
        file.prefetch()
    }

    @Test func scalars() throws {
        let metadata = try GGUFFile(path: Files.path("everything.gguf")).metadata
        #expect(metadata.keys.first == "general.architecture")
        #expect(metadata.keys.count == 32)
        #expect(try metadata.string("general.architecture") == "llama")
        #expect(try metadata.string("scalar.string") == "Füße, 木, 🜂\n\tend")
        #expect(try metadata.int("scalar.uint8") == 255)
        #expect(try metadata.int("scalar.int8") == -128)
        #expect(try metadata.int("scalar.uint16") == 65_535)
        #expect(try metadata.int("scalar.int16") == -32_768)
        #expect(try metadata.int("scalar.uint32") == 4_294_967_295)
        #expect(try metadata.int("scalar.int32") == -2_147_483_648)
        #expect(try metadata.int("scalar.uint64") == Int.max)
        #expect(try metadata.int("scalar.int64") == Int.min)
        #expect(try metadata.float("scalar.float32") == 0.15625)
        #expect(try metadata.float("scalar.float64") == -1e300)
        #expect(try metadata.float("scalar.int8") == -128)
        #expect(try metadata.bool("scalar.true") == true)
        #expect(try metadata.bool("scalar.false") == false)
    }

    @Test func arrays() throws {
        let metadata = try GGUFFile(path: Files.path("everything.gguf")).metadata
        #expect(try metadata.ints("array.uint8") == [255, 1, 0])
        #expect(try metadata.bytes("array.uint8") == [255, 1, 0])
        #expect(try metadata.ints("array.int64") == [Int.min, 1, 0])
        #expect(try metadata.ints("array.int16") == [-32_768, 1, 0])
        #expect(try metadata.floats("array.float32") == [0.15625, 1, 0])
        #expect(try metadata.floats("array.float64") == [-.infinity, 1, 0])
        #expect(try metadata.floats("array.uint16") == [65_535, 1, 0])
        #expect(try metadata.bools("array.bool") == [true, false, true])
        #expect(try metadata.strings("array.string") == ["a", "Füße", "木"])
        #expect(try metadata.rawStrings("array.string.raw") == [[0x6f, 0x6b], [0xe6, 0x9c], [0xff]])
        #expect(try metadata.int("array.constant") == 8)
    }

    @Test func absentKeysAreNil() throws {
        let metadata = try GGUFFile(path: Files.path("everything.gguf")).metadata
        #expect(try metadata.string("x") == nil)
        #expect(try metadata.int("x") == nil)
        #expect(try metadata.float("x") == nil)
        #expect(try metadata.bool("x") == nil)
        #expect(try metadata.bools("x") == nil)
        #expect(try metadata.ints("x") == nil)
        #expect(try metadata.floats("x") == nil)
        #expect(try metadata.bytes("x") == nil)
        #expect(try metadata.strings("x") == nil)
        #expect(try metadata.rawStrings("x") == nil)
    }

    @Test func wrongTypes() throws {
        let metadata = try GGUFFile(path: Files.path("everything.gguf")).metadata
        expectModelFileError("wrong type of metadata 'scalar.int8'", "a string", "int8") {
            _ = try metadata.string("scalar.int8")
        }
        expectModelFileError("an integer", "string") { _ = try metadata.int("scalar.string") }
        expectModelFileError("an integer", "float32") { _ = try metadata.int("scalar.float32") }
        expectModelFileError("an integer", "bool") { _ = try metadata.int("scalar.true") }
        expectModelFileError("too large", "\(UInt64.max)") { _ = try metadata.int("scalar.uint64.large") }
        expectModelFileError("'array.uint8' differs", "255 and 1") { _ = try metadata.int("array.uint8") }
        expectModelFileError("a number", "array of 3 float32") { _ = try metadata.float("array.float32") }
        expectModelFileError("a number", "string") { _ = try metadata.float("scalar.string") }
        expectModelFileError("a bool", "uint8") { _ = try metadata.bool("scalar.uint8") }
        expectModelFileError("array of bool", "bool") { _ = try metadata.bools("scalar.true") }
        expectModelFileError("array of integers", "array of 3 string") { _ = try metadata.ints("array.string") }
        expectModelFileError("array of integers", "array of 2 array") { _ = try metadata.ints("array.nested") }
        expectModelFileError("array of numbers", "array of 3 bool") { _ = try metadata.floats("array.bool") }
        expectModelFileError("array of uint8", "int16") { _ = try metadata.bytes("array.int16") }
        expectModelFileError("array of strings", "string") { _ = try metadata.strings("scalar.string") }
        expectModelFileError("array of strings", "int8") { _ = try metadata.rawStrings("array.int8") }
        expectModelFileError("not valid UTF-8") { _ = try metadata.string("scalar.string.invalid") }
        expectModelFileError("not valid UTF-8") { _ = try metadata.strings("array.string.raw") }
    }

    @Test func summaryIsShortAndPrintable() throws {
        let file = try GGUFFile(path: Files.path("everything.gguf"))
        let summary = Dictionary(uniqueKeysWithValues: file.metadata.summary.map { ($0.key, $0.value) })
        #expect(file.metadata.summary.map(\.key) == file.metadata.keys)
        #expect(summary["scalar.string"] == "Füße, 木, 🜂\\n\\tend")
        #expect(summary["scalar.string.long"]?.hasSuffix("… (500 bytes)") == true)
        #expect(summary["scalar.uint64.large"] == "\(UInt64.max)")
        #expect(summary["scalar.float32"] == "0.15625")
        #expect(summary["array.int8"] == "[-128, 1, 0]")
        #expect(summary["array.string"] == "[\"a\", \"Füße\", \"木\"]")
        #expect(summary["array.nested"] == "an array of 2 array")
        #expect(summary.values.allSatisfy { $0.count < 200 && !$0.contains("\n") })
    }

    @Test func customAlignment() throws {
        let file = try GGUFFile(path: Files.path("aligned-256.gguf"))
        for tensor in try ExpectedTensor.all("aligned") { try tensor.check(in: file) }
    }

    @Test func fromMemory() throws {
        try withMemory(Files.bytes("everything.gguf")) { memory in
            let file = try GGUFFile(bytes: memory, name: "embedded")
            #expect(file.source == "embedded")
            for tensor in try ExpectedTensor.all("gguf") { try tensor.check(in: file) }
        }
        // One byte off: the kernels would read floats at odd addresses.
        try withMemory([0] + Files.bytes("everything.gguf")) { memory in
            expectModelFileError("embedded", "not aligned") {
                _ = try GGUFFile(bytes: UnsafeRawBufferPointer(rebasing: memory[1...]), name: "embedded")
            }
        }
    }

    /// A view keeps the bytes, also when the file object is gone.
    @Test func viewsOutliveTheFile() throws {
        let expected = try #require(try ExpectedTensor.all("gguf").first)
        let view = try #require(try GGUFFile(path: Files.path("everything.gguf")).tensor(named: expected.name))
        #expect(view.bytes.count == expected.bytes)
        #expect(view.bytes.reduce(0) { $0 + Int($1) } > 0)
    }
}
