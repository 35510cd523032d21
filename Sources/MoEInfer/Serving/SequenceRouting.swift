// SPDX-License-Identifier: Apache-2.0

import MoEModel

/// By which policies one sequence's tokens are routed: those that its request asks for, under the caps of its budget, and cheaper ones
/// while the engine is under pressure. What was chosen for a generated token is kept, so that a replay after a preemption routes
/// it alike.
///
/// The budget's arithmetic. Legend: B the budget, P tokens of the prompt, N tokens that may be generated, C(k) the most evaluations
/// of a token under cap k (``ExpertCosts``), C(1) with one expert per layer. Of N generated tokens N - 1 are computed: the last one
/// is only chosen.
///
/// - **Prompt**: charged P · C(k_p), whatever of it others have computed already, and whatever the policy leaves out. k_p is the
///   largest cap with P · C(k_p) + (N - 1) · C(1) ≤ B; where there is none, k_p = 1 and fewer tokens are generated.
///   P · C(1) > B is an error: the first token could not be paid.
/// - **Every generated token** is charged what it cost, as counted. Before it is computed, r evaluations are left and m tokens
///   after it may follow: its cap is the largest k with C(k) + m · C(1) ≤ r; where there is none, 1. When r < C(1), the sequence
///   ends.
///
/// Example: 4 layers, k = 8, so C(k) = 4k; P = 10, N = 6, B = 200. The 5 tokens to compute need 5 · 4 = 20 at least, so
/// k_p = 4: 10 · 16 = 160 ≤ 180 (k = 5 would be 200). 40 are left. First token: 4 follow (16), so C(k) ≤ 24 and k = 6. Say the policy
/// takes 14: 26 are left, 3 follow, C(k) ≤ 14 and k = 3. It takes 12: 14 left, 2 follow, k = 1; it takes 4: 10 left, 1 follows, k = 1;
/// 6 left, none follows, k = 1. In all 198. With B = 55 the prompt runs at k = 1 (40), then 3 tokens of 4 each; 3 are left, and the
/// text ends after 4 tokens. B = 39 is refused.
struct SequenceRouting {
    /// What a generated token was routed by.
    private struct Choice {
        /// 0: the request's own policy; n: its n-th fallback.
        let level: UInt8
        let cap: Int32
    }

    private struct Budget {
        let total: Int
        let promptCap: Int
        let promptCharge: Int
        /// C(1), of whichever policy it is highest.
        let one: Int
        /// Evaluations of generated tokens so far.
        var spent = 0
        var isExhausted = false
        var left: Int { total - promptCharge - spent }
    }

    static let maximumFallbacks = 16

    /// Of the prompt.
    let prefill: any RoutingPolicy
    /// Of generated tokens: the request's own, then its fallbacks.
    private var decode: [CappedPolicies]
    private var budget: Budget?
    /// By generated token that was computed; empty where there is nothing to choose.
    private var choices: [Choice] = []
    private let limit: Int
    private(set) var degradedTokens = 0
    /// Whether any generated token was routed otherwise than by the request's own policy: nobody else may use its keys and values.
    private(set) var isAltered = false

    /// - Parameter limit: N
    /// - Throws: ``RequestError`` when the budget does not hold the prompt.
    init(_ options: GenerationOptions, promptCount: Int, limit: Int, costs: ExpertCosts) throws {
        self.limit = limit
        let own = options.routing.policy(for: .decode)
        decode = ([own] + options.fallbacks).map { CappedPolicies($0, costs: costs) }
        guard let total = options.budget else {
            prefill = options.routing.policy(for: .prefill)
            return
        }
        var prompt = CappedPolicies(options.routing.policy(for: .prefill), costs: costs)
        let least = promptCount * prompt.costs[prompt.minimum]
        guard least <= total else {
            throw RequestError(
                "a budget of \(total) expert evaluations is too small: the prompt alone needs \(least)"
                    + " (\(promptCount) tokens with one expert in each of \(costs.layerCount) layers)")
        }
        let one = decode.map { $0.costs[$0.minimum] }.max() ?? 0
        let cap = prompt.cap(within: max(0, total - max(0, limit - 1) * one) / promptCount)
        prefill = prompt.policy(cap: cap)
        budget = Budget(total: total, promptCap: cap, promptCharge: promptCount * prompt.costs[cap], one: one)
    }

