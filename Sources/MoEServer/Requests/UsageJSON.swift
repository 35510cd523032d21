// SPDX-License-Identifier: Apache-2.0

import MoEInfer
import MoEJSON

/// What a request's answers cost together.
struct UsageSummary: Sendable {
    var promptTokens = 0
    var cachedTokens = 0
    var completionTokens = 0
    var reasoningTokens = 0
    var degradedTokens = 0
    var modelSeconds = 0.0
    private var histogram: [Int] = []
    private var evaluations = 0
    private var staticEvaluations = 0.0
    private var bytes = 0
    private var gateSeconds = 0.0
    private var reroutes = 0
    private var hasExperts = false
    let operatingPoint: String
    let budget: Int?

    /// Answers of one request share its prompt, which is counted once, as OpenAI counts it; what it cost is counted as often as it was paid.
    init(_ answers: [AnswerCost], operatingPoint: String, budget: Int?) {
        (self.operatingPoint, self.budget) = (operatingPoint, budget)
        var prompts: Set<Int> = []
        for answer in answers {
            let usage = answer.usage
            if prompts.insert(answer.promptIndex).inserted {
                promptTokens += usage.promptTokens
                cachedTokens += usage.cachedTokens
            }
            completionTokens += usage.completionTokens
            reasoningTokens += answer.reasoningTokens
            degradedTokens += usage.degradedTokens
            modelSeconds += usage.modelSeconds
            guard let moe = usage.moe else { continue }
            hasExperts = true
            if histogram.count < moe.histogram.count {
                histogram += [Int](repeating: 0, count: moe.histogram.count - histogram.count)
            }
            for (k, count) in moe.histogram.enumerated() { histogram[k] += count }
            evaluations += moe.expertEvaluations
            staticEvaluations +=
                moe.savedFraction < 1
                ? Double(moe.expertEvaluations) / (1 - moe.savedFraction) : Double(moe.expertEvaluations)
            bytes += moe.expertBytesRead
            gateSeconds += moe.gateTimeFraction * usage.modelSeconds
            reroutes += moe.reroutes
        }
    }

    var meanExperts: Double? {
        let pairs = histogram.reduce(0, +)
        return pairs > 0 ? Double(evaluations) / Double(pairs) : nil
    }

    var expertEvaluations: Int? { hasExperts ? evaluations : nil }
    var savedFraction: Double? { staticEvaluations > 0 ? 1 - Double(evaluations) / staticEvaluations : nil }

    func moe(cost: Double) -> JSONTree {
        var moe: JSONMembers = [:]
        if hasExperts {
            moe["mean_experts"] = meanExperts.map { .double($0) } ?? .null
            moe["histogram"] = .array(histogram.map { .int($0) })
            moe["expert_evaluations"] = .int(evaluations)
            moe["expert_bytes_read"] = .int(bytes)
            moe["saved_fraction"] = .double(savedFraction ?? 0)
            moe["gate_time_fraction"] = .double(modelSeconds > 0 ? gateSeconds / modelSeconds : 0)
            moe["reroutes"] = .int(reroutes)
        }
        moe["operating_point"] = .string(operatingPoint)
        moe["degraded_tokens"] = .int(degradedTokens)
        moe["budget"] = budget.map { .int($0) }
        moe["cost_usd"] = .double(cost)
        return .object(moe)
    }

    /// In the shape of OpenAI's chat and completions.
    func json(cost: Double) -> JSONTree {
        [
            "prompt_tokens": .int(promptTokens), "completion_tokens": .int(completionTokens),
            "total_tokens": .int(promptTokens + completionTokens),
            "prompt_tokens_details": ["cached_tokens": .int(cachedTokens)],
            "completion_tokens_details": ["reasoning_tokens": .int(reasoningTokens)],
            "moe": moe(cost: cost),
        ]
    }
}

extension ResponseFacts {
    func usage(_ outputs: [Output]) -> UsageSummary {
        usage(outputs.map(\.cost))
    }

    private func usage(_ answers: [AnswerCost]) -> UsageSummary {
        UsageSummary(answers, operatingPoint: request.operatingPoint, budget: request.budget)
    }

    func usageJSON(_ outputs: [Output]) -> JSONTree { usageJSON(outputs.map(\.cost)) }

    func usageJSON(_ answers: [AnswerCost]) -> JSONTree {
        let usage = usage(answers)
        return usage.json(cost: state.cost(modelSeconds: usage.modelSeconds))
    }

    /// In the shape of `usage.moe`.
    func moeJSON(_ usage: UsageSummary) -> JSONTree { usage.moe(cost: state.cost(modelSeconds: usage.modelSeconds)) }

    /// While answers are made: what is known without the engine.
    func usageJSON(tokens: Int) -> JSONTree {
        [
            "prompt_tokens": .int(promptTokens), "completion_tokens": .int(tokens),
            "total_tokens": .int(promptTokens + tokens),
        ]
    }

    /// What a chunk of OpenAI's older streams says beside its choices.
    /// - Parameter tokens: generated so far.
    func addFigures(to json: inout JSONMembers, tokens: Int, experts: Double?) {
        if request.continuousUsage {
            json["usage"] = usageJSON(tokens: tokens)
        } else if request.includesUsage {
            json["usage"] = .null
        }
        if let experts { json["moe"] = ["mean_experts": .double(experts)] }
    }

    /// The end of OpenAI's older streams: usage without a choice, where it was asked for, and the word that they end with.
    func lastEvents(_ outputs: [Output], head: JSONMembers) -> [ServerSentEvent] {
        guard request.includesUsage else { return [.done] }
        var json = head
        json["choices"] = []
        json["usage"] = usageJSON(outputs)
        json["timings"] = timings(outputs)
        return [ServerSentEvent(.object(json)), .done]
    }

    func timings(_ outputs: [Output]) -> JSONTree {
        guard let timings = outputs.first?.generation.timings else { return .null }
        return [
            "prompt_seconds": .double(timings.promptSeconds), "generation_seconds": .double(timings.generationSeconds),
            "prompt_tokens_per_second": .double(timings.promptTokensPerSecond),
            "generation_tokens_per_second": .double(timings.generationTokensPerSecond),
            "queue_seconds": record.snapshot.queueSeconds.map { .double($0) } ?? .null,
        ]
    }

    /// Which version computed this: the same fingerprint, seed and policy give the same tokens.
    static let fingerprint = "moe-infer-" + LLM.engineVersion
}
