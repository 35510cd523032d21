// SPDX-License-Identifier: Apache-2.0

/// Whether a slice continues a prompt or extends it by what was sampled. The two choose products and policies apart.
public enum ForwardPhase: String, Sendable, Codable {
    case prefill
    case decode
}

/// One step's work for the model: the rows of all sequences one after the other (ragged; no padding).
///
/// Legend: T rows (tokens) of this step.
package struct ForwardBatch: Sendable {
    /// The rows of one sequence.
    package struct Slice: Sendable {
        /// First row in the batch, and how many.
        package var start: Int
        package var count: Int
        /// Position of the first row in its sequence; row i has position `firstPosition + i`.
        package var firstPosition: Int
        /// Physical blocks of the sequence's KV cache, enough for `firstPosition + count` positions.
        package var blockTable: [Int32]
        package var phase: ForwardPhase
        /// How many experts each of these tokens gets.
        package var routing: any RoutingPolicy
        /// Where the counts of this sequence go; nil: nowhere.
        package let observer: (any RoutingObserver)?
        /// The same, where it asks for the experts' own outputs: found once a step, not once a layer.
        package let outputObserver: (any ExpertOutputObserver)?
        /// Whether the first row comes right after the last row of the slice before, in the same sequence. Such slices attend
        /// together, and are apart in everything that depends on a slice's length: drafts that are verified, a row each.
        package let continuesPrevious: Bool

        package init(
            start: Int, count: Int, firstPosition: Int, blockTable: [Int32], phase: ForwardPhase,
            routing: any RoutingPolicy, observer: (any RoutingObserver)? = nil, continuesPrevious: Bool = false
        ) {
            self.start = start
            self.count = count
            self.firstPosition = firstPosition
            self.blockTable = blockTable
            self.phase = phase
            self.routing = routing
            self.observer = observer
            outputObserver = observer as? any ExpertOutputObserver
            self.continuesPrevious = continuesPrevious
        }
    }

    /// [T]
    package var tokens: [Int32] = []
    /// [T]
    package var positions: [Int32] = []
    package var slices: [Slice] = []
    /// Rows whose logits are wanted, ascending. The head is computed for these only.
    package var logitRows: [Int32] = []
    /// Rows whose hidden states after the output norm are wanted, ascending.
    package var hiddenRows: [Int32] = []

    package init() {}

    package var count: Int { tokens.count }

    /// Takes everything out and keeps the memory: a decode loop fills one batch again and again, and allocates nothing.
    package mutating func reset() {
        tokens.removeAll(keepingCapacity: true)
        positions.removeAll(keepingCapacity: true)
        slices.removeAll(keepingCapacity: true)
        logitRows.removeAll(keepingCapacity: true)
        hiddenRows.removeAll(keepingCapacity: true)
    }

    /// Appends the next rows of a sequence.
    /// - Parameters:
    ///   - logits: which of the new rows need logits, counted from 0.
    ///   - hidden: the same for hidden states.
    ///   - continuesPrevious: see ``Slice/continuesPrevious``; `blockTable` is then that of the slice before.
    package mutating func append(
        tokens newTokens: Span<Int32>, firstPosition: Int, blockTable: [Int32], phase: ForwardPhase,
        routing: any RoutingPolicy, observer: (any RoutingObserver)? = nil, logits: Range<Int>,
        hidden: Range<Int> = 0..<0, continuesPrevious: Bool = false
    ) {
        let start = tokens.count
        for row in newTokens.indices {
            tokens.append(newTokens[row])
            positions.append(Int32(firstPosition + row))
        }
        for row in logits { logitRows.append(Int32(start + row)) }
        for row in hidden { hiddenRows.append(Int32(start + row)) }
        slices.append(
            Slice(
                start: start, count: newTokens.count, firstPosition: firstPosition, blockTable: blockTable, phase: phase,
                routing: routing, observer: observer, continuesPrevious: continuesPrevious))
    }

    /// The same for one token, whose logits are wanted.
    package mutating func append(
        token: Int32, position: Int, blockTable: [Int32], phase: ForwardPhase, routing: any RoutingPolicy,
        observer: (any RoutingObserver)? = nil, continuesPrevious: Bool = false
    ) {
        let one = CollectionOfOne(token)
        append(
            tokens: one.span, firstPosition: position, blockTable: blockTable, phase: phase, routing: routing,
            observer: observer, logits: 0..<1, continuesPrevious: continuesPrevious)
    }
}

extension ForwardBatch {
    /// What the last layer's experts and the head need: the rows whose logits or hidden states are wanted, and all rows of a slice
    /// whose observer wants every token. The other rows have left their keys and values in the last attention, and nobody reads more
    /// of them.
    ///
    /// Decided slice by slice, never by what else is in the step. Example: of a prompt's 512 rows one is wanted; of a chunk in the
    /// middle of a prompt, none.
    ///
    /// - Returns: these rows as a batch of their own, and where they stand in this one; nil: all rows are needed.
    package func wanted() -> (batch: ForwardBatch, rows: [Range<Int>])? {
        if logitRows.count == count || hiddenRows.count == count { return nil }
        var (rest, rows) = (ForwardBatch(), [Range<Int>]())
        var next = (logits: 0, hidden: 0)
        for slice in slices {
            let whole = slice.start..<slice.start + slice.count
            let logits = Self.rows(logitRows, below: whole.upperBound, from: &next.logits)
            let hidden = Self.rows(hiddenRows, below: whole.upperBound, from: &next.hidden)
            var range = whole
            if !(slice.observer?.needsEveryToken ?? false) {
                let ends = [logits.first, logits.last, hidden.first, hidden.last].compactMap { $0.map(Int.init) }
                guard let first = ends.min(), let last = ends.max() else { continue }
                range = first..<last + 1
            }
            rows.append(range)
            let start = rest.count
            rest.append(
                tokens: tokens.span.extracting(range),
                firstPosition: slice.firstPosition + range.lowerBound - slice.start, blockTable: slice.blockTable,
                phase: slice.phase, routing: slice.routing, observer: slice.observer, logits: 0..<0)
            rest.logitRows.append(contentsOf: logits.map { Int32(start + Int($0) - range.lowerBound) })
            rest.hiddenRows.append(contentsOf: hidden.map { Int32(start + Int($0) - range.lowerBound) })
        }
        return rest.count == count ? nil : (rest, rows)
    }

    /// The rows from `next` on that are below a limit.
    private static func rows(_ all: [Int32], below limit: Int, from next: inout Int) -> ArraySlice<Int32> {
        let first = next
        while next < all.count, Int(all[next]) < limit { next += 1 }
        return all[first..<next]
    }
}
