// SPDX-License-Identifier: Apache-2.0

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
    static let work = 30_000_000
    /// Bytes of states, contexts and masks that are kept.
    static let memory = 96 << 20
    /// Alternatives of one schema, with all its allOf and anyOf multiplied out.
    static let alternatives = 512
    /// States of a pattern's automaton.
    static let patternStates = 4000
}
