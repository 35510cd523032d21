// SPDX-License-Identifier: Apache-2.0

/// What a tensor is for, and what the two families of files call it.
enum TensorRole: Hashable {
    case embedding, outputNorm, head
    case attentionNorm, query, key, value, attentionOutput, queryNorm, keyNorm
    case feedForwardNorm, gate, up, down
    case router, selectionBias, expertGate, expertUp, expertDown
    case sharedGate, sharedUp, sharedDown, sharedExpertGate
}

/// GGUF's and Hugging Face's names. Source: the `gguf` package's tensor mapping, and the models' own state dictionaries.
enum TensorNaming: Sendable {
    case gguf
    /// `moe` and the expert matrices' names differ between Mixtral (`block_sparse_moe`, w1, w3, w2) and all others.
    case huggingFace(mixtral: Bool)

    /// The name without `.weight` or `.bias`.
    func base(_ role: TensorRole, layer: Int = 0) -> String {
        switch self {
        case .gguf:
            let name = Self.ggufNames[role]!
            return role.isGlobal ? name : "blk.\(layer).\(name)"
        case .huggingFace(let mixtral):
            let name = mixtral ? Self.mixtralNames[role] ?? Self.huggingFaceNames[role]! : Self.huggingFaceNames[role]!
            return role.isGlobal ? name : "model.layers.\(layer).\(name)"
        }
    }

    private static let ggufNames: [TensorRole: String] = [
        .embedding: "token_embd", .outputNorm: "output_norm", .head: "output",
        .attentionNorm: "attn_norm", .query: "attn_q", .key: "attn_k", .value: "attn_v", .attentionOutput: "attn_output",
        .queryNorm: "attn_q_norm", .keyNorm: "attn_k_norm",
        .feedForwardNorm: "ffn_norm", .gate: "ffn_gate", .up: "ffn_up", .down: "ffn_down",
        .router: "ffn_gate_inp", .selectionBias: "exp_probs_b", .expertGate: "ffn_gate_exps", .expertUp: "ffn_up_exps",
        .expertDown: "ffn_down_exps",
        .sharedGate: "ffn_gate_shexp", .sharedUp: "ffn_up_shexp", .sharedDown: "ffn_down_shexp",
        .sharedExpertGate: "ffn_gate_inp_shexp",
    ]

    private static let huggingFaceNames: [TensorRole: String] = [
        .embedding: "model.embed_tokens", .outputNorm: "model.norm", .head: "lm_head",
        .attentionNorm: "input_layernorm", .query: "self_attn.q_proj", .key: "self_attn.k_proj",
        .value: "self_attn.v_proj", .attentionOutput: "self_attn.o_proj", .queryNorm: "self_attn.q_norm",
        .keyNorm: "self_attn.k_norm",
        .feedForwardNorm: "post_attention_layernorm", .gate: "mlp.gate_proj", .up: "mlp.up_proj", .down: "mlp.down_proj",
        .router: "mlp.gate", .selectionBias: "mlp.gate.e_score_correction_bias",
        .sharedGate: "mlp.shared_expert.gate_proj", .sharedUp: "mlp.shared_expert.up_proj",
        .sharedDown: "mlp.shared_expert.down_proj", .sharedExpertGate: "mlp.shared_expert_gate",
    ]

    private static let mixtralNames: [TensorRole: String] = [
        .router: "block_sparse_moe.gate"
    ]

    var isGGUF: Bool {
        if case .gguf = self { true } else { false }
    }

    /// Where Hugging Face files keep a layer's experts: `….experts.N.<matrix>.weight`.
    func expertsPrefix(layer: Int) -> String {
        guard case .huggingFace(let mixtral) = self else { return "blk.\(layer)" }
        return "model.layers.\(layer).\(mixtral ? "block_sparse_moe" : "mlp").experts"
    }
}

extension TensorRole {
    fileprivate var isGlobal: Bool { self == .embedding || self == .outputNorm || self == .head }
}
