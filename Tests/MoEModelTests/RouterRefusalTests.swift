// SPDX-License-Identifier: Apache-2.0

import Foundation
import MoEModel
import MoETensors
import MoETestSupport
import Testing

/// Routers that this program does not compute, by what a file says of them: each is refused in one line that names the field.
/// Run instead, they would give text that is silently wrong.
@Suite struct RouterRefusalTests {
    private func expectRefusal(_ mentions: [String], _ body: () throws -> Void) {
        do {
            try body()
            Issue.record("accepted; expected a refusal with \(mentions)")
        } catch let error as ModelFileError {
            for mention in mentions { #expect(error.description.contains(mention), "'\(mention)' in: \(error)") }
            #expect(!error.description.contains("\n"))
        } catch {
            Issue.record("not a ModelFileError: \(error)")
        }
    }

    // MARK: Hugging Face

    private func configuration(_ json: String) throws -> ModelConfiguration {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("moe-refusal-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        try FileManager.default.createSymbolicLink(
            at: folder.appendingPathComponent("model.safetensors"),
            withDestinationURL: Fixtures.directory.appendingPathComponent("tiny/llama/model.safetensors"))
        let sizes = """
            "architectures": ["Qwen3MoePlusPlusForCausalLM"], "model_type": "qwen3_moe", "hidden_size": 64,
            "num_hidden_layers": 2, "num_attention_heads": 32, "vocab_size": 96, "max_position_embeddings": 1000,
            "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16
            """
        try Data("{\(sizes), \(json)}".utf8).write(to: folder.appendingPathComponent("config.json"))
        return try ModelFile.open(path: folder.path).configuration()
    }

    @Test func zeroComputationExpertsThatAreKnown() throws {
        let zero = try configuration(#""zce_nums": [2], "zce_types": ["zero"], "use_zce_mask": false"#)
        #expect(zero.experts?.routers[0].pseudo == [PseudoExperts(.zero, count: 2)])
        let both = try configuration(#""zce_nums": [2, 3], "zce_types": ["zero", "copy"]"#)
        #expect(both.experts?.routers[0].pseudo == [PseudoExperts(.zero, count: 2), PseudoExperts(.identity, count: 3)])
        #expect(both.experts?.routers[0].slotCount == 9)
    }

    @Test(
        arguments: [
            (#""zce_nums": [2], "zce_types": ["constant"]"#, ["'zce_types'", "'zero' or 'copy'", "'constant'"]),
            (#""zce_nums": [2, 1], "zce_types": ["zero", "const"]"#, ["'zce_types'", "'const'"]),
            (#""zce_nums": [2], "zce_types": ["Zero"]"#, ["'zce_types'", "'Zero'"]),
            (#""zce_nums": [2], "zce_types": ["zero"], "use_zce_mask": true"#, ["'use_zce_mask'", "expected false"]),
            (#""zce_nums": [2], "zce_types": ["zero"], "use_zce_mask": 1"#, ["use_zce_mask", "true or false"]),
            (#""zce_nums": [2, 2], "zce_types": ["zero"]"#, ["'zce_nums'", "as many counts"]),
            (#""zce_nums": [], "zce_types": []"#, ["'zce_nums'", "at least one"]),
            (#""zce_types": ["zero"]"#, ["'zce_nums'"]), (#""zce_nums": [2]"#, ["'zce_types'"]),
            (#""zce_nums": [0], "zce_types": ["zero"]"#, ["'zce_nums'", "[0]"]),
            (#""zce_nums": [-1], "zce_types": ["zero"]"#, ["'zce_nums'", "[-1]"]),
            (#""zce_nums": [99999999999], "zce_types": ["zero"]"#, ["'zce_nums'", "99999999999"]),
            (#""zce_nums": "2", "zce_types": ["zero"]"#, ["zce_nums", "an array of integers"]),
            (#""zce_nums": [2], "zce_types": "zero""#, ["zce_types", "an array of strings"]),
        ] as [(String, [String])])
    func zeroComputationExpertsThatAreNot(json: String, mentions: [String]) {
        expectRefusal(["config.json"] + mentions) { _ = try configuration(json) }
    }

    // MARK: GGUF

    /// A whole model of one layer: d = 8, 2 heads, 4 experts of width 8, all weights equal.
    private func model(
        _ entries: (inout GGUFBuilder) -> Void = { _ in }, adding tensors: [(String, [UInt64])] = []
    ) throws -> any LanguageModel {
        var builder = GGUFBuilder()
        func text(_ value: String) -> [UInt8] {
            var bytes: [UInt8] = []
            bytes.add(value)
            return bytes
        }
        builder.entry("general.architecture", type: 8, text("qwen3moe"))
        for (key, value) in [
            ("block_count", 1), ("embedding_length", 8), ("attention.head_count", 2), ("context_length", 64),
            ("expert_count", 4), ("expert_used_count", 2), ("expert_feed_forward_length", 8),
        ] as [(String, UInt32)] { builder.uint32("qwen3moe.\(key)", value) }
        entries(&builder)
        let all: [(String, [UInt64])] =
            [
                ("token_embd.weight", [8, 16]), ("output_norm.weight", [8]), ("blk.0.attn_norm.weight", [8]),
                ("blk.0.attn_q.weight", [8, 8]), ("blk.0.attn_k.weight", [8, 8]), ("blk.0.attn_v.weight", [8, 8]),
                ("blk.0.attn_output.weight", [8, 8]), ("blk.0.attn_q_norm.weight", [4]), ("blk.0.attn_k_norm.weight", [4]),
                ("blk.0.ffn_norm.weight", [8]), ("blk.0.ffn_gate_inp.weight", [8, 4]),
                ("blk.0.ffn_gate_exps.weight", [8, 8, 4]), ("blk.0.ffn_up_exps.weight", [8, 8, 4]),
                ("blk.0.ffn_down_exps.weight", [8, 8, 4]),
            ] + tensors
        var offset: UInt64 = 0
        for (name, extents) in all {
            builder.tensors.append(.init(name: name, extents: extents, offset: offset))
            offset += (4 * extents.reduce(1, *) + 31) / 32 * 32
        }
        builder.data = [UInt8](repeating: 1, count: Int(offset))
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("moe-refusal-\(UUID().uuidString).gguf")
        try Data(builder.bytes).write(to: path)
        defer { try? FileManager.default.removeItem(at: path) }
        return try ModelFile.open(path: path.path).model()
    }

    @Test func theModelItselfOpens() throws {
        let router = try #require(try model().configuration.experts?.routers[0])
        #expect(router.gating == GatingFunction(renormalizes: true) && !router.hasSelectionBias)
    }

    @Test(arguments: [(0, "softmax"), (1, "softmax"), (2, "sigmoid"), (3, "softmax")] as [(UInt32, String)])
    func gatingFunctionsThatAreKnown(id: UInt32, score: String) throws {
        let gating = try #require(
            try model { $0.uint32("qwen3moe.expert_gating_func", id) }.configuration.experts?.routers[0].gating)
        #expect(gating.renormalizes && gating.score.rawValue == score)
    }

    @Test(arguments: [4, 5, .max] as [UInt32]) func gatingFunctionsThatAreNot(id: UInt32) {
        expectRefusal(["'qwen3moe.expert_gating_func'", "expected 1, 2 or 3", "found \(id)"]) {
            _ = try model { $0.uint32("qwen3moe.expert_gating_func", id) }
        }
    }

    @Test func expertGroups() throws {
        for count in [0, 1] as [UInt32] { _ = try model { $0.uint32("qwen3moe.expert_group_count", count) } }
        expectRefusal(["'qwen3moe.expert_group_count'", "expected 1", "found 2"]) {
            _ = try model { $0.uint32("qwen3moe.expert_group_count", 2) }
        }
        expectRefusal(["qwen3moe.expert_group_count", "an integer"]) {
            _ = try model { $0.entry("qwen3moe.expert_group_count", type: 6, [0, 0, 0, 64]) }
        }
    }

    @Test func selectionBias() throws {
        // One value per expert is read; anything else that calls itself so is refused.
        let biased = try model(adding: [("blk.0.exp_probs_b.bias", [4])])
        #expect(biased.configuration.experts?.routers[0].hasSelectionBias == true)
        for extents in [[3], [8], [4, 1], [2, 2]] as [[UInt64]] {
            expectRefusal(["'blk.0.exp_probs_b.bias'", "wrong shape", "expected [4]"]) {
                _ = try model(adding: [("blk.0.exp_probs_b.bias", extents)])
            }
        }
        for name in ["blk.0.exp_probs_b.weight", "blk.0.exp_probs_b", "blk.1.exp_probs_b.bias"] {
            expectRefusal(["'\(name)'", "not a part of architecture 'qwen3moe'"]) { _ = try model(adding: [(name, [4])]) }
        }
    }

    @Test func scalesAndCounts() {
        for (type, value) in [(6, [0, 0, 0xC0, 0x7F]), (6, [0, 0, 0x80, 0xBF])] as [(UInt32, [UInt8])] {
            expectRefusal(["router of layer 0 contradicts itself", "a positive scale"]) {
                _ = try model { $0.entry("qwen3moe.expert_weights_scale", type: type, value) }
            }
        }
    }
}
