// SPDX-License-Identifier: Apache-2.0

import MoETensors

/// The configuration as `config.json` states it, in the keys of transformers 4 (`rope_theta`, `rope_scaling`) and 5
/// (`rope_parameters`). What a key's absence means differs between model types; ``Defaults`` has transformers' values.
struct HuggingFaceConfiguration {
    let json: JSONObject
    let file: String

    func configuration() throws -> ModelConfiguration {
        let type = try modelType()
        guard let architecture = ModelRegistry.huggingFaceTypes[type] else {
            throw ModelFileError(
                file: file, problem: "unsupported model_type",
                expected: ModelRegistry.huggingFaceTypes.keys.sorted().joined(separator: ", "), found: "'\(type)'")
        }
        try refuseUnsupported()
        let defaults = Defaults(type: type)
        let layers = try required("num_hidden_layers", 1...100_000)
        let hidden = try required("hidden_size", 1...1_000_000)
        let heads = try required("num_attention_heads", 1...100_000)
        let kvHeads =
            try optional("num_key_value_heads", 1...100_000)
            ?? (isAbsent("num_key_value_heads") ? defaults.kvHeads : nil) ?? heads
        let headDim =
            try optional("head_dim", 1...65_536)
            ?? (isAbsent("head_dim") ? defaults.headDim : nil) ?? hidden / heads
        guard headDim > 0, headDim % 2 == 0, heads % kvHeads == 0 else {
            throw ModelFileError(
                file: file, problem: "attention heads do not fit",
                expected: "an even head_dim and a divisor of \(heads) for num_key_value_heads",
                found: "head_dim \(headDim), num_key_value_heads \(kvHeads)")
        }
        let contextLength = try required("max_position_embeddings", 1...1_000_000_000)
        return ModelConfiguration(
            architecture: architecture, layerCount: layers, hiddenSize: hidden,
            vocabularySize: try required("vocab_size", 1...100_000_000), contextLength: contextLength,
            attention: AttentionConfiguration(
                heads: heads, kvHeads: kvHeads, headDim: headDim,
                windows: try windows(type: type, layers: layers, defaults: defaults),
                rope: try rope(headDim: headDim, contextLength: contextLength, defaults: defaults)),
            intermediateSize: try optional("intermediate_size", 0...100_000_000) ?? 0,
            rmsNormEpsilon: Float(try json.double("rms_norm_eps") ?? defaults.epsilon),
            tiedEmbeddings: try json.bool("tie_word_embeddings") ?? false,
            experts: try experts(architecture: architecture, layers: layers))
    }

    /// `model_type`, unless `architectures` says more: ZEDA's conversion leaves `qwen3_moe` there.
    private func modelType() throws -> String {
        let type = try json.string("model_type") ?? "nothing"
        let isPlusPlus = try json.strings("architectures")?.contains("Qwen3MoePlusPlusForCausalLM") ?? false
        return isPlusPlus ? "qwen3_moe_plus_plus" : type
    }

    /// What transformers' configuration classes take for a key that is not in the file. Source: transformers 5.24,
    /// `models/*/configuration_*.py`.
    private struct Defaults {
        var epsilon = 1e-6
        var theta = 10_000.0
        /// nil: as many as there are query heads; also what `null` means.
        var kvHeads: Int?
        /// nil: hidden_size / num_attention_heads; also what `null` means.
        var headDim: Int?
        var window: Int? = 4096

        init(type: String) {
            switch type {
            case "mistral": kvHeads = 8
            case "mixtral": (epsilon, theta, kvHeads, window) = (1e-5, 1_000_000, 8, nil)
            case "qwen2": kvHeads = 32
            case "qwen2_moe": kvHeads = 16
            case "qwen3": (kvHeads, headDim) = (32, 128)
            case "qwen3_moe", "qwen3_moe_plus_plus": kvHeads = 4
            case "olmoe": epsilon = 1e-5
            default: break
            }
        }
    }

    /// Settings that change the arithmetic and that no published checkpoint of these architectures uses.
    private func refuseUnsupported() throws {
        if let activation = try json.string("hidden_act"), activation != "silu" {
            throw ModelFileError(
                file: file, problem: "unsupported 'hidden_act'", expected: "'silu'", found: "'\(activation)'")
        }
        if let clip = try json.double("clip_qkv") {
            throw ModelFileError(file: file, problem: "unsupported 'clip_qkv'", expected: "null", found: "\(clip)")
        }
    }

    // MARK: Window

