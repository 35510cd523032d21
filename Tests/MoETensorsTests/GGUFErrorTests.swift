// SPDX-License-Identifier: Apache-2.0

import MoETensors
import MoETestSupport
import Testing

/// Files that lie. Each must give one line that says what is wrong, and no crash, and no large allocation.
@Suite struct GGUFErrorTests {
    private func open(_ builder: GGUFBuilder) throws { try open(builder.bytes) }
    private func open(_ bytes: [UInt8]) throws {
        try withMemory(bytes) { _ = try GGUFFile(bytes: $0, name: "bad.gguf") }
    }

    private func tensor(_ tensor: GGUFBuilder.Tensor) -> GGUFBuilder {
        var builder = GGUFBuilder()
        builder.tensors = [tensor]
        return builder
    }

    @Test func theBuilderBuildsWhatOpens() throws {
        var builder = tensor(.init(name: "a", extents: [4, 2]))
        builder.tensors.append(.init(name: "b", extents: [], offset: 32))
        builder.uint32("k", 7)
        builder.array("empty", elementType: 8, count: 0)
        try withMemory(builder.bytes) {
            let file = try GGUFFile(bytes: $0, name: "good.gguf")
            #expect(file.tensor(named: "a")?.shape == [2, 4])
            #expect(file.tensor(named: "b")?.bytes.count == 4)
            #expect(try file.metadata.int("k") == 7)
            #expect(try file.metadata.strings("empty") == [])
            expectModelFileError("an integer", "array of 0 string") { _ = try file.metadata.int("empty") }
        }
    }

    @Test func notGGUF() throws {
        expectModelFileError("bad.gguf", "not a GGUF file", "'GGUF'", "01 02 03 04") { try open([1, 2, 3, 4, 5]) }
        expectModelFileError("not a GGUF file", "01") { try open([1]) }
        expectModelFileError("Git LFS pointer") { try open([UInt8]("version https://git-lfs.github.com/spec/v1".utf8)) }
        expectModelFileError("a big-endian file") { try open([UInt8]("FUGG".utf8)) }
        expectModelFileError("before GGUF") { try open([UInt8]("tjgg....".utf8)) }
        expectModelFileError("zip archive") { try open([UInt8]("PK\u{3}\u{4}".utf8)) }
        expectModelFileError("a safetensors file: give the folder") { try open(safetensors("{\"a\":1}")) }
        expectModelFileError("JSON: give the folder") { try open([UInt8]("{}".utf8)) }
        expectModelFileError("the file is empty") { try open([]) }
    }

    @Test func versions() throws {
        for version: UInt32 in [0, 1, 4, 77, .max] {
            var builder = GGUFBuilder()
            builder.version = version
            expectModelFileError("unsupported GGUF version", "2 or 3", "\(version)") { try open(builder) }
        }
        var builder = GGUFBuilder()
        builder.version = UInt32(3).byteSwapped
        expectModelFileError("byte order", "a big-endian one (version 3)") { try open(builder) }
    }

    @Test(arguments: [UInt64(1) << 60, .max, 1 << 63, 1_000_000])
    func hugeCounts(count: UInt64) throws {
        var builder = GGUFBuilder()
        builder.tensorCount = count
        expectModelFileError("the number of tensors", "\(count)") { try open(builder) }
        builder = GGUFBuilder()
        builder.entryCount = count
        expectModelFileError("the number of metadata entries", "\(count)") { try open(builder) }
        for type: UInt32 in [0, 7, 8, 9, 12] {
            builder = GGUFBuilder()
            builder.array("list", elementType: type, count: count)
            expectModelFileError("the length of array 'list'", "\(count)") { try open(builder) }
        }
        builder = GGUFBuilder()
        var length: [UInt8] = []
        length.add(count)
        builder.entry("text", type: 8, length)
        expectModelFileError("the length of a string of metadata 'text'") { try open(builder) }
        builder = GGUFBuilder()
        builder.entries = [length]
        builder.entryCount = 1
        expectModelFileError("the number of metadata entries") { try open(builder) }
        builder.entries = [length + [0, 0, 0, 0, 0, 0, 0, 0]]
        expectModelFileError("the length of the key of metadata entry 0") { try open(builder) }
    }

    @Test func truncations() throws {
        let content = try Files.bytes("everything.gguf")
        // Without its last 16 bytes, which are padding, the file is still whole.
        for size in 0..<content.count - 16 {
            expectModelFileError("bad.gguf") { try open([UInt8](content[..<size])) }
        }
    }

