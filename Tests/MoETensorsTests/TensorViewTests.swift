// SPDX-License-Identifier: Apache-2.0

import MoETensors
import Testing

@Suite struct TensorViewTests {
    private final class Owner: Sendable {}

    @Test func shapes() {
        #expect(Shape([2, 3]).checkedElementCount == 6)
        #expect(Shape([]).checkedElementCount == 1)
        #expect(Shape([1 << 32, 1 << 32]).checkedElementCount == nil)
        #expect(Shape([-1]).checkedElementCount == nil)
        #expect(Shape([2, 3]).description == "[2, 3]")
        #expect(Shape([]).columns == 1)
    }

    @Test(arguments: ElementType.allCases) func byteCounts(type: ElementType) {
        #expect(type.byteCount(elements: 0) == 0)
        #expect(type.byteCount(elements: 3 * type.blockElements) == 3 * type.blockBytes)
        #expect(type.blockElements == 1 || type.byteCount(elements: type.blockElements + 1) == nil)
        #expect(type.byteCount(elements: -type.blockElements) == nil)
        #expect(
            type.blockBytes <= type.blockElements
                || type.byteCount(elements: Int.max / type.blockElements * type.blockElements) == nil)
    }

    @Test func subscripts() throws {
        let bytes = [UInt8](0..<48)
        try bytes.withUnsafeBytes { raw in
            let view = try #require(TensorView(name: "w", type: .f32, shape: [2, 3, 2], bytes: raw, storage: Owner()))
            #expect(view.elementCount == 12 && view.rowBytes == 8)
            #expect(view[1].shape == [3, 2] && view[1].bytes.first == 24 && view[1].name == "w[1]")
            #expect(view[1][2].bytes.first == 40)
            #expect(TensorView(name: "w", type: .f32, shape: [2, 3], bytes: raw, storage: Owner()) == nil)
            #expect(TensorView(name: "w", type: .q4_0, shape: [2, 16], bytes: raw, storage: Owner()) == nil)
        }
    }
}

@Suite struct ByteReaderTests {
    @Test func littleEndianAndChecked() throws {
        try [UInt8]([1, 2, 3, 4, 5]).withUnsafeBytes { raw in
            var reader = ByteReader(raw, file: "f")
            let (first, second) = (try reader.integer(UInt8.self, "a"), try reader.integer(UInt32.self, "b"))
            #expect(first == 1 && second == 0x0504_0302 && reader.remaining == 0)
            expectModelFileError("f", "ends inside c at byte 5", "expected 1 bytes, found 0") {
                _ = try reader.integer(UInt8.self, "c")
            }
            expectModelFileError("ends inside d") { _ = try reader.take(1, "d") }
            expectModelFileError("ends inside d") { _ = try reader.take(-1, "d") }
            expectModelFileError("ends inside d") { try reader.skip(Int.max, of: 8, "d") }
            let nothing = try reader.take(0, "e")
            #expect(nothing.isEmpty)
        }
    }
}
