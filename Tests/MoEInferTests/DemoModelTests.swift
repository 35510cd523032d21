// SPDX-License-Identifier: Apache-2.0

import Foundation
import MoECompute
import MoEInfer
import MoETestSupport
import Testing

/// The embedded model is what its trainer measured: PyTorch's figures on the same file and text (`Tests/Fixtures/demo`).
@Suite struct DemoModelTests {
    private struct Baseline: Decodable {
        struct Figures: Decodable {
            let perplexity: Double
            let bitsPerByte: Double
            let meanExperts: Double?

            enum CodingKeys: String, CodingKey {
                case perplexity
                case bitsPerByte = "bits_per_byte"
                case meanExperts = "mean_k"
            }
        }
        let model: [String: Figures]
        let token3Gram: Figures

        enum CodingKeys: String, CodingKey {
            case model
            case token3Gram = "token_3_gram"
        }
    }

    private struct Reference: Decodable {
        let prompt: String
        let tokens: [Int32]
        let positions: [Int]
        let routing: [String]
        let shape: [Int]
    }

    private static let folder = Fixtures.directory.appendingPathComponent("demo")

    private func llm(_ set: (inout Settings) -> Void = { _ in }) async throws -> LLM {
        var settings = Settings()
        set(&settings)
        return try await LLM.load(EngineTests.model, options: EngineOptions(settings: settings))
    }

    private static func decode<Value: Decodable>(_ type: Value.Type, _ file: String) throws -> Value {
        try JSONDecoder().decode(type, from: Data(contentsOf: folder.appendingPathComponent(file)))
    }

    /// Under every policy that the trainer measured; and better than an n-gram, without which a model is not worth embedding.
    @Test func perplexityIsTheTrainers() async throws {
        let baseline = try Self.decode(Baseline.self, "baseline.json")
        let text = try String(contentsOf: Self.folder.appendingPathComponent("heldout.txt"), encoding: .utf8)
        let llm = try await llm()
        #expect(!baseline.model.isEmpty)
        for (routing, expected) in baseline.model {
            let report = try await llm.perplexity(
                of: text, routing: RoutingChoice(try RoutingSpecification.parse(routing)))
            #expect(abs(report.perplexity / expected.perplexity - 1) < 0.005, "\(routing): \(report.perplexity)")
            #expect(abs(report.bitsPerByte / expected.bitsPerByte - 1) < 0.005, "\(routing): \(report.bitsPerByte)")
            #expect(report.perplexity < baseline.token3Gram.perplexity)
            let (found, wanted) = (try #require(report.moe).meanExperts, try #require(expected.meanExperts))
            #expect(abs(found / wanted - 1) < 0.01, "\(routing): \(found) experts, \(wanted) in PyTorch")
        }
    }

    /// The tokenizer's ids, and the logits in float arithmetic. Quantised activations stay close.
    @Test(arguments: [(MatmulPlan.Mode.reference, Float(2e-3)), (.blas, 2e-3), (.native, 0.6)])
    func logitsAreTheTrainers(mode: MatmulPlan.Mode, tolerance: Float) async throws {
        let reference = try Self.decode(Reference.self, "logits.json")
        let expected = try Data(contentsOf: Self.folder.appendingPathComponent("logits.f32")).withUnsafeBytes {
            Array($0.bindMemory(to: Float.self))
        }
        let llm = try await llm { ($0.gemm, $0.kvPrecision) = (mode, .f32) }
        #expect(try llm.tokenizer.encode(reference.prompt) == reference.tokens)
        let (rows, width) = (reference.shape[1], reference.shape[2])
        for (index, routing) in reference.routing.enumerated() {
            let collected = Rows()
            try await llm.logits(
                reference.tokens, decodeFrom: 20, routing: RoutingChoice(try RoutingSpecification.parse(routing))
            ) { collected.append($0) }
            for (row, position) in reference.positions.enumerated() {
                let start = (index * rows + row) * width
                let error = zip(collected.values[position], expected[start..<start + width]).map { abs($0 - $1) }.max()!
                #expect(error < tolerance, "\(mode), \(routing), position \(position): \(error)")
            }
        }
    }
}
