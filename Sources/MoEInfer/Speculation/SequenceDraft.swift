// SPDX-License-Identifier: Apache-2.0

import MoEModel

/// The drafts of one sequence, step by step: plan, draft, check.
final class SequenceDraft {
    private let source: Speculation.Source
    private var length: DraftLength
    /// Of the step under way.
    private(set) var tokens: [Int32] = []
    /// How the row of each drafted token was routed.
    private var records: [RoutingRecord] = []
    /// What was computed in vain.
    let waste = RoutingStatistics()
    private var steps = 0
    private var drafted = 0
    private var accepted = 0

    /// nil: `speculation` is off.
    init?(_ speculation: Speculation) {
        if speculation.isOff { return nil }
        source = speculation.source
        length = DraftLength(maximum: speculation.maximum, cost: speculation.cost)
        tokens.reserveCapacity(speculation.maximum)
    }

    /// How the model drafts; nil where it does not.
    var routing: (any RoutingPolicy)? { if case .model(let policy) = source { policy } else { nil } }

    /// - Returns: how many tokens to make room for, at most `limit`. Those of a ``TextDrafter`` are drafted now.
    func plan(after sequence: [Int32], limit: Int) -> Int {
        tokens.removeAll(keepingCapacity: true)
        let count = min(length.next(), limit)
        guard count > 0 else { return 0 }
        switch source {
        case .none: return 0
        case .text(let drafter): drafter.draft(count, after: sequence, into: &tokens)
        case .model: return count
        }
        return tokens.count
    }

    func append(_ token: Int32) { tokens.append(token) }

    /// There was room for this many only.
    func truncate(to count: Int) { if tokens.count > count { tokens.removeLast(tokens.count - count) } }

    /// The observer of a drafted token's row.
    func record(_ index: Int) -> RoutingRecord {
        while records.count <= index { records.append(RoutingRecord()) }
        records[index].removeAll()
        return records[index]
    }

    /// The row of a drafted token counts: its routing is the sequence's own.
    func accept(_ index: Int, observer: any RoutingObserver) { records[index].replay(to: observer) }

    /// The step is over; the first `count` drafted tokens were accepted.
    func finishStep(accepted count: Int) {
        steps += 1
        if tokens.isEmpty { return }
        for index in count..<tokens.count { records[index].replay(to: waste) }
        length.checked(drafted: tokens.count, accepted: count)
        drafted += tokens.count
        accepted += count
    }

    var usage: SpeculationUsage {
        SpeculationUsage(steps: steps, drafted: drafted, accepted: accepted, moe: waste.usage)
    }
}
