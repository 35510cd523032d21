// SPDX-License-Identifier: Apache-2.0

import MoECompute
import MoETensors

/// What the layers of one step share: the batch, where to compute, and which rows take which path.
struct ForwardStep {
    /// Neighbouring rows that take the same path.
    struct Run: BitwiseCopyable {
        var start: Int
        var end: Int
        var path: MatmulPlan.Path
        var rows: Range<Int> { start..<end }
    }

    let batch: ForwardBatch
    let cache: KVCache
    let context: ComputeContext
    /// Rows of the dense products, by how the weights are stored.
    private let floatRuns: UnsafeBufferPointer<Run>
    private let quantizedRuns: UnsafeBufferPointer<Run>

    var scratch: ScratchArena { context.scratch }
    /// T
    var rows: Int { batch.count }

    init(batch: ForwardBatch, cache: KVCache, context: ComputeContext) {
        self.batch = batch
        self.cache = cache
        self.context = context
        let scratch = context.scratch
        floatRuns = Self.runs(of: batch, scratch: scratch) { context.plan.dense(rows: $0.count, quantized: false) }
        quantizedRuns = Self.runs(of: batch, scratch: scratch) { context.plan.dense(rows: $0.count, quantized: true) }
    }

    /// Slices grouped into runs. Native slices next to each other share a run, because a native row's result does not depend
    /// on its neighbours; a BLAS slice stands alone, because sgemm may order its sums by the number of rows.
    static func runs(
        of batch: ForwardBatch, scratch: ScratchArena, path: (ForwardBatch.Slice) -> MatmulPlan.Path
    ) -> UnsafeBufferPointer<Run> {
        let runs = scratch.values(Run.self, batch.slices.count)
        var count = 0
        for slice in batch.slices {
            let path = path(slice)
            let end = slice.start + slice.count
            if path != .blas, count > 0, runs[count - 1].path == path, runs[count - 1].end == slice.start {
                runs[count - 1].end = end
            } else {
                runs[count] = Run(start: slice.start, end: end, path: path)
                count += 1
            }
        }
        return UnsafeBufferPointer(start: runs, count: count)
    }

    /// Several projections of the same rows, as one grouped product per run: `outputs[i][T, n_i] = input[T, k] · w_iᵀ`.
    func project(_ input: UnsafePointer<Float>, _ projections: [(linear: Linear, output: UnsafeMutablePointer<Float>)])
        throws
    {
        let tasks = scratch.values(MatmulTask.self, projections.count)
        for (quantized, runs) in [(false, floatRuns), (true, quantizedRuns)] {
            for run in runs {
                var count = 0
                for (linear, output) in projections where linear.weights.type.isQuantized == quantized {
                    tasks[count] = MatmulTask(
                        weights: linear.weights, input: input + run.rows.lowerBound * linear.weights.k,
                        output: output + run.rows.lowerBound * linear.weights.n, m: run.rows.count,
                        bias: linear.bias?.pointer)
                    count += 1
                }
                try context.matmul(UnsafeBufferPointer(start: tasks, count: count), path: run.path)
            }
        }
    }

    /// `output[T, n] = silu(input · gateᵀ) · (input · upᵀ)`, one product per run.
    func project(
        _ input: UnsafePointer<Float>, gate: Linear, up: Linear, into output: UnsafeMutablePointer<Float>
    ) throws {
        let task = scratch.values(MatmulTask.self, 1)
        for run in gate.weights.type.isQuantized ? quantizedRuns : floatRuns {
            task[0] = MatmulTask(
                weights: gate.weights, input: input + run.rows.lowerBound * gate.weights.k,
                output: output + run.rows.lowerBound * gate.weights.n, m: run.rows.count, bias: gate.bias?.pointer,
                up: up.weights, upBias: up.bias?.pointer)
            try context.matmul(UnsafeBufferPointer(start: task, count: 1), path: run.path)
        }
    }
}