    /// The policy of the generated token `index`, from 0; chosen when it is asked for the first time.
    /// - Parameter pressure: how many fallbacks to go down, as far as there are any.
    mutating func policy(ofGenerated index: Int, pressure: Int) -> any RoutingPolicy {
        if budget == nil, decode.count == 1 { return decode[0].policy(cap: .max) }
        if index < choices.count {
            let choice = choices[index]
            return decode[Int(choice.level)].policy(cap: Int(choice.cap))
        }
        let level = min(max(pressure, 0), decode.count - 1)
        var cap = decode[level].maximum
        if let budget {
            let following = max(0, limit - 2 - index)
            cap = decode[level].cap(within: budget.left - following * budget.one)
        }
        add(Choice(level: UInt8(level), cap: Int32(clamping: cap)))
        return decode[level].policy(cap: cap)
    }

    /// Drafted tokens that were computed with the last one, as it was, and turned out right.
    mutating func accept(drafts count: Int) {
        guard let last = choices.last else { return }
        for _ in 0..<count { add(last) }
    }

    private mutating func add(_ choice: Choice) {
        choices.append(choice)
        if choice.level > 0 { degradedTokens += 1 }
        if choice.level > 0 || Int(choice.cap) < decode[Int(choice.level)].maximum { isAltered = true }
    }

    /// - Parameter evaluations: what all generated tokens have cost so far, as counted.
    /// - Returns: whether another token can be paid.
    mutating func charge(evaluations: Int) -> Bool {
        guard var budget else { return true }
        budget.spent = evaluations
        defer { self.budget = budget }
        return budget.left >= budget.one
    }

    /// The sequence ends because of its budget.
    mutating func exhaust() { budget?.isExhausted = true }

    var usage: BudgetUsage? {
        budget.map {
            BudgetUsage(
                budget: $0.total, promptMaximum: $0.promptCap, charged: $0.promptCharge + $0.spent,
                isExhausted: $0.isExhausted)
        }
    }
}

/// What became of a request's budget.
public struct BudgetUsage: Sendable, Equatable, Encodable {
    /// Expert evaluations that the request might cost.
    public let budget: Int
    /// The most experts per layer that tokens of the prompt got.
    public let promptMaximum: Int
    /// The prompt at its worst case, whatever of it was cached, and the generated tokens as counted: never above ``budget``.
    public let charged: Int
    /// Whether the text ended because not one expert per layer was left for another token. Its ``FinishReason`` is `length`.
    public let isExhausted: Bool

    enum CodingKeys: String, CodingKey {
        case budget
        case promptMaximum = "prompt_max_experts"
        case charged
        case isExhausted = "exhausted"
    }

    package init(budget: Int, promptMaximum: Int, charged: Int, isExhausted: Bool) {
        self.budget = budget
        self.promptMaximum = promptMaximum
        self.charged = charged
        self.isExhausted = isExhausted
    }
}

extension LLM {
    /// What of a request's compute cannot be, beyond its policies.
    /// - Parameter options: with its routing as checked for this model.
    /// - Returns: its fallbacks, ready for this model.
    /// - Throws: ``RequestError``
    func checkCompute(_ options: GenerationOptions) throws -> [any RoutingPolicy] {
        if let budget = options.budget {
            guard budget >= 0 else { throw RequestError("a budget of \(budget) expert evaluations; expected 0 or more") }
            if !options.speculation.isOff {
                throw RequestError(
                    "a budget counts every expert evaluation, and drafts that turn out wrong cost some: turn speculation off"
                )
            }
            if options.routing.prefill?.batchPolicy != nil || options.routing.decode?.batchPolicy != nil {
                throw RequestError(
                    "a budget needs a policy that routes each token by itself: what a union costs depends on the batch")
            }
        }
        guard options.fallbacks.count <= SequenceRouting.maximumFallbacks else {
            throw RequestError(
                "\(options.fallbacks.count) fallbacks; expected at most \(SequenceRouting.maximumFallbacks)")
        }
        return try options.fallbacks.map {
            let policy = try check(policy: $0)
            if policy.batchPolicy != nil {
                throw RequestError("a fallback must route each token by itself, not by the batch's union")
            }
            return policy
        }
    }
}
