// SPDX-License-Identifier: Apache-2.0

import MoEModel
import Synchronization

/// What an engine is doing and has done since its model was loaded: for metrics, a heat map, and a ``LoadController``.
public struct EngineSnapshot: Sendable {
    public struct Blocks: Sendable, Equatable {
        public let total: Int
        /// Nobody uses them; those that hold a prefix among them.
        public let free: Int
        /// Nobody uses them, and they hold a prefix that the next request may find.
        public let cached: Int
        public let positionsPerBlock: Int
    }

    public struct Requests: Sendable, Equatable {
        public let submitted: Int
        /// With a result.
        public let finished: Int
        /// Their listener left.
        public let cancelled: Int
        /// With an error, those that could not be served at all among them.
        public let failed: Int
    }

    /// Steps in which at least one sequence decoded: what lies between two tokens of a stream, sampling included.
    public struct StepTimes: Sendable, Equatable {
        /// Upper bounds of ``counts`` in seconds; the last count is of what is longer than all.
        public static let bounds = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10]

        /// Seconds of the last 256, ascending.
        public let recent: [Double]
        /// Since the start, by bucket; not cumulative. ``bounds`` and one more.
        public let counts: [Int]
        /// Since the start.
        public let totalSeconds: Double

        package init(recent: [Double], counts: [Int], totalSeconds: Double) {
            self.recent = recent
            self.counts = counts
            self.totalSeconds = totalSeconds
        }

        /// Seconds within which this share of the recent steps was done, by the nearest rank; nil when there was none.
        ///
        /// Example: of `[0.01, 0.02, 0.03, 0.9]` the share 0.5 is 0.02 and the share 0.99 is 0.9.
        public func quantile(_ share: Double) -> Double? {
            if recent.isEmpty { return nil }
            let rank = (share * Double(recent.count)).rounded(.up)
            return recent[min(max(Int(rank) - 1, 0), recent.count - 1)]
        }
    }

    /// One MoE layer.
    public struct LayerLoad: Sendable, Equatable {
        public let layer: Int
        /// Tokens that the layer ran, since the start.
        public let tokens: Int
        /// Element e: tokens that expert e was computed for, since the start.
        public let load: [Int]
        /// The same, every token counting half as much after 10 seconds: what is going on now. 0 when the engine has been idle.
        public let recent: [Double]
    }

    /// Seconds since the model was loaded.
    public let uptime: Double
    public let running: Int
    /// Requests that hold no blocks: those not yet begun, and those that were preempted.
    public let waiting: Int
    /// How long the oldest request has waited that is not yet begun; 0 when there is none.
    public let oldestWaitingSeconds: Double
    public let blocks: Blocks
    public let preemptions: Int
    public let requests: Requests
    /// Prompt tokens that were computed, without replays after a preemption; and those that were found computed.
    public let promptTokens: Int
    public let cachedTokens: Int
    public let generatedTokens: Int
    /// Of these, how many ran under a fallback (``GenerationOptions/fallbacks``).
    public let degradedTokens: Int
    public let steps: Int
    /// Of whatever kind it was; 0 before the first.
    public let lastStepSeconds: Double
    /// Between two tokens of a stream, on average over about the last second in which somebody decoded; nil before the first.
    public let tokenSeconds: Double?
    public let stepTimes: StepTimes
    /// Empty for a dense model, and before the first step.
    public let layers: [LayerLoad]
    /// Element k: (token, layer) pairs that ran k experts, since the start.
    public let histogram: [Int]
    /// As set by ``LLM/setPressure(_:)``.
    public let pressure: Int

    /// Experts per token and layer since the start; nil for a dense model, and before the first step.
    public var meanExperts: Double? {
        let pairs = histogram.reduce(0, +)
        return pairs == 0
            ? nil : Double(histogram.enumerated().reduce(0) { $0 + $1.offset * $1.element }) / Double(pairs)
    }
}

extension GenerationOptions {
    /// Puts a cap on all policies of the request, its fallbacks among them: ``CappedRouting``.
    public mutating func capExperts(at maximum: Int) {
        func capped(_ policy: (any RoutingPolicy)?) -> any RoutingPolicy {
            CappedRouting(policy ?? NativeRouting(), maximum: maximum)
        }
        routing = RoutingChoice(prefill: capped(routing.prefill), decode: capped(routing.decode))
        fallbacks = fallbacks.map { CappedRouting($0, maximum: maximum) }
    }
}

extension LLM {
    /// What the engine is doing. Never waits for a step: the figures are those of the end of the last one.
    public func snapshot() async -> EngineSnapshot { engine.figures.snapshot }

    /// Says how far requests that allow it (``GenerationOptions/fallbacks``) are to go down: 0, not at all; n, every generated
    /// token from the next step on runs under the request's n-th fallback, or its last. Prompts are not affected, nor are requests
    /// without fallbacks.
    public func setPressure(_ level: Int) async {
        engine.figures.pressure.store(max(0, level), ordering: .relaxed)
    }
}
