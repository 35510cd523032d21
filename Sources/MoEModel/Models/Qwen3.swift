// SPDX-License-Identifier: Apache-2.0

/// Qwen3: dense; q and k are normed per head, no biases. Yang et al. 2025, arXiv 2505.09388.
enum Qwen3: Architecture {
    static func layer(_ index: Int, from builder: LayerBuilder) throws -> TransformerLayer {
        try builder.block(
            index,
            attention: builder.attention(index, norm: .perHead),
            feedForward: .dense(builder.feedForward(index)))
    }
}
