// SPDX-License-Identifier: Apache-2.0

import MoECompute
import MoETensors

/// A float32 vector of the model (norm weights, biases), converted once at load: small, and wanted as float by every kernel.
///
/// Lifetime: the memory lives as long as this object.
final class FloatVector: @unchecked Sendable {
    let pointer: UnsafePointer<Float>
    let count: Int

    /// - Throws: ``ModelFileError`` when a value is not a finite number: the file is damaged.
    init(_ view: TensorView, source: String) throws(ModelFileError) {
        count = view.elementCount
        let memory = UnsafeMutablePointer<Float>.allocate(capacity: count)
        pointer = UnsafePointer(memory)
        Ops.dequantize(view, into: memory)
        guard Ops.isFinite(memory, count: count) else {
            let value = UnsafeBufferPointer(start: memory, count: count).first { !$0.isFinite } ?? .nan
            throw ModelFileError(
                file: source, tensor: view.name, problem: "damaged values", expected: "finite numbers", found: "\(value)")
        }
    }

    init(_ values: [Float]) {
        count = values.count
        let memory = UnsafeMutablePointer<Float>.allocate(capacity: count)
        memory.initialize(from: values, count: count)
        pointer = UnsafePointer(memory)
    }

    deinit { pointer.deallocate() }
}

/// y = x · wᵀ (+ b)
struct Linear {
    /// [n, k]
    let weights: Matrix
    /// nil or [n]
    let bias: FloatVector?
}

/// Root-mean-square norm; Zhang and Sennrich 2019, arXiv 1910.07467.
struct RMSNorm {
    let weight: FloatVector
    let epsilon: Float

    /// `[rows, count]` to `[rows, count]`, in place when `output == input`. Also a norm per head: rows = T · heads.
    func callAsFunction(
        _ input: UnsafePointer<Float>, into output: UnsafeMutablePointer<Float>, rows: Int, step: ForwardStep
    ) {
        Ops.rmsNorm(
            input, stride: weight.count, weight: weight.pointer, epsilon: epsilon, into: output, outputStride: weight.count,
            rows: rows, count: weight.count, pool: step.context.pool)
    }
}
