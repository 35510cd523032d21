// SPDX-License-Identifier: Apache-2.0

/// Qwen3-MoE with zero experts (ZEDA): they take slots among the top k, so a token runs 0 to k real experts; the weights are
/// renormalised over all k slots before the zero experts' share is dropped. All of it is in the router's specification, from
/// `zce_nums` and `zce_types`. arXiv 2605.18643; no GGUF form exists.
enum Qwen3MoEPlusPlus: Architecture {
    static func layer(_ index: Int, from builder: LayerBuilder) throws -> TransformerLayer {
        try Qwen3MoE.layer(index, from: builder)
    }
}