    /// Which layers see a window only. Each architecture's own rule, as the modelling code of transformers has it:
    ///
    /// - Mistral, Mixtral: all layers, wherever `sliding_window` is a number; `layer_types` is not looked at.
    /// - Qwen3-MoE: all layers, with `use_sliding_window`; `layer_types` is not looked at.
    /// - Qwen2, Qwen3: with `use_sliding_window`, `layer_types`, else the layers from `max_window_layers` on.
    /// - Qwen2-MoE: with `use_sliding_window`, `layer_types`, else every other layer *before* `max_window_layers`.
    /// - Llama, OLMoE: none.
    private func windows(type: String, layers: Int, defaults: Defaults) throws -> [Int] {
        let none = [Int](repeating: 0, count: layers)
        let always = type == "mistral" || type == "mixtral"
        guard always || type.hasPrefix("qwen"), try always || json.bool("use_sliding_window") ?? false else { return none }
        guard
            let window = try optional("sliding_window", 0...1_000_000_000)
                ?? (isAbsent("sliding_window") ? defaults.window : nil), window > 0
        else { return none }
        if always || type.hasPrefix("qwen3_moe") { return [Int](repeating: window, count: layers) }
        if let types = try json.strings("layer_types") {
            guard types.count == layers, types.allSatisfy({ $0 == "sliding_attention" || $0 == "full_attention" }) else {
                throw ModelFileError(
                    file: file, problem: "bad 'layer_types'",
                    expected: "\(layers) entries, each 'full_attention' or 'sliding_attention'",
                    found: "\(types.count) entries: \(Set(types).sorted().joined(separator: ", "))")
            }
            return types.map { $0 == "sliding_attention" ? window : 0 }
        }
        let bound = try json.int("max_window_layers") ?? 28
        return (0..<layers).map { layer in
            (type == "qwen2_moe" ? layer % 2 == 0 && layer < bound : layer >= bound) ? window : 0
        }
    }

    // MARK: Rotary embedding

    private func rope(headDim: Int, contextLength: Int, defaults: Defaults) throws -> RoPEConfiguration {
        let parameters = try json.object("rope_parameters") ?? json.object("rope_scaling")
        let base = try parameters?.double("rope_theta") ?? json.double("rope_theta") ?? defaults.theta
        guard base > 0, base.isFinite else {
            throw ModelFileError(file: file, problem: "bad 'rope_theta'", expected: "a positive number", found: "\(base)")
        }
        let partial = try parameters?.double("partial_rotary_factor") ?? json.double("partial_rotary_factor") ?? 1
        guard partial == 1 else {
            throw ModelFileError(
                file: file, problem: "unsupported 'partial_rotary_factor'", expected: "1", found: "\(partial)")
        }
        return RoPEConfiguration(
            base: base, rotaryDim: headDim, neox: true, scaling: try scaling(parameters, contextLength: contextLength))
    }

    private func scaling(_ parameters: JSONObject?, contextLength: Int) throws -> RoPEConfiguration.Scaling {
        guard let parameters, let type = try parameters.string("rope_type") ?? parameters.string("type") else {
            return .none
        }
        func positive(_ key: String, _ value: Double?) throws -> Double {
            guard let value, value > 0, value.isFinite else {
                throw ModelFileError(
                    file: file, problem: "bad '\(key)' of rope type '\(type)'", expected: "a positive number",
                    found: value.map { "\($0)" } ?? "nothing")
            }
            return value
        }
        func number(_ key: String) throws -> Double { try positive(key, parameters.double(key)) }
        func original() throws -> Double {
            let key = "original_max_position_embeddings"
            // The outer key, where there is one, has priority.
            return try positive(key, json.double(key) ?? parameters.double(key) ?? Double(contextLength))
        }
        switch type {
        case "default": return .none
        // Differs from the default only past the model's own context, where this program does not go.
        case "dynamic": return .none
        case "linear": return .linear(factor: try number("factor"))
        case "llama3":
            return .llama3(
                factor: try number("factor"), lowFrequencyFactor: try number("low_freq_factor"),
                highFrequencyFactor: try number("high_freq_factor"), originalContext: try original())
        case "yarn":
            let original = try original()
            let factor = try positive("factor", parameters.double("factor") ?? Double(contextLength) / original)
            var yarn = RoPEConfiguration.YaRN(factor: factor, originalContext: original)
            // As in Python's `or`, 0 is no value.
            if let value = try parameters.double("beta_fast"), value != 0 { yarn.betaFast = value }
            if let value = try parameters.double("beta_slow"), value != 0 { yarn.betaSlow = value }
            yarn.truncate = try parameters.bool("truncate") ?? true
            yarn.attentionFactor = try parameters.double("attention_factor")
            if yarn.attentionFactor == nil, let scale = try parameters.double("mscale"), scale != 0,
                let scaleAll = try parameters.double("mscale_all_dim"), scaleAll != 0
            {
                yarn.attentionFactor =
                    RoPEConfiguration.YaRN.temperature(factor: factor, scale: scale)
                    / RoPEConfiguration.YaRN.temperature(factor: factor, scale: scaleAll)
            }
            return .yarn(yarn)
        default:
            throw ModelFileError(
                file: file, problem: "unsupported rope type", expected: "default, linear, dynamic, llama3 or yarn",
                found: "'\(type)'")
        }
    }

