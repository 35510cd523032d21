// SPDX-License-Identifier: Apache-2.0

package import MoECompute
package import MoEModel

/// A model with what it runs on: compute context, KV cache, and room for logits that is kept between steps. Used by one thread
/// at a time: the engine's.
package final class ModelRunner {
    package let model: any LanguageModel
    package let context: ComputeContext
    package let cache: KVCache
    private var memory = UnsafeMutableBufferPointer<Float>(start: nil, count: 0)
    private var hiddenMemory = UnsafeMutableBufferPointer<Float>(start: nil, count: 0)

    package init(model: any LanguageModel, context: ComputeContext, cache: KVCache) {
        self.model = model
        self.context = context
        self.cache = cache
    }

    deinit {
        memory.deallocate()
        hiddenMemory.deallocate()
    }

    /// d
    package var hiddenSize: Int { model.configuration.hiddenSize }
    /// `[batch.hiddenRows.count, d]` of the last step.
    package var hidden: UnsafeBufferPointer<Float> { UnsafeBufferPointer(hiddenMemory) }

    package var vocabularySize: Int { model.configuration.vocabularySize }

    /// - Throws: ``RequestError`` when a row of logits or hidden states is not made of numbers: weights or scales of the file are damaged, and
    ///   anything chosen from it would be arbitrary.
    package func check(_ row: UnsafeBufferPointer<Float>) throws {
        guard Ops.isFinite(row.baseAddress!, count: row.count) else {
            throw RequestError("the model computed values that are not finite numbers: its weights or scales are damaged")
        }
    }

    /// Runs one step.
    /// - Returns: `[batch.logitRows.count, vocabulary]`, valid until the next call, and the seconds that the model took.
    package func run(_ batch: ForwardBatch) throws -> (logits: UnsafeMutableBufferPointer<Float>, seconds: Double) {
        let count = batch.logitRows.count * vocabularySize
        Self.grow(&memory, to: count)
        Self.grow(&hiddenMemory, to: batch.hiddenRows.count * hiddenSize)
        let logits = UnsafeMutableBufferPointer(rebasing: memory[..<count])
        let start = ContinuousClock.now
        try model.forward(batch, cache: cache, context: context, logits: logits, hidden: hiddenMemory)
        return (logits, (ContinuousClock.now - start) / .seconds(1))
    }

    private static func grow(_ memory: inout UnsafeMutableBufferPointer<Float>, to count: Int) {
        if memory.count >= count { return }
        memory.deallocate()
        memory = .allocate(capacity: count)
    }
}
