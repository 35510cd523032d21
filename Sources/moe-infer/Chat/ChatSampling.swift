// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import MoEInfer

/// How answers are chosen: what is not given follows the model's publisher.
struct ChatSamplingArguments: ParsableArguments {
    @Option(
        name: [.customShort("n"), .long],
        help: "The most tokens of an answer. Default: what the context holds; 256 with --template plain.")
    var maxTokens: Int?

    @Option(
        help: """
            0: always the likeliest token. Default of this and the next four: as the model's files say, and if they say nothing, \
            0.7, top-k 40, top-p 0.95, min-p 0.05.
            """)
    var temperature: Float?

    @Option(help: "Sample among the k likeliest tokens; 0: all.")
    var topK: Int?

    @Option(help: "Sample among the fewest tokens that hold this probability.")
    var topP: Float?

    @Option(help: "Leave out tokens less likely than this share of the likeliest.")
    var minP: Float?

    @Option(help: "Divides the logits of tokens seen before; 1: off.")
    var repetitionPenalty: Float?

    @Option(
        help: "The random numbers' seed; the same seed and words give the same conversation. Default: another each time.")
    var seed: UInt64?

    @Option(help: "End an answer before this text. May be given several times.")
    var stop: [String] = []

    func validate() throws {
        do {
            try apply(to: SamplingOptions()).validate(vocabularySize: .max)
        } catch let error as RequestError {
            throw ValidationError(error.description)
        }
    }

    func apply(to sampling: SamplingOptions) -> SamplingOptions {
        var sampling = sampling
        if let maxTokens { sampling.maxTokens = maxTokens }
        if let temperature { sampling.temperature = temperature }
        if let topK { sampling.topK = topK }
        if let topP { sampling.topP = topP }
        if let minP { sampling.minP = minP }
        if let repetitionPenalty { sampling.repetitionPenalty = repetitionPenalty }
        if let seed { sampling.seed = seed }
        sampling.stop = stop
        return sampling
    }
}

/// What `/set` can change of it, by the options' names.
enum ChatSetting: String, CaseIterable {
    case temperature
    case topK = "top-k"
    case topP = "top-p"
    case minP = "min-p"
    case repetitionPenalty = "repetition-penalty"
    case presencePenalty = "presence-penalty"
    case frequencyPenalty = "frequency-penalty"
    case maxTokens = "max-tokens"
    case seed

    func value(of sampling: SamplingOptions) -> String {
        switch self {
        case .temperature: "\(sampling.temperature)"
        case .topK: "\(sampling.topK)"
        case .topP: "\(sampling.topP)"
        case .minP: "\(sampling.minP)"
        case .repetitionPenalty: "\(sampling.repetitionPenalty)"
        case .presencePenalty: "\(sampling.presencePenalty)"
        case .frequencyPenalty: "\(sampling.frequencyPenalty)"
        case .maxTokens: "\(sampling.maxTokens)"
        case .seed: "\(sampling.seed)"
        }
    }

    /// - Throws: ``InputError`` or ``RequestError`` for a value that cannot be.
    func set(_ text: String, in sampling: inout SamplingOptions) throws {
        func number<Value: LosslessStringConvertible>(_ type: Value.Type = Value.self) throws -> Value {
            guard let value = Value(text) else { throw InputError(description: "\(rawValue): '\(text)' is no such number") }
            return value
        }
        var new = sampling
        switch self {
        case .temperature: new.temperature = try number()
        case .topK: new.topK = try number()
        case .topP: new.topP = try number()
        case .minP: new.minP = try number()
        case .repetitionPenalty: new.repetitionPenalty = try number()
        case .presencePenalty: new.presencePenalty = try number()
        case .frequencyPenalty: new.frequencyPenalty = try number()
        case .maxTokens: new.maxTokens = try number()
        case .seed: new.seed = try number()
        }
        try new.validate(vocabularySize: .max)
        sampling = new
    }
}
