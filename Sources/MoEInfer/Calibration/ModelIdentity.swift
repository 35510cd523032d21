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

extension LLM {
    /// The content hash that routing profiles are bound to.
    public var modelHash: String { identity.hash }

    /// - Throws: ``RequestError`` when a policy does not fit the model, or a learned one was made for another.
    func check(_ routing: RoutingChoice) throws {
        for policy in [routing.prefill, routing.decode] {
            if let problem = policy?.problem(layerCount: layerCount, expertCount: expertCount) {
                throw RequestError(problem)
            }
            guard let learned = policy?.innermost as? LearnedRouting else { continue }
            guard learned.model == identity.hash else {
                throw RequestError("the routing profile is for model \(learned.model), but this is \(identity.hash)")
            }
            guard learned.layers.count == layerCount, learned.maximum == expertsPerToken, learned.expertCount == expertCount
            else {
                throw RequestError(
                    "the routing profile has \(learned.layers.count) layers and \(learned.maximum) of "
                        + "\(learned.expertCount) experts, but the model \(layerCount) layers and \(expertsPerToken) of "
                        + "\(expertCount)")
            }
        }
        batchPolicyLog.note(routing)
    }
}
