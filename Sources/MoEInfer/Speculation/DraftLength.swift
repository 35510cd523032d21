// SPDX-License-Identifier: Apache-2.0

/// How many tokens to draft next, from how earlier drafts fared: never from time, so that a run can be repeated.
///
/// A draft's n-th token is worth checking while the chance that it and all before it are right, chance^n, is at least its cost.
/// With a cost of 0.4, a chance of 0.9 gives drafts of 8 tokens, 0.7 of 2, 0.3 none. Where none pays, one token is tried after
/// 1, 2, 4 … 64 steps.
package struct DraftLength {
    private let maximum: Int
    private let cost: Float
    /// That the next drafted token is right, given that those before it are: an average that forgets.
    private var chance: Float = 0.8
    private let memory: Float = 0.8
    private var pause = 1
    private var waiting = 0

    package init(maximum: Int, cost: Float) {
        self.maximum = maximum
        self.cost = cost
    }

    /// Asked once a step.
    package mutating func next() -> Int {
        if waiting > 0 {
            waiting -= 1
            return 0
        }
        var length = 0
        var holds = chance
        while length < maximum, holds >= cost {
            length += 1
            holds *= chance
        }
        return max(length, min(1, maximum))
    }

    /// - Parameters:
    ///   - drafted: at least 1.
    ///   - accepted: how many of the first were right; the one after them was wrong, if there is one.
    package mutating func checked(drafted: Int, accepted: Int) {
        for _ in 0..<accepted { chance = memory * chance + (1 - memory) }
        if accepted < drafted { chance *= memory }
        if chance >= cost {
            pause = 1
        } else {
            waiting = pause
            pause = min(2 * pause, 64)
        }
    }
}
