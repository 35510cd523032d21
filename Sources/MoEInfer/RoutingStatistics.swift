// SPDX-License-Identifier: Apache-2.0

import Glibc
public import MoEModel
import Synchronization

/// Counts what was routed and computed; one per generation, or one for a whole evaluation.
///
/// Thread-safe. After the first step nothing is allocated.
public final class RoutingStatistics: RoutingObserver {
    fileprivate struct Layer {
        var histogram: [Int] = []
        var load: [Int] = []
        var tokens = 0
        var evaluations = 0
        var reroutes = 0
        var entropy = 0.0
    }

    private struct State {
        /// By layer of the model; those without experts stay empty.
        var layers: [Layer] = []
        var modelEvaluations = 0
        var bytes = 0
        var gateSeconds = 0.0
        var forwardSeconds = 0.0
    }

    private let state = Mutex(State())

    public let needsEveryToken: Bool

    /// - Parameter everyToken: whether every layer must run every token for the sake of these counts, as an evaluation wants it.
    ///   Else a prompt's last layer runs, and counts, only the tokens whose logits are wanted.
    public init(everyToken: Bool = true) { needsEveryToken = everyToken }

    public func observe(_ event: borrowing RoutingEvent) {
        let (layer, tokens, experts) = (event.layer, event.tokenCount, event.expertCount)
        state.withLock { state in
            while state.layers.count <= layer { state.layers.append(Layer()) }
            state.layers[layer].add(event)
            state.modelEvaluations += tokens * min(event.modelExpertsPerToken, experts)
            state.bytes += event.expertBytes
            state.gateSeconds += event.gateSeconds
        }
    }

    /// Adds a step's whole time, the denominator of the gate's share.
    package func addForward(seconds: Double) { state.withLock { $0.forwardSeconds += seconds } }

    /// What ``addForward(seconds:)`` came to.
    package var modelSeconds: Double { state.withLock { $0.forwardSeconds } }

    /// nil when no expert layer was observed (a dense model).
    public var usage: MoEUsage? {
        state.withLock { state in
            if state.layers.isEmpty { return nil }
            let length = state.layers.map(\.histogram.count).max() ?? 0
            var histogram = [Int](repeating: 0, count: length)
            for layer in state.layers {
                for (k, count) in layer.histogram.enumerated() { histogram[k] += count }
            }
            let tokens = state.layers.reduce(0) { $0 + $1.tokens }
            let evaluations = state.layers.reduce(0) { $0 + $1.evaluations }
            return MoEUsage(
                meanExperts: tokens == 0 ? 0 : Double(evaluations) / Double(tokens), histogram: histogram,
                expertEvaluations: evaluations, expertBytesRead: state.bytes,
                savedFraction: state.modelEvaluations == 0
                    ? 0 : 1 - Double(evaluations) / Double(state.modelEvaluations),
                gateTimeFraction: state.forwardSeconds == 0 ? 0 : min(1, state.gateSeconds / state.forwardSeconds),
                reroutes: state.layers.reduce(0) { $0 + $1.reroutes })
        }
    }

    /// Experts computed so far, and the (token, layer) pairs that they were computed for.
    var evaluations: (evaluations: Int, tokenLayers: Int) {
        state.withLock { state in
            state.layers.reduce((0, 0)) { ($0.0 + $1.evaluations, $0.1 + $1.tokens) }
        }
    }

    /// By layer, ascending; empty for a dense model.
    public var layers: [LayerRouting] {
        state.withLock { state in
            state.layers.enumerated().filter { !$1.load.isEmpty }.map { index, layer in
                LayerRouting(
                    layer: index, meanExperts: layer.tokens == 0 ? 0 : Double(layer.evaluations) / Double(layer.tokens),
                    histogram: layer.histogram, expertLoad: layer.load, reroutes: layer.reroutes,
                    entropyBits: layer.tokens == 0 ? 0 : layer.entropy / Double(layer.tokens))
            }
        }
    }
}

extension RoutingStatistics.Layer {
    fileprivate mutating func add(_ event: borrowing RoutingEvent) {
        if load.isEmpty {
            load = [Int](repeating: 0, count: event.expertCount)
            histogram.reserveCapacity(event.expertCount + 1)
        }
        tokens += event.tokenCount
        for token in 0..<event.tokenCount {
            let computed = event.computedExperts(token: token)
            while histogram.count <= computed { histogram.append(0) }
            histogram[computed] += 1
            evaluations += computed
            if event.addedExperts(token: token) > 0 { reroutes += 1 }
            event.forEachExpert(token: token) { expert, _ in load[expert] += 1 }
        }
        entropy += event.totalRouterEntropy
    }
}
