// SPDX-License-Identifier: Apache-2.0

import CMoEKernels
import MoETensors

/// Our dot kernels: weights stay quantised, activations are quantised to 8 bits once per call.
package struct NativeBackend: GEMMBackend {
    package init() {}
    package var name: String { "native" }

    package func matmul(
        _ tasks: UnsafeBufferPointer<MatmulTask>, pool: ThreadPool, statistics: inout MatmulStatistics
    ) throws { try run(tasks, path: MOE_PATH_NATIVE, pool: pool, statistics: &statistics) }
}

/// float32 BLAS (OpenBLAS unless the environment names another), one call per task and panel of columns; other element
/// types are dequantised panel by panel into memory that stays in cache.
package struct OpenBLASBackend: GEMMBackend {
    package init() {}
    package var name: String { "blas" }

    package func matmul(
        _ tasks: UnsafeBufferPointer<MatmulTask>, pool: ThreadPool, statistics: inout MatmulStatistics
    ) throws { try run(tasks, path: MOE_PATH_BLAS, pool: pool, statistics: &statistics) }
}

private func run(
    _ tasks: UnsafeBufferPointer<MatmulTask>, path: moe_matmul_path, pool: ThreadPool, statistics: inout MatmulStatistics
) throws {
    let cTasks = pool.taskMemory(of: moe_matmul_task.self, count: tasks.count)
    for index in tasks.indices { (cTasks + index).initialize(to: tasks[index].cTask) }
    var counted = moe_matmul_stats()
    let result = moe_matmul(pool.handle, path, cTasks, Int32(tasks.count), &counted)
    statistics.weightBytes += Int(counted.weight_bytes)
    statistics.products += Int(counted.products)
    if result != 0 { throw ResourceError(what: "scratch of a matrix product", bytes: nil) }
}

extension MatmulTask {
    fileprivate var cTask: moe_matmul_task {
        moe_matmul_task(
            weights: weights.pointer, input: input, input_rows: inputRows, output: output, bias: bias,
            evaluations: evaluations, row_bytes: weights.rowBytes, input_stride: Int64(inputStride),
            output_stride: Int64(outputStride), weight_type: weights.cType, m: Int32(m), n: Int32(weights.n),
            k: Int32(weights.k), up: up?.pointer, up_bias: upBias, up_row_bytes: up?.rowBytes ?? 0, up_type: up?.cType ?? 0)
    }
}

extension Matrix {
    fileprivate var cType: Int32 { Int32(type.rawValue) + (isInterleaved ? Int32(MOE_INTERLEAVED.rawValue) : 0) }
}
