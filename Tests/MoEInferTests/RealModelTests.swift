// SPDX-License-Identifier: Apache-2.0

import Foundation
import MoEInfer
import MoETestSupport
import Testing

/// Two real, trained models (`Tools/fetch_models.sh`) do what they do in llama.cpp. Runs with `make test-models`.
///
/// The pinned figures are llama.cpp's, of the same files: the source that PyPI's llama-cpp-python 0.3.36 vendors, built by
/// `Tools/build_llama_cpp.sh` (AVX-512 machine, 2 threads). Tokens and margins: `llama-greedy` (F32 cache, attention not fused).
/// Perplexities: `llama-perplexity -c 512 -b 512`, WikiText-2 valid, the running estimate after the given number of chunks.
@Suite(
    .serialized,
    .enabled(if: RealModel.isEnabled, "set MOE_TEST_MODELS=1 (make test-models) to run real models; they are fetched once"))
struct RealModelTests {
    // MARK: What the models say

    @Test func smolLM2KnowsTheCapitalOfFrance() async throws {
        let result = try await RealModel.smolLM2.complete("The capital of France is", tokens: 16)
        #expect(result.text.hasPrefix(" Paris"), "\(result.text)")
        #expect(result.usage.promptTokens == 5)
        #expect(result.usage.moe == nil, "a dense model has no experts to count")
    }

    /// The function is run by Python, on cases that the prompt does not mention.
    @Test func qwenWritesAFunctionThatPassesItsTest() async throws {
        let result = try await RealModel.qwenCoder.complete(
            """
            <|im_start|>user
            Write a Python function fib(n) that returns the n-th Fibonacci number, with fib(0) = 0 and fib(1) = 1. \
            Answer with code only.<|im_end|>
            <|im_start|>assistant

            """, tokens: 200)
        let code = try #require(Self.codeBlock(in: result.text), "no code block in: \(result.text)")
        let test =
            "\nassert [fib(n) for n in range(12)] == [0, 1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89]\nassert fib(30) == 832040\n"
        let (status, output) = try Self.runPython(code + test)
        #expect(status == 0, "\(code)\n\(output)")
    }

    // MARK: Agreement with transformers

