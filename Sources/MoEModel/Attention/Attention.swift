// SPDX-License-Identifier: Apache-2.0

import MoECompute

/// Causal grouped-query attention over the paged cache (Ainslie et al. 2023, arXiv 2305.13245), with rotary positions.
///
/// Legend: T rows, d hidden, H query heads, G key/value heads, h head size.
struct Attention {
    /// Norm of queries and keys before they rotate.
    enum QueryKeyNorm {
        case none
        /// Over each head: weights [h]. Qwen3.
        case perHead(query: RMSNorm, key: RMSNorm)
        /// Over the whole projection: weights [H·h] and [G·h]. OLMoE.
        case full(query: RMSNorm, key: RMSNorm)
    }

    /// [H·h, d], [G·h, d], [G·h, d]
    let query: Linear
    let key: Linear
    let value: Linear
    /// [d, H·h]
    let output: Linear
    let norm: QueryKeyNorm
    let heads: Int
    let kvHeads: Int
    let headDim: Int
    /// Positions that a row sees, itself included; 0: all.
    let window: Int
    let rope: RotaryTable
    let layer: Int

    /// x `[T, d]` to output `[T, d]`, overwritten. Writes this step's keys and values to the cache.
    func callAsFunction(_ x: UnsafePointer<Float>, into result: UnsafeMutablePointer<Float>, step: ForwardStep) throws {
        let (rows, scratch, pool) = (step.rows, step.scratch, step.context.pool)
        let q = scratch.floats(rows * heads * headDim)
        let k = scratch.floats(rows * kvHeads * headDim)
        let v = scratch.floats(rows * kvHeads * headDim)
        try step.project(x, [(query, q), (key, k), (value, v)])
        step.context.lap(.queryKeyValue)

        switch norm {
        case .none: break
        case .perHead(let query, let key):
            query(q, into: q, rows: rows * heads, step: step)
            key(k, into: k, rows: rows * kvHeads, step: step)
        case .full(let query, let key):
            query(q, into: q, rows: rows, step: step)
            key(k, into: k, rows: rows, step: step)
        }
        step.batch.positions.withUnsafeBufferPointer { positions in
            rope.rotate(q, rows: rows, heads: heads, headDim: headDim, positions: positions, pool: pool)
            rope.rotate(k, rows: rows, heads: kvHeads, headDim: headDim, positions: positions, pool: pool)
        }

        step.context.lap(.rotary)
        let attended = scratch.floats(rows * heads * headDim)
        try attend(q: q, k: k, v: v, into: attended, step: step)
        step.context.lap(.attention)
        try step.project(attended, [(output, result)])
        step.context.lap(.attentionOutput)
    }

    /// Stores k and v, then attends over everything stored so far.
    private func attend(
        q: UnsafePointer<Float>, k: UnsafePointer<Float>, v: UnsafePointer<Float>,
        into output: UnsafeMutablePointer<Float>, step: ForwardStep
    ) throws {
        let cache = step.cache
        let view = KVLayerView(
            keys: cache.keys(layer: layer), values: cache.values(layer: layer), type: cache.precision.type,
            blockSize: cache.blockSize, kvHeads: kvHeads, headDim: headDim)
        let (qWidth, kvWidth) = (heads * headDim, kvHeads * headDim)
        let tasks = step.scratch.values(AttentionTask.self, step.batch.slices.count)
        var count = 0
        for index in step.batch.slices.indices {
            let slice = step.batch.slices[index]
            let table: UnsafePointer<Int32>
            if slice.continuesPrevious {
                // The sequence's rows of this step, in one task: its keys and values are unpacked once for all of them.
                table = tasks[count - 1].blockTable
                tasks[count - 1].rows += slice.count
            } else {
                let copy = step.scratch.integers(slice.blockTable.count)
                slice.blockTable.withUnsafeBufferPointer { copy.update(from: $0.baseAddress!, count: $0.count) }
                table = UnsafePointer(copy)
                tasks[count] = AttentionTask(
                    q: q + slice.start * qWidth, output: output + slice.start * qWidth, blockTable: table,
                    rows: slice.count, firstPosition: slice.firstPosition)
                count += 1
            }
            step.batch.positions.withUnsafeBufferPointer { positions in
                Ops.storeKV(
                    view, k: k + slice.start * kvWidth, v: v + slice.start * kvWidth,
                    positions: positions.baseAddress! + slice.start, blockTable: table, rows: slice.count,
                    pool: step.context.pool)
            }
        }
        step.context.lap(.cacheStore)
        try Ops.attention(
            view, tasks: UnsafeBufferPointer(start: tasks, count: count), heads: heads,
            scale: 1 / Float(headDim).squareRoot(), window: window, pool: step.context.pool)
    }
}
