// SPDX-License-Identifier: Apache-2.0

import MoEModel
import MoETokenizer

/// One request under way: its tokens, its text, and whoever listens. Belongs to the engine.
final class Sequence {
    typealias Stream = AsyncThrowingStream<GenerationEvent, any Error>

    let id: Int
    let promptCount: Int
    /// Prompt and generated.
    private(set) var tokens: [Int32]
    let options: GenerationOptions
    let ticket: Engine.Ticket
    let statistics: RoutingStatistics
    /// The statistics, and whoever else the request named.
    let observer: any RoutingObserver
    /// nil: one token a step.
    let draft: SequenceDraft?
    let continuation: Stream.Continuation
    private let routingNumbers: (prefill: Int?, decode: Int?)
    private var routing: SequenceRouting
    /// When the engine got it.
    let submitted = ContinuousClock.now
    private var cachedCount = 0
    /// Tokens after which the sequence must end: `maxTokens`, or what the context still holds.
    let limit: Int
    /// nil: nothing of the prompt's rows but the first token.
    var reading: PromptReading?
    /// By token of the prompt, as far as they are read; empty where nobody asked.
    var promptLogprobs: [TokenLogprobs?] = []
    var promptIsTold = false
    private var sampler: Sampler
    /// nil: the text is free.
    private let constraint: GrammarConstraint?
    private let tokenizer: Tokenizer?
    private var decoder: StreamingDecoder?
    private var stops: StopMatcher
    private var text = ""
    private var logprobs: [TokenLogprobs] = []
    private var tokenExperts: [Double] = []
    /// What the statistics had counted when the last token was chosen.
    private var counted = (evaluations: 0, tokenLayers: 0)
    /// Evaluations of the prompt.
    private var promptEvaluations = 0
    private var stopTextFound = false
    private var started: ContinuousClock.Instant?
    private var firstToken: ContinuousClock.Instant?
    private var lastToken: ContinuousClock.Instant?

    init(
        id: Int, prompt: [Int32], options: GenerationOptions, limit: Int, constraint: GrammarConstraint?,
        tokenizer: Tokenizer?, ticket: Engine.Ticket, continuation: Stream.Continuation,
        routing: SequenceRouting, routingNumbers: (prefill: Int?, decode: Int?), engineObserver: any RoutingObserver
    ) {
        self.id = id
        self.routing = routing
        self.routingNumbers = routingNumbers
        promptCount = prompt.count
        tokens = prompt
        self.options = options
        self.ticket = ticket
        let statistics = options.hidden?.statistics ?? RoutingStatistics(everyToken: false)
        self.statistics = statistics
        let pair = ObserverPair(first: statistics, second: engineObserver)
        observer = options.observer.map { ObserverPair(first: pair, second: $0) } ?? pair
        draft = SequenceDraft(options.speculation)
        self.limit = limit
        reading = PromptReading(options, promptCount: prompt.count)
        if case .logprobs = reading?.target { promptLogprobs.append(nil) }
        self.constraint = constraint
        self.continuation = continuation
        sampler = Sampler(options: options.sampling, prompt: prompt)
        self.tokenizer = tokenizer
        decoder = tokenizer.map { StreamingDecoder($0, skipSpecial: !options.namesSpecialTokens) }
        stops = StopMatcher(options.sampling.stop)
    }

    var generatedCount: Int { tokens.count - promptCount }

    var hasStarted: Bool { started != nil }

    /// A token's text, as log probabilities name it.
    func display(_ token: Int32) -> String { tokenizer?.display(token) ?? "" }

    /// - Parameter cached: positions that were computed for others.
    func begin(cached: Int) {
        guard started == nil else { return }
        started = .now
        cachedCount = cached
    }

    /// By what a slice is routed.
    func policy(for slice: Scheduler.Slice, pressure: Int) -> any RoutingPolicy {
        if slice.phase == .prefill { return routing.prefill }
        return routing.policy(ofGenerated: slice.range.lowerBound - promptCount, pressure: pressure)
    }

    var degradedTokens: Int { routing.degradedTokens }

    /// What its blocks hold.
    var content: Scheduler.Content {
        // Texts for vectors come once: they would only push out what others come back to.
        let numbers: (prefill: Int?, decode: Int?) = options.hidden == nil ? routingNumbers : (nil, nil)
        return Scheduler.Content(
            tokens: tokens, routing: (numbers.prefill, routing.isAltered ? nil : numbers.decode), adopts: adoptsBlocks)
    }

