// SPDX-License-Identifier: Apache-2.0

import MoECompute
import MoETensors

/// Takes tensors out of a file, checks their shapes against the configuration, and puts layers together. The architectures'
/// files say what a layer is made of; this type knows how each part is stored.
final class LayerBuilder {
    let store: any WeightStore
    let naming: TensorNaming
    let configuration: ModelConfiguration
    private let rope: RotaryTable
    private var used: Set<String> = []

    init(store: any WeightStore, naming: TensorNaming, configuration: ModelConfiguration) throws {
        self.store = store
        self.naming = naming
        self.configuration = configuration
        guard configuration.rmsNormEpsilon.isFinite, configuration.rmsNormEpsilon >= 0 else {
            throw ModelFileError(
                file: store.source, problem: "bad epsilon of the RMS norm", expected: "a number of at least 0",
                found: "\(configuration.rmsNormEpsilon)")
        }
        rope = try RotaryTable(
            configuration.attention.rope, maximumPositions: configuration.contextLength)
    }

    /// d
    var width: Int { configuration.hiddenSize }

    // MARK: Parts

    func norm(_ role: TensorRole, layer: Int = 0, count: Int? = nil) throws -> RMSNorm {
        let view = try take(naming.base(role, layer: layer) + ".weight", shape: [count ?? width])
        return RMSNorm(weight: try FloatVector(view, source: store.source), epsilon: configuration.rmsNormEpsilon)
    }

    /// A projection `[n, k]`, with its bias where the file has one.
    func linear(_ role: TensorRole, layer: Int = 0, n: Int, k: Int) throws -> Linear {
        let base = naming.base(role, layer: layer)
        let weights = try takeMatrix(base + ".weight", n: n, k: k)
        if let problem = store.problem(with: base + ".bias") { throw problem }
        let bias =
            store.tensor(named: base + ".bias") == nil
            ? nil : try FloatVector(take(base + ".bias", shape: [n]), source: store.source)
        return Linear(weights: weights, bias: bias)
    }

    enum NormKind { case none, perHead, full }

    func attention(_ layer: Int, norm kind: NormKind = .none) throws -> Attention {
        let shape = configuration.attention
        let (queries, keys) = (shape.heads * shape.headDim, shape.kvHeads * shape.headDim)
        let norms: Attention.QueryKeyNorm =
            switch kind {
            case .none: .none
            case .perHead:
                .perHead(
                    query: try norm(.queryNorm, layer: layer, count: shape.headDim),
                    key: try norm(.keyNorm, layer: layer, count: shape.headDim))
            case .full:
                .full(
                    query: try norm(.queryNorm, layer: layer, count: queries),
                    key: try norm(.keyNorm, layer: layer, count: keys))
            }
        return Attention(
            query: try linear(.query, layer: layer, n: queries, k: width),
            key: try linear(.key, layer: layer, n: keys, k: width),
            value: try linear(.value, layer: layer, n: keys, k: width),
            output: try linear(.attentionOutput, layer: layer, n: width, k: queries),
            norm: norms, heads: shape.heads, kvHeads: shape.kvHeads, headDim: shape.headDim,
            window: shape.windows[layer], rope: rope, layer: layer)
    }

    func feedForward(_ layer: Int) throws -> FeedForward {
        let f = configuration.intermediateSize
        return FeedForward(
            gate: try linear(.gate, layer: layer, n: f, k: width), up: try linear(.up, layer: layer, n: f, k: width),
            down: try linear(.down, layer: layer, n: width, k: f))
    }

    /// The routed experts of a layer; without the shared one.
    func experts(_ layer: Int, shared: SharedExpert? = nil) throws -> MoELayer {
        guard let experts = configuration.experts else {
            throw ModelFileError(
                file: store.source, problem: "no expert count", expected: "a mixture of experts", found: "none")
        }
        let spec = experts.routers[layer]
        if let problem = spec.problem {
            throw ModelFileError(
                file: store.source, problem: "the router of layer \(layer) contradicts itself", expected: problem.expected,
                found: problem.found)
        }
        if spec.pseudo.contains(where: { $0.kind == .constant }) {
            throw ModelFileError(
                file: store.source, problem: "unsupported pseudo-experts", expected: "zero or identity", found: "constant")
        }
        let router = Router(
            gate: try linear(.router, layer: layer, n: spec.slotCount, k: width), spec: spec,
            selectionBias: try spec.hasSelectionBias ? selectionBias(layer, count: spec.slotCount) : nil, layer: layer,
            layerCount: configuration.layerCount)
        return MoELayer(
            router: router, experts: Experts(weights: try expertWeights(layer, experts: experts)), shared: shared)
    }

    private func selectionBias(_ layer: Int, count: Int) throws -> FloatVector {
        let name = naming.base(.selectionBias, layer: layer)
        return try FloatVector(take(naming.isGGUF ? name + ".bias" : name, shape: [count]), source: store.source)
    }

