// SPDX-License-Identifier: Apache-2.0

public import MoEGrammar
public import MoEModel

/// What one request asks for.
public struct GenerationOptions: Sendable {
    public var sampling: SamplingOptions
    public var routing: RoutingChoice
    /// Whether tokens are drafted and checked several at a time. Changes speed only, never what is said.
    public var speculation = Speculation.off
    /// What the text must be; nil: anything. A text that reaches `maxTokens`, or a stop text, ends before it is complete.
    public var grammar: Grammar?
    /// Whether the text has the names of special tokens in it, as `<|channel|>`, which it otherwise leaves out: who takes answers
    /// apart needs them. Never that of a token that ends a generation.
    public var namesSpecialTokens = false
    /// The most expert evaluations, (token, layer, expert) triples, that the request may cost, prompt and generated text together;
    /// nil: no bound. Never exceeded: `usage.moe.expertEvaluations` stays at or below it. Tokens get fewer experts to stay within it,
    /// and the text ends (`length`, ``BudgetUsage/isExhausted``) when not even one expert per layer is left for another token.
    ///
    /// What a budget makes of a text depends on the request alone, not on what is cached or who else runs: a prompt is charged at
    /// its worst case. docs/routing.md has the rules and an example. A request whose prompt costs more with one expert per
    /// layer is refused; so are speculation and batch policies together with a budget. Without effect on a dense model.
    public var budget: Int?
    /// Cheaper policies for generated tokens, in order, the last the cheapest that the request accepts: what it runs under while
    /// the engine is under pressure (``LLM/setPressure(_:)``). Empty: pressure does not concern it.
    ///
    /// > Important: With fallbacks a text depends on the load, and the same request may give another one next time.
    /// > ``GenerationResult/Usage/degradedTokens`` tells whether it happened: at 0 the text is that of a quiet engine.
    public var fallbacks: [any RoutingPolicy] = []
    /// Sees how every token of this request is routed, beside the statistics of ``GenerationResult/usage``.
    public var observer: (any RoutingObserver)?
    /// Told once, by the engine, what a request has cost that had begun and did not come to its end: it was cancelled, or it failed.
    package var unfinished: (@Sendable (GenerationResult.Usage) -> Void)?
    /// Where the prompt's hidden states go; nil: nowhere. Such a request generates nothing.
    var hidden: HiddenPool?

    public init(sampling: SamplingOptions = SamplingOptions(), routing: RoutingChoice = RoutingChoice()) {
        self.sampling = sampling
        self.routing = routing
    }
}

/// How many experts each token gets, for the prompt and for what is generated apart.
public struct RoutingChoice: Sendable {
    /// nil: the model's own, as ``NativeRouting``.
    public var prefill: (any RoutingPolicy)?
    public var decode: (any RoutingPolicy)?

    public init(prefill: (any RoutingPolicy)? = nil, decode: (any RoutingPolicy)? = nil) {
        self.prefill = prefill
        self.decode = decode
    }

    /// One policy for both.
    public init(_ policy: any RoutingPolicy) { self.init(prefill: policy, decode: policy) }

    package func policy(for phase: ForwardPhase) -> any RoutingPolicy {
        switch phase {
        case .prefill: prefill ?? StaticRouting()
        case .decode: decode ?? StaticRouting()
        }
    }
}

/// What a generation tells while it runs.
public enum GenerationEvent: Sendable {
    /// Where ``SamplingOptions/promptLogprobs`` asks for it, once and before the first token: element i says how likely token i of the
    /// prompt was after those before it. Nothing comes before the first, so element 0 is nil.
    case prompt([TokenLogprobs?])
    case token(GeneratedToken)
    /// Text that was held back (it might have begun a stop text, or a character) and turns out to belong to the result.
    case text(String)
    /// The last event.
    case finished(GenerationResult)
}

public struct GeneratedToken: Sendable {
    public let id: Int32
    /// The text that became certain with this token: whole characters only, and nothing that may belong to a stop text. May be
    /// empty, or belong to earlier tokens.
    public let text: String
    public let logprobs: TokenLogprobs?
    /// Experts per layer that ran to predict it; for the first token the mean over the prompt's last step. nil for a dense model.
    public let meanExperts: Double?
}

public enum FinishReason: String, Sendable, Encodable {
    /// An end-of-text token, a stop token or a stop text, or a grammar's text is complete and nothing may follow.
    case stop
    /// `maxTokens`, the end of the context, or of the request's budget.
    case length
}

public struct GenerationResult: Sendable {
    public struct Usage: Sendable, Equatable {
        public let promptTokens: Int
        /// Of these, how many were computed for an earlier request that began alike.
        public let cachedTokens: Int
        public let completionTokens: Int
        /// nil for a dense model.
        public let moe: MoEUsage?
        /// The model's time for it: of steps that it shared with others, its share by the weights that it used.
        public let modelSeconds: Double
        /// nil unless the request asked for it.
        public let speculation: SpeculationUsage?
        /// nil unless the request has one.
        public let budget: BudgetUsage?
        /// Generated tokens that ran under one of the request's fallbacks.
        public let degradedTokens: Int
    }

    public struct Timings: Sendable, Equatable {
        /// From the first step to the first token.
        public let promptSeconds: Double
        /// From the first token to the last.
        public let generationSeconds: Double
        /// Of the tokens that were not cached.
        public let promptTokensPerSecond: Double
        /// Of the tokens after the first; 0 when there are none.
        public let generationTokensPerSecond: Double
    }

    public let text: String
    /// Without the end-of-text token.
    public let tokens: [Int32]
    public let finishReason: FinishReason
    /// Which of the request's stop texts ended it; nil: none.
    public let stopText: String?
    public let logprobs: [TokenLogprobs]
    /// Of ``GenerationEvent/prompt(_:)``; empty where nobody asked.
    public let promptLogprobs: [TokenLogprobs?]
    /// ``GeneratedToken/meanExperts`` by token; empty for a dense model.
    public let tokenExperts: [Double]
    public let usage: Usage
    public let timings: Timings
    /// By MoE layer; empty for a dense model.
    public let layers: [LayerRouting]
}
