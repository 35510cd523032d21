// SPDX-License-Identifier: Apache-2.0

/// Qwen1.5-MoE and Qwen2-MoE: Qwen2's attention; fine-grained experts whose weights are **not** renormalised, and a shared
/// expert scaled by its own sigmoid gate. Some layers may be dense.
enum Qwen2MoE: Architecture {
    static func layer(_ index: Int, from builder: LayerBuilder) throws -> TransformerLayer {
        try builder.block(
            index,
            attention: builder.attention(index),
            feedForward: builder.hasExperts(index)
                ? .experts(builder.experts(index, shared: builder.sharedExpert(index)))
                : .dense(builder.feedForward(index)))
    }
}
