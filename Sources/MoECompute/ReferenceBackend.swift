// SPDX-License-Identifier: Apache-2.0

import CMoEKernels
import MoETensors

/// Plain loops in double precision over dequantised rows: slow, obvious, and the oracle of the other backends' tests.
package struct ReferenceBackend: GEMMBackend {
    package init() {}
    package var name: String { "reference" }

    package func matmul(
        _ tasks: UnsafeBufferPointer<MatmulTask>, pool: ThreadPool, statistics: inout MatmulStatistics
    ) throws {
        for task in tasks {
            let weights = task.weights
            var row = [Float](repeating: 0, count: weights.k)
            for column in 0..<weights.n {
                moe_dequantize_row_ref(
                    Int32(weights.type.rawValue), weights.pointer + column * weights.rowBytes, &row, Int64(weights.k))
                for m in 0..<task.m {
                    let source = task.inputRows.map { Int($0[m]) } ?? m
                    let x = task.input + source * task.inputStride
                    var sum = 0.0
                    for i in 0..<weights.k { sum += Double(x[i]) * Double(row[i]) }
                    task.output[m * task.outputStride + column] = Float(sum) + (task.bias?[column] ?? 0)
                }
            }
            for m in 0..<task.m {
                task.evaluations?[task.inputRows.map { Int($0[m]) } ?? m] += 1
            }
            statistics.weightBytes += weights.byteCount
            statistics.products += task.m
        }
    }
}
