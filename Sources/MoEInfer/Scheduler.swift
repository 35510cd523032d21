// SPDX-License-Identifier: Apache-2.0

package import MoEModel

/// Which rows run next: a pure state machine over token counts. It knows neither tokens nor models.
///
/// ```
/// add ──> waiting ──schedule──> running ──schedule──> … ──remove
///            ^                     │
///            └──── preemption ─────┘   the youngest gives its blocks back and starts over
/// ```
///
/// Rules that keep a sequence's bits independent of its neighbours:
/// - Where a row's bits depend on its slice, a prompt is cut at fixed multiples of the chunk size, never by what else is in the step;
///   after a preemption it runs in the same chunks.
/// - Where they do not (``Limits/isRowwise``), it is cut as suits those who decode in the same step (``rowsBesideDecoding``), a
///   number that may come from a clock: where a prompt is cut changes when its tokens come, never which.
/// - After a preemption what was generated is replayed token by token, as it ran before. No slice has both replayed and new rows.
/// - A sequence that begins as an earlier one did takes over that one's blocks (``BlockManager``), whole chunks of it where a row's
///   bits depend on its slice's length (``Limits/sharing``).
///
/// A sequence may draft: guess tokens that are computed in the same step as the one they follow. Drafts take blocks that nobody
/// else wants in this step, positions count as computed only when they are accepted, and the blocks of the others go back at once.
package struct Scheduler: Sendable {
    package struct Limits: Sendable, Equatable {
        /// Sequences that run together.
        package var sequences: Int
        /// Prompt tokens of one slice, and of a step: the bound on how long prompts hold up the tokens of others.
        package var chunk: Int
        /// Whether a row's bits do not depend on the slice that it is computed in: prompts may be cut anywhere.
        package var isRowwise: Bool
        /// What sequences share of a common beginning; nil: nothing.
        package var sharing: Sharing?

        package init(sequences: Int, chunk: Int, isRowwise: Bool = false, sharing: Sharing? = nil) {
            self.sequences = sequences
            self.chunk = chunk
            self.isRowwise = isRowwise || sharing == .blocks
            self.sharing = sharing
        }
    }

    /// What a sequence's blocks hold, for others to find.
    package struct Content {
        /// Prompt and generated.
        package var tokens: [Int32]
        /// Numbers of the policies that route its prompt and what it generates; nil: one that nobody shares.
        package var routing: (prefill: Int?, decode: Int?)
        /// Whether it may take over blocks of others. Not where somebody wants to see every token of it being computed.
        package var adopts: Bool

        package init(tokens: [Int32], routing: (prefill: Int?, decode: Int?), adopts: Bool = true) {
            self.tokens = tokens
            self.routing = routing
            self.adopts = adopts
        }
    }

    /// One sequence's rows in the next step.
    package struct Slice: Sendable, Equatable {
        package let id: Int
        /// Positions to compute.
        package let range: Range<Int>
        package let phase: ForwardPhase
        package fileprivate(set) var blockTable: [Int32]
        /// Whether these positions were computed before and are computed again after a preemption.
        package let isReplay: Bool
        /// Whether the last row's logits choose a new token. Not while a preempted sequence is replayed.
        package let samples: Bool
        /// Positions after `range` that the block table has room for and drafted tokens may take: at most what was asked for.
        package fileprivate(set) var drafts = 0
    }

    private struct Entry: Sendable {
        let id: Int
        let promptCount: Int
        /// Prompt tokens of one slice: the limits' chunk or less.
        let chunk: Int
        /// Prompt and generated.
        var tokenCount: Int
        /// Positions in the cache.
        var computed = 0
        /// The most positions that were ever in the cache.
        var reached = 0
        var blockTable: [Int32] = []
        /// Of the block table, how many blocks others can find, and the last one's node.
        var published = (count: 0, node: PrefixCache.root)
        /// Positions after `computed` that the step under way may compute.
        var drafts = 0
    }

    /// In what units sequences share their beginnings.
    package enum Sharing: Sendable, Equatable {
        /// Any full block: a row's bits do not depend on the slice that it was computed in.
        case blocks
        /// A prompt's whole chunks: what the other sequence would have computed itself. A chunk is a whole number of blocks.
        case chunks
    }

    package let limits: Limits
    /// Prompt tokens of a step in which a sequence decodes, where prompts may be cut anywhere; nil: as in other steps.
    package var rowsBesideDecoding: Int?
    package private(set) var blocks: BlockManager
    /// First come, first served; the preempted stand before the new.
    private var waiting: [Entry] = []
    /// Oldest first.
    private var running: [Entry] = []
    package private(set) var preemptions = 0

    package init(limits: Limits, blocks: BlockManager) {
        self.limits = limits
        self.blocks = blocks
    }

    package var isIdle: Bool { waiting.isEmpty && running.isEmpty }
    package var runningCount: Int { running.count }
    package var waitingCount: Int { waiting.count }
    /// Running sequences whose prompt is computed.
    package var decodingCount: Int { running.count { $0.computed >= $0.promptCount } }

    /// - Parameter sliceLimit: the most prompt tokens of one slice of this sequence, where it wants fewer than the others.
    /// - Precondition: `promptCount` is at least 1 and the whole sequence fits in the cache.
    package mutating func add(id: Int, promptCount: Int, sliceLimit: Int? = nil) {
        precondition(promptCount > 0 && blocks.blocks(forPositions: promptCount) <= blocks.blockCount)
        waiting.append(
            Entry(
                id: id, promptCount: promptCount, chunk: min(limits.chunk, sliceLimit ?? .max), tokenCount: promptCount))
    }

    /// Takes a sequence out, running or waiting, and its blocks back at once.
    /// - Parameter content: nil when what the last step computed does not count.
    package mutating func remove(id: Int, content: Content? = nil) {
        waiting.removeAll { $0.id == id }
        if let index = running.firstIndex(where: { $0.id == id }) {
            if let content { publish(index, content) }
            blocks.release(&running[index].blockTable)
            running.remove(at: index)
        }
    }

    /// A token was sampled for this sequence, after `accepted` drafted ones that turned out right.
    package mutating func append(id: Int, accepted: Int = 0) {
        guard let index = running.firstIndex(where: { $0.id == id }) else { return }
        precondition((0...running[index].drafts).contains(accepted), "more was accepted than there was room for")
        running[index].tokenCount += 1 + accepted
        running[index].computed += accepted
        running[index].reached = max(running[index].reached, running[index].computed)
        running[index].drafts = 0
        blocks.shrink(&running[index].blockTable, toPositions: running[index].computed)
    }

    /// The rows of the next step. They count as computed from now on.
    ///
    /// The oldest sequence always gets its blocks, so every call makes progress unless nothing is left to do.
    /// - Parameters:
    ///   - slices: emptied and filled; a caller that keeps it allocates nothing.
    ///   - drafts: how many tokens a sequence would draft; asked of those that decode and sample.
    ///   - content: what a sequence holds; asked when it starts, and when a block of it is full.
    package mutating func schedule(
        into slices: inout [Slice], drafts: (_ id: Int) -> Int = { _ in 0 }, content: (_ id: Int) -> Content? = { _ in nil }
    ) {
        slices.removeAll(keepingCapacity: true)
        if limits.sharing != nil {
            for index in running.indices
            where running[index].computed >= (running[index].published.count + 1) * blocks.blockSize {
                if let content = content(running[index].id) { publish(index, content) }
            }
        }
        var budget = PromptBudget(
            rest: decodingCount == 0 ? limits.chunk : min(limits.chunk, rowsBesideDecoding ?? limits.chunk),
            isRowwise: limits.isRowwise)
        var index = 0
        while index < running.count {
            let isPrefill = running[index].computed < running[index].promptCount
            if running[index].computed == running[index].tokenCount
                || isPrefill && !budget.isOpen(for: running[index], limits)
            {
                index += 1
                continue
            }
            let range = next(running[index], budget)
            guard makeRoom(at: index, toPositions: range.upperBound) else { break }
            slices.append(advance(&running[index], over: range))
            if isPrefill { budget.take(range.count, for: running[index], limits) }
            index += 1
        }
        while running.count < limits.sequences, let first = waiting.first, budget.isOpen(for: first, limits),
            slices.isEmpty || blocks.blocks(forPositions: first.tokenCount + 1) <= blocks.freeCount
        {
            let held = content(first.id)
            if let held, budget.isTouched, othersCompute(beginningOf: first, held, content: content) { break }
            var entry = waiting.removeFirst()
            if let held { adopt(&entry, held) }
            let range = next(entry, budget)
            let grown = blocks.grow(&entry.blockTable, toPositions: range.upperBound)
            precondition(grown, "a sequence alone does not fit in the cache")
            slices.append(advance(&entry, over: range))
            running.append(entry)
            budget.take(range.count, for: entry, limits)
        }
        for index in slices.indices where slices[index].phase == .decode && slices[index].samples {
            let wanted = drafts(slices[index].id)
            if wanted > 0 { addDrafts(wanted, to: &slices[index]) }
        }
    }

    /// Room for drafted tokens, as far as blocks are free.
    private mutating func addDrafts(_ wanted: Int, to slice: inout Slice) {
        guard let index = running.firstIndex(where: { $0.id == slice.id }) else { return }
        let end = slice.range.upperBound
        let count = min(wanted, blocks.reach(of: slice.blockTable) - end)
        let grown = blocks.grow(&running[index].blockTable, toPositions: end + count)
        precondition(grown, "blocks that were free are not")
        running[index].drafts = count
        slice.drafts = count
        slice.blockTable = running[index].blockTable
    }

    /// Blocks for the next rows of `running[index]`, taken from the youngest when none are free.
    /// - Returns: false when the sequence itself was the youngest and had to go.
    private mutating func makeRoom(at index: Int, toPositions positions: Int) -> Bool {
        while !blocks.grow(&running[index].blockTable, toPositions: positions) {
            var youngest = running.removeLast()
            blocks.release(&youngest.blockTable)
            (youngest.computed, youngest.drafts, youngest.published) = (0, 0, (0, PrefixCache.root))
            waiting.insert(youngest, at: 0)
            preemptions += 1
            if index == running.count { return false }
        }
        return true
    }

    // MARK: Common beginnings

    /// Nothing, where a row's bits depend on its slice and this sequence's slices are others.
    private func sharing(of entry: Entry) -> Sharing? {
        limits.sharing == .chunks && entry.chunk != limits.chunk ? nil : limits.sharing
    }

    /// The policy that routed all tokens of a block; nil: none that others could name. A block that has tokens of both phases is
    /// nobody's where their policies differ.
    private func routing(_ content: Content, of entry: Entry, block: Int) -> Int? {
        let isPrompt = (block + 1) * blocks.blockSize <= entry.promptCount
        return isPrompt || content.routing.decode == content.routing.prefill ? content.routing.prefill : nil
    }

    private func tokens(_ content: Content, block: Int) -> ArraySlice<Int32> {
        content.tokens[block * blocks.blockSize..<(block + 1) * blocks.blockSize]
    }

    /// Starts a sequence with what is computed already of its beginning. Its last token is always left to compute.
    private mutating func adopt(_ entry: inout Entry, _ content: Content) {
        guard let sharing = sharing(of: entry), content.adopts, entry.blockTable.isEmpty else { return }
        let unit = sharing == .chunks ? limits.chunk : blocks.blockSize
        let last = sharing == .chunks ? min(entry.promptCount, entry.tokenCount - 1) : entry.tokenCount - 1
        var found = entry.published
        while (found.count + 1) * blocks.blockSize <= last, let routing = routing(content, of: entry, block: found.count),
            let node = blocks.share(
                tokens(content, block: found.count), routing: routing, after: found.node, into: &entry.blockTable)
        {
            found = (found.count + 1, node)
            if (found.count * blocks.blockSize).isMultiple(of: unit) { entry.published = found }
        }
        entry.computed = entry.published.count * blocks.blockSize
        blocks.shrink(&entry.blockTable, toPositions: entry.computed)
    }

    /// Lets others find the blocks that are full by now.
    private mutating func publish(_ index: Int, _ content: Content) {
        guard let sharing = sharing(of: running[index]) else { return }
        var entry = running[index]
        defer { running[index] = entry }
        // Of a prompt's last, shorter slice and of single tokens the bits may be others than of a whole chunk.
        let whole = sharing == .chunks ? entry.promptCount / limits.chunk * limits.chunk : entry.computed
        while (entry.published.count + 1) * blocks.blockSize <= min(entry.computed, whole),
            let routing = routing(content, of: entry, block: entry.published.count)
        {
            let (block, node) = entry.published
            entry.published = (
                block + 1,
                blocks.publish(
                    tokens(content, block: block), routing: routing, after: node, block: entry.blockTable[block])
            )
        }
    }

    /// Whether another sequence is about to compute blocks that this one would compute as well: worth a step's wait.
    private func othersCompute(
        beginningOf entry: Entry, _ content: Content, content other: (_ id: Int) -> Content?
    ) -> Bool {
        guard limits.sharing == .blocks, content.adopts else { return false }
        return running.contains { runner in
            // What is computed so far is published: of a prompt, what is not is being computed.
            guard runner.published.count < min(entry.tokenCount - 1, runner.promptCount) / blocks.blockSize,
                let its = other(runner.id), its.adopts
            else { return false }
            return (0...runner.published.count).allSatisfy { block in
                let number = routing(content, of: entry, block: block)
                return number != nil && number == routing(its, of: runner, block: block)
                    && tokens(content, block: block) == tokens(its, block: block)
            }
        }
    }

    // MARK: Slices

    /// How many prompt tokens a step still takes.
    private struct PromptBudget {
        /// Less than this is not worth a slice beside others.
        private static let least = 8

        private var rest: Int
        private let isRowwise: Bool
        /// Whether the step has a prompt's slice already.
        private(set) var isTouched = false
        /// Rows of sequences that want short slices: together they get no more than one of them alone.
        private var short = 0

        init(rest: Int, isRowwise: Bool) {
            self.rest = rest
            self.isRowwise = isRowwise
        }

        func rows(for entry: Entry, _ limits: Limits) -> Int {
            min(rest, entry.chunk < limits.chunk ? entry.chunk - short : entry.chunk)
        }

        func isOpen(for entry: Entry, _ limits: Limits) -> Bool {
            !isTouched || isRowwise && rows(for: entry, limits) >= Self.least
        }

        mutating func take(_ rows: Int, for entry: Entry, _ limits: Limits) {
            rest -= rows
            if entry.chunk < limits.chunk { short += rows }
            isTouched = true
        }
    }

    private func next(_ entry: Entry, _ budget: PromptBudget) -> Range<Int> {
        let start = entry.computed
        if start >= entry.promptCount { return start..<start + 1 }
        guard limits.isRowwise else {
            return start..<min((start / entry.chunk + 1) * entry.chunk, entry.promptCount)
        }
        // No slice is part replay and part new: who counts rows counts whole slices.
        let limit = start < entry.reached ? min(entry.promptCount, entry.reached) : entry.promptCount
        return start..<min(start + max(1, budget.rows(for: entry, limits)), limit)
    }

    private func advance(_ entry: inout Entry, over range: Range<Int>) -> Slice {
        let phase: ForwardPhase = entry.computed < entry.promptCount ? .prefill : .decode
        let isReplay = range.upperBound <= entry.reached
        entry.computed = range.upperBound
        entry.reached = max(entry.reached, range.upperBound)
        return Slice(
            id: entry.id, range: range, phase: phase, blockTable: entry.blockTable, isReplay: isReplay,
            samples: range.upperBound == entry.tokenCount)
    }
}
