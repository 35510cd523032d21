// SPDX-License-Identifier: Apache-2.0

/// Qwen3-MoE: Qwen3's attention; many small experts, renormalised as `norm_topk_prob` says, no shared expert. Some layers may
/// be dense. Yang et al. 2025, arXiv 2505.09388.
enum Qwen3MoE: Architecture {
    static func layer(_ index: Int, from builder: LayerBuilder) throws -> TransformerLayer {
        try builder.block(
            index,
            attention: builder.attention(index, norm: .perHead),
            feedForward: builder.hasExperts(index)
                ? .experts(builder.experts(index)) : .dense(builder.feedForward(index)))
    }
}
