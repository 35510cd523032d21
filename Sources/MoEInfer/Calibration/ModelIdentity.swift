// SPDX-License-Identifier: Apache-2.0

import Crypto
import Foundation
import MoEModel
import MoETensors
import Synchronization

/// What a routing profile is bound to: SHA-256 over the tensors in order of their names: name, element type, shape, and samples of
/// the content (all of a tensor up to 4 KiB; else four pieces of 1 KiB spread over it). Metadata does not count, so a file whose
/// chat template was edited is still the same model; another quantisation is not.
final class ModelIdentity: Sendable {
    private let store: any WeightStore
    private let known = Mutex<String?>(nil)
    private let knownWhole = Mutex<String?>(nil)

    init(_ store: any WeightStore) { self.store = store }

    /// `sha256:` and 64 hexadecimal digits. Computed once.
    var hash: String {
        known.withLock { known in
            if let known { return known }
            let hash = "sha256:" + compute().hexadecimal
            known = hash
            return hash
        }
    }

    /// The same over the whole contents, 64 hexadecimal digits: reads every byte of the weights once.
    var fullHash: String {
        knownWhole.withLock { known in
            if let known { return known }
            let hash = compute(wholly: true).hexadecimal
            known = hash
            return hash
        }
    }

    private func compute(wholly: Bool = false) -> SHA256.Digest {
        var hash = SHA256()
        for name in store.tensorNames.sorted() {
            // A tensor that cannot be read is not part of the model that runs.
            guard let tensor = store.tensor(named: name) else { continue }
            // Lengths and terminators keep two lists of facts from meeting in one text.
            let facts = "\(name.utf8.count):\(name) \(tensor.type.name) \(tensor.shape.dimensions) \(tensor.bytes.count)\n"
            hash.update(data: Data(facts.utf8))
            let (piece, pieces) = (1024, 4)
            if wholly || tensor.bytes.count <= piece * pieces {
                hash.update(bufferPointer: tensor.bytes)
            } else {
                for index in 0..<pieces {
                    let start = (tensor.bytes.count - piece) / (pieces - 1) * index
                    hash.update(bufferPointer: UnsafeRawBufferPointer(rebasing: tensor.bytes[start..<start + piece]))
                }
            }
        }
        return hash.finalize()
    }
}

/// What of a model a learned gate must fit.
struct GateSizes: Sendable {
    let layerCount: Int
    /// k and E; 0 for a dense model.
    let expertsPerToken: Int
    let expertCount: Int
    /// d
    let hiddenSize: Int
    /// Which layers have experts.
    let routedLayers: [Bool]

    init(_ configuration: ModelConfiguration) {
        layerCount = configuration.layerCount
        hiddenSize = configuration.hiddenSize
        // A configuration may name experts and have them in no layer.
        expertsPerToken = configuration.experts.flatMap { $0.layers.contains(true) ? $0.perToken : nil } ?? 0
        expertCount = configuration.experts?.count ?? 0
        routedLayers = configuration.experts?.layers ?? [Bool](repeating: false, count: layerCount)
    }

    /// Why this gate cannot run here, in one line; nil when it can.
    func problem(_ learned: LearnedRouting, identity: ModelIdentity) -> String? {
        if learned.model != identity.hash {
            return "the routing profile is for model \(learned.model), but this is \(identity.hash)"
        }
        guard learned.layers.count == layerCount, learned.maximum == expertsPerToken, learned.expertCount == expertCount
        else {
            return "the routing profile has \(learned.layers.count) layers and \(learned.maximum) of "
                + "\(learned.expertCount) experts, but the model \(layerCount) layers and \(expertsPerToken) of \(expertCount)"
        }
        for case let layer? in learned.layers where ![0, hiddenSize].contains(layer.hiddenWeights.count) {
            return "the routing profile is for hidden size \(layer.hiddenWeights.count), but the model has \(hiddenSize)"
        }
        for layer in 0..<layerCount where (learned.layers[layer] != nil) != routedLayers[layer] {
            return routedLayers[layer]
                ? "the routing profile has no head for layer \(layer)"
                : "the routing profile has a head for layer \(layer), which has no experts"
        }
        return nil
    }
}

extension LLM {
    /// The content hash that routing profiles are bound to.
    public var modelHash: String { identity.hash }

    /// The routing profile that the model's file carries, by which it is routed unless a request says otherwise; nil when it
    /// carries none.
    /// - Throws: ``RequestError``: it is broken, or another model's. Such a model loads, and runs under every routing that does
    ///   not ask for its profile.
    public var profile: RoutingProfile? {
        get throws {
            do {
                let profile = try loadedProfile.get()
                if let profile, let problem = gate.problem(profile.routing(mu: 0), identity: identity) {
                    throw RequestError("\(profilePlace): \(problem)")
                }
                return profile
            } catch {
                throw RequestError(
                    "\(error) ('static' runs without it, 'moe-infer profile strip' takes it out)")
            }
        }
    }

    /// A request's routing for this model: what is nil or ``NativeRouting`` becomes the model's own.
    /// - Throws: ``RequestError`` when a policy does not fit the model, or a learned one was made for another.
    package func check(_ routing: RoutingChoice) throws -> RoutingChoice {
        let checked = RoutingChoice(
            prefill: try check(policy: routing.prefill), decode: try check(policy: routing.decode))
        batchPolicyLog.note(checked)
        return checked
    }

    func check(policy: (any RoutingPolicy)?) throws -> any RoutingPolicy {
        let policy = try (policy ?? NativeRouting()).resolved { try native($0.point) }
        if let problem = policy.problem(layerCount: layerCount, expertCount: expertCount) { throw RequestError(problem) }
        if let learned = policy.innermost as? LearnedRouting, let problem = gate.problem(learned, identity: identity) {
            throw RequestError(problem)
        }
        return policy
    }

    private func native(_ point: NativeRouting.Point) throws -> any RoutingPolicy {
        guard let profile = try profile else {
            if point == .automatic { return StaticRouting() }
            throw RequestError("the model carries no routing profile; expected \(profilePlace), or profile:FILE@POINT")
        }
        guard let routing = profile.routing(point) else {
            throw RequestError(
                "\(profilePlace): the profile has no point '\(profile.name(of: point))'; it has: \(profile.pointList)")
        }
        return routing
    }
}
