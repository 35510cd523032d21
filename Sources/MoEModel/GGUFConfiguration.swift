// SPDX-License-Identifier: Apache-2.0

import MoETensors

/// The configuration as GGUF files state it: keys `{arch}.…`. Source: the `gguf` package's constants.
struct GGUFConfiguration {
    let file: GGUFFile
    /// The file's own name of the architecture: the prefix of its keys.
    let prefix: String
    private let tensorNames: Set<String>

    init(_ file: GGUFFile) throws {
        self.file = file
        tensorNames = Set(file.tensorNames)
        guard let name = try file.metadata.string("general.architecture") else {
            throw ModelFileError(
                file: file.source, problem: "missing metadata 'general.architecture'", expected: "a name", found: "nothing")
        }
        prefix = name
    }

    func configuration() throws -> ModelConfiguration {
        let expertCount = try optional("expert_count", 0...65_536) ?? 0
        let architecture = prefix == "llama" && expertCount > 0 ? "mixtral" : prefix
        let known = Set(ModelRegistry.architectures.keys).subtracting(["qwen3moeplusplus"])
        guard known.contains(architecture) else {
            throw ModelFileError(
                file: file.source, problem: "unsupported architecture",
                expected: known.sorted().joined(separator: ", "), found: "'\(prefix)'")
        }
        let layers = try required("block_count", 1...100_000)
        let hidden = try required("embedding_length", 1...1_000_000)
        let heads = try required("attention.head_count", 1...100_000)
        try refuseUnsupported()
        let kvHeads = try optional("attention.head_count_kv", 1...100_000) ?? heads
        let headDim = try optional("attention.key_length", 1...65_536) ?? hidden / heads
        let valueDim = try int("attention.value_length") ?? headDim
        guard headDim > 0, valueDim == headDim, heads % kvHeads == 0 else {
            throw ModelFileError(
                file: file.source, problem: "attention heads do not fit",
                expected: "key and value heads of one size, and a divisor of \(heads) heads for them",
                found: "key_length \(headDim), value_length \(valueDim), head_count_kv \(kvHeads)")
        }
        let contextLength = try required("context_length", 1...1_000_000_000)
        return ModelConfiguration(
            architecture: architecture, layerCount: layers, hiddenSize: hidden,
            vocabularySize: try vocabularySize(hidden: hidden), contextLength: contextLength,
            attention: AttentionConfiguration(
                heads: heads, kvHeads: kvHeads, headDim: headDim, windows: try windows(layers: layers),
                rope: try rope(headDim: headDim, contextLength: contextLength)),
            intermediateSize: try optional("feed_forward_length", 0...100_000_000) ?? 0,
            rmsNormEpsilon: try float("attention.layer_norm_rms_epsilon") ?? 1e-5,
            tiedEmbeddings: !has("output.weight"),
            experts: expertCount == 0 ? nil : try experts(expertCount, architecture: architecture, layers: layers))
    }

    /// Settings that change the arithmetic and that no published file of these architectures uses.
    private func refuseUnsupported() throws {
        if let clamp = try float("attention.clamp_kqv"), clamp != 0 {
            throw ModelFileError(
                file: file.source, problem: "unsupported '\(prefix).attention.clamp_kqv'", expected: "0", found: "\(clamp)")
        }
    }

    private func vocabularySize(hidden: Int) throws -> Int {
        guard let embedding = file.tensor(named: "token_embd.weight") else {
            throw ModelFileError(
                file: file.source, tensor: "token_embd.weight", problem: "missing tensor",
                expected: "[vocabulary, \(hidden)]",
                found: "nothing")
        }
        guard embedding.shape.rank == 2, embedding.shape[1] == hidden else {
            throw ModelFileError(
                file: file.source, tensor: "token_embd.weight", problem: "wrong shape", expected: "[vocabulary, \(hidden)]",
                found: "\(embedding.shape)")
        }
        return embedding.shape[0]
    }

