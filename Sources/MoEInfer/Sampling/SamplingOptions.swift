// SPDX-License-Identifier: Apache-2.0

/// How the next token is chosen from the model's logits, and when to stop.
public struct SamplingOptions: Sendable, Equatable {
    /// The most tokens to generate. 0: none, and nothing runs but what ``promptLogprobs`` needs; the generation finishes with
    /// ``FinishReason/length``.
    public var maxTokens = 256
    /// The fewest: before, no token ends the text. Stop texts still do.
    public var minTokens = 0
    /// 0: always the likeliest token (greedy). Else logits are divided by it.
    public var temperature: Float = 0
    /// Only the k likeliest tokens; 0: all. Fan et al. 2018, arXiv 1805.04833.
    public var topK = 0
    /// Only the fewest tokens whose probability reaches this; 1: all. Holtzman et al. 2020, arXiv 1904.09751.
    public var topP: Float = 1
    /// Only tokens at least this share as likely as the likeliest; 0: all. Nguyen et al. 2024, arXiv 2407.01082.
    public var minP: Float = 0
    /// Divides positive logits, and multiplies negative ones, of every token in prompt and text; 1: off.
    /// Keskar et al. 2019, arXiv 1909.05858.
    public var repetitionPenalty: Float = 1
    /// Subtracted once from the logit of a token that was generated before.
    public var presencePenalty: Float = 0
    /// Subtracted from the logit for every time that the token was generated before.
    public var frequencyPenalty: Float = 0
    /// Added to the logits of these tokens; `-infinity` forbids one.
    public var logitBias: [Int32: Float] = [:]
    /// The random numbers' seed: the same seed gives the same text.
    public var seed: UInt64 = 0
    /// Texts before which to stop. They are not part of the result.
    public var stop: [String] = []
    /// Tokens at which to stop, beside the model's own.
    public var stopTokens: Set<Int32> = []
    /// Go on past the model's end-of-text tokens.
    public var ignoreEOS = false
    /// How many alternatives to report for every token; nil: no log probabilities.
    public var logprobs: Int?
    /// The same for the tokens of the prompt: see ``GenerationEvent/prompt(_:)``. Such a prompt is computed whole, whatever is cached
    /// of it, and in slices of at most 128 tokens.
    public var promptLogprobs: Int?

    public init() {}

    /// - Throws: ``RequestError`` for a value that makes no sense.
    package func validate(vocabularySize: Int) throws {
        func check(_ isFine: Bool, _ problem: String) throws { if !isFine { throw RequestError(problem) } }
        try check(maxTokens >= 0, "max tokens must not be negative, found \(maxTokens)")
        try check(minTokens >= 0, "min tokens must not be negative, found \(minTokens)")
        try check(temperature >= 0 && temperature.isFinite, "temperature must be 0 or more, found \(temperature)")
        try check(topK >= 0, "top-k must not be negative, found \(topK)")
        try check(topP > 0 && topP <= 1, "top-p must be above 0 and at most 1, found \(topP)")
        try check(minP >= 0 && minP <= 1, "min-p must be from 0 to 1, found \(minP)")
        try check(
            repetitionPenalty > 0 && repetitionPenalty.isFinite,
            "repetition penalty must be above 0, found \(repetitionPenalty)")
        try check(presencePenalty.isFinite && frequencyPenalty.isFinite, "penalties must be finite")
        for count in [logprobs, promptLogprobs] {
            try check((0...100).contains(count ?? 0), "log probabilities are given for 0 to 100 alternatives")
        }
        for (token, bias) in logitBias {
            try check(
                token >= 0 && Int(token) < vocabularySize,
                "logit bias for token \(token), but the vocabulary has \(vocabularySize)")
            try check(!bias.isNaN, "logit bias of token \(token) is not a number")
        }
        try check(stop.allSatisfy { !$0.isEmpty }, "a stop text must not be empty")
    }
}

/// One token's natural-log probability under the model (before temperature and penalties), and the likeliest alternatives.
public struct TokenLogprobs: Sendable, Equatable, Encodable {
    public struct Entry: Sendable, Equatable, Encodable {
        public let token: Int32
        public let text: String
        public let logprob: Float
    }

    public let chosen: Entry
    /// Likeliest first.
    public let top: [Entry]
}
