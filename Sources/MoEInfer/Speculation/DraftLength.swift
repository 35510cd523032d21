// SPDX-License-Identifier: Apache-2.0

/// How many tokens to draft next, from how earlier drafts fared: never from time, so that a run can be repeated.
///
/// With n drafted tokens a step gives 1 + chance + chance² + … + chanceⁿ tokens on average and takes 1 + n · cost steps' time: of
/// all n the one with the best ratio. With a cost of 0.5 that is 8 of 8 at a chance of 0.99, 3 at 0.9, 1 at 0.7 and none below
/// 0.5. Where none pays, one token is tried after 1, 2, 4 … 64 steps.
///
/// Drafts that are right come in runs: a text copies or it does not. So the chance is kept apart for drafts that follow one that
/// was right to its end, and those are at least twice as long as the one before.
package struct DraftLength {
    private let maximum: Int
    private let cost: Float
    /// That the next drafted token is right, given that those before it are: averages that forget. After a draft with a wrong
    /// token, and after one without.
    private var (afterWrong, afterRight) = (Float(0.8), Float(0.8))
    private let memory: Float = 0.8
    private var isRun = true
    /// The length of the last draft.
    private var last = 0
    private var pause = 1
    private var waiting = 0

    package init(maximum: Int, cost: Float) {
        self.maximum = maximum
        self.cost = cost
    }

    private var chance: Float {
        get { isRun ? afterRight : afterWrong }
        set { if isRun { afterRight = newValue } else { afterWrong = newValue } }
    }

    /// Asked once a step.
    package mutating func next() -> Int {
        if cost == 0 { return maximum }
        if waiting > 0 {
            waiting -= 1
            return 0
        }
        var length = 0
        var (reach, tokens, time, best) = (Float(1), Float(1), Float(1), Float(1))
        while length < maximum {
            reach *= chance
            tokens += reach
            time += cost
            // Past its top the ratio only falls.
            if tokens / time <= best { break }
            best = tokens / time
            length += 1
        }
        if isRun, length > 0 { length = max(length, min(2 * last, maximum)) }
        return max(length, min(1, maximum))
    }

    /// - Parameters:
    ///   - drafted: at least 1.
    ///   - accepted: how many of the first were right; the one after them was wrong, if there is one.
    package mutating func checked(drafted: Int, accepted: Int) {
        for _ in 0..<accepted { chance = memory * chance + (1 - memory) }
        if accepted < drafted { chance *= memory }
        isRun = accepted == drafted
        last = drafted
        if chance > cost {
            pause = 1
        } else {
            waiting = pause
            pause = min(2 * pause, 64)
        }
    }
}
