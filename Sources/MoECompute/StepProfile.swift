// SPDX-License-Identifier: Apache-2.0

/// Where the time of a step goes. The stages of a step follow one another on the thread that runs it, so one clock is enough: each
/// stage's end is a lap, and what passed since the lap before is that stage's.
package final class StepProfile {
    /// The stages of a forward pass, in its order.
    package enum Stage: String, CaseIterable, Sendable {
        case embedding, norms
        case queryKeyValue = "q, k, v"
        case rotary
        case cacheStore = "cache store"
        case attention
        case attentionOutput = "attention output"
        case residual = "residual adds"
        case routerProduct = "router product"
        case routing
        case dispatch
        case gateUp = "gate and up"
        case down
        case combine
        case shared = "shared expert"
        case observers
        case dense = "dense FFN"
        case head
        /// What is not between two laps of one step: scheduling, sampling, text.
        case outside = "outside the model"
    }

    package struct Entry: Sendable {
        package var seconds = 0.0
        /// Of weights that the stage's products read.
        package var weightBytes = 0
    }

    /// By ``Stage``'s order.
    package private(set) var entries = [Entry](repeating: Entry(), count: Stage.allCases.count)
    package private(set) var steps = 0
    private let clock = ContinuousClock()
    private var last: ContinuousClock.Instant
    private var lastBytes = 0

    /// Steps of prompts are counted, or all others.
    private let ofPrompts: Bool
    /// Whether the step under way, and the one before it, are counted.
    private var isCounted = false

    package init(ofPrompts: Bool) {
        self.ofPrompts = ofPrompts
        last = clock.now
    }

    /// The beginning of a step. What passed since the last lap was outside, between two steps that are counted.
    package func begin(prompt: Bool, weightBytes: Int) {
        if isCounted, prompt == ofPrompts { lap(.outside, weightBytes: weightBytes) }
        isCounted = prompt == ofPrompts
        last = clock.now
        lastBytes = weightBytes
        if isCounted { steps += 1 }
    }

    /// The end of a stage.
    package func lap(_ stage: Stage, weightBytes: Int) {
        if !isCounted { return }
        let (now, index) = (clock.now, stage.index)
        entries[index].seconds += (now - last) / .seconds(1)
        entries[index].weightBytes += weightBytes - lastBytes
        last = now
        lastBytes = weightBytes
    }
}

extension StepProfile.Stage {
    fileprivate var index: Int { Self.allCases.firstIndex(of: self)! }
}