    /// `sliding_window` holds for all layers, or for those that the pattern names.
    private func windows(layers: Int) throws -> [Int] {
        let window = try optional("attention.sliding_window", 0...1_000_000_000) ?? 0
        guard window > 0, let pattern = try file.metadata.bools("\(prefix).attention.sliding_window_pattern") else {
            return [Int](repeating: window, count: layers)
        }
        guard pattern.count == layers else {
            throw ModelFileError(
                file: file.source, problem: "bad '\(prefix).attention.sliding_window_pattern'",
                expected: "\(layers) entries", found: "\(pattern.count)")
        }
        return pattern.map { $0 ? window : 0 }
    }

    // MARK: Rotary embedding

    private func rope(headDim: Int, contextLength: Int) throws -> RoPEConfiguration {
        let rotary = try int("rope.dimension_count") ?? headDim
        guard rotary > 0, rotary <= headDim, rotary % 2 == 0 else {
            throw ModelFileError(
                file: file.source, problem: "bad '\(prefix).rope.dimension_count'",
                expected: "an even number up to \(headDim)", found: "\(rotary)")
        }
        let base = Double(try float("rope.freq_base") ?? 10_000)
        guard base > 0, base.isFinite else {
            throw ModelFileError(
                file: file.source, problem: "bad '\(prefix).rope.freq_base'", expected: "a positive number",
                found: "\(base)")
        }
        let scaling = try scaling(contextLength: contextLength)
        return RoPEConfiguration(
            base: base, rotaryDim: rotary, neox: prefix != "llama",
            scaling: try divisors(rotary: rotary, scaling: scaling) ?? scaling)
    }

    private func scaling(contextLength: Int) throws -> RoPEConfiguration.Scaling {
        // Without a type, a factor alone means linear.
        let kind = try file.metadata.string("\(prefix).rope.scaling.type") ?? "linear"
        let factor = Double(try float("rope.scaling.factor") ?? float("rope.scale_linear") ?? 0)
        guard factor >= 0, factor.isFinite else {
            throw ModelFileError(
                file: file.source, problem: "bad '\(prefix).rope.scaling.factor'", expected: "a positive number",
                found: "\(factor)")
        }
        switch kind {
        case "none": return .none
        case "linear": return factor == 0 || factor == 1 ? .none : .linear(factor: factor)
        case "yarn":
            let original = try optional("rope.scaling.original_context_length", 1...1_000_000_000) ?? contextLength
            var yarn = RoPEConfiguration.YaRN(factor: factor == 0 ? 1 : factor, originalContext: Double(original))
            yarn.betaFast = Double(try float("rope.scaling.yarn_beta_fast") ?? 32)
            yarn.betaSlow = Double(try float("rope.scaling.yarn_beta_slow") ?? 1)
            // The converter writes Hugging Face's `attention_factor`, the whole magnitude, as `yarn_attn_factor`; another key,
            // `attn_factor`, multiplies the usual magnitude.
            if let magnitude = try float("rope.scaling.yarn_attn_factor") {
                yarn.attentionFactor = Double(magnitude)
            } else if let multiplier = try float("rope.scaling.attn_factor") {
                yarn.attentionFactor = Double(multiplier) * RoPEConfiguration.YaRN.temperature(factor: yarn.factor)
            }
            return .yarn(yarn)
        default:
            throw ModelFileError(
                file: file.source, problem: "unsupported '\(prefix).rope.scaling.type'", expected: "none, linear or yarn",
                found: "'\(kind)'")
        }
    }

    /// `rope_freqs.weight`: how GGUF states Llama 3's scaling. A linear factor beside it divides as well.
    private func divisors(rotary: Int, scaling: RoPEConfiguration.Scaling) throws -> RoPEConfiguration.Scaling? {
        let name = "rope_freqs.weight"
        guard has(name) else { return nil }
        let view = try file.tensor(named: name, shape: [rotary / 2])
        guard view.type == .f32 else {
            throw ModelFileError(
                file: file.source, tensor: name, problem: "wrong element type", expected: "F32", found: view.type.name)
        }
        let divisors = (0..<rotary / 2).map { view.bytes.loadUnaligned(fromByteOffset: 4 * $0, as: Float.self) }
        switch scaling {
        case .none: return .divisors(divisors)
        case .linear(let factor): return .divisors(divisors.map { $0 * Float(factor) })
        default:
            throw ModelFileError(
                file: file.source, tensor: name, problem: "unsupported beside '\(prefix).rope.scaling.type'",
                expected: "none or linear", found: "'yarn'")
        }
    }