    /// Chooses the next token from `[vocabulary]` logits and tells the listener.
    /// - Returns: nil to go on, or why the sequence ends.
    /// - Throws: ``GrammarError`` or ``RequestError`` when no token fits the grammar.
    func advance(
        _ logits: UnsafeMutableBufferPointer<Float>, scratch: SamplingScratch, raw: LogitsCopy
    ) throws -> FinishReason? {
        if let constraint, try !constraint.prepare() { return .stop }
        let wanted = options.sampling.logprobs
        if wanted != nil { raw.keep(UnsafeBufferPointer(logits)) }
        forbidEnd(logits)
        let token = sampler.sample(logits, mask: constraint?.mask, scratch: scratch)
        if constraint != nil, logits[Int(token)] == -.infinity {
            throw RequestError("the logit bias forbids every token that fits the grammar")
        }
        let now = ContinuousClock.now
        if firstToken == nil {
            firstToken = now
            promptEvaluations = statistics.evaluations.evaluations
        }
        lastToken = now

        let sampling = options.sampling
        if sampling.stopTokens.contains(token)
            || (!sampling.ignoreEOS && tokenizer?.endOfGeneration.contains(token) == true)
        {
            return .stop
        }
        try constraint?.accept(token)
        tokens.append(token)
        let entry = wanted.map {
            TokenLogprobs(
                of: token, in: raw.values, alternatives: $0, scratch: scratch, text: display)
        }
        if let entry { logprobs.append(entry) }
        let experts = experts()
        if let experts { tokenExperts.append(experts) }
        let (new, stopped) = stops.append(decoder?.append(token) ?? "")
        text += new
        continuation.yield(.token(GeneratedToken(id: token, text: new, logprobs: entry, meanExperts: experts)))
        if stopped {
            stopTextFound = true
            return .stop
        }
        if constraint?.isOver == true { return .stop }
        if generatedCount >= limit { return .length }
        if !routing.charge(evaluations: counted.evaluations - promptEvaluations) {
            routing.exhaust()
            return .length
        }
        return nil
    }

    /// Makes tokens impossible that would end the text too early.
    private func forbidEnd(_ logits: UnsafeMutableBufferPointer<Float>) {
        guard generatedCount < options.sampling.minTokens else { return }
        for token in options.sampling.stopTokens where logits.indices.contains(Int(token)) {
            logits[Int(token)] = -.infinity
        }
        for token in tokenizer?.endOfGeneration ?? [] where logits.indices.contains(Int(token)) {
            logits[Int(token)] = -.infinity
        }
    }

    // MARK: Drafts

    /// How many tokens to draft in the step that computes the last token. The step's own token comes after them, so no draft
    /// reaches the limit.
    func planDraft() -> Int { draft?.plan(after: tokens, limit: limit - generatedCount - 1) ?? 0 }

    /// Until ``endDraft()``, tokens are drawn for a draft: each with the draw that will be its own.
    func beginDraft() {
        sampler.beginDraft()
        constraint?.beginDraft()
    }

    func endDraft() {
        sampler.endDraft()
        constraint?.endDraft()
    }

    /// Adds what the sequence would choose from these logits.
    func extendDraft(from logits: UnsafeMutableBufferPointer<Float>, scratch: SamplingScratch) {
        let token = sampler.sample(logits, mask: constraint?.draftMask(), scratch: scratch)
        constraint?.extendDraft(token)
        draft?.append(token)
    }

    /// Chooses tokens from the rows of a step: of the last token and of those drafted after it. A row counts while the token
    /// chosen before it is the one that was drafted.
    /// - Parameters:
    ///   - rows: `[1 + drafts, vocabulary]`
    ///   - check: throws for a row that is not made of numbers; asked for the rows that count.
    /// - Returns: how many drafted tokens were accepted, and why the sequence ends; nil to go on.
    func advance(
        rows: UnsafeMutableBufferPointer<Float>, width: Int, scratch: SamplingScratch, raw: LogitsCopy,
        check: (UnsafeBufferPointer<Float>) throws -> Void
    ) throws -> (accepted: Int, reason: FinishReason?) {
        var (accepted, reason) = (0, FinishReason?.none)
        while true {
            let row = UnsafeMutableBufferPointer(rebasing: rows[accepted * width..<(accepted + 1) * width])
            try check(UnsafeBufferPointer(row))
            reason = try advance(row, scratch: scratch, raw: raw)
            guard reason == nil, let draft, accepted < draft.tokens.count, draft.tokens[accepted] == tokens.last else {
                break
            }
            draft.accept(accepted, observer: observer)
            accepted += 1
        }
        return (accepted, reason)
    }

