// SPDX-License-Identifier: Apache-2.0

/// What every architecture has in common: sizes, and what an engine must know to plan memory.
package struct ModelConfiguration: Sendable, Equatable {
    /// GGUF's name of the architecture: `llama`, `qwen3moe` … (`mixtral` for arch `llama` with experts).
    package var architecture: String
    package var layerCount: Int
    /// d
    package var hiddenSize: Int
    package var vocabularySize: Int
    /// The longest sequence the model was made for, in tokens.
    package var contextLength: Int
    package var attention: AttentionConfiguration
    /// Dense FFN width; of the layers without experts where there are both.
    package var intermediateSize: Int
    package var rmsNormEpsilon: Float
    /// Whether the head is the embedding, used again.
    package var tiedEmbeddings: Bool
    /// nil: a dense model.
    package var experts: ExpertConfiguration?

    package init(
        architecture: String, layerCount: Int, hiddenSize: Int, vocabularySize: Int, contextLength: Int,
        attention: AttentionConfiguration, intermediateSize: Int, rmsNormEpsilon: Float, tiedEmbeddings: Bool = false,
        experts: ExpertConfiguration? = nil
    ) {
        self.architecture = architecture
        self.layerCount = layerCount
        self.hiddenSize = hiddenSize
        self.vocabularySize = vocabularySize
        self.contextLength = contextLength
        self.attention = attention
        self.intermediateSize = intermediateSize
        self.rmsNormEpsilon = rmsNormEpsilon
        self.tiedEmbeddings = tiedEmbeddings
        self.experts = experts
    }
}

package struct AttentionConfiguration: Sendable, Equatable {
    package var heads: Int
    package var kvHeads: Int
    package var headDim: Int
    /// Positions that a row sees, itself included, per layer; 0: all.
    package var windows: [Int]
    package var rope: RoPEConfiguration

    package init(heads: Int, kvHeads: Int, headDim: Int, windows: [Int], rope: RoPEConfiguration) {
        self.heads = heads
        self.kvHeads = kvHeads
        self.headDim = headDim
        self.windows = windows
        self.rope = rope
    }
}

package struct ExpertConfiguration: Sendable, Equatable {
    /// Each layer's router.
    package var routers: PerLayer<RouterSpec>
    package var intermediateSize: Int
    /// 0: no shared expert.
    package var sharedIntermediateSize: Int
    /// Which layers have experts.
    package var layers: [Bool]

    package init(
        routers: PerLayer<RouterSpec>, intermediateSize: Int, sharedIntermediateSize: Int = 0, layers: [Bool]
    ) {
        self.routers = routers
        self.intermediateSize = intermediateSize
        self.sharedIntermediateSize = sharedIntermediateSize
        self.layers = layers
    }

    /// E: routed experts per MoE layer, without pseudo-experts.
    package var count: Int { routers[0].realExperts }
    /// k: slots per token that the model was trained with; in models with pseudo-experts, some of them are none.
    package var perToken: Int { routers[0].slotsPerToken }
    package var gating: GatingFunction { routers[0].gating }
}
