// SPDX-License-Identifier: Apache-2.0

/// OLMoE: q and k are normed over the whole projection; expert weights are **not** renormalised (unless the file says so).
/// Muennighoff et al. 2024, arXiv 2409.02060.
enum OLMoE: Architecture {
    static func layer(_ index: Int, from builder: LayerBuilder) throws -> TransformerLayer {
        try builder.block(
            index,
            attention: builder.attention(index, norm: .full),
            feedForward: .experts(builder.experts(index)))
    }
}
