// SPDX-License-Identifier: Apache-2.0

import CMoEKernels
import Glibc
import MoETensors

/// Plain loops in double precision over dequantised rows: slow, obvious, and the oracle of the other backends' tests.
package struct ReferenceBackend: GEMMBackend {
    package init() {}
    package var name: String { "reference" }

    package func matmul(
        _ tasks: UnsafeBufferPointer<MatmulTask>, pool: ThreadPool, statistics: inout MatmulStatistics
    ) throws {
        for task in tasks {
            precondition(!task.weights.isInterleaved && task.up?.isInterleaved != true)
            product(of: task, weights: task.weights, bias: task.bias) { task.output[$0 * task.outputStride + $1] = $2 }
            if let up = task.up {
                product(of: task, weights: up, bias: task.upBias) { row, column, value in
                    let gate = Double(task.output[row * task.outputStride + column])
                    task.output[row * task.outputStride + column] = Float(gate / (1 + exp(-gate)) * Double(value))
                }
            }
            for m in 0..<task.m {
                task.evaluations?[task.inputRows.map { Int($0[m]) } ?? m] += 1
            }
            statistics.weightBytes += task.weights.byteCount + (task.up?.byteCount ?? 0)
            statistics.products += task.m
        }
    }

    private func product(
        of task: MatmulTask, weights: Matrix, bias: UnsafePointer<Float>?,
        store: (_ row: Int, _ column: Int, _ value: Float) -> Void
    ) {
        var row = [Float](repeating: 0, count: weights.k)
        for column in 0..<weights.n {
            moe_dequantize_row_ref(
                Int32(weights.type.rawValue), weights.pointer + column * weights.rowBytes, &row, Int64(weights.k))
            for m in 0..<task.m {
                let source = task.inputRows.map { Int($0[m]) } ?? m
                let x = task.input + source * task.inputStride
                var sum = 0.0
                for i in 0..<weights.k { sum += Double(x[i]) * Double(row[i]) }
                store(m, column, Float(sum) + (bias?[column] ?? 0))
            }
        }
    }
}
