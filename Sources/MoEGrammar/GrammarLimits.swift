// SPDX-License-Identifier: Apache-2.0

import Synchronization

/// What keeps a hostile grammar from taking more than its share of memory and time.
enum GrammarLimits {
    /// Bytes of a grammar or a schema.
    static let text = 1 << 20
    /// Parentheses within parentheses.
    static let nesting = 100
    /// Rules, written and made.
    static let rules = 20_000
    /// Nodes of all rules together, before and after they are made deterministic.
    static let nodes = 400_000
    /// Nodes up to which a repetition is written out; beyond it is counted.
    static let expansion = 256
    /// The most that a repetition may count to.
    static let repetitions = Int(Int32.max) / 2
    /// Nodes up to which a rule without a loop becomes a part of the rules that name it, and with one.
    static let inlining = 96
    static let loopInlining = 8
    /// Calls within calls of a text under way. Deeper ones do not fit.
    static let depth = 4096
    /// Places in the grammar at which a text may be at once.
    static let places = 8192
    /// Steps for one token mask.
    static let work = 5_000_000
    /// Alternatives of one schema, with all its allOf and anyOf multiplied out.
    static let alternatives = 512
    /// States of a pattern's automaton.
    static let patternStates = 4000
}

/// Memory that automata share: each keeps its part of states, contexts and masks, and begins anew where that is full. As many grammars
/// as there are requests take no more than one.
package final class GrammarMemory: Sendable {
    private let total: Int
    private let users = Atomic(0)

    /// - Parameter total: bytes.
    package init(total: Int = 96 << 20) { self.total = total }

    var share: Int { total / max(1, users.load(ordering: .relaxed)) }
    func enter() { users.add(1, ordering: .relaxed) }
    func leave() { users.subtract(1, ordering: .relaxed) }
}