    @Test func metadata() throws {
        var builder = GGUFBuilder()
        builder.uint32("twice", 1)
        builder.uint32("twice", 1)
        expectModelFileError("duplicate metadata key 'twice'") { try open(builder) }
        builder = GGUFBuilder()
        builder.entry("strange", type: 13, [0])
        expectModelFileError("unknown type of metadata 'strange'", "13") { try open(builder) }
        builder = GGUFBuilder()
        builder.array("strange", elementType: 99, count: 0)
        expectModelFileError("unknown type of metadata 'strange'", "99") { try open(builder) }
        builder = GGUFBuilder()
        var key: [UInt8] = []
        key.add(UInt64(2))
        builder.entries = [key + [0xff, 0xfe, 0, 0, 0, 0, 1]]
        expectModelFileError("the key of metadata entry 0", "UTF-8") { try open(builder) }
        builder = GGUFBuilder()
        builder.uint32(String(repeating: "x", count: 65_536), 1)
        expectModelFileError("the key of metadata entry 0", "too long", "65536") { try open(builder) }
        builder = GGUFBuilder()
        builder.entry("flag", type: 7, [2])
        try withMemory(builder.bytes) {
            let file = try GGUFFile(bytes: $0, name: "bad.gguf")
            expectModelFileError("'flag' is not a bool", "found 2") { _ = try file.metadata.bool("flag") }
        }
    }

    /// A control character in a name must not break the line.
    @Test func namesStayOnOneLine() throws {
        expectModelFileError("tensor 'a?b'", "bad extent") { try open(tensor(.init(name: "a\nb", extents: [0]))) }
    }

    @Test func nesting() throws {
        func nested(_ levels: Int) -> GGUFBuilder {
            var inner: [UInt8] = []
            for _ in 1..<levels {
                inner.add(UInt32(9))
                inner.add(UInt64(1))
            }
            inner.add(UInt32(4))
            inner.add(UInt64(0))
            var builder = GGUFBuilder()
            builder.entry("deep", type: 9, inner)
            return builder
        }
        try open(nested(4))
        expectModelFileError("nested too deep in metadata 'deep'") { try open(nested(5)) }
        expectModelFileError("nested too deep in metadata 'deep'") { try open(nested(100_000)) }
    }

    @Test func alignment() throws {
        for alignment: UInt32 in [0, 1, 4, 7, 48, 1 << 21, .max] {
            var builder = tensor(.init())
            builder.uint32("general.alignment", alignment)
            expectModelFileError("'general.alignment'", "power of two", "\(alignment)") { try open(builder) }
        }
        var builder = tensor(.init())
        builder.entry("general.alignment", type: 8, [0, 0, 0, 0, 0, 0, 0, 0])
        expectModelFileError("wrong type of metadata 'general.alignment'") { try open(builder) }
    }

    @Test func shapes() throws {
        expectModelFileError("tensor 't'", "too many dimensions", "at most 4", "5") {
            try open(tensor(.init(extents: [1, 1, 1, 1, 1])))
        }
        expectModelFileError("too many dimensions", "\(UInt32.max)") { try open(tensor(.init(rank: .max))) }
        expectModelFileError("bad extent", "found 0") { try open(tensor(.init(extents: [4, 0]))) }
        expectModelFileError("bad extent", "\(UInt64.max)") { try open(tensor(.init(extents: [.max]))) }
        expectModelFileError("the shape is too large") { try open(tensor(.init(extents: [1 << 32, 1 << 31]))) }
        expectModelFileError("the shape is too large") { try open(tensor(.init(extents: [1 << 62]))) }
        expectModelFileError("rows are not whole Q4_K blocks", "256", "[2, 128]") {
            try open(tensor(.init(extents: [128, 2], type: 12)))
        }
        expectModelFileError("rows are not whole Q8_0 blocks", "[]") { try open(tensor(.init(extents: [], type: 8))) }
    }

    @Test func types() throws {
        expectModelFileError("tensor 'w'", "unsupported element type", "Q4_K", "IQ2_XXS (type id 16)") {
            try open(tensor(.init(name: "w", type: 16)))
        }
        for type: UInt32 in [4, 5, 38, 42, 1000, .max] {
            expectModelFileError("unsupported element type", "type id \(type)") { try open(tensor(.init(type: type))) }
        }
    }

    @Test func places() throws {
        expectModelFileError("not aligned", "32", "16") { try open(tensor(.init(offset: 16))) }
        expectModelFileError("past the end of the file", "offset 64", "64 bytes of data") {
            try open(tensor(.init(offset: 64)))
        }
        expectModelFileError("past the end of the file") { try open(tensor(.init(offset: 1 << 60))) }
        expectModelFileError("past the end of the file") { try open(tensor(.init(offset: UInt64.max - 31))) }
        expectModelFileError("past the end of the file", "68 bytes") { try open(tensor(.init(extents: [17]))) }
        expectModelFileError("past the end of the file") { try open(tensor(.init(extents: [1 << 60]))) }
        var builder = GGUFBuilder()
        builder.tensors = [.init(name: "a", extents: [16]), .init(name: "b", extents: [4], offset: 32)]
        expectModelFileError("tensor 'b'", "overlaps that of tensor 'a'") { try open(builder) }
        builder.tensors = [.init(name: "a", extents: [4]), .init(name: "b", extents: [4])]
        expectModelFileError("overlaps") { try open(builder) }
        builder.tensors = [.init(name: "a"), .init(name: "a", offset: 32)]
        expectModelFileError("tensor 'a'", "duplicate tensor name") { try open(builder) }
        builder.tensors = [.init(), .init(name: "b", offset: 32)]
        builder.data = []
        expectModelFileError("past the end of the file", "0 bytes of data") { try open(builder) }
    }
}
