// SPDX-License-Identifier: Apache-2.0

/// Qwen2 and 2.5: dense; biases on q, k and v (found in the file). Yang et al. 2024, arXiv 2407.10671.
enum Qwen2: Architecture {
    static func layer(_ index: Int, from builder: LayerBuilder) throws -> TransformerLayer {
        try builder.block(
            index,
            attention: builder.attention(index),
            feedForward: .dense(builder.feedForward(index)))
    }
}
