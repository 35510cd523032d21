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

        package init(
            start: Int, count: Int, firstPosition: Int, blockTable: [Int32], phase: ForwardPhase,
            routing: any RoutingPolicy, observer: (any RoutingObserver)? = nil
        ) {
            self.start = start
            self.count = count
            self.firstPosition = firstPosition
            self.blockTable = blockTable
            self.phase = phase
            self.routing = routing
            self.observer = observer
            outputObserver = observer as? any ExpertOutputObserver
        }
    }

    /// [T]
    package var tokens: [Int32] = []
    /// [T]
    package var positions: [Int32] = []
    package var slices: [Slice] = []
    /// Rows whose logits are wanted, ascending. The head is computed for these only.
    package var logitRows: [Int32] = []

    package init() {}

    package var count: Int { tokens.count }

    /// Takes everything out and keeps the memory: a decode loop fills one batch again and again, and allocates nothing.
    package mutating func reset() {
        tokens.removeAll(keepingCapacity: true)
        positions.removeAll(keepingCapacity: true)
        slices.removeAll(keepingCapacity: true)
        logitRows.removeAll(keepingCapacity: true)
    }

    /// Appends the next rows of a sequence.
    /// - Parameter logits: which of the new rows need logits, counted from 0.
    @inlinable  // so that it is specialised for the caller's collections: boxing them would allocate
    package mutating func append(
        tokens newTokens: some Collection<Int32>, firstPosition: Int, blockTable: [Int32], phase: ForwardPhase,
        routing: any RoutingPolicy, observer: (any RoutingObserver)? = nil, logits: some Sequence<Int>
    ) {
        let start = tokens.count
        for token in newTokens { tokens.append(token) }
        for row in 0..<newTokens.count { positions.append(Int32(firstPosition + row)) }
        for row in logits { logitRows.append(Int32(start + row)) }
        slices.append(
            Slice(
                start: start, count: newTokens.count, firstPosition: firstPosition, blockTable: blockTable, phase: phase,
                routing: routing, observer: observer))
    }
}