    // MARK: Experts

    private func experts(architecture: String, layers: Int) throws -> ExpertConfiguration? {
        guard ["mixtral", "qwen2moe", "qwen3moe", "qwen3moeplusplus", "olmoe"].contains(architecture) else { return nil }
        // `num_experts` and `num_local_experts` are aliases of each other in transformers.
        let count = try required(json.value("num_experts") == nil ? "num_local_experts" : "num_experts", 1...65_536)
        let isQwen = architecture.hasPrefix("qwen")
        let step = isQwen ? max(1, try json.int("decoder_sparse_step") ?? 1) : 1
        let dense = isQwen ? Set(try json.ints("mlp_only_layers") ?? []) : []
        let pseudo = try architecture == "qwen3moeplusplus" ? pseudoExperts() : []
        let slots = count + pseudo.reduce(0) { $0 + $1.count }
        let renormalizes = try architecture == "mixtral" || json.bool("norm_topk_prob") ?? false
        let spec = RouterSpec(
            realExperts: count, slotsPerToken: try required("num_experts_per_tok", 1...slots),
            gating: GatingFunction(weights: !renormalizes ? .none : pseudo.isEmpty ? .renormKept : .renormAllSlots),
            pseudo: pseudo)
        return ExpertConfiguration(
            routers: PerLayer(spec),
            // Mixtral and OLMoE have experts only, and call their width so.
            intermediateSize: try required(isQwen ? "moe_intermediate_size" : "intermediate_size", 1...100_000_000),
            sharedIntermediateSize: architecture == "qwen2moe"
                ? try required("shared_expert_intermediate_size", 1...100_000_000) : 0,
            layers: (0..<layers).map { !dense.contains($0) && ($0 + 1) % step == 0 })
    }

    /// ZEDA's `zce_nums` and `zce_types` ("zero-computation experts"), as many entries each.
    private func pseudoExperts() throws -> [PseudoExperts] {
        let counts = try json.ints("zce_nums") ?? []
        let types = try json.strings("zce_types") ?? []
        guard !counts.isEmpty, counts.count == types.count, counts.count <= 16,
            counts.allSatisfy({ (1...65_536).contains($0) })
        else {
            throw ModelFileError(
                file: file, problem: "bad 'zce_nums' and 'zce_types'",
                expected: "as many counts from 1 to 65536 as types, at least one", found: "\(counts) and \(types)")
        }
        // What the mask changes is not published.
        if try json.bool("use_zce_mask") == true {
            throw ModelFileError(file: file, problem: "unsupported 'use_zce_mask'", expected: "false", found: "true")
        }
        return try zip(counts, types).map { count, type in
            switch type {
            case "zero": return PseudoExperts(.zero, count: count)
            case "copy", "identity": return PseudoExperts(.identity, count: count)
            default:
                throw ModelFileError(
                    file: file, problem: "unsupported entry of 'zce_types'", expected: "'zero' or 'copy'",
                    found: "'\(type)'")
            }
        }
    }

    // MARK: Values

    /// Not in the file at all; `null` is something else.
    private func isAbsent(_ key: String) -> Bool { !json.keys.contains(key) }

    private func optional(_ key: String, _ range: ClosedRange<Int>) throws -> Int? {
        try json.value(key) == nil ? nil : required(key, range)
    }

    private func required(_ key: String, _ range: ClosedRange<Int>) throws -> Int {
        let value = try json.int(key)
        guard let value, range.contains(value) else {
            throw ModelFileError(
                file: file, problem: "bad '\(key)'", expected: "a number from \(range.lowerBound) to \(range.upperBound)",
                found: value.map(String.init) ?? "nothing")
        }
        return value
    }
}
