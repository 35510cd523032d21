// SPDX-License-Identifier: Apache-2.0

/// Mixtral: Llama's attention; softmax over all experts, the kept ones renormalised (the same as a softmax over the top k).
/// Jiang et al. 2024, arXiv 2401.04088.
enum Mixtral: Architecture {
    static func layer(_ index: Int, from builder: LayerBuilder) throws -> TransformerLayer {
        try builder.block(
            index,
            attention: builder.attention(index),
            feedForward: .experts(builder.experts(index)))
    }
}
