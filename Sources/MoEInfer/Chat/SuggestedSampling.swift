// SPDX-License-Identifier: Apache-2.0

import MoETensors

/// How a model's publisher wants its tokens to be chosen; nil where nothing is said.
///
/// Source: `generation_config.json` of a Hugging Face folder (`"do_sample": false` is temperature 0), or the keys
/// `general.sampling.*` of a GGUF file.
public struct SuggestedSampling: Sendable, Equatable {
    public var temperature: Float?
    public var topK: Int?
    public var topP: Float?
    public var minP: Float?
    public var repetitionPenalty: Float?

    /// Nothing is said.
    public init() {}

    /// - Throws: ``ModelFileError`` for a value that cannot be.
    init(temperature: Double?, topK: Int?, topP: Double?, minP: Double?, repetitionPenalty: Double?, file: String) throws {
        func check(_ value: Double?, _ name: String, _ expected: String, _ isFine: (Double) -> Bool) throws -> Float? {
            guard let value else { return nil }
            guard value.isFinite, isFine(value) else {
                throw ModelFileError(
                    file: file, problem: "a suggestion for sampling that cannot be: \(name)", expected: expected,
                    found: "\(value)")
            }
            return Float(value)
        }
        self.temperature = try check(temperature, "temperature", "0 or more") { $0 >= 0 }
        self.topP = try check(topP, "top_p", "0 to 1") { $0 >= 0 && $0 <= 1 }.map {
            $0 == 0 ? Float.leastNormalMagnitude : $0
        }
        self.minP = try check(minP, "min_p", "0 to 1") { $0 >= 0 && $0 <= 1 }
        self.repetitionPenalty = try check(repetitionPenalty, "repetition_penalty", "above 0") { $0 > 0 }
        // Both -1 and 0 stand for all tokens.
        self.topK = topK.map { max(0, $0) }
    }

    /// What a conversation is sampled with: what the model's publisher says, and nothing else cut off; where he says nothing,
    /// temperature 0.7 among the 40 likeliest tokens, top-p 0.95, min-p 0.05.
    public func apply(to sampling: inout SamplingOptions) {
        let isSilent = self == SuggestedSampling()
        sampling.temperature = temperature ?? (isSilent ? 0.7 : 1)
        sampling.topK = topK ?? (isSilent ? 40 : 0)
        sampling.topP = topP ?? (isSilent ? 0.95 : 1)
        sampling.minP = minP ?? (isSilent ? 0.05 : 0)
        sampling.repetitionPenalty = repetitionPenalty ?? 1
    }
}
