// SPDX-License-Identifier: Apache-2.0

package import MoECompute
package import MoETensors

/// One MoE layer by itself, outside a model: how routers of models that are not supported as a whole are compared with their
/// reference, and how a layer is measured alone. Tensors have Qwen3-MoE's names of layer 0, the selection bias DeepSeek's.
package final class StandaloneMoELayer {
    private let layer: MoELayer
    private let store: any WeightStore
    private let context: ComputeContext
    private let cache: KVCache
    /// d
    package let width: Int

    /// - Throws: ``ModelFileError`` or ``ResourceError``.
    package init(
        store: any WeightStore, experts: ExpertConfiguration, width: Int, context: ComputeContext
    ) throws {
        let attention = AttentionConfiguration(
            heads: 1, kvHeads: 1, headDim: 2, windows: [0],
            rope: RoPEConfiguration(base: 10_000, rotaryDim: 2, neox: true, scaling: .none))
        let configuration = ModelConfiguration(
            architecture: "one layer", layerCount: 1, hiddenSize: width, vocabularySize: 1, contextLength: 1,
            attention: attention, intermediateSize: 0, rmsNormEpsilon: 1e-6, experts: experts)
        let builder = try LayerBuilder(store: store, naming: .huggingFace(mixtral: false), configuration: configuration)
        layer = try builder.experts(0)
        cache = try KVCache(precision: .f32, blockCount: 1, layerCount: 1, kvHeads: 1, headDim: 2)
        self.store = store
        self.context = context
        self.width = width
    }

    /// x `[T, d]` to the layer's output `[T, d]`.
    /// - Parameters:
    ///   - slices: tokens of each sequence, in order; nil: all of one.
    ///   - phases: of each sequence; nil: prefill.
    ///   - routings: of each sequence; nil: `routing`.
    package func callAsFunction(
        _ x: [Float], slices: [Int]? = nil, phases: [ForwardPhase]? = nil, routing: any RoutingPolicy = StaticRouting(),
        routings: [any RoutingPolicy]? = nil, observer: (any RoutingObserver)? = nil
    ) throws -> [Float] {
        let tokens = x.count / width
        var batch = ForwardBatch()
        for (index, count) in (slices ?? [tokens]).enumerated() {
            let ids = [Int32](repeating: 0, count: count)
            batch.append(
                tokens: ids.span, firstPosition: 0, blockTable: [0], phase: phases?[index] ?? .prefill,
                routing: routings?[index] ?? routing, observer: observer, logits: 0..<0)
        }
        precondition(batch.count == tokens && x.count == tokens * width)
        context.scratch.reset()
        var output = [Float](repeating: .nan, count: x.count)
        try x.withUnsafeBufferPointer { x in
            try output.withUnsafeMutableBufferPointer { output in
                try layer(
                    x.baseAddress!, into: output.baseAddress!,
                    step: ForwardStep(batch: batch, cache: cache, context: context))
            }
        }
        return output
    }

    /// Constant experts alone: what they add for the given choices. No file with such experts is read yet.
    /// - Parameters:
    ///   - picked: `[T · perToken]`, the constant expert of each slot, with `weights`
    ///   - values: `[C, d]`
    ///   - mix: `[2C, d]`
    /// - Returns: `[T, d]`
    package static func constantExperts(
        _ x: [Float], picked: [Int], weights: [Float], perToken: Int, values: [Float], mix: [Float], width: Int,
        context: ComputeContext
    ) throws -> [Float] {
        let tokens = x.count / width
        context.scratch.reset()
        var batch = ForwardBatch()
        let ids = [Int32](repeating: 0, count: tokens)
        batch.append(
            tokens: ids.span, firstPosition: 0, blockTable: [0], phase: .prefill, routing: StaticRouting(), logits: 0..<0)
        let step = ForwardStep(
            batch: batch, cache: try KVCache(precision: .f32, blockCount: 1, layerCount: 1, kvHeads: 1, headDim: 2),
            context: context)
        let pairs = PseudoAssignment(tokenCount: tokens, capacity: picked.count, scratch: context.scratch)
        for token in 0..<tokens {
            pairs.begin(token: token)
            for pair in token * perToken..<(token + 1) * perToken {
                pairs.append(Int32(picked[pair]), weight: weights[pair], token: token)
            }
        }
        var output = [Float](repeating: 0, count: x.count)
        try mix.withUnsafeBytes { mix in
            let matrix = Matrix(
                type: .f32, n: mix.count / (4 * width), k: width, rowBytes: 4 * width, pointer: mix.baseAddress!)
            let constants = ConstantExperts(values: FloatVector(values), mix: Linear(weights: matrix, bias: nil))
            try x.withUnsafeBufferPointer { x in
                try output.withUnsafeMutableBufferPointer {
                    try constants.add(pairs, x.baseAddress!, to: $0.baseAddress!, width: width, step: step)
                }
            }
        }
        return output
    }
}
