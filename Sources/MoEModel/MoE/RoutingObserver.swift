// SPDX-License-Identifier: Apache-2.0

import MoECompute

/// Sees what was routed and what was computed; never changes it. Statistics and calibration are observers.
///
/// Called on the thread that runs the model, once per MoE layer and sequence slice, after the experts have run.
public protocol RoutingObserver: AnyObject, Sendable {
    func observe(_ event: borrowing RoutingEvent)
    /// Whether the last layer must run every token of a prompt for this observer, also those whose logits nobody asked for and whose
    /// last layer changes nothing. Default: true.
    var needsEveryToken: Bool { get }
}

extension RoutingObserver {
    public var needsEveryToken: Bool { true }
}

/// One sequence slice in one MoE layer. The spans are valid only during the call.
public struct RoutingEvent: ~Copyable {
    public let layer: Int
    public let phase: ForwardPhase
    /// Tokens in this slice.
    public let tokenCount: Int
    /// E
    public let expertCount: Int
    /// R: experts and pseudo-experts, one logit each.
    public let slotCount: Int
    /// k of the model
    public let modelExpertsPerToken: Int
    /// Bytes of one routed expert's weights (gate, up and down).
    public let bytesPerExpert: Int
    /// Seconds that this layer's router (gate product, gating function, policy, plan) took for the whole step, and that the
    /// whole MoE layer took; both scaled by this slice's share of the step's tokens.
    public let gateSeconds: Double
    public let layerSeconds: Double
    /// Bytes of expert weights that the step's products read, this slice's share of them: counted by the compute layer.
    public let expertBytes: Int

    let evaluations: UnsafeBufferPointer<Int32>
    let logits: UnsafeBufferPointer<Float>
    let offsets: UnsafeBufferPointer<Int32>
    let experts: UnsafeBufferPointer<Int32>
    let weights: UnsafeBufferPointer<Float>
    let added: UnsafeBufferPointer<Int32>

    /// How many experts the compute layer ran for token `index` of the slice: counted by the kernels, not by the policy.
    public func computedExperts(token index: Int) -> Int { Int(evaluations[index]) }
    /// How many of its experts token `index` has because the gate was unsure and it was routed again (see ``Rerouting``); 0: it was
    /// not. Pseudo-experts included.
    public func addedExperts(token index: Int) -> Int { Int(added[index]) }
    /// The expert ids that token `index` was routed to, best first.
    public func selectedExperts(token index: Int) -> [Int] {
        (Int(offsets[index])..<Int(offsets[index + 1])).map { Int(experts[$0]) }
    }
    /// The combine weights of ``selectedExperts(token:)``, same order.
    public func combineWeights(token index: Int) -> [Float] {
        (Int(offsets[index])..<Int(offsets[index + 1])).map { weights[$0] }
    }
    /// `[R]`: the router's raw logits of token `index`.
    public func routerLogits(token index: Int) -> [Float] {
        Array(logits[index * slotCount..<(index + 1) * slotCount])
    }
    /// Calls `body` with each expert that token `index` was routed to and its combine weight, best first.
    public func forEachExpert(token index: Int, _ body: (_ expert: Int, _ weight: Float) -> Void) {
        for pair in Int(offsets[index])..<Int(offsets[index + 1]) { body(Int(experts[pair]), weights[pair]) }
    }
    /// Entropy of the softmax over the router's logits of token `index`, in bits: 0 to log2(R).
    public func routerEntropy(token index: Int) -> Double {
        precondition(index >= 0 && index < tokenCount, "token \(index) of \(tokenCount)")
        var bits: Float = 0
        Ops.entropy(logits.baseAddress! + index * slotCount, rows: 1, count: slotCount, into: &bits, pool: nil)
        return Double(bits)
    }
    /// The sum of ``routerEntropy(token:)`` over the slice's tokens.
    public var totalRouterEntropy: Double {
        withUnsafeTemporaryAllocation(of: Float.self, capacity: 128) { bits in
            var total = 0.0
            for first in stride(from: 0, to: tokenCount, by: bits.count) {
                let rows = min(bits.count, tokenCount - first)
                Ops.entropy(
                    logits.baseAddress! + first * slotCount, rows: rows, count: slotCount, into: bits.baseAddress!,
                    pool: nil)
                for row in 0..<rows { total += Double(bits[row]) }
            }
            return total
        }
    }
}

/// An observer that also sees what each expert computed: calibration. Costs nothing where no observer asks.
package protocol ExpertOutputObserver: RoutingObserver {
    func observe(_ outputs: borrowing ExpertOutputs)
}

/// One token in one MoE layer, before its experts' outputs are weighted and summed. Valid only during the call.
package struct ExpertOutputs: ~Copyable {
    package let layer: Int
    package let position: Int
    /// Experts that ran, and the length of an output.
    package let count: Int
    package let width: Int
    let output: UnsafePointer<Float>
    let slots: UnsafePointer<Int32>
    let weights: UnsafePointer<Float>
    let experts: UnsafePointer<Int32>
    /// `[R]`: the router's raw logits.
    package let logits: UnsafeBufferPointer<Float>
    /// `[d]`: the input of router and experts.
    package let hidden: UnsafeBufferPointer<Float>

    /// `[d]`: the output of the expert at this rank, best first.
    package func output(rank: Int) -> UnsafePointer<Float> { output + Int(slots[rank]) * width }
    package func weight(rank: Int) -> Float { weights[rank] }
    package func expert(rank: Int) -> Int { Int(experts[rank]) }
}
