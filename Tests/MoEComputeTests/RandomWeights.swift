// SPDX-License-Identifier: Apache-2.0

import CMoEKernels
import MoECompute
import MoETensors
import MoETestSupport

/// The ISAs whose kernels this machine runs; "ref" first.
let availableISAs = ["ref", "avx2", "avx512", "avx512vnni", "avx512amx", "neon", "neon_dotprod", "neon_i8mm"].filter {
    isa in
    var value: Float = 0
    return moe_dequantize_row_isa(isa, Int32(ElementType.f32.rawValue), [Float](repeating: 1, count: 1), &value, 1)
}

/// The types that a product takes.
let weightTypes = ElementType.allCases.filter(\.isWeight)
let quantizedTypes = weightTypes.filter { $0.blockElements > 1 }

extension ElementType {
    var id: Int32 { Int32(rawValue) }

    /// Byte offsets of the float16 scales in a block.
    fileprivate var halfOffsets: [Int] {
        switch self {
        case .q4_0, .q5_0, .q8_0, .iq4NL, .iq4XS, .f16: [0]
        case .q4_1, .q5_1, .q4K, .q5K: [0, 2]
        case .q2K: [80, 82]
        case .q3K: [108]
        case .q6K: [208]
        default: []
        }
    }
}

/// Random weights [n, k] in memory of their own, at an odd address: files promise no alignment that kernels may rely on.
final class RandomWeights {
    let matrix: Matrix
    private let memory: UnsafeMutableRawBufferPointer

    init(_ type: ElementType, n: Int, k: Int, seed: UInt64) {
        let rowBytes = k / type.blockElements * type.blockBytes
        var generator = SplitMix64(state: seed)
        memory = .allocate(byteCount: 1 + n * rowBytes, alignment: 64)
        let bytes = UnsafeMutableRawBufferPointer(rebasing: memory[1...])
        for index in bytes.indices { bytes[index] = UInt8.random(in: 0...255, using: &generator) }
        for block in stride(from: 0, to: bytes.count, by: type.blockBytes) {
            for offset in type.halfOffsets {
                // Magnitudes of 2^-7 to 2^-5 and either sign.
                let magnitude = UInt16.random(in: 0x2000..<0x2800, using: &generator)
                let half = magnitude | (Bool.random(using: &generator) ? 0x8000 : 0)
                bytes.storeBytes(of: half, toByteOffset: block + offset, as: UInt16.self)
            }
            switch type {
            case .mxfp4: bytes[block] = UInt8.random(in: 118...124, using: &generator)
            case .f32:
                let value = Float.random(in: -1...1, using: &generator)
                bytes.storeBytes(of: value, toByteOffset: block, as: Float.self)
            case .bf16:
                let bits = Float.random(in: -1...1, using: &generator).bitPattern >> 16
                bytes.storeBytes(of: UInt16(bits), toByteOffset: block, as: UInt16.self)
            default: break
            }
        }
        matrix = Matrix(type: type, n: n, k: k, rowBytes: rowBytes, pointer: UnsafeRawPointer(bytes.baseAddress!))
    }

    /// The same weights as the kernels of an ISA want them side by side; nil when they do not.
    init?(interleaving weights: RandomWeights, isa: String) {
        let from = weights.matrix
        let group = moe_interleaved_rows_isa(isa, from.type.id, Int64(from.n), Int64(from.k))
        guard group > 0 else { return nil }
        memory = .allocate(byteCount: 1 + from.byteCount, alignment: 64)
        let bytes = memory.baseAddress! + 1
        moe_interleave(from.type.id, group, from.pointer, Int64(from.n), Int64(from.k), bytes)
        matrix = Matrix(
            type: from.type, n: from.n, k: from.k, rowBytes: from.rowBytes, pointer: UnsafeRawPointer(bytes),
            isInterleaved: true)
    }

    deinit { memory.deallocate() }

    /// As the kernels know it.
    var typeID: Int32 { matrix.type.id + (matrix.isInterleaved ? Int32(MOE_INTERLEAVED.rawValue) : 0) }

    func row(_ index: Int) -> [Float] {
        var values = [Float](repeating: 0, count: matrix.k)
        moe_dequantize_row_ref(matrix.type.id, matrix.pointer + index * matrix.rowBytes, &values, Int64(matrix.k))
        return values
    }
}

/// Activations [rows, k] with outliers, and a block of zeros in each row.
func randomActivations(rows: Int, k: Int, seed: UInt64) -> [Float] {
    var generator = SplitMix64(state: seed)
    return (0..<rows * k).map { index in
        let value = Float.random(in: -1...1, using: &generator)
        let column = index % k
        if column / 32 == 1 { return 0 }
        return column % 71 == 3 ? value * 20 : value
    }
}

/// One product by the kernels of an ISA: [m, n], and what was counted per input row.
func product(
    _ weights: RandomWeights, _ x: [Float], rows: [Int32]? = nil, m: Int, bias: [Float]? = nil, up: RandomWeights? = nil,
    isa: String?, pool: ThreadPool
) throws -> (output: [Float], evaluations: [Int32]) {
    let matrix = weights.matrix
    var output = [Float](repeating: .nan, count: m * matrix.n)
    var evaluations = [Int32](repeating: 0, count: x.count / max(matrix.k, 1))
    let result = x.withUnsafeBufferPointer { x in
        output.withUnsafeMutableBufferPointer { output in
            evaluations.withUnsafeMutableBufferPointer { evaluations in
                withOptional(rows) { rows in
                    withOptional(bias) { bias in
                        var task = moe_matmul_task(
                            weights: matrix.pointer, input: x.baseAddress, input_rows: rows, output: output.baseAddress,
                            bias: bias, evaluations: evaluations.baseAddress, row_bytes: matrix.rowBytes,
                            input_stride: Int64(matrix.k), output_stride: Int64(matrix.n), weight_type: weights.typeID,
                            m: Int32(m), n: Int32(matrix.n), k: Int32(matrix.k), up: up?.matrix.pointer, up_bias: bias,
                            up_row_bytes: up?.matrix.rowBytes ?? 0, up_type: up?.typeID ?? 0)
                        return moe_matmul_isa(pool.handle, isa, &task, 1)
                    }
                }
            }
        }
    }
    guard result == 0 else { throw ResourceError(what: "a product", bytes: nil) }
    return (output, evaluations)
}

private func withOptional<T, Result>(_ array: [T]?, _ body: (UnsafePointer<T>?) -> Result) -> Result {
    guard let array else { return body(nil) }
    return array.withUnsafeBufferPointer { body($0.baseAddress) }
}

extension [Float] {
    /// Bits, so that comparisons see every difference and NaN equals itself.
    var bits: [UInt32] { map(\.bitPattern) }
}
