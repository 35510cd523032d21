// SPDX-License-Identifier: Apache-2.0

import MoEJSON

/// Several safetensors files and the index that says which tensor lies in which: `model.safetensors.index.json` with
/// `{"weight_map": {"tensor": "file", …}}`. Immutable.
package final class ShardedSafetensors: WeightStore, Sendable {
    /// The index file.
    package let source: String
    /// In the order of the index.
    package let tensorNames: [String]
    package let tensorBytes: Int
    private let shards: [SafetensorsFile]
    private let places: [String: Int]

    private static let indexLimit = 256 << 20

    /// - Parameter index: the path of the index; the shards lie beside it.
    package init(index: String) throws(ModelFileError) {
        source = index
        let map = try ShardedSafetensors.weightMap(index)
        let folder = index.lastIndex(of: "/").map { String(index[...$0]) } ?? ""
        var shards: [SafetensorsFile] = []
        var numbers: [String: Int] = [:]
        var places: [String: Int] = [:]
        var bytes = 0
        for (tensor, shard) in map {
            let number: Int
            if let known = numbers[shard] {
                number = known
            } else {
                let path = folder + shard
                guard MappedFile.kind(path: path) != nil else {
                    throw ModelFileError(file: path, problem: "missing shard, which '\(index)' names")
                }
                number = shards.count
                numbers[shard] = number
                shards.append(try SafetensorsFile(path: path))
            }
            guard let size = shards[number].byteCount(of: tensor) else {
                throw ModelFileError(
                    file: shards[number].source, tensor: tensor, problem: "missing tensor, which '\(index)' places here")
            }
            places[tensor] = number
            bytes += size
        }
        (tensorNames, tensorBytes, self.shards, self.places) = (map.map(\.tensor), bytes, shards, places)
    }

    /// In file order.
    private static func weightMap(_ index: String) throws(ModelFileError) -> [(tensor: String, shard: String)] {
        let json = try JSONFile(MappedFile.contents(path: index, limit: indexLimit), file: index)
        try json.refuseDuplicateKeys()
        var members: JSONDocument.Members?
        for member in try json.root() where try json.string(member.key) == "weight_map" {
            members = try json.object(member.value)
        }
        guard let members, !members.isEmpty else {
            throw ModelFileError(
                file: index, problem: "no 'weight_map'", expected: "an object that maps tensors to files",
                found: members == nil ? "nothing" : "an empty one")
        }
        var map: [(tensor: String, shard: String)] = []
        for member in members {
            let (tensor, shard) = (try json.string(member.key), try json.string(member.value))
            // The index comes with the download; it must not reach outside its folder.
            guard !shard.isEmpty, shard != ".", shard != "..", !shard.utf8.contains(0), !shard.contains("/") else {
                throw ModelFileError(
                    file: index, tensor: tensor, problem: "bad shard name", expected: "the name of a file beside the index",
                    found: "'\(shard)'")
            }
            map.append((tensor, shard))
        }
        return map
    }

    package func tensor(named name: String) -> TensorView? { places[name].flatMap { shards[$0].tensor(named: name) } }

    package func problem(with name: String) -> ModelFileError? { places[name].flatMap { shards[$0].problem(with: name) } }

    package func prefetch() {
        for shard in shards { shard.prefetch() }
    }
}
