// SPDX-License-Identifier: Apache-2.0

import Foundation
import MoECompute
import MoEModel
import MoETensors
import MoETestSupport
import Testing

/// Configurations that lie about their weights: one error that says what does not fit, never a crash or a huge allocation.
@Suite struct LoaderErrorTests {
    private static let fixture = Fixtures.directory.appendingPathComponent("tiny/qwen3moe")

    /// The fixture with one value of its configuration changed, given as JSON; nil removes the key.
    private func open(_ key: String = "", _ value: String? = nil) throws -> any LanguageModel {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("moe-loader-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        for file in try FileManager.default.contentsOfDirectory(atPath: Self.fixture.path) where file != "config.json" {
            try FileManager.default.createSymbolicLink(
                at: folder.appendingPathComponent(file), withDestinationURL: Self.fixture.appendingPathComponent(file))
        }
        let data = try Data(contentsOf: Self.fixture.appendingPathComponent("config.json"))
        var object = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
        object[key] = try value.map { try JSONSerialization.jsonObject(with: Data($0.utf8), options: .fragmentsAllowed) }
        try JSONSerialization.data(withJSONObject: object).write(to: folder.appendingPathComponent("config.json"))
        return try ModelFile.open(path: folder.path).model()
    }

    @Test func theFixtureItselfOpens() throws { _ = try open() }

    @Test(
        arguments: [
            ("model_type", #""gpt99""#, "unsupported model_type"), ("model_type", "7", "model_type"),
            ("hidden_size", "64000", "wrong shape"), ("hidden_size", "0", "hidden_size"),
            ("hidden_size", "-8", "hidden_size"),
            ("hidden_size", "1e300", "hidden_size"), ("hidden_size", #""64""#, "hidden_size"),
            ("hidden_size", nil, "hidden_size"),
            ("vocab_size", "5", "wrong shape"), ("vocab_size", "1099511627776", "vocab_size"),
            ("num_hidden_layers", "99", "missing tensor"), ("num_hidden_layers", "1", "not a part of architecture"),
            ("num_hidden_layers", "1125899906842624", "num_hidden_layers"),
            ("num_experts", "3", ""), ("num_local_experts", "3", "num_experts_per_tok"),
            ("num_local_experts", "4096", "wrong shape"), ("num_local_experts", "0", "experts"),
            ("num_experts_per_tok", "0", "num_experts_per_tok"), ("num_experts_per_tok", "4096", "num_experts_per_tok"),
            ("num_attention_heads", "7", ""), ("num_key_value_heads", "3", "attention heads"),
            ("head_dim", "6", "wrong shape"), ("head_dim", "7", "attention heads"), ("head_dim", "0", ""),
            ("moe_intermediate_size", "7", "wrong shape"), ("moe_intermediate_size", "1152921504606846976", ""),
            ("max_position_embeddings", "0", "max_position_embeddings"),
            ("max_position_embeddings", "4611686018427387904", "max_position_embeddings"),
            ("hidden_act", #""gelu""#, "hidden_act"), ("rope_parameters", #"{"rope_type": "warp", "factor": 2}"#, "rope"),
            ("rope_parameters", #"{"rope_type": "linear", "factor": 0}"#, "factor"),
            ("rope_parameters", #"{"rope_type": "yarn", "factor": -1}"#, "factor"),
            ("rope_parameters", "[1, 2]", "rope_parameters"), ("layer_types", #"["full_attention"]"#, ""),
            ("mlp_only_layers", #""all""#, "mlp_only_layers"), ("rms_norm_eps", "-1.0", "epsilon"),
        ] as [(String, String?, String)])
    func aLyingConfigurationIsRefused(key: String, value: String?, mention: String) throws {
        do {
            _ = try open(key, value)
            // Values that the architecture does not read may pass; those that say what must be said may not.
            #expect(mention.isEmpty, "\(key) = \(value ?? "nothing") was accepted")
        } catch let error as ModelFileError {
            #expect(mention.isEmpty || error.description.contains(mention), "\(error)")
            #expect(!error.description.contains("\n"))
        }
    }

    @Test func aContextWithoutMemoryIsAnError() throws {
        #expect(throws: ResourceError.self) {
            _ = try KVCache(
                precision: .f16, blockSize: 32, blockCount: 1 << 40, layerCount: 48, kvHeads: 8, headDim: 128)
        }
        #expect(throws: ResourceError.self) {
            _ = try KVCache(
                precision: .f32, blockSize: 32, blockCount: .max / 2, layerCount: 48, kvHeads: 8, headDim: 128)
        }
    }
}
