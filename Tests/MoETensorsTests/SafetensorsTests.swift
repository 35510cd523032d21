// SPDX-License-Identifier: Apache-2.0

import MoETensors
import Testing

@Suite struct SafetensorsTests {
    private func open(_ bytes: [UInt8]) throws {
        try withMemory(bytes) { _ = try SafetensorsFile(bytes: $0, name: "bad.safetensors") }
    }

    private func tensor(
        _ dtype: String = "F32", shape: String = "[4]", offsets: String = "[0,16]", more: String = ""
    ) -> String {
        "{\"t\":{\"dtype\":\"\(dtype)\",\"shape\":\(shape),\"data_offsets\":\(offsets)}\(more)}"
    }

    /// A file that Python's `safetensors` wrote, with every dtype.
    @Test func everything() throws {
        let file = try SafetensorsFile(path: Files.path("everything.safetensors"))
        let expected = try ExpectedTensor.all("safetensors")
        #expect(Set(file.tensorNames) == Set(expected.map(\.name)))
        #expect(file.tensorBytes == expected.reduce(0) { $0 + $1.bytes })
        #expect(file.metadata == ["format": "pt", "note": "Füße"])
        for tensor in expected where tensor.type != "U8" && tensor.type != "BOOL" { try tensor.check(in: file) }
        for (name, type) in [("u8", "U8"), ("bool", "BOOL")] {
            #expect(file.tensor(named: name) == nil)
            #expect(file.problem(with: name)?.found == type)
            expectModelFileError("tensor '\(name)'", "unsupported element type", "F32, F16 or BF16", type) {
                _ = try file.tensor(named: name, shape: [5])
            }
        }
        expectModelFileError("missing tensor") { _ = try file.tensor(named: "absent", shape: [5]) }
        file.prefetch()
    }

    @Test func unknownTypesMayStandInAFile() throws {
        for dtype in ["F8_E4M3", "U64", "F4", "NEW9"] {
            try withMemory(safetensors(tensor(dtype, shape: dtype == "F4" ? "[32]" : dtype == "U64" ? "[2]" : "[16]"))) {
                let file = try SafetensorsFile(bytes: $0, name: "odd.safetensors")
                expectModelFileError("unsupported element type", dtype) { _ = try file.tensor(named: "t", shape: [16]) }
            }
        }
    }

    @Test func misalignedData() throws {
        var header = tensor(shape: "[2]", offsets: "[1,9]")
        try withMemory(safetensors(header)) {
            let file = try SafetensorsFile(bytes: $0, name: "odd.safetensors")
            expectModelFileError("not aligned", "a multiple of 4") { _ = try file.tensor(named: "t", shape: [2]) }
        }
        header = tensor("I8", shape: "[2]", offsets: "[1,3]")
        try withMemory(safetensors(header)) {
            let file = try SafetensorsFile(bytes: $0, name: "even.safetensors")
            #expect(file.tensor(named: "t")?.bytes.count == 2)
        }
    }

    @Test func headers() throws {
        expectModelFileError("the header's length", "8 bytes", "3") { try open([1, 2, 3]) }
        expectModelFileError("the file is empty") { try open([]) }
        for length: UInt64 in [100_000_001, 1 << 60, .max] {
            expectModelFileError("the header is too long", "\(length)") { try open(safetensors("{}", length: length)) }
        }
        expectModelFileError("ends inside the header", "1000 bytes") { try open(safetensors("{}", length: 1000)) }
        expectModelFileError("begins with '{'", "byte 32") { try open(safetensors(" {}")) }
        expectModelFileError("begins with '{'", "nothing") { try open(safetensors("", length: 0)) }
        expectModelFileError("Git LFS pointer") { try open([UInt8]("version https://git-lfs.github.com/spec/v1".utf8)) }
        for header in [
            "{", "{\"a\"}", "{\"a\":1}", "{} x", "{\"__metadata__\":{}", "{\"t\":[]}", "{\"__metadata__\":{\"a\":1}}",
        ] {
            expectModelFileError("not valid JSON") { try open(safetensors(header)) }
        }
        expectModelFileError("nested deeper") { try open(safetensors(String(repeating: "{\"a\":", count: 50_000))) }
    }

    @Test func entries() throws {
        expectModelFileError("tensor 't'", "incomplete header entry", "found no shape, no data_offsets") {
            try open(safetensors("{\"t\":{\"dtype\":\"F32\"}}"))
        }
        for shape in ["[-1]", "[1.5]", "[1e2]", "[18446744073709551616]"] {
            expectModelFileError("tensor 't'", "bad 'shape'") { try open(safetensors(tensor(shape: shape))) }
        }
        expectModelFileError("the shape is too large") { try open(safetensors(tensor(shape: "[4294967296,4294967296]"))) }
        expectModelFileError("does not fit F32", "whole bytes") {
            try open(safetensors(tensor(shape: "[4611686018427387904]")))
        }
        expectModelFileError("does not fit F32 [5]", "20 bytes", "16") { try open(safetensors(tensor(shape: "[5]"))) }
        for offsets in ["[0]", "[0,8,16]", "[16,0]"] {
            expectModelFileError("bad 'data_offsets'") { try open(safetensors(tensor(offsets: offsets))) }
        }
        for offsets in ["[0,17]", "[0,1152921504606846976]", "[9223372036854775806,9223372036854775807]"] {
            expectModelFileError("past the end of the file") { try open(safetensors(tensor(offsets: offsets))) }
        }
        let other = { (name: String, offsets: String) in
            ",\"\(name)\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":\(offsets)}"
        }
        expectModelFileError("overlaps") { try open(safetensors(tensor(more: other("u", "[8,16]")))) }
        expectModelFileError("duplicate key 't'") {
            try open(safetensors(tensor(more: other("t", "[16,24]")), dataSize: 24))
        }
        expectModelFileError("duplicate key 'dtype'") {
            try open(safetensors("{\"t\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}"))
        }
        // A hole is odd, and harmless.
        try open(safetensors(tensor(more: other("u", "[24,32]")), dataSize: 40))
    }

    @Test func truncations() throws {
        let content = try Files.bytes("everything.safetensors")
        for size in 0..<content.count {
            expectModelFileError("bad.safetensors") { try open([UInt8](content[..<size])) }
        }
    }
}
