// SPDX-License-Identifier: Apache-2.0

import Foundation
import MoEModel
import MoETestSupport
import Testing

/// What `config.json` means where it says little: the values that transformers 5.24 takes, pinned one by one. What it means
/// where it says all is pinned by the logits of ``GoldenTests``.
@Suite struct HuggingFaceConfigurationTests {
    /// A configuration of a folder whose weights nobody looks at.
    private func configuration(_ json: String) throws -> ModelConfiguration {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("moe-config-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        try FileManager.default.createSymbolicLink(
            at: folder.appendingPathComponent("model.safetensors"),
            withDestinationURL: Fixtures.directory.appendingPathComponent("tiny/llama/model.safetensors"))
        let sizes = """
            "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 32, "vocab_size": 96, "intermediate_size": 48,
            "max_position_embeddings": 1000, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16,
            "shared_expert_intermediate_size": 16
            """
        try Data("{\(sizes), \(json)}".utf8).write(to: folder.appendingPathComponent("config.json"))
        return try ModelFile.open(path: folder.path).configuration()
    }

    @Test(arguments: [
        ("llama", 1e4, 32, 2, Float(1e-6)), ("mistral", 1e4, 8, 2, 1e-6), ("mixtral", 1e6, 8, 2, 1e-5),
        ("qwen2", 1e4, 32, 2, 1e-6), ("qwen2_moe", 1e4, 16, 2, 1e-6), ("qwen3", 1e4, 32, 128, 1e-6),
        ("qwen3_moe", 1e4, 4, 2, 1e-6), ("olmoe", 1e4, 32, 2, 1e-5),
    ])
    func absentKeysHaveTheTypesDefaults(_ type: String, theta: Double, kvHeads: Int, headDim: Int, epsilon: Float) throws {
        let found = try configuration("\"model_type\": \"\(type)\"")
        #expect(found.attention.rope.base == theta)
        #expect(found.attention.kvHeads == kvHeads)
        #expect(found.attention.headDim == headDim)
        #expect(found.rmsNormEpsilon == epsilon)
        #expect(!found.tiedEmbeddings)
    }

    /// `null` is not the same as absent.
    @Test func nullMeansDerived() throws {
        let found = try configuration("\"model_type\": \"qwen3\", \"num_key_value_heads\": null, \"head_dim\": null")
        #expect(found.attention.kvHeads == 32)
        #expect(found.attention.headDim == 2)
    }

    @Test(arguments: [
        // Mistral's window is on unless it is null; Mixtral's only where it is given.
        (#""model_type": "mistral""#, [4096, 4096, 4096, 4096]),
        (#""model_type": "mistral", "sliding_window": null"#, [0, 0, 0, 0]),
        (#""model_type": "mixtral""#, [0, 0, 0, 0]),
        (#""model_type": "mixtral", "sliding_window": 7"#, [7, 7, 7, 7]),
        (#""model_type": "llama", "sliding_window": 7, "use_sliding_window": true"#, [0, 0, 0, 0]),
        (#""model_type": "qwen2", "sliding_window": 7"#, [0, 0, 0, 0]),
        (#""model_type": "qwen2", "sliding_window": 7, "use_sliding_window": true"#, [0, 0, 0, 0]),
        (#""model_type": "qwen2", "sliding_window": 7, "use_sliding_window": true, "max_window_layers": 1"#, [0, 7, 7, 7]),
        (
            #""model_type": "qwen2_moe", "sliding_window": 7, "use_sliding_window": true, "max_window_layers": 3"#,
            [7, 0, 7, 0]
        ),
        (
            #""model_type": "qwen3_moe", "sliding_window": 7, "use_sliding_window": true, "max_window_layers": 3"#,
            [7, 7, 7, 7]
        ),
        (
            #""model_type": "qwen3", "sliding_window": 7, "use_sliding_window": true, "layer_types": ["full_attention", "#
                + #""sliding_attention", "sliding_attention", "full_attention"]"#, [0, 7, 7, 0]
        ),
    ])
    func windowsFollowTheTypesOwnRule(_ json: String, _ windows: [Int]) throws {
        #expect(try configuration(json).attention.windows == windows)
    }

    @Test func ropeIsReadInTheKeysOfBothVersions() throws {
        let rope = #"{"rope_type": "linear", "factor": 4.0"#
        let five = try configuration(#""model_type": "llama", "rope_parameters": \#(rope), "rope_theta": 500.0}"#)
        let four = try configuration(#""model_type": "llama", "rope_theta": 500.0, "rope_scaling": \#(rope)}"#)
        #expect(five.attention.rope.scaling == .linear(factor: 4))
        #expect(five.attention.rope.base == 500)
        #expect(four.attention.rope == five.attention.rope)
        // The name of the type in still older files.
        let older = try configuration(#""model_type": "llama", "rope_scaling": {"type": "linear", "factor": 2}"#)
        #expect(older.attention.rope.scaling == .linear(factor: 2))
    }

    /// Without a factor it is the ratio of the contexts; the outer original context has priority; 0 is no value for a beta.
    @Test func yarnFillsWhatIsMissing() throws {
        let found = try configuration(
            #""model_type": "llama", "original_max_position_embeddings": 250, "rope_parameters": {"rope_type": "yarn", "#
                + #""factor": null, "original_max_position_embeddings": 500, "beta_fast": 0, "beta_slow": 2}"#)
        var expected = RoPEConfiguration.YaRN(factor: 4, originalContext: 250)
        expected.betaSlow = 2
        #expect(found.attention.rope.scaling == .yarn(expected))
    }

    @Test func mixedLayersFollowStepAndList() throws {
        let found = try configuration(#""model_type": "qwen3_moe", "decoder_sparse_step": 2, "mlp_only_layers": [3]"#)
        #expect(found.experts?.layers == [false, true, false, false])
        #expect(found.experts?.gating.renormalizes == false)
        // Keys that other types do not know.
        let mixtral = try configuration(#""model_type": "mixtral", "decoder_sparse_step": 2, "norm_topk_prob": false"#)
        #expect(mixtral.experts?.layers == [true, true, true, true])
        #expect(mixtral.experts?.gating.renormalizes == true)
        #expect(mixtral.experts?.intermediateSize == 48)
    }
}
