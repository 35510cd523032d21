// SPDX-License-Identifier: Apache-2.0

import MoECompute
import MoETensors

/// One pre-norm block: x += attention(norm(x)); x += feedForward(norm(x)).
struct TransformerLayer {
    enum Mixer {
        case dense(FeedForward)
        case experts(MoELayer)
    }

    let attentionNorm: RMSNorm
    let attention: Attention
    let feedForwardNorm: RMSNorm
    let feedForward: Mixer

    /// x `[T, d]`, in place.
    func callAsFunction(_ x: UnsafeMutablePointer<Float>, width: Int, step: ForwardStep) throws {
        try attend(x, width: width, step: step)
        try feed(x, width: width, step: step)
    }

    /// x += attention(norm(x))
    func attend(_ x: UnsafeMutablePointer<Float>, width: Int, step: ForwardStep) throws {
        let normed = step.scratch.floats(step.rows * width)
        let update = step.scratch.floats(step.rows * width)
        attentionNorm(x, into: normed, rows: step.rows, step: step)
        step.context.lap(.norms)
        try attention(normed, into: update, step: step)
        Ops.add(update, to: x, count: step.rows * width, pool: step.context.pool)
        step.context.lap(.residual)
    }

    /// x += feedForward(norm(x))
    func feed(_ x: UnsafeMutablePointer<Float>, width: Int, step: ForwardStep) throws {
        let normed = step.scratch.floats(step.rows * width)
        let update = step.scratch.floats(step.rows * width)
        feedForwardNorm(x, into: normed, rows: step.rows, step: step)
        step.context.lap(.norms)
        switch feedForward {
        case .dense(let dense):
            try dense(normed, into: update, step: step)
            step.context.lap(.dense)
        case .experts(let moe): try moe(normed, into: update, step: step)
        }
        Ops.add(update, to: x, count: step.rows * width, pool: step.context.pool)
        step.context.lap(.residual)
    }
}

/// A decoder-only transformer: embed -> layers -> norm -> head. What differs between architectures is in the layers, which
/// each architecture's file builds.
final class Transformer: LanguageModel {
    package let configuration: ModelConfiguration
    /// Keeps every matrix's bytes mapped.
    private let store: any WeightStore
    /// [vocabulary, d]
    private let embedding: Matrix
    private let layers: [TransformerLayer]
    private let outputNorm: RMSNorm
    /// [vocabulary, d]; the embedding itself where the two are tied.
    private let head: Linear

    init(
        configuration: ModelConfiguration, store: any WeightStore, embedding: Matrix, layers: [TransformerLayer],
        outputNorm: RMSNorm, head: Linear
    ) {
        self.configuration = configuration
        self.store = store
        self.embedding = embedding
        self.layers = layers
        self.outputNorm = outputNorm
        self.head = head
    }

    package func forward(
        _ batch: ForwardBatch, cache: KVCache, context: ComputeContext, logits: UnsafeMutableBufferPointer<Float>,
        hidden: UnsafeMutableBufferPointer<Float>
    ) throws {
        let d = configuration.hiddenSize
        precondition(logits.count >= batch.logitRows.count * configuration.vocabularySize)
        precondition(hidden.count >= batch.hiddenRows.count * d)
        context.scratch.reset()
        context.profile?.begin(
            prompt: batch.slices.contains { $0.phase == .prefill }, weightBytes: context.statistics.weightBytes)
        let step = ForwardStep(batch: batch, cache: cache, context: context)

        let x = context.scratch.floats(batch.count * d)
        for (row, token) in batch.tokens.enumerated() {
            Ops.dequantizeRow(of: embedding, row: Int(token), into: x + row * d)
        }
        context.lap(.embedding)
        let mark = context.scratch.mark()
        for layer in layers.dropLast() {
            context.scratch.release(to: mark)
            try layer(x, width: d, step: step)
        }
        context.scratch.release(to: mark)
        try finish(x, step: step, logits: logits, hidden: hidden)
        context.lap(.head)
    }

    /// The last layer, the norm and the head. After the last attention only rows of which something is wanted matter.
    private func finish(
        _ x: UnsafeMutablePointer<Float>, step: ForwardStep, logits: UnsafeMutableBufferPointer<Float>,
        hidden: UnsafeMutableBufferPointer<Float>
    ) throws {
        let d = configuration.hiddenSize
        guard let last = layers.last else { return }
        try last.attend(x, width: d, step: step)
        guard let wanted = step.batch.wanted() else {
            try last.feed(x, width: d, step: step)
            return try project(x, step: step, logits: logits, hidden: hidden)
        }
        if wanted.batch.count == 0 { return }
        let rest = ForwardStep(batch: wanted.batch, cache: step.cache, context: step.context)
        let rows = step.scratch.floats(wanted.batch.count * d)
        var count = 0
        for range in wanted.rows {
            (rows + count * d).update(from: x + range.lowerBound * d, count: range.count * d)
            count += range.count
        }
        try last.feed(rows, width: d, step: rest)
        try project(rows, step: rest, logits: logits, hidden: hidden)
    }

    /// The output norm, whose rows are the hidden states that are asked for, and the head.
    private func project(
        _ x: UnsafePointer<Float>, step: ForwardStep, logits: UnsafeMutableBufferPointer<Float>,
        hidden: UnsafeMutableBufferPointer<Float>
    ) throws {
        let (d, batch) = (configuration.hiddenSize, step.batch)
        if batch.logitRows.isEmpty && batch.hiddenRows.isEmpty { return }
        let normed = step.scratch.floats(step.rows * d)
        outputNorm(x, into: normed, rows: step.rows, step: step)
        for (index, row) in batch.hiddenRows.enumerated() {
            (hidden.baseAddress! + index * d).update(from: normed + Int(row) * d, count: d)
        }
        if !batch.logitRows.isEmpty { try unembed(normed, rows: batch.logitRows, step: step, into: logits) }
    }

    /// The head, for the rows that are asked for only. Native unless another path is forced, whatever the number of rows, so
    /// that a row's logits are the same whether its neighbours are wanted too. On BLAS each slice is a product of its own,
    /// because sgemm may order its sums by the number of rows.
    private func unembed(
        _ normed: UnsafePointer<Float>, rows: [Int32], step: ForwardStep, into logits: UnsafeMutableBufferPointer<Float>
    ) throws {
        let path = step.context.plan.rowwisePath
        try rows.withUnsafeBufferPointer { rows in
            let tasks = step.scratch.values(MatmulTask.self, rows.count)
            var (count, start) = (0, 0)
            while start < rows.count {
                var end = rows.count
                if path == .blas, let slice = step.batch.slices.first(where: { $0.start + $0.count > rows[start] }) {
                    end = rows[start...].firstIndex { $0 >= slice.start + slice.count } ?? rows.count
                }
                tasks[count] = MatmulTask(
                    weights: head.weights, input: normed, inputRows: rows.baseAddress! + start,
                    output: logits.baseAddress! + start * head.weights.n, m: end - start, bias: head.bias?.pointer)
                count += 1
                start = end
            }
            try step.context.matmul(UnsafeBufferPointer(start: tasks, count: count), path: path)
        }
    }
}
