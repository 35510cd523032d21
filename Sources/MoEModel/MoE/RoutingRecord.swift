// SPDX-License-Identifier: Apache-2.0

/// What the MoE layers of one slice told, kept until it is known who is to hear it: the row of a drafted token counts as the
/// sequence's own only when the draft turns out right.
///
/// Memory is kept between uses, so that nothing is allocated in a steady loop. Used by one thread at a time, the engine's.
package final class RoutingRecord: RoutingObserver, @unchecked Sendable {
    /// The numbers of one event. Its arrays follow those of the layer before.
    private struct Layer {
        let layer: Int
        let phase: ForwardPhase
        let tokenCount: Int
        let expertCount: Int
        let slotCount: Int
        let modelExpertsPerToken: Int
        let bytesPerExpert: Int
        let gateSeconds: Double
        let layerSeconds: Double
        let expertBytes: Int
        let pairCount: Int
    }

    private var layers: [Layer] = []
    private var evaluations: [Int32] = []
    private var added: [Int32] = []
    private var logits: [Float] = []
    /// From 0 in every layer.
    private var offsets: [Int32] = []
    private var experts: [Int32] = []
    private var weights: [Float] = []

    package init() {}

    package func observe(_ event: borrowing RoutingEvent) {
        let (first, end) = (event.offsets[0], event.offsets[event.tokenCount])
        let pairs = Int(first)..<Int(end)
        layers.append(
            Layer(
                layer: event.layer, phase: event.phase, tokenCount: event.tokenCount, expertCount: event.expertCount,
                slotCount: event.slotCount, modelExpertsPerToken: event.modelExpertsPerToken,
                bytesPerExpert: event.bytesPerExpert, gateSeconds: event.gateSeconds, layerSeconds: event.layerSeconds,
                expertBytes: event.expertBytes, pairCount: pairs.count))
        evaluations.append(contentsOf: event.evaluations)
        added.append(contentsOf: event.added)
        logits.append(contentsOf: event.logits)
        for token in 0...event.tokenCount { offsets.append(event.offsets[token] - first) }
        experts.append(contentsOf: event.experts[pairs])
        weights.append(contentsOf: event.weights[pairs])
    }

    /// Tells an observer what was kept, layer by layer, as if it ran now.
    package func replay(to observer: any RoutingObserver) {
        var (token, logit, offset, pair) = (0, 0, 0, 0)
        for layer in layers {
            let (tokens, logitCount) = (layer.tokenCount, layer.tokenCount * layer.slotCount)
            evaluations.withUnsafeBufferPointer { evaluations in
                added.withUnsafeBufferPointer { added in
                    logits.withUnsafeBufferPointer { logits in
                        offsets.withUnsafeBufferPointer { offsets in
                            experts.withUnsafeBufferPointer { experts in
                                weights.withUnsafeBufferPointer { weights in
                                    observer.observe(
                                        RoutingEvent(
                                            layer: layer.layer, phase: layer.phase, tokenCount: tokens,
                                            expertCount: layer.expertCount, slotCount: layer.slotCount,
                                            modelExpertsPerToken: layer.modelExpertsPerToken,
                                            bytesPerExpert: layer.bytesPerExpert, gateSeconds: layer.gateSeconds,
                                            layerSeconds: layer.layerSeconds, expertBytes: layer.expertBytes,
                                            evaluations: .init(rebasing: evaluations[token..<token + tokens]),
                                            logits: .init(rebasing: logits[logit..<logit + logitCount]),
                                            offsets: .init(rebasing: offsets[offset...offset + tokens]),
                                            experts: .init(rebasing: experts[pair..<pair + layer.pairCount]),
                                            weights: .init(rebasing: weights[pair..<pair + layer.pairCount]),
                                            added: .init(rebasing: added[token..<token + tokens])))
                                }
                            }
                        }
                    }
                }
            }
            token += tokens
            logit += logitCount
            offset += tokens + 1
            pair += layer.pairCount
        }
    }

    package func removeAll() {
        layers.removeAll(keepingCapacity: true)
        evaluations.removeAll(keepingCapacity: true)
        added.removeAll(keepingCapacity: true)
        logits.removeAll(keepingCapacity: true)
        offsets.removeAll(keepingCapacity: true)
        experts.removeAll(keepingCapacity: true)
        weights.removeAll(keepingCapacity: true)
    }
}
