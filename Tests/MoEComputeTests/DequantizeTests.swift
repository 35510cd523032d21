// SPDX-License-Identifier: Apache-2.0

import CMoEKernels
import Foundation
import MoECompute
import MoETensors
import MoETestSupport
import Testing

/// Prevents: a decoder that is almost right (a scale's high bits, the order of nibbles, the sign of a zero). Such a model
/// still talks, only worse.
@Suite struct DequantizeTests {
    private static func fixture(_ name: String) throws -> Data {
        try Data(contentsOf: Fixtures.directory.appendingPathComponent("quant/\(name)"))
    }

    @Test(arguments: weightTypes, availableISAs)
    func agreesWithTheReferenceDecoderToTheBit(type: ElementType, isa: String) throws {
        let blocks = try Self.fixture("\(type.name).bin")
        let expected = try Self.fixture("\(type.name).f32").withUnsafeBytes { Array($0.bindMemory(to: UInt32.self)) }
        #expect(blocks.count / type.blockBytes * type.blockElements == expected.count)
        var values = [Float](repeating: .nan, count: expected.count)
        let ran = blocks.withUnsafeBytes {
            moe_dequantize_row_isa(isa, type.id, $0.baseAddress!, &values, Int64(expected.count))
        }
        #expect(ran)
        #expect(values.bits == expected)
    }

    /// Rows of every length, at odd addresses: the last, incomplete chunk of 256 is the easy one to get wrong.
    @Test(arguments: weightTypes) func everyLengthAgreesWithTheReference(type: ElementType) {
        for blocks in 1...(type.blockElements == 256 ? 3 : 19) {
            let k = blocks * type.blockElements
            let weights = RandomWeights(type, n: 1, k: k, seed: UInt64(blocks))
            for isa in availableISAs {
                var values = [Float](repeating: .nan, count: k + 1)
                _ = moe_dequantize_row_isa(isa, type.id, weights.matrix.pointer, &values, Int64(k))
                #expect(Array(values[..<k]).bits == weights.row(0).bits, "\(isa), \(k) values")
                #expect(values[k].isNaN, "\(isa) wrote past \(k) values")
            }
        }
    }

    @Test func sizesAreThoseOfTheFormat() {
        for type in weightTypes {
            #expect(Int(moe_type_block_elements(type.id)) == type.blockElements)
            #expect(Int(moe_type_block_bytes(type.id)) == type.blockBytes)
            #expect(moe_row_bytes(type.id, Int64(512)) == type.byteCount(elements: 512)!)
        }
        for unknown: Int32 in [-1, 4, 5, 9, 24, 38, 40, .max] { #expect(moe_type_block_elements(unknown) == 0) }
        #expect(moe_row_bytes(ElementType.q4K.id, 128) == 0)
        #expect(moe_row_bytes(ElementType.f32.id, .max) == 0)
    }
}