    func sharedExpert(_ layer: Int) throws -> SharedExpert {
        let f = configuration.experts?.sharedIntermediateSize ?? 0
        return SharedExpert(
            feedForward: FeedForward(
                gate: try linear(.sharedGate, layer: layer, n: f, k: width),
                up: try linear(.sharedUp, layer: layer, n: f, k: width),
                down: try linear(.sharedDown, layer: layer, n: width, k: f)),
            gate: try linear(.sharedExpertGate, layer: layer, n: 1, k: width))
    }

    func hasExperts(_ layer: Int) -> Bool { configuration.experts?.layers[layer] ?? false }

    // MARK: Tensors

    /// Kernels count rows and columns in 32 bits.
    private func checkExtents(_ name: String, n: Int, k: Int) throws {
        guard n <= Int(Int32.max), k <= Int(Int32.max) else {
            throw ModelFileError(
                file: store.source, tensor: name, problem: "too large", expected: "at most \(Int32.max) rows and columns",
                found: "[\(n), \(k)]")
        }
    }

    /// A tensor of exactly this shape, with bounds checked and noted as used.
    func take(_ name: String, shape: Shape) throws -> TensorView {
        used.insert(name)
        let view = try store.tensor(named: name, shape: shape)
        guard view.type.isWeight else {
            throw ModelFileError(
                file: store.source, tensor: name, problem: "wrong element type", expected: "a float or quantised type",
                found: view.type.name)
        }
        return view
    }

    func takeMatrix(_ name: String, n: Int, k: Int) throws -> Matrix {
        try checkExtents(name, n: n, k: k)
        // A projection to one value is sometimes stored as a vector.
        if n == 1, let view = store.tensor(named: name), view.shape == [k] {
            let vector = try take(name, shape: [k])
            return Matrix(type: vector.type, n: 1, k: k, rowBytes: vector.rowBytes, pointer: vector.bytes.baseAddress!)
        }
        return Matrix(try take(name, shape: [n, k]))
    }

    /// Every tensor of the file must have been used: a part that is not known would be left out silently otherwise.
    func checkAllUsed(ignoring isIgnored: (String) -> Bool) throws {
        if let name = store.tensorNames.first(where: { !used.contains($0) && !isIgnored($0) }) {
            throw ModelFileError(
                file: store.source, tensor: name,
                problem: "not a part of architecture '\(configuration.architecture)' as this program knows it")
        }
    }

    // MARK: Expert layouts

    /// The layouts met in files, in one form:
    /// GGUF stacked `[E, f, d]`; old GGUF `blk.L.ffn_gate.N`; Hugging Face one matrix per expert; Hugging Face fused
    /// `gate_up_proj [E, 2f, d]`.
    private func expertWeights(_ layer: Int, experts: ExpertConfiguration) throws -> ExpertWeights {
        let (count, f, d) = (experts.routers[layer].realExperts, experts.intermediateSize, width)
        switch naming {
        case .gguf:
            if store.tensor(named: "blk.\(layer).ffn_gate.0.weight") != nil {
                return try ExpertWeights(
                    gate: separate(count, n: f, k: d) { "blk.\(layer).ffn_gate.\($0).weight" },
                    up: separate(count, n: f, k: d) { "blk.\(layer).ffn_up.\($0).weight" },
                    down: separate(count, n: d, k: f) { "blk.\(layer).ffn_down.\($0).weight" })
            }
            return try ExpertWeights(
                gate: stacked(naming.base(.expertGate, layer: layer) + ".weight", count, n: f, k: d),
                up: stacked(naming.base(.expertUp, layer: layer) + ".weight", count, n: f, k: d),
                down: stacked(naming.base(.expertDown, layer: layer) + ".weight", count, n: d, k: f))
        case .huggingFace(let mixtral):
            let prefix = naming.expertsPrefix(layer: layer)
            if store.tensor(named: "\(prefix).gate_up_proj") != nil {
                let fused = try stacked("\(prefix).gate_up_proj", count, n: 2 * f, k: d)
                return try ExpertWeights(
                    gate: fused.map { $0.rows(0..<f) }, up: fused.map { $0.rows(f..<2 * f) },
                    down: stacked("\(prefix).down_proj", count, n: d, k: f))
            }
            let names = mixtral ? ("w1", "w3", "w2") : ("gate_proj", "up_proj", "down_proj")
            return try ExpertWeights(
                gate: separate(count, n: f, k: d) { "\(prefix).\($0).\(names.0).weight" },
                up: separate(count, n: f, k: d) { "\(prefix).\($0).\(names.1).weight" },
                down: separate(count, n: d, k: f) { "\(prefix).\($0).\(names.2).weight" })
        }
    }

    private func separate(_ count: Int, n: Int, k: Int, name: (Int) -> String) throws -> [Matrix] {
        try (0..<count).map { try takeMatrix(name($0), n: n, k: k) }
    }

    private func stacked(_ name: String, _ count: Int, n: Int, k: Int) throws -> [Matrix] {
        try checkExtents(name, n: n, k: k)
        let view = try take(name, shape: [count, n, k])
        return (0..<count).map { Matrix(view[$0]) }
    }
}
