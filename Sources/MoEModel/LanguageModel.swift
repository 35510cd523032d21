// SPDX-License-Identifier: Apache-2.0

package import MoECompute

/// Tokens to logits. Stateless but for the weights: what a sequence remembers is in the cache, what a step needs in the
/// context.
package protocol LanguageModel: AnyObject, Sendable {
    var configuration: ModelConfiguration { get }

    /// Runs one step.
    ///
    /// - Parameters:
    ///   - batch: T rows of any number of sequences. Token ids must be in `0..<vocabularySize`.
    ///   - cache: read up to each row's position and written at it.
    ///   - logits: receives `[batch.logitRows.count, vocabularySize]`.
    ///   - hidden: receives `[batch.hiddenRows.count, hiddenSize]`.
    func forward(
        _ batch: ForwardBatch, cache: KVCache, context: ComputeContext, logits: UnsafeMutableBufferPointer<Float>,
        hidden: UnsafeMutableBufferPointer<Float>
    ) throws
}

extension LanguageModel {
    /// A step that wants logits only.
    package func forward(
        _ batch: ForwardBatch, cache: KVCache, context: ComputeContext, logits: UnsafeMutableBufferPointer<Float>
    ) throws {
        try forward(
            batch, cache: cache, context: context, logits: logits,
            hidden: UnsafeMutableBufferPointer(start: nil, count: 0))
    }
}
