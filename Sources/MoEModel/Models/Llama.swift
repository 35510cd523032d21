// SPDX-License-Identifier: Apache-2.0

/// Llama 1 to 3, and Mistral: dense, the baseline with one monolithic FFN. Touvron et al. 2023, arXiv 2302.13971.
enum Llama: Architecture {
    static func layer(_ index: Int, from builder: LayerBuilder) throws -> TransformerLayer {
        try builder.block(
            index,
            attention: builder.attention(index),
            feedForward: .dense(builder.feedForward(index)))
    }
}