    /// - Parameter secondsPerRow: of the step's time, what one row stands for.
    func finishStep(accepted: Int, secondsPerRow: Double) {
        guard let draft else { return }
        routing.accept(drafts: accepted)
        statistics.addForward(seconds: secondsPerRow * Double(accepted))
        draft.waste.addForward(seconds: secondsPerRow * Double(draft.tokens.count - accepted))
        draft.finishStep(accepted: accepted)
    }

    /// Experts per token and layer since it was last asked.
    private func experts() -> Double? {
        let now = statistics.evaluations
        defer { counted = now }
        let pairs = now.tokenLayers - counted.tokenLayers
        return pairs > 0 ? Double(now.evaluations - counted.evaluations) / Double(pairs) : nil
    }

    func finish(_ reason: FinishReason) {
        // Anything but a stop text lets out what was held back.
        if !stopTextFound {
            let (rest, _) = stops.append(decoder?.finish() ?? "")
            let held = rest + stops.finish()
            if !held.isEmpty {
                text += held
                continuation.yield(.text(held))
            }
        }
        continuation.yield(.finished(result(reason)))
        continuation.finish()
    }

    func tellUnfinished() {
        if hasStarted { options.unfinished?(usage) }
    }

    private var usage: GenerationResult.Usage {
        .init(
            promptTokens: promptCount, cachedTokens: cachedCount, completionTokens: generatedCount,
            moe: statistics.usage, modelSeconds: statistics.modelSeconds,
            speculation: draft?.usage, budget: routing.usage, degradedTokens: routing.degradedTokens)
    }

    private func result(_ reason: FinishReason) -> GenerationResult {
        func seconds(_ from: ContinuousClock.Instant?, _ to: ContinuousClock.Instant?) -> Double {
            guard let from, let to else { return 0 }
            return (to - from) / .seconds(1)
        }
        // Without a token, the prompt's time ends here.
        let (prompt, generation) = (seconds(started, firstToken ?? .now), seconds(firstToken, lastToken))
        // The last token's as well, whatever ended the text.
        if firstToken != nil { _ = routing.charge(evaluations: statistics.evaluations.evaluations - promptEvaluations) }
        return GenerationResult(
            text: text, tokens: Array(tokens[promptCount...]), finishReason: reason, stopText: stops.found,
            logprobs: logprobs,
            promptLogprobs: promptLogprobs, tokenExperts: tokenExperts,
            usage: usage,
            timings: .init(
                promptSeconds: prompt, generationSeconds: generation,
                promptTokensPerSecond: prompt > 0 ? Double(promptCount - cachedCount) / prompt : 0,
                generationTokensPerSecond: generation > 0 ? Double(max(0, generatedCount - 1)) / generation : 0),
            layers: statistics.layers)
    }
}

/// The model's own logits of one row, kept aside before penalties change them.
final class LogitsCopy {
    private var memory = UnsafeMutableBufferPointer<Float>(start: nil, count: 0)

    deinit { memory.deallocate() }

    var values: UnsafeBufferPointer<Float> { UnsafeBufferPointer(memory) }

    func keep(_ logits: UnsafeBufferPointer<Float>) {
        if memory.count != logits.count {
            memory.deallocate()
            memory = .allocate(capacity: logits.count)
        }
        _ = memory.update(from: logits)
    }
}

/// Two observers of one sequence.
private final class ObserverPair: RoutingObserver {
    private let first: any RoutingObserver
    private let second: any RoutingObserver

    init(first: any RoutingObserver, second: any RoutingObserver) {
        self.first = first
        self.second = second
    }

    var needsEveryToken: Bool { first.needsEveryToken || second.needsEveryToken }

    func observe(_ event: borrowing RoutingEvent) {
        first.observe(event)
        second.observe(event)
    }
}