    /// `AutoTokenizer.from_pretrained(…, gguf_file=…).apply_chat_template(messages, add_generation_prompt=True)` of transformers 5 on the
    /// same files.
    @Test func conversationsAreTransformersTokens() async throws {
        let messages = [
            ChatMessage(role: "user", content: "Count to three."), ChatMessage(role: "assistant", content: "1, 2, 3"),
            ChatMessage(role: "user", content: "漢字\n\n and é?"),
        ]
        #expect(
            try await RealModel.smolLM2.load().chatPrompt(messages).tokens == [
                1, 9690, 198, 2683, 359, 253, 5356, 5646, 11173, 3365, 3511, 308, 34519, 28, 7018, 411, 407, 19712, 8182, 2,
                198,
                1, 4093, 198, 9825, 288, 1296, 30, 2, 198, 1, 520, 9531, 198, 33, 28, 216, 34, 28, 216, 35, 2, 198, 1, 4093,
                198,
                177, 137, 112, 36518, 1116, 284, 26411, 47, 2, 198, 1, 520, 9531, 198,
            ])
        #expect(
            try await RealModel.qwenCoder.load().chatPrompt(messages).tokens == [
                151644, 8948, 198, 2610, 525, 1207, 16948, 11, 3465, 553, 54364, 14817, 13, 1446, 525, 264, 10950, 17847,
                13,
                151645, 198, 151644, 872, 198, 2507, 311, 2326, 13, 151645, 198, 151644, 77091, 198, 16, 11, 220, 17, 11,
                220, 18,
                151645, 198, 151644, 872, 198, 110007, 18600, 271, 323, 3958, 30, 151645, 198, 151644, 77091, 198,
            ])
    }

    // MARK: Agreement with llama.cpp

    @Test(arguments: GreedyReference.all)
    func greedyTokensAreLlamaCpps(_ reference: GreedyReference) async throws {
        let found = try await reference.model.complete(reference.prompt, tokens: reference.tokens.count)
        #expect(found.usage.promptTokens == reference.promptTokens)
        // Whether the token that ended the text is listed is not the point here.
        let expected =
            found.finishReason == .stop ? reference.tokens.prefix(found.tokens.count)[...] : reference.tokens[...]
        guard let index = zip(found.tokens, expected).enumerated().first(where: { $0.element.0 != $0.element.1 })?.offset
        else {
            #expect(found.tokens.count >= reference.tokens.count - 1)
            return
        }
        // Activations are rounded differently, so a choice that was nearly a tie may go the other way; a clear one may not.
        #expect(
            reference.margins[index] < 0.3,
            "token \(index) is \(found.tokens[index]), not \(expected[index]), which led by \(reference.margins[index])")
    }

    @Test(
        .enabled(if: Fixtures.exists(RealModel.text), "WikiText-2 is not at ../shared/data/eval"),
        arguments: [
            PerplexityReference(model: .smolLM2, chunks: 12, perplexity: 15.8444),
            PerplexityReference(model: .qwenCoder, chunks: 4, perplexity: 9.2848),
        ])
    func perplexityIsLlamaCpps(_ reference: PerplexityReference) async throws {
        let text = try String(contentsOf: RealModel.text, encoding: .utf8)
        let report = try await reference.model.load().perplexity(
            of: text, context: 512, stride: 512, maximumChunks: reference.chunks, routing: RoutingChoice())
        #expect(report.tokensScored == reference.chunks * 255)
        let difference = report.perplexity / reference.perplexity - 1
        #expect(
            abs(difference) <= 0.005,
            "\(report.perplexity) here, \(reference.perplexity) in llama.cpp: \(difference * 100) %")
    }

    // MARK: Help

    /// The content of the first fenced block.
    private static func codeBlock(in text: String) -> String? {
        let parts = text.components(separatedBy: "```")
        guard parts.count >= 3 else { return nil }
        return parts[1].split(separator: "\n", maxSplits: 1, omittingEmptySubsequences: false).last.map(String.init)
    }

    private static func runPython(_ code: String) throws -> (status: Int32, output: String) {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        // Isolated, and ended when the model wrote an endless loop.
        process.arguments = ["timeout", "20", "python3", "-I", "-c", code]
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardError = pipe
        try process.run()
        let output = pipe.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return (process.terminationStatus, String(decoding: output, as: UTF8.self))
    }
}

/// A model that `Tools/fetch_models.sh` fetches.
enum RealModel: String, Sendable {
    case smolLM2 = "SmolLM2-135M-Instruct.Q4_1.gguf"
    case qwenCoder = "Qwen2.5-Coder-1.5B-Instruct.Q4_K_M.gguf"

    static let isEnabled = ProcessInfo.processInfo.environment["MOE_TEST_MODELS"] == "1"
    static let text = Fixtures.shared.appendingPathComponent("eval/wikitext2_valid.txt")

    private static let folder =
        ProcessInfo.processInfo.environment["MOE_MODELS"].map { URL(fileURLWithPath: $0) }
        ?? FileManager.default.homeDirectoryForCurrentUser.appendingPathComponent(".cache/moe-infer/models")

    func load() async throws -> LLM {
        let file = Self.folder.appendingPathComponent(rawValue)
        try #require(Fixtures.exists(file), "\(file.path) is missing: run Tools/fetch_models.sh (make models)")
        return try await LLM.load(.path(file.path))
    }

    func complete(_ prompt: String, tokens: Int) async throws -> GenerationResult {
        var options = GenerationOptions()
        options.sampling.maxTokens = tokens
        return try await load().complete(prompt, options: options)
    }
}

