// SPDX-License-Identifier: Apache-2.0

import MoECompute
import MoETestSupport

/// The same numbers on every run (SplitMix64), in memory that lives as long as this object.
final class TestNumbers {
    private var state: UInt64
    private var allocations: [UnsafeMutableRawPointer] = []

    init(seed: UInt64) { state = seed }
    deinit { for allocation in allocations { allocation.deallocate() } }

    func bits() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    /// From -1 up to 1.
    func float() -> Float { Float(Int64(bits() >> 40)) / Float(1 << 23) - 1 }
    func integer(_ range: Range<Int>) -> Int { range.lowerBound + Int(bits() % UInt64(range.count)) }

    func floats(_ count: Int, scale: Float = 1) -> UnsafeMutablePointer<Float> {
        let pointer = memory(Float.self, count)
        for index in 0..<count { pointer[index] = float() * scale }
        return pointer
    }

    /// Memory full of a value: NaN where nothing may be read.
    func filled<T: BitwiseCopyable>(_ count: Int, _ value: T) -> UnsafeMutablePointer<T> {
        let pointer = memory(T.self, count)
        pointer.update(repeating: value, count: count)
        return pointer
    }

    func integers(_ values: [Int]) -> UnsafeMutablePointer<Int32> {
        let pointer = memory(Int32.self, values.count)
        for (index, value) in values.enumerated() { pointer[index] = Int32(value) }
        return pointer
    }

    private func memory<T: BitwiseCopyable>(_ type: T.Type, _ count: Int) -> UnsafeMutablePointer<T> {
        let raw = UnsafeMutableRawPointer.allocate(byteCount: max(count, 1) * MemoryLayout<T>.stride, alignment: 64)
        allocations.append(raw)
        return raw.bindMemory(to: T.self, capacity: max(count, 1))
    }
}

/// The bits of floats: equal means identical, NaN and signed zeros included.
func bitPatterns(_ pointer: UnsafePointer<Float>, _ count: Int) -> [UInt32] {
    (0..<count).map { pointer[$0].bitPattern }
}

/// The largest distance from what was expected, NaN counting as infinite.
func largestError(_ actual: UnsafePointer<Float>, _ expected: [Double]) -> Double {
    expected.indices.reduce(0) { worst, index in
        let error = abs(Double(actual[index]) - expected[index])
        return error.isNaN ? .infinity : max(worst, error)
    }
}
