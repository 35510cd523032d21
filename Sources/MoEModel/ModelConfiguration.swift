// SPDX-License-Identifier: Apache-2.0

/// What every architecture has in common: sizes, and what an engine must know to plan memory and stop.
package struct ModelConfiguration: Sendable, Equatable {
    /// GGUF's name of the architecture: `llama`, `qwen3moe` …
    package var architecture: String
    package var layerCount: Int
    /// d
    package var hiddenSize: Int
    package var vocabularySize: Int
    /// The longest sequence the model was made for.
    package var contextLength: Int
    package var attention: AttentionConfiguration
    /// Dense FFN width; of the layers without experts where there are both.
    package var intermediateSize: Int
    package var rmsNormEpsilon: Float
    /// nil: a dense model.
    package var experts: ExpertConfiguration?
}

package struct AttentionConfiguration: Sendable, Equatable {
    package var heads: Int
    package var kvHeads: Int
    package var headDim: Int
    /// Positions that a row sees, itself included, per layer; 0: all.
    package var windows: [Int]
    package var rope: RoPEConfiguration
}

package struct ExpertConfiguration: Sendable, Equatable {
    /// E: routed experts per MoE layer.
    package var count: Int
    /// k: experts per token that the model was trained with.
    package var perToken: Int
    package var intermediateSize: Int
    /// 0: no shared expert.
    package var sharedIntermediateSize: Int
    /// Which layers have experts.
    package var layers: [Bool]
    package var gating: GatingFunction
}
