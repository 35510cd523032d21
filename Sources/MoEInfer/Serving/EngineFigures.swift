// SPDX-License-Identifier: Apache-2.0

import Glibc
import MoEModel
import Synchronization

/// What an engine tells of itself while it runs. Written by the engine's thread, after each step and for each MoE layer; read by anyone
/// at any time, without waiting for a step. Memory is fixed after the first step of a kind.
final class EngineFigures: RoutingObserver {
    /// Loads that decay: every token counts 2^(t / half-life) at time t, and what is read is divided by what a token would
    /// count now. So nothing has to be decayed step by step.
    private struct Layer {
        var load: [Int] = []
        var recent: [Double] = []
        var tokens = 0
    }

    struct Counts {
        var running = 0
        var waiting = 0
        var free = 0
        var idle = 0
        var preemptions = 0
        var oldestWaiting: ContinuousClock.Instant?
    }

    /// Of one step, or since the start.
    struct Work {
        var promptTokens = 0
        var cachedTokens = 0
        var generatedTokens = 0
        var degradedTokens = 0
        var submitted = 0
        var finished = 0
        var cancelled = 0
        var failed = 0

        mutating func add(_ other: Work) {
            promptTokens += other.promptTokens
            cachedTokens += other.cachedTokens
            generatedTokens += other.generatedTokens
            degradedTokens += other.degradedTokens
            submitted += other.submitted
            finished += other.finished
            cancelled += other.cancelled
            failed += other.failed
        }
    }

    private struct State {
        var counts = Counts()
        var work = Work()
        var steps = 0
        var lastStep = 0.0
        var totalSeconds = 0.0
        /// Of steps in which somebody decoded, averaged over about the last second; nil before the first.
        var tokenSeconds: Double?
        var buckets = [Int](repeating: 0, count: EngineSnapshot.StepTimes.bounds.count + 1)
        /// A ring of the last steps in which somebody decoded.
        var ring = [Double](repeating: 0, count: EngineFigures.ringSize)
        var ringCount = 0
        /// By layer of the model.
        var layers: [Layer] = []
        var histogram: [Int] = []
        /// What one token counts, and since when.
        var weight = 1.0
        var base: ContinuousClock.Instant
    }

    static let ringSize = 256
    /// Seconds.
    static let halfLife = 10.0

    private let state: Mutex<State>
    private let started: ContinuousClock.Instant
    private let blockCount: Int
    private let blockSize: Int
    /// Read at the beginning of each step.
    let pressure = Atomic(0)

    init(blockCount: Int, blockSize: Int) {
        self.blockCount = blockCount
        self.blockSize = blockSize
        started = .now
        var initial = State(base: started)
        initial.counts.free = blockCount
        state = Mutex(initial)
    }

    /// Speculation keeps what drafted rows told until they count; replays after a preemption are not observed. So loads are those of
    /// the tokens that requests are told about.
    var needsEveryToken: Bool { false }

    func observe(_ event: borrowing RoutingEvent) {
        state.withLock { state in
            while state.layers.count <= event.layer { state.layers.append(Layer()) }
            if state.layers[event.layer].load.isEmpty {
                state.layers[event.layer].load = Array(repeating: 0, count: event.expertCount)
                state.layers[event.layer].recent = Array(repeating: 0, count: event.expertCount)
                state.histogram.reserveCapacity(event.expertCount + 1)
            }
            state.layers[event.layer].tokens += event.tokenCount
            for token in 0..<event.tokenCount {
                let computed = event.computedExperts(token: token)
                while state.histogram.count <= computed { state.histogram.append(0) }
                state.histogram[computed] += 1
                event.forEachExpert(token: token) { expert, _ in
                    state.layers[event.layer].load[expert] += 1
                    state.layers[event.layer].recent[expert] += state.weight
                }
            }
        }
    }

    /// Weighs the tokens of the step that begins.
    func beginStep(at now: ContinuousClock.Instant) {
        state.withLock { state in
            let exponent = (now - state.base) / .seconds(Self.halfLife)
            if exponent > 256 {
                // Long before it overflows: everything is put in terms of a token of now.
                let scale = exp2(-exponent)
                for layer in state.layers.indices {
                    for expert in state.layers[layer].recent.indices { state.layers[layer].recent[expert] *= scale }
                }
                state.base = now
                state.weight = 1
            } else {
                state.weight = exp2(exponent)
            }
        }
    }

    /// - Parameter decoding: whether somebody waited for this step's token: a step of prompts alone is between nobody's tokens.
    func endStep(seconds: Double, decoding: Bool, work: Work, counts: Counts) {
        state.withLock { state in
            state.steps += 1
            state.lastStep = seconds
            state.work.add(work)
            state.counts = counts
            guard decoding else { return }
            state.totalSeconds += seconds
            let weight = 1 - exp(-seconds)
            state.tokenSeconds = state.tokenSeconds.map { $0 + weight * (seconds - $0) } ?? seconds
            var bucket = 0
            while bucket < EngineSnapshot.StepTimes.bounds.count, seconds > EngineSnapshot.StepTimes.bounds[bucket] {
                bucket += 1
            }
            state.buckets[bucket] += 1
            state.ring[state.ringCount % Self.ringSize] = seconds
            state.ringCount += 1
        }
    }

    /// What happens between steps.
    func note(_ work: Work, counts: Counts) {
        state.withLock { state in
            state.work.add(work)
            state.counts = counts
        }
    }

    var snapshot: EngineSnapshot {
        let state = state.withLock { $0 }
        let now = ContinuousClock.now
        let scale = exp2(-((now - state.base) / .seconds(Self.halfLife)))
        return EngineSnapshot(
            uptime: (now - started) / .seconds(1), running: state.counts.running, waiting: state.counts.waiting,
            oldestWaitingSeconds: state.counts.oldestWaiting.map { (now - $0) / .seconds(1) } ?? 0,
            blocks: .init(
                total: blockCount, free: state.counts.free, cached: state.counts.idle, positionsPerBlock: blockSize),
            preemptions: state.counts.preemptions,
            requests: .init(
                submitted: state.work.submitted, finished: state.work.finished, cancelled: state.work.cancelled,
                failed: state.work.failed),
            promptTokens: state.work.promptTokens, cachedTokens: state.work.cachedTokens,
            generatedTokens: state.work.generatedTokens, degradedTokens: state.work.degradedTokens,
            steps: state.steps, lastStepSeconds: state.lastStep, tokenSeconds: state.tokenSeconds,
            stepTimes: .init(
                recent: state.ring.prefix(min(state.ringCount, Self.ringSize)).sorted(), counts: state.buckets,
                totalSeconds: state.totalSeconds),
            layers: state.layers.enumerated().filter { !$1.load.isEmpty }.map { index, layer in
                .init(layer: index, tokens: layer.tokens, load: layer.load, recent: layer.recent.map { $0 * scale })
            },
            histogram: state.histogram, pressure: pressure.load(ordering: .relaxed))
    }
}