struct PerplexityReference: Sendable, CustomTestStringConvertible {
    var model: RealModel
    var chunks: Int
    var perplexity: Double

    var testDescription: String { "\(model.rawValue), \(chunks) chunks" }
}

/// llama.cpp's greedy tokens, and by how much each led the next best.
struct GreedyReference: Sendable, CustomTestStringConvertible {
    var model: RealModel
    var prompt: String
    var promptTokens: Int
    var tokens: [Int32]
    var margins: [Float]

    var testDescription: String { "\(model.rawValue): \(prompt.prefix(30))" }

    static let all = [
        GreedyReference(
            model: .smolLM2, prompt: "The capital of France is", promptTokens: 5,
            tokens: [
                7042, 30, 198, 198, 504, 2988, 314, 42, 216, 34, 32, 33, 40, 29, 32, 33, 29, 34, 34, 216, 33,
                34, 42, 33, 34, 42, 37, 35, 30, 2,
            ],
            margins: [
                2.42, 1.11, 1.34, 1.75, 0.90, 0.03, 1.65, 1.94, 2.19, 0.51, 0.77, 0.33, 0.20, 2.31, 1.01,
                0.09, 7.56, 0.17, 0.31, 0.20, 0.35, 0.33, 2.67, 0.01, 0.11, 1.45, 0.03, 0.10, 1.48, 2.46,
            ]),
        GreedyReference(
            model: .smolLM2, prompt: "Once upon a time, in a land far away, there lived", promptTokens: 13,
            tokens: [
                253, 4197, 3365, 3261, 3906, 4075, 30, 909, 436, 253, 915, 284, 3506, 14653, 617, 761, 10832,
                650, 10054, 351, 7532, 284, 8047, 30, 909, 436, 1343, 327, 650, 2606, 282, 650,
            ],
            margins: [
                3.60, 0.19, 1.69, 2.05, 1.05, 0.27, 1.54, 0.09, 1.22, 2.30, 0.63, 3.11, 2.74, 0.27, 0.20,
                0.61, 0.23, 1.20, 4.43, 3.01, 1.25, 2.16, 0.26, 2.65, 0.40, 0.19, 1.36, 0.20, 3.56, 0.29,
                0.97, 0.13,
            ]),
        GreedyReference(
            model: .qwenCoder, prompt: "def is_prime(n):", promptTokens: 5,
            tokens: [
                198, 262, 421, 308, 2651, 220, 16, 510, 286, 470, 3557, 198, 262, 421, 308, 2651, 220, 18,
                510, 286, 470, 3007, 198, 262, 421, 308, 1018, 220, 17, 621, 220, 15,
            ],
            margins: [
                1.82, 4.49, 1.24, 6.63, 2.69, 6.79, 8.29, 3.57, 8.95, 10.11, 8.18, 5.15, 9.13, 0.39, 10.92,
                1.44, 7.48, 11.10, 5.26, 11.04, 11.51, 9.57, 6.04, 10.62, 9.27, 6.86, 7.62, 9.67, 10.59, 5.22,
                10.50, 10.96,
            ]),
        GreedyReference(
            model: .qwenCoder, prompt: "The history of the city begins", promptTokens: 6,
            tokens: [
                448, 279, 18647, 315, 279, 48717, 304, 279, 220, 16, 267, 9294, 18040, 13, 576, 3283, 572,
                18047, 553, 279, 48717, 438, 264, 11133, 4126, 323, 13938, 916, 279, 23631, 13, 758,
            ],
            margins: [
                0.43, 2.17, 0.16, 4.52, 3.07, 0.56, 1.22, 1.45, 1.88, 0.27, 4.79, 4.81, 1.70, 1.62, 0.28,
                1.06, 1.89, 0.38, 0.30, 2.46, 2.05, 0.35, 2.33, 0.12, 1.09, 1.98, 0.33, 0.07, 1.31, 2.17,
                1.03, 0.36,
            ]),
    ]
}
