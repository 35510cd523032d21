// SPDX-License-Identifier: Apache-2.0

import MoEGrammar
import MoEModel
import MoETokenizer
import Synchronization

/// Requests to tokens: schedule -> run -> sample -> emit, one step after the other, on a thread of its own so that a long
/// step never blocks the cooperative pool.
package actor Engine {
    private let thread: EngineExecutor
    package nonisolated var unownedExecutor: UnownedSerialExecutor { thread.asUnownedSerialExecutor() }

    private let runner: ModelRunner
    /// nil: sequences of ids only.
    private let tokenizer: Tokenizer?
    /// Positions that one sequence may have.
    private let contextLength: Int
    private var scheduler: Scheduler
    private var sequences: [Int: Sequence] = [:]
    private var nextID = 0
    private var isRunning = false
    /// The most sequences that shared a step.
    package private(set) var largestBatch = 0
    private let scratch = SamplingScratch()
    private let raw = LogitsCopy()
    private var grammars = GrammarCache()
    /// Of the step under way; its memory is kept.
    private var batch = ForwardBatch()
    private var slices: [Scheduler.Slice] = []
    private var draftBatch = ForwardBatch()
    private var policies = PolicyNumbers()
    private let costs: ExpertCosts
    private let shares: StepShares
    /// By slice of the step under way.
    private var weights: [Double] = []
    /// Of the step under way.
    private var work = EngineFigures.Work()
    private var pressure = 0
    nonisolated let figures: EngineFigures
    private var pace = StepPace()
    /// As it was set; nil: what the pace says.
    private let rowsBesideDecoding: Int?

    /// - Throws: ``ResourceError`` when the engine's thread cannot be started.
    init(
        runner: sending ModelRunner, tokenizer: Tokenizer?, limits: Scheduler.Limits, rowsBesideDecoding: Int?,
        contextLength: Int
    ) throws {
        let pool = runner.context.pool
        thread = try EngineExecutor { pool.placeCaller() }
        let blocks = BlockManager(blockCount: runner.cache.blockCount, blockSize: runner.cache.blockSize)
        let configuration = runner.model.configuration
        scheduler = Scheduler(limits: limits, blocks: blocks)
        self.runner = runner
        self.tokenizer = tokenizer
        self.rowsBesideDecoding = rowsBesideDecoding
        self.contextLength = contextLength
        costs = ExpertCosts(configuration)
        shares = StepShares(configuration)
        figures = EngineFigures(blockCount: blocks.blockCount, blockSize: blocks.blockSize)
    }

    /// Blocks not in use, and blocks in all: for tests and statistics.
    package var blockCounts: (free: Int, total: Int) { (scheduler.blocks.freeCount, scheduler.blocks.blockCount) }
    /// Whether no request is under way and every block is free.
    package var isEmpty: Bool { scheduler.isIdle && blockCounts.free == blockCounts.total }
    package var preemptions: Int { scheduler.preemptions }

    /// Whether a request is still wanted. Made with its stream, so that a listener who leaves before the engine has seen the
    /// request is not missed.
    final class Ticket: Sendable {
        private let cancelled = Atomic(false)
        var isCancelled: Bool { cancelled.load(ordering: .acquiring) }
        func cancel() { cancelled.store(true, ordering: .releasing) }
    }

    /// Queues a request. Its events go to the continuation.
    /// - Parameter trie: the vocabulary, for a request with a grammar.
    func submit(
        _ prompt: [Int32], options: GenerationOptions, trie: TokenTrie?, ticket: Ticket,
        to continuation: Sequence.Stream.Continuation
    ) {
        work.submitted += 1
        defer { noteChange() }
        if ticket.isCancelled {
            work.cancelled += 1
            return
        }
        var constraint: GrammarConstraint?
        let (limit, routing): (Int, SequenceRouting)
        do {
            try check(prompt, options: options)
            limit = options.hidden == nil ? min(options.sampling.maxTokens, contextLength - prompt.count) : 0
            routing = try SequenceRouting(options, promptCount: prompt.count, limit: limit, costs: costs)
            if let grammar = options.grammar, let trie {
                constraint = GrammarConstraint(
                    try grammars.automaton(grammar, trie: trie), mayEnd: !options.sampling.ignoreEOS)
            }
        } catch {
            work.failed += 1
            continuation.finish(throwing: error)
            return
        }
        let id = nextID
        nextID += 1
        let sequence = Sequence(
            id: id, prompt: prompt, options: options, limit: limit, constraint: constraint, tokenizer: tokenizer,
            ticket: ticket, continuation: continuation, routing: routing,
            routingNumbers: (
                policies.number(of: routing.prefill), policies.number(of: options.routing.policy(for: .decode))
            ), engineObserver: figures)
        let rows = sequence.rowsToRun
        if rows == 0 {
            work.finished += 1
            sequence.tellPrompt()
            sequence.finish(.length)
            return
        }
        sequences[id] = sequence
        scheduler.add(id: id, promptCount: rows, sliceLimit: sequence.promptSliceLimit)
        start()
    }

    private func check(_ prompt: [Int32], options: GenerationOptions) throws {
        try options.sampling.validate(vocabularySize: runner.vocabularySize)
        guard !prompt.isEmpty else { throw RequestError("the prompt has no tokens") }
        guard prompt.count <= contextLength else {
            throw RequestError(
                "the prompt has \(prompt.count) tokens, but the context holds \(contextLength)"
                    + " (the model's: \(runner.model.configuration.contextLength))")
        }
        if let token = prompt.first(where: { $0 < 0 || Int($0) >= runner.vocabularySize }) {
            throw RequestError("token \(token) of the prompt is not in the vocabulary of \(runner.vocabularySize)")
        }
    }

    /// Frees the blocks of every request whose listener has gone.
    func collectCancelled() {
        for (id, sequence) in sequences where sequence.ticket.isCancelled {
            sequences[id] = nil
            scheduler.remove(id: id, content: sequence.content)
            sequence.tellUnfinished()
            work.cancelled += 1
        }
        noteChange()
    }

    /// Tells the figures what changed between steps.
    private func noteChange() {
        figures.note(work, counts: counts)
        work = EngineFigures.Work()
    }

    private var counts: EngineFigures.Counts {
        var counts = EngineFigures.Counts(
            running: scheduler.runningCount, waiting: scheduler.waitingCount, free: scheduler.blocks.freeCount,
            idle: scheduler.blocks.idleCount, preemptions: scheduler.preemptions)
        if counts.waiting > 0 {
            for sequence in sequences.values where !sequence.hasStarted {
                counts.oldestWaiting = min(counts.oldestWaiting ?? sequence.submitted, sequence.submitted)
            }
        }
        return counts
    }

    /// Runs work of another kind (logits, perplexity, measurements) between steps.
    func exclusively<Result: Sendable>(_ body: @Sendable (ModelRunner) throws -> Result) throws -> Result {
        try body(runner)
    }

    // MARK: The loop

    private func start() {
        if isRunning { return }
        isRunning = true
        Task { await loop() }
    }

    private func loop() async {
        while !scheduler.isIdle {
            step()
            // Lets submissions and cancellations in.
            await Task.yield()
        }
        isRunning = false
    }

    private func step() {
        collectCancelled()
        let start = ContinuousClock.now
        pressure = figures.pressure.load(ordering: .relaxed)
        // Nobody's observers and policies stay behind.
        defer {
            batch.reset()
            draftBatch.reset()
            slices.removeAll(keepingCapacity: true)
        }
        let decoders = scheduler.decodingCount
        scheduler.rowsBesideDecoding =
            rowsBesideDecoding
            ?? pace.rows(
                decoding: decoders, prompts: scheduler.runningCount - decoders + scheduler.waitingCount,
                most: scheduler.limits.chunk)
        scheduler.schedule(into: &slices) {
            sequences[$0]?.planDraft() ?? 0
        } content: {
            sequences[$0]?.content
        }
        if slices.isEmpty { return }
        largestBatch = max(largestBatch, slices.count)
        figures.beginStep(at: start)
        do {
            try draft(slices)
            try run(slices)
        } catch {
            runApart(slices, error: error)
        }
        let decoding = slices.contains { $0.phase == .decode }
        figures.endStep(
            seconds: (ContinuousClock.now - start) / .seconds(1), decoding: decoding, work: work, counts: counts)
        work = EngineFigures.Work()
    }

    /// A step that failed, once more for each sequence alone and without drafts: whoever it fails for is the one that ends. Rows
    /// that were computed are computed again at the same positions, and what their routers told is counted again.
    private func runApart(_ slices: [Scheduler.Slice], error: any Error) {
        for slice in slices {
            guard let sequence = sequences[slice.id] else { continue }
            do {
                if slices.count == 1, slice.drafts == 0 { throw error }
                sequence.draft?.truncate(to: 0)
                batch.reset()
                try run([slice])
            } catch {
                fail(sequence, error)
            }
        }
    }

    private func fail(_ sequence: Sequence, _ error: any Error) {
        sequences[sequence.id] = nil
        scheduler.remove(id: sequence.id)
        work.failed += 1
        sequence.tellUnfinished()
        sequence.continuation.finish(throwing: error)
    }

    /// Computes the rows of some sequences and lets them choose their tokens.
    /// - Throws: what the model throws, before any sequence has changed.
    private func run(_ slices: [Scheduler.Slice]) throws {
        fillBatch(slices)
        // What each slice has evaluated is known afterwards: from here on.
        weights.removeAll(keepingCapacity: true)
        for slice in slices { weights.append(-Double(evaluations(slice))) }
        let (logits, seconds) = try runner.run(batch)
        var totalWeight = 0.0
        for (index, slice) in slices.enumerated() {
            guard let sequence = sequences[slice.id] else { continue }
            let drafted = sequence.draft?.tokens.count ?? 0
            weights[index] = shares.weight(
                rows: slice.range.count, logits: sequence.wanted(of: slice).logits.count,
                evaluations: evaluations(slice) + Int(weights[index]))
            // Drafted rows count as the row before them.
            totalWeight += weights[index] * (1 + Double(drafted) / Double(slice.range.count))
        }
        let promptRows = slices.reduce(0) { $0 + ($1.phase == .prefill ? $1.range.count : 0) }
        pace.record(decoding: slices.count { $0.phase == .decode }, prompt: promptRows, seconds: seconds)

        let width = runner.vocabularySize
        var (row, hiddenRow) = (0, 0)
        for (index, slice) in slices.enumerated() {
            guard let sequence = sequences[slice.id] else { continue }
            let drafted = sequence.draft?.tokens.count ?? 0
            let share = seconds * weights[index] / totalWeight
            let secondsPerRow = share / Double(slice.range.count)
            if !slice.isReplay {
                sequence.statistics.addForward(seconds: share)
                if slice.phase == .prefill { work.promptTokens += slice.range.count }
            }
            let wanted = sequence.wanted(of: slice)
            let rows = UnsafeMutableBufferPointer(
                rebasing: logits[row * width..<(row + wanted.logits.count + drafted) * width])
            let hidden = UnsafeBufferPointer(
                rebasing: runner.hidden[
                    hiddenRow * runner.hiddenSize..<(hiddenRow + wanted.hidden.count) * runner.hiddenSize])
            row += wanted.logits.count + drafted
            hiddenRow += wanted.hidden.count
            let read = wanted.read.count * width
            let (generated, degraded) = (sequence.generatedCount, sequence.degradedTokens)
            let outcome = Result { () -> (Int, FinishReason?) in
                try sequence.readPrompt(
                    wanted, start: slice.range.lowerBound, logits: UnsafeBufferPointer(rebasing: rows[..<read]),
                    hidden: hidden, scratch: scratch, check: runner.check)
                guard slice.samples else { return (0, nil) }
                if sequence.limit == 0 { return (0, .length) }
                return try sequence.advance(
                    rows: UnsafeMutableBufferPointer(rebasing: rows[read...]), width: width, scratch: scratch, raw: raw,
                    check: runner.check)
            }
            if case .success(let (accepted, reason)) = outcome {
                if !slice.samples { continue }
                if slice.phase == .decode { sequence.finishStep(accepted: accepted, secondsPerRow: secondsPerRow) }
                work.generatedTokens += sequence.generatedCount - generated
                work.degradedTokens += sequence.degradedTokens - degraded
                if reason == nil {
                    scheduler.append(id: slice.id, accepted: accepted)
                    continue
                }
            }
            switch outcome {
            case .success(let (_, reason)):
                sequences[slice.id] = nil
                scheduler.remove(id: slice.id, content: sequence.content)
                work.finished += 1
                sequence.finish(reason ?? .stop)
            case .failure(let error): fail(sequence, error)
            }
        }
    }

    private func evaluations(_ slice: Scheduler.Slice) -> Int {
        sequences[slice.id]?.statistics.evaluations.evaluations ?? 0
    }

    /// Lets those sequences draft that do so with the model, and takes from the others what there is no room for.
    private func draft(_ slices: [Scheduler.Slice]) throws {
        var drafts = ModelDrafts(runner: runner, scratch: scratch)
        for slice in slices {
            guard let sequence = sequences[slice.id], let draft = sequence.draft else { continue }
            draft.truncate(to: slice.drafts)
            if slice.drafts > 0, draft.routing != nil { drafts.add(sequence, slice) }
        }
        try drafts.run(&draftBatch)
    }

    /// The rows of all slices. A drafted token's row is a slice of its own: it takes the paths and gets the experts that it would
    /// alone, so that its bits are those of a step without drafts.
    private func fillBatch(_ slices: [Scheduler.Slice]) {
        for slice in slices {
            guard let sequence = sequences[slice.id] else { continue }
            if !sequence.hasStarted { work.cachedTokens += slice.range.lowerBound }
            sequence.begin(cached: slice.range.lowerBound)
            let degraded = sequence.degradedTokens
            let routing = sequence.policy(for: slice, pressure: pressure)
            work.degradedTokens += sequence.degradedTokens - degraded
            let (wanted, tokens) = (sequence.wanted(of: slice), sequence.tokens)
            batch.append(
                tokens: tokens.span.extracting(slice.range), firstPosition: slice.range.lowerBound,
                blockTable: slice.blockTable,
                phase: slice.phase, routing: routing, observer: slice.isReplay ? nil : sequence.observer,
                logits: wanted.logits, hidden: wanted.hidden)
            guard let draft = sequence.draft else { continue }
            for (index, token) in draft.tokens.enumerated() {
                batch.append(
                    token: token, position: slice.range.upperBound + index, blockTable: slice.blockTable, phase: .decode,
                    routing: routing, observer: draft.record(index), continuesPrevious: true)
            }
        }
    }
}
