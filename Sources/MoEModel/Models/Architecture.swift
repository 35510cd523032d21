// SPDX-License-Identifier: Apache-2.0

/// What an architecture's layer is made of. One file each; the sizes come from the file's configuration.
protocol Architecture: SendableMetatype {
    static func layer(_ index: Int, from builder: LayerBuilder) throws -> TransformerLayer
}

extension LayerBuilder {
    /// The pre-norm block that all of these architectures share, around the parts in which they differ.
    func block(_ index: Int, attention: Attention, feedForward: TransformerLayer.Mixer) throws -> TransformerLayer {
        TransformerLayer(
            attentionNorm: try norm(.attentionNorm, layer: index), attention: attention,
            feedForwardNorm: try norm(.feedForwardNorm, layer: index), feedForward: feedForward)
    }
}

/// The architectures, by GGUF's name. A GGUF file of arch `llama` with experts is `mixtral`.
enum ModelRegistry {
    static let architectures: [String: any Architecture.Type] = [
        "llama": Llama.self,
        "mixtral": Mixtral.self,
        "olmoe": OLMoE.self,
        "qwen2": Qwen2.self,
        "qwen2moe": Qwen2MoE.self,
        "qwen3": Qwen3.self,
        "qwen3moe": Qwen3MoE.self,
        "qwen3moeplusplus": Qwen3MoEPlusPlus.self,
    ]

    /// Hugging Face's `model_type` to GGUF's name. Mistral is Llama with a sliding window.
    static let huggingFaceTypes: [String: String] = [
        "llama": "llama", "mistral": "llama", "mixtral": "mixtral", "olmoe": "olmoe", "qwen2": "qwen2",
        "qwen2_moe": "qwen2moe", "qwen3": "qwen3", "qwen3_moe": "qwen3moe",
        "qwen3_moe_plus_plus": "qwen3moeplusplus",
    ]
}