    private func experts(_ count: Int, architecture: String, layers: Int) throws -> ExpertConfiguration {
        let perToken = try required("expert_used_count", 1...count)
        // Old files of the Qwen architectures name only the sum over a token's experts.
        let width =
            try optional("expert_feed_forward_length", 1...100_000_000)
            ?? required("feed_forward_length", 1...100_000_000) / (architecture.hasPrefix("qwen") ? perToken : 1)
        // What llama.cpp fixes per architecture where the file does not say; see architectures.md for the models' own rules.
        let renormalizes =
            try file.metadata.bool("\(prefix).expert_weights_norm")
            ?? (architecture == "mixtral" || architecture == "qwen3moe")
        let shared: Int =
            architecture == "qwen2moe"
            ? try optional("expert_shared_feed_forward_length", 1...100_000_000)
                ?? required("feed_forward_length", 1...100_000_000) : 0
        let scale = try float("expert_weights_scale").flatMap { $0 == 0 ? nil : $0 } ?? 1
        let gating = try gating(renormalizes: renormalizes, scale: scale)
        let routers = (0..<layers).map { layer in
            RouterSpec(
                realExperts: count, slotsPerToken: perToken, gating: gating,
                hasSelectionBias: has("blk.\(layer).exp_probs_b.bias"))
        }
        return ExpertConfiguration(
            routers: PerLayer(routers), intermediateSize: width, sharedIntermediateSize: shared,
            layers: (0..<layers).map { has("blk.\($0).ffn_gate_inp.weight") })
    }

    /// `expert_gating_func`: 1 softmax, 2 sigmoid, 3 softmax over the selected experts' logits, which is the same as a softmax
    /// over all, renormalised. Absent or 0: softmax. Groups (`expert_group_count`) are not known: llama.cpp ranks them by the
    /// two best scores whatever the model's own rule.
    private func gating(renormalizes: Bool, scale: Float) throws -> GatingFunction {
        if let groups = try int("expert_group_count"), groups > 1 {
            throw ModelFileError(
                file: file.source, problem: "unsupported '\(prefix).expert_group_count'", expected: "1", found: "\(groups)")
        }
        switch try int("expert_gating_func") ?? 0 {
        case 0, 1: return GatingFunction(renormalizes: renormalizes, scale: scale)
        case 2: return GatingFunction(score: .sigmoid, renormalizes: renormalizes, scale: scale)
        case 3: return GatingFunction(renormalizes: true, scale: scale)
        case let other:
            throw ModelFileError(
                file: file.source, problem: "unsupported '\(prefix).expert_gating_func'", expected: "1, 2 or 3",
                found: "\(other)")
        }
    }

    // MARK: Values

    /// Whether the file names such a tensor, readable or not.
    private func has(_ tensor: String) -> Bool { tensorNames.contains(tensor) }
    private func int(_ key: String) throws -> Int? { try file.metadata.int("\(prefix).\(key)") }
    private func float(_ key: String) throws -> Float? { try file.metadata.float("\(prefix).\(key)").map { Float($0) } }

    private func optional(_ key: String, _ range: ClosedRange<Int>) throws -> Int? {
        try int(key) == nil ? nil : required(key, range)
    }

    private func required(_ key: String, _ range: ClosedRange<Int>) throws -> Int {
        let value = try int(key)
        guard let value, range.contains(value) else {
            throw ModelFileError(
                file: file.source, problem: "bad metadata '\(prefix).\(key)'",
                expected: "a number from \(range.lowerBound) to \(range.upperBound)",
                found: value.map(String.init) ?? "nothing")
        }
        return value
    }
}
